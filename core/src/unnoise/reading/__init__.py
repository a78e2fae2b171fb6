"""Files that somebody else may have written: read within bounds, held against a shape, never more than data."""

from unnoise.reading.files import check_file, read_json, read_yaml
from unnoise.reading.shape import (
    DAMAGED,
    Check,
    flag,
    items,
    number,
    one_of,
    optional,
    plain,
    record,
    table,
    text,
    typed,
    whole,
)

__all__ = [
    "DAMAGED",
    "Check",
    "check_file",
    "flag",
    "items",
    "number",
    "one_of",
    "optional",
    "plain",
    "read_json",
    "read_yaml",
    "record",
    "table",
    "text",
    "typed",
    "whole",
]
