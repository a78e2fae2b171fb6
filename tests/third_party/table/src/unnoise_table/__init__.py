"""Tables with numbers and categories."""
