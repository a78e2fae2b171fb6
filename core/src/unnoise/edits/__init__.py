"""Edits of what is there, for any kind of data: :meth:`unnoise.runs.Model.edit` and ``unnoise edit``."""

from unnoise.edits.kinds import KINDS, edit
from unnoise.edits.paths import ascend, between, round_trip

__all__ = ["KINDS", "ascend", "between", "edit", "round_trip"]
