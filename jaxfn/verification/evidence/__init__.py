"""What differs, and what function values say of it.

Takes a subject and points; gives the gradients of rule and reference there, the elements that
differ by more than rounding, and a judgement of each by the function's own differences.
Must never know what an error is called, nor which layer asks.
"""
