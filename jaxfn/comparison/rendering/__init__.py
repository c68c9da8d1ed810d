"""A comparison as a table and as a picture.

Takes what it shows as `Compared`, with figures and verdict in it; gives text, rich tables, a PNG.
Must never know the `Comparison` that asks for it, and decides nothing: differences are `verdict`'s.
"""
