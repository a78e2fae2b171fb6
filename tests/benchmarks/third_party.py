"""How good the plugins of ``tests/third_party`` are on real data, beside simple baselines and judged alike.

    PYTHONPATH=tests/support python tests/benchmarks/third_party.py table series text --minutes 9 --seeds 0

Each is trained by its own defaults, for so many minutes at most, sampled and judged by its own metrics, on the data
that scikit-learn ships. The baselines learn from the same training items:

- table: every column drawn on its own; and one normal distribution of all numbers for every combination of texts.
- series: every value drawn on its own, by channel; and a linear autoregression of order 1 with normal noise.
- text: every character drawn on its own; and a Markov chain of order 3.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from authors import PROJECTS, lay

from unnoise.contracts import Evidence

TABLES = ("diabetes", "cancer")
"""Both are judged; the plugin's default is the first."""


def independent_columns(train, n, rng):
    columns = {name: [row[name] for row in train] for name in train[0]}
    return [{name: values[rng.integers(len(values))] for name, values in columns.items()} for _ in range(n)]


def normal_by_kind(train, n, rng):
    texts = [name for name, value in train[0].items() if isinstance(value, str)]
    numbers = [name for name in train[0] if name not in texts]
    kinds = defaultdict(list)
    for row in train:
        kinds[tuple(row[name] for name in texts)].append([row[name] for name in numbers])
    made = []
    for i in rng.integers(len(train), size=n):
        kind = tuple(train[i][name] for name in texts)
        values = np.array(kinds[kind])
        drawn = rng.multivariate_normal(values.mean(0), np.cov(values.T) + 1e-9 * np.eye(len(numbers)))
        made.append({**dict(zip(numbers, drawn.tolist(), strict=True)), **dict(zip(texts, kind, strict=True))})
    return [{name: row[name] for name in train[0]} for row in made]


def independent_values(train, n, rng):
    values = np.concatenate(train)
    sizes = [len(train[i]) for i in rng.integers(len(train), size=n)]
    return [np.stack([rng.choice(channel, size) for channel in values.T], 1) for size in sizes]


def autoregression(train, n, rng):
    centre = np.concatenate(train).mean(0)
    early = np.concatenate([item[:-1] for item in train]) - centre
    late = np.concatenate([item[1:] for item in train]) - centre
    step = np.linalg.lstsq(early, late, rcond=None)[0]
    first, rest = np.cov(np.concatenate(train).T), np.cov((late - early @ step).T)
    made = []
    for i in rng.integers(len(train), size=n):
        x = [rng.multivariate_normal(np.zeros(len(centre)), first)]
        for _ in range(len(train[i]) - 1):
            x.append(x[-1] @ step + rng.multivariate_normal(np.zeros(len(centre)), rest))
        made.append((np.stack(x) + centre).astype(np.float32))
    return made


def independent_characters(train, n, rng):
    characters = list("".join(train))
    return ["".join(rng.choice(characters, len(train[i]))) for i in rng.integers(len(train), size=n)]


def markov_chain(train, n, rng, order=3):
    followers = defaultdict(list)
    for text in train:
        for i, character in enumerate(text):
            followers[text[max(0, i - order) : i]].append(character)
    made = []
    for i in rng.integers(len(train), size=n):
        text = ""
        while len(text) < len(train[i]):
            context = text[-order:]
            while context not in followers:
                context = context[1:]
            text += followers[context][rng.integers(len(followers[context]))]
        made.append(text)
    return made


BASELINES = {
    "table": {"independent columns": independent_columns, "normal by kind": normal_by_kind},
    "series": {"independent values": independent_values, "autoregression": autoregression},
    "text": {"independent characters": independent_characters, "Markov chain of order 3": markov_chain},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plugins", nargs="*", default=list(PROJECTS), choices=list(PROJECTS))
    parser.add_argument("--minutes", type=float, default=9, help="of training, on the clock")
    parser.add_argument("--n", type=int, default=500, help="samples")
    parser.add_argument("--seeds", default="0", help="of training and of sampling, separated by commas")
    parser.add_argument("--runs", type=Path, default=None, help="where run folders are kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in options.plugins:
            sys.path.insert(0, str(lay(PROJECTS[name], Path(folder) / name)))
        os.environ["UNNOISE_PLUGINS"] = ",".join(options.plugins)
        for name in options.plugins:
            tables = [[f"data.table={table}"] for table in TABLES] if name == "table" else [[]]
            for words in tables:
                judge_plugin(name, words, options, options.runs or Path(folder) / "runs")


def judge_plugin(name, words, options, runs):
    """Train, sample and judge a plugin's model, and its baselines; prints a table."""
    from unnoise.cli.compose import compose
    from unnoise.plugins import get_registry
    from unnoise.runs import evaluate, judge, load, train
    from unnoise.runs.build import build_splits

    columns = defaultdict(lambda: defaultdict(list))
    steps = []
    for seed in map(int, options.seeds.split(",")):
        config = compose("train", [f"modality={name}", f"train.minutes={options.minutes}", f"seed={seed}", *words])
        folder = runs / "-".join([name, *(word.partition("=")[2] for word in words), str(seed)])
        model = load(folder if (folder / "manifest.json").exists() else train(config, folder).folder)
        steps.append(model.checkpoint.step)
        for score in evaluate(model, options.n, seed)[1]:
            for column in ("value", "floor", "ceiling"):
                columns[score.name][{"value": "model", "floor": "real data", "ceiling": "noise"}[column]].append(
                    getattr(score, column)
                )
        splits = build_splits(get_registry(), {"modality": name, "seed": seed, "data": config.data})
        items = [splits[0][i] for i in range(len(splits[0]))]
        for baseline, make in BASELINES[name].items():
            made = make(items, options.n, np.random.default_rng(seed))
            for score in judge(Evidence(made, {}, *splits, seed=seed), name):
                columns[score.name][baseline].append(score.value)
    heads = ["model", *BASELINES[name], "real data", "noise"]
    print(f"\n{' '.join([name, *words])}: {steps} steps, n={options.n}, seeds {options.seeds}\n")
    print(f"| | {' | '.join(heads)} |\n{'|---' * (len(heads) + 1)}|")
    for metric, values in columns.items():
        cells = [f"{np.mean(values[head]):.3g}" if None not in values[head] else "" for head in heads]
        print(f"| {metric} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
