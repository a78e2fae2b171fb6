"""Where molecules come from."""
