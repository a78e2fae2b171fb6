"""Configs: modality, data, representation, codec, denoiser."""
