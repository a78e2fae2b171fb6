"""Data sets of pictures. An item is a uint8 array ``(height, width, channels)``."""
