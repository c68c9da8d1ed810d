"""`python -m jaxfn check`, `compare` and `audit`, for those who have the wheel alone.

Takes a function and its arguments as text, calls what `jaxfn` has for them, prints, and ends with
an exit code; what was wrong with the command is one line. The flags are read by tyro, of the extra
`jaxfn[cli]`: nothing else in `jaxfn` may import this package, which may import all of it.
"""
