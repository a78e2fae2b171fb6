"""Configs of the image plugin."""
