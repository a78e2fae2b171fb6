"""Configs of the flock plugin."""
