"""Configs of the points plugin."""
