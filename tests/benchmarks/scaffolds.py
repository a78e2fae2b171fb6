"""Scaffolds that a trained model of molecules decorates: `python scaffolds.py RUN -n 200`

Of real test molecules, all atoms that are in no ring are made anew, as many as there were; and to a few rings some
atoms are added. Printed are the shares of results that hold the scaffold, that are valid, and that are valid and in one
piece; and how many bonds join the scaffold and the rest, beside real molecules.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rdkit import Chem, rdBase

from unnoise import load
from unnoise.contracts import Kept, Samples
from unnoise.plugins import get_registry
from unnoise.runs import Model
from unnoise.runs.build import build_splits
from unnoise.state import State

SCAFFOLDS = ("c1ccccc1", "C1CCNC1", "O=C1CCCO1")
RINGS = "[R]"
KEEP = f"keep:{RINGS}"
WALKS: dict[str, dict[str, Any]] = {
    "ddpm": {"sampler": "ddpm"},
    "repaint": {"sampler": "repaint"},
    "repaint, repeats 4": {"sampler": "repaint", "sampler_options": {"repeats": 4}},
}


def decorated(smiles: str) -> bool:
    """Whether some atoms are of rings, and some are not."""
    molecule = Chem.MolFromSmiles(smiles)
    return 0 < len(molecule.GetSubstructMatches(Chem.MolFromSmarts(RINGS))) < molecule.GetNumAtoms()


def joints(model: Model, state: State, rings: Sequence[str]) -> float:
    """Mean number of bonds between what is kept and what is not."""
    kept, real = model.representation.kept(rings, KEEP).masks["atoms"], state.masks["nodes"]
    across = kept[:, :, None] & (real & ~kept)[:, None, :]
    return float(((state.parts["bonds"] > 0) & across).sum((1, 2)).double().mean())


def shares(made: Samples, kept: Kept) -> str:
    """How many hold the scaffold, are valid, and are in one piece."""
    held = [
        all(
            torch.equal(made.state.parts[part][i][mask[i]], kept.state.parts[part][i][mask[i]])
            for part, mask in kept.masks.items()
        )
        for i in range(len(made.items))
    ]
    with rdBase.BlockLogs():
        valid = [Chem.MolFromSmiles(item) is not None for item in made.items]
    whole = [there and "." not in item for there, item in zip(valid, made.items, strict=True)]
    return " | ".join(f"{100 * np.mean(share):.1f} %" for share in (held, valid, whole))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--more", type=int, default=3, help="atoms added to a ring")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    started, model = time.monotonic(), load(asked.run)
    _, test = build_splits(get_registry(), model.manifest.config)
    rings = list(islice((smiles for smiles in test if decorated(smiles)), asked.n))
    print("| scaffold | sampler | held | valid | valid, one piece | bonds to the rest |\n|---|---|---|---|---|---|")
    real = joints(model, model.representation.encode(rings), rings)
    print(f"| rings of test molecules | (the molecules) | 100 % | 100 % | 100 % | {real:.2f} |")
    for walk, sampler in WALKS.items():
        how = {"steps": asked.steps, "seed": asked.seed, "progress": False, **sampler}
        made = model.edit("infill", rings, mask=KEEP, **how)
        found = shares(made, model.representation.kept(rings, KEEP))
        print(f"| rings of test molecules | {walk} | {found} | {joints(model, made.state, rings):.2f} |", flush=True)
        for smiles in SCAFFOLDS:
            more = f"extend:{asked.more}"
            made = model.edit("infill", [smiles], mask=more, n=asked.n, **how)
            found = shares(made, model.representation.kept([smiles] * asked.n, more))
            print(f"| {smiles}, and {asked.more} atoms | {walk} | {found} | |", flush=True)
    print(f"N = {asked.n}, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
