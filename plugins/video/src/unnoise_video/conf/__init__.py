"""Configs of the video plugin."""
