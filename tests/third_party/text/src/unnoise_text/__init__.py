"""Characters of English text."""
