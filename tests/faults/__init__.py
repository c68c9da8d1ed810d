"""Faults planted all over the library, each of which `make test` has to catch."""
