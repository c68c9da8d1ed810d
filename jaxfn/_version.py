"""The version, for the package's root and for those below it, which must not import the root."""

__version__ = "0.1.0"
