"""A third-party plugin that brings a codec to another plugin's modality."""
