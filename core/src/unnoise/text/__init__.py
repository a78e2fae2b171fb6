"""Text for networks: prompts with weights, vocabularies measured from captions, encoders."""

from __future__ import annotations

from unnoise.text.encoders import Embedded, TextEncoder
from unnoise.text.pretrained import Pretrained
from unnoise.text.prompts import parse_prompt, write_prompt
from unnoise.text.vocabulary import Vocabulary

__all__ = ["Embedded", "Pretrained", "TextEncoder", "Vocabulary", "parse_prompt", "write_prompt"]
