"""The packs of NYU Depth v2 and Cityscapes by the authors of MTAN (Liu et al. 2019): `SPLIT/KIND/0.npy` and so on.

All arrays of a pack have the channels last. `image` is in [0, 1], a label is a whole number from -1 on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mtlrepro.data.real.preparing import Row, SourceSplit, files_in, require_files
from mtlrepro.data.real.rasters import Raster, read_array
from mtlrepro.files import replacing


@dataclass(frozen=True)
class Kind:
    """What the arrays of one of a split's folders hold.

    Attributes:
        channels: Their last axes, after height and width.
        low: The least value.
        high: The largest value.
        holes: Whether -1 stands for unknown as well; it becomes 0.
    """

    channels: tuple[int, ...]
    low: float
    high: float
    holes: bool = False


Decode = Callable[[Mapping[str, Raster]], Row]


@dataclass(frozen=True)
class Pack:
    """What the pack of one data set holds.

    Attributes:
        label: Folder of the classes.
        n_classes: Number of classes, not counting -1 for none.
        kinds: The other folders, without image and label.
        decode: Turns the arrays of these folders into maps of a sample.
        remedy: How to get a good pack; ends each message.
    """

    label: str
    n_classes: int
    kinds: Mapping[str, Kind]
    decode: Decode
    remedy: str

    def split(self, folder: Path) -> SourceSplit:
        """Look up one split of the pack; every file must be there.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: The first image is damaged.
        """
        kinds = {"image": Kind((3,), 0, 1), self.label: Kind((), -1, self.n_classes - 1), **self.kinds}
        n = max(len(files_in(folder / kind, "*.npy")) for kind in kinds)
        names = [str(index) for index in range(max(n, 1))]
        require_files([folder / kind / f"{name}.npy" for name in names for kind in kinds], remedy=self.remedy)
        height, width = read_array(folder / "image" / "0.npy", low=0, high=1, remedy=self.remedy).shape[:2]
        return SourceSplit(names, (height, width), partial(self._read, folder, kinds, (height, width)))

    def _read(self, folder: Path, kinds: Mapping[str, Kind], shape: tuple[int, int], name: str) -> Row:
        arrays = {
            folder_name: read_array(
                folder / folder_name / f"{name}.npy",
                low=kind.low,
                high=kind.high,
                unknown=-1 if kind.holes else None,
                remedy=self.remedy,
                shape=(*shape, *kind.channels),
            )
            for folder_name, kind in kinds.items()
        }
        label = arrays[self.label]
        if (label != np.rint(label)).any():
            raise ValueError(f"{folder / self.label / name}.npy: classes that are no whole numbers; {self.remedy}")
        return {
            "image": np.rint(arrays["image"] * 255).astype(np.uint8),
            "segmentation": label.astype(np.int8),
            **self.decode(arrays),
        }


def write(folder: Path, index: int, arrays: Mapping[str, Raster]) -> None:
    """Write the arrays of one image, by kind, below the folder of a split."""
    for kind, array in arrays.items():
        with replacing(folder / kind / f"{index}.npy") as partial_file:
            np.save(partial_file, array, allow_pickle=False)
