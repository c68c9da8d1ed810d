"""What the site is made of beside its pages: `docs/conf.py` connects it to Sphinx."""
