"""Molecules for unnoise."""
