"""Video for unnoise."""
