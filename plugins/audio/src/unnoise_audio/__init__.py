"""Audio for unnoise: spectrograms and latents."""
