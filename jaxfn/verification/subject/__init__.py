"""What is under test.

Takes a function, its arguments and the options of the call, and refuses misuse.
Gives the compiled programs of rule and reference, over trees of arrays as flat vectors.
Must never know at which points it will be looked at, nor what a layer asks of it.
"""
