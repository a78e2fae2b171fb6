"""Clouds in the folder layout in which ShapeNet is used for point sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from unnoise.contracts import Column, Dataset, Labels
from unnoise.errors import UserError, did_you_mean
from unnoise.folders import UnreadableError, note
from unnoise.progress import Bar
from unnoise_points.cloud import Cloud
from unnoise_points.data.base import measured
from unnoise_points.files import read_cloud
from unnoise_points.surfaces import address_of

SYNSETS: Mapping[str, str] = {
    "02691156": "airplane", "02747177": "can", "02773838": "bag", "02801938": "basket", "02808440": "bathtub",
    "02818832": "bed", "02828884": "bench", "02871439": "bookshelf", "02876657": "bottle", "02880940": "bowl",
    "02924116": "bus", "02933112": "cabinet", "02942699": "camera", "02946921": "tin_can", "02954340": "cap",
    "02958343": "car", "02992529": "cellphone", "03001627": "chair", "03046257": "clock", "03085013": "keyboard",
    "03207941": "dishwasher", "03211117": "monitor", "03261776": "earphone", "03325088": "faucet", "03337140": "file",
    "03467517": "guitar", "03513137": "helmet", "03593526": "jar", "03624134": "knife", "03636649": "lamp",
    "03642806": "laptop", "03691459": "speaker", "03710193": "mailbox", "03759954": "microphone",
    "03761084": "microwave", "03790512": "motorcycle", "03797390": "mug", "03928116": "piano", "03938244": "pillow",
    "03948459": "pistol", "03991062": "pot", "04004475": "printer", "04074963": "remote_control", "04090263": "rifle",
    "04099429": "rocket", "04225987": "skateboard", "04256520": "sofa", "04330267": "stove", "04379243": "table",
    "04401088": "telephone", "04460130": "tower", "04468005": "train", "04530566": "vessel", "04554684": "washer",
}  # fmt: skip
"""What the folders' numbers stand for; another folder is called what it is."""


class ShapeNet(Dataset):
    """Folders ``<category>/<train|val|test>/<model>.npy`` of arrays ``(15000, 3)``, the layout of ShapeNetCore.v2.PC15k
    ("PointFlow", Yang et al. 2019). As there, training takes from the first two thirds of the points of a shape, and
    test shapes are known by their last third. Columns: ``class``, and the sides of the box.

    Args:
        split: "train" or "test".
        seed: has no effect.
        root: the folder.
        categories: by name ("airplane") or number; all that are there if empty.
        pool: points that are kept of each shape at most.
        test: which folder is the test split: "test" or "val".

    Raises:
        UserError: if the folder is none, lacks a category, or holds no shape of the split.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        root: str,
        categories: Sequence[str] = (),
        pool: int = 10_000,
        test: str = "test",
    ) -> None:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise UserError(f"{root} is not a folder", "give the folder of the categories: data.root=...")
        if test not in ("test", "val") or pool < 1:
            raise UserError(f"data.test={test}, data.pool={pool}", "test is 'test' or 'val', pool at least 1")
        here = {SYNSETS.get(path.name, path.name): path for path in sorted(folder.iterdir()) if path.is_dir()}
        names = tuple(SYNSETS.get(str(name), str(name)) for name in categories) or tuple(here)
        for name in names:
            if name not in here:
                known = ", ".join(here) or "nothing"
                raise UserError(f"{root} has no category {name!r}.{did_you_mean(name, here)}", f"There is: {known}")
        part = test if split == "test" else "train"
        files = [(k, file) for k, name in enumerate(names) for file in sorted((here[name] / part).glob("*.npy"))]
        self._items, labels, skipped = [], [], []
        with Bar("reading shapes", max(len(files), 1)) as bar:
            for k, file in files:
                bar.advance(1)
                try:
                    self._items.append(self._read(file, split == "test", pool))
                    labels.append(k)
                except UnreadableError as error:
                    skipped.append(f"{file.name} ({error})")
        self._notes = note(f"skipped {len(skipped)} of {len(files)} shapes of the {split} split", skipped)
        if not self._items:
            found = "; ".join([f"found {len(files)}", *self._notes])
            fix = f"shapes lie in <category>/{part}/<model>.npy"
            raise UserError(f"{root} has no shape for the {split} split: {found}", fix)
        self._columns: dict[str, Column] = {"class": Labels(np.array(labels, np.int64), names), **measured(self._items)}

    @staticmethod
    def _read(file: Path, last: bool, pool: int) -> Cloud:
        cloud = read_cloud(file, 1 << 30, [0])
        first = len(cloud) * 2 // 3
        half = cloud.take(slice(first, None) if last else slice(0, max(first, 1)))
        chosen = np.random.default_rng(address_of(file.name)).permutation(len(half))[:pool]
        return half.take(np.sort(chosen))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Cloud:
        return self._items[index]

    def columns(self) -> Mapping[str, Column]:
        return self._columns

    def notes(self) -> Sequence[str]:
        return self._notes
