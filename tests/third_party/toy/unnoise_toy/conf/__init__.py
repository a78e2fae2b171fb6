"""Configs of the toy plugin."""
