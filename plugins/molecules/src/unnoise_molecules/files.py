"""Reading and writing molecules: SMILES, CSV and SDF files."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from textwrap import shorten
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor

from unnoise.errors import UserError
from unnoise_molecules.chemistry import LONGEST, parse

ENDINGS = (".smi", ".smiles", ".txt", ".csv", ".tsv", ".sdf", ".sd", ".mol")
_TABLES = {".csv": ",", ".tsv": "\t"}
_COLUMNS = ("smiles", "canonical_smiles", "mol", "structure")
"""Names under which a table's column of SMILES is looked for, in any case."""


def read_molecules(path: Path) -> list[str]:
    """Every molecule of a file, as SMILES in the file's order.

    ``.smi``, ``.smiles``, ``.txt``: the first word of every line. ``.csv``, ``.tsv``: the column called "smiles".
    ``.sdf``, ``.sd``, ``.mol``: structures. All may end in ``.gz``. What RDKit cannot read is not dropped: its own text
    stays (an SDF record becomes an empty string), so that whoever judges the file can count it.

    Raises:
        UserError: if the file is missing, of another kind, or holds nothing.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file", f"name a file of molecules: {', '.join(ENDINGS)}")
    kind = Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if kind not in ENDINGS:
        raise UserError(f"{path}: no file of molecules ends in {kind or path.name!r}", f"known: {', '.join(ENDINGS)}")
    try:
        # Molecules are ASCII; the names beside them may be in any encoding.
        opened = gzip.open if path.suffix.lower() == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig", errors="replace") as file:
            text = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}", "it should be text, plain or gzipped") from error
    if kind in _TABLES:
        found = _from_table(text, _TABLES[kind], path)
    elif kind in (".sdf", ".sd", ".mol"):
        found = _from_sdf(text)
    else:
        found = _from_lines(text)
    if not found:
        raise UserError(f"{path} holds no molecule", "one SMILES a line, or one SDF record each")
    return found


def write_smiles(items: Sequence[str], path: Path) -> None:
    """One SMILES a line; an item without atoms is an empty line."""
    path.write_text("".join(f"{smiles}\n" for smiles in items), encoding="utf-8")


def write_sdf(items: Sequence[str], path: Path, settings: Mapping[str, Any]) -> None:
    """The items that are molecules, with flat coordinates; ``settings`` as JSON in the field "unnoise" of the first."""
    stream = StringIO()
    writer = Chem.SDWriter(stream)
    first = True
    for index, smiles in enumerate(items):
        molecule = parse(smiles)
        if molecule is None:
            continue
        rdDepictor.Compute2DCoords(molecule)
        molecule.SetProp("_Name", f"{index:05d}")
        molecule.SetProp("SMILES", smiles)
        if first:
            molecule.SetProp("unnoise", json.dumps(dict(settings), sort_keys=True))
            first = False
        writer.write(molecule)
    writer.close()
    path.write_text(stream.getvalue(), encoding="utf-8")


def _from_lines(text: str) -> list[str]:
    """The first word of every line. A first line "smiles" is a heading, and so is one that starts with #."""
    words = [line.split(maxsplit=1)[0] if line.split() else "" for line in text.splitlines()]
    if words and (words[0].lower() in _COLUMNS or words[0].startswith("#")):
        words = words[1:]
    return words


def _from_table(text: str, delimiter: str, path: Path) -> list[str]:
    try:
        header, *rows = list(csv.reader(StringIO(text, newline=""), delimiter=delimiter)) or [[]]
    except csv.Error as error:
        raise UserError(f"{path} is no table: {error}", "check the quotes") from error
    names = [name.strip().lower() for name in header]
    column = next((names.index(name) for name in _COLUMNS if name in names), None)
    if column is None:
        found = shorten(", ".join(map(repr, header)), 200, placeholder=" ...") or "nothing"
        fix = f"separate by {delimiter!r} and call one of the columns {_COLUMNS[0]!r}"
        raise UserError(f"{path} has no column of SMILES; its first line holds {found}", fix)
    return [row[column].strip() if len(row) > column else "" for row in rows if row]


def _from_sdf(text: str) -> list[str]:
    """Every record by itself: RDKit's own reader loses what follows a record that is cut short."""
    records = re.split(r"^\$\$\$\$.*\n?", text, flags=re.MULTILINE)
    with rdBase.BlockLogs():
        return [_from_record(record) for record in records if record.strip()]


def _from_record(record: str) -> str:
    try:
        molecule = Chem.MolFromMolBlock(record)
    except (RuntimeError, ValueError):
        return ""
    # A molecule of so many atoms has a longer SMILES, which RDKit is not asked to write.
    return "" if molecule is None or molecule.GetNumAtoms() > LONGEST else str(Chem.MolToSmiles(molecule))
