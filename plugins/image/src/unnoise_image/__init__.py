"""Images for unnoise."""
