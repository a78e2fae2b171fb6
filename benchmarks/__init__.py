"""Timings of the engine itself, without a network: ``make bench``."""
