"""The command line. :mod:`unnoise.cli.main` is cheap to import; a verb imports what it needs when it runs."""
