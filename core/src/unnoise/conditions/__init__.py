"""What a model may be told about the item it is to make: raw values -> tensors with a null -> embedded context.

A raw condition is a tensor that carries its own absence, so that dropout, guidance and unlabelled items need no second
mask. Its embedding has a learned null for what is absent.
"""

from __future__ import annotations

from unnoise.conditions.base import Condition, Raw
from unnoise.conditions.classes import ClassCondition
from unnoise.conditions.joint import Conditions, check_columns, condition_from, condition_on
from unnoise.conditions.maps import MapCondition
from unnoise.conditions.numbers import CurveCondition, ScalarCondition
from unnoise.conditions.text import TextCondition

__all__ = [
    "ClassCondition",
    "Condition",
    "Conditions",
    "CurveCondition",
    "MapCondition",
    "Raw",
    "ScalarCondition",
    "TextCondition",
    "check_columns",
    "condition_from",
    "condition_on",
]
