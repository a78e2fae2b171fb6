"""What words do to samples of a trained model of pictures: a row per prompt, the same seeds without and with a negative
prompt. Nothing else differs between the halves.

    python tests/benchmarks/words.py <run> <sheet.png> "red apple, fruit" "sleeping face" --negative "blue"
"""

from __future__ import annotations

import argparse
from pathlib import Path

import unnoise
from unnoise_image.pictures import contact_sheet

SEEDS = 6


def main() -> None:
    """Sample and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("path", type=Path)
    parser.add_argument("prompts", nargs="+")
    parser.add_argument("--negative", required=True)
    parser.add_argument("--scale", type=float, default=4.0, help="of guidance")
    given = parser.parse_args()
    model, items, labels = unnoise.load(given.run), [], []
    for prompt in given.prompts:
        for negative in (None, given.negative):
            made = model.sample(
                SEEDS,
                condition={"text": prompt},
                negative=negative and {"text": negative},
                guidance_scale=given.scale,
            )
            items += made.items
            labels += [prompt if negative is None else f"not {negative}", *[""] * (SEEDS - 1)]
    contact_sheet(items, labels, 2 * SEEDS).save(given.path)


if __name__ == "__main__":
    main()
