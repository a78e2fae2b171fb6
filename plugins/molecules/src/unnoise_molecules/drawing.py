"""Pictures of molecules."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw
from rdkit.Chem.Draw import rdMolDraw2D

from unnoise_molecules.chemistry import parse

_CELL = 200
"""Pixels along each side of a molecule's cell."""
_SHOWN = 36
_COLUMNS = 6


def draw_grid(items: Sequence[str], path: Path, labels: Sequence[str] = ()) -> None:
    """Write a PNG with the first 36 items, row by row, with a label under each if there are any.

    A cell says "invalid" where there is no molecule.
    """
    shown = items[:_SHOWN]
    columns = min(_COLUMNS, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    sheet = Image.new("RGB", (columns * _CELL, rows * _CELL), "white")
    for k, smiles in enumerate(shown):
        sheet.paste(_cell(smiles, labels[k] if labels else ""), (k % columns * _CELL, k // columns * _CELL))
    sheet.save(path, format="PNG")


def _cell(smiles: str, label: str) -> Image.Image:
    molecule = parse(smiles)
    if molecule is None:
        cell = Image.new("RGB", (_CELL, _CELL), "white")
        ImageDraw.Draw(cell).text((_CELL / 2, _CELL / 2), "invalid", fill="firebrick", anchor="mm")
        return cell
    drawer = rdMolDraw2D.MolDraw2DCairo(_CELL, _CELL)
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule, label)
    drawer.FinishDrawing()
    return Image.open(BytesIO(drawer.GetDrawingText())).convert("RGB")
