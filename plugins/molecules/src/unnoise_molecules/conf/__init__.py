"""Configs of this plugin, found as ``pkg://unnoise_molecules.conf``."""
