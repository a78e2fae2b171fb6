"""Core's Hydra configs."""
