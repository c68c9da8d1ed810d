"""`python -m jaxfn`: see `jaxfn.commands`."""

from jaxfn.commands.main import main

if __name__ == "__main__":
    main()
