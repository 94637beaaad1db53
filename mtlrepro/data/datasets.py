"""A data set by its name, scenes and real ones alike: samples and batches read from a prepared split."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data

from mtlrepro.data.catalogue import entry_of
from mtlrepro.data.classes import CITYSCAPES, CITYSCAPES_7, SEVEN
from mtlrepro.data.samples import Batch, Sample, decode, is_ragged
from mtlrepro.data.scenes import cache as scenes
from mtlrepro.data.scenes.batches import chosen_keys
from mtlrepro.data.store import META, Store, offsets_of
from mtlrepro.targets import TARGETS


def load(
    name: str,
    split: str = "train",
    *,
    root: str | Path | None = None,
    keys: Iterable[str] | None = None,
    classes: int | None = None,
    n: int | None = None,
    size: tuple[int, int] | None = None,
    seed: int | None = None,
) -> "Dataset":
    """Open a split of a data set; scenes are generated into the cache when they are first asked for.

    Args:
        name: Name in `catalogue.CATALOGUE`: `rooms` or `streets` (generated scenes), `nyuv2`, `cityscapes`, `taskonomy`
            or `bdd100k`.
        split: One of the data set's splits.
        root: Folder made by `data_scripts/NAME.py prepare`; needed for real data sets, not accepted for scenes.
        keys: Targets to read, see `targets`; default: all that are stored except those of the right view
            (`KEY_right`). The image always comes with them.
        classes: 7 or 19 for data sets with the classes of Cityscapes: its categories, or the classes as stored.
        n: Number of scenes; default: `scenes.COUNTS[split]`.
        size: (height, width) of scenes in pixels; default: `scenes.SIZE`.
        seed: Seed of scenes, at least 0; default: 0.

    Raises:
        ValueError: An argument is out of range or does not apply, or the split is not prepared or damaged.
    """
    keys = None if keys is None else list(keys)
    entry = entry_of(name)
    if split not in entry.splits:
        raise ValueError(f"split is {split!r}; accepted: {', '.join(entry.splits)}")
    if entry.generated:
        if root is not None:
            raise ValueError(f"root is {str(root)!r}; accepted: none for {name}, which are generated")
        chosen_keys(keys, scenes.generator_of(name).KEYS)  # before the scenes are made
        folder = scenes.generate(name, split, n=n, size=size, seed=seed)
    else:
        for argument, value in (("n", n), ("size", size), ("seed", seed)):
            if value is not None:
                raise ValueError(f"{argument} is {value!r}; accepted: none for {name}, only scenes have it")
        remedy = f"make it with `{entry.prepare}`, then root=TARGET"
        if root is None:
            raise ValueError(f"root is None; {name} is not generated: {remedy}")
        folder = Path(root) / split
        if not (folder / META).exists():
            raise ValueError(f"{folder} holds no prepared split; {remedy}")
    dataset = Dataset(Store(folder), keys=keys, classes=classes)
    if dataset.name != name:
        raise ValueError(f"{folder} holds {dataset.name!r}; accepted: {name!r}")
    return dataset


Share = tuple[float, float]
"""Start and end of a part of the images in one fixed random order: 0 is before the first one, 1 after the last."""
_SHARES = 2
"""Seed of that order, which belongs to the data: no seed of a run has a part in it."""


def part_of(n: int, share: Share) -> range:
    """Say which of n places belong to a share; shares of which one starts where the other ends have none in common."""
    return range(round(share[0] * n), round(share[1] * n))


# Category of each class, and -1 at the end, so that index -1 (unknown) reads -1.
_CATEGORIES = np.array([*SEVEN, -1], dtype=np.int8)


def to_samples(stored: Batch) -> Batch:
    """Convert a batch, on any device, from the stored types to those of samples."""

    def convert(key: str, values: Any) -> Any:  # noqa: ANN401
        if key not in TARGETS:  # `index` and `labelled`
            return values
        return [decode(key, part) for part in values] if is_ragged(key) else decode(key, values)

    return {key: convert(key, values) for key, values in stored.items()}


class Dataset(data.Dataset[Sample]):
    """One split in the conventions of `samples`.

    Args:
        store: The split.
        keys: Targets to read; default: all that are stored except those of the right view.
        classes: 7 merges the 19 classes of Cityscapes into its 7 categories; 19 or None leaves them.
        shares: The part of the images that have a target, by its key, in both views; the labels of the others are
            hidden. Boxes and their labels are one target, `boxes`. Default: all images.

    Attributes:
        store: The split, with whatever else it holds (`store.names`).
        name: Name of the data set.
        split: Name of the split.
        keys: What each sample holds, the image first.
        size: (height, width) of the images in pixels.
        class_names: Names of the classes of `segmentation`, empty if there is none.
        box_names: Names of the classes of `labels`, empty if there are none.
        shares: The part of the images that have a target, by its key; those that are not named are not hidden.

    Raises:
        ValueError: A key that is not stored, or classes that do not fit.
    """

    def __init__(
        self,
        store: Store,
        *,
        keys: Iterable[str] | None = None,
        classes: int | None = None,
        shares: Mapping[str, Share] | None = None,
    ) -> None:
        self.store = store
        self.shares = dict(shares or {})
        if absent := {"dataset", "split"} - set(store.meta):
            raise ValueError(f"{store.folder / META} lacks {', '.join(sorted(absent))}; accepted: a data set's split")
        self.name: str = store.meta["dataset"]
        self.split: str = store.meta["split"]
        stored = [key for key in TARGETS if key in store]
        chosen = {key for key in stored if not key.endswith("_right")} if keys is None else {"image", *keys}
        if unknown := sorted(chosen - set(stored)):
            raise ValueError(f"keys hold {unknown[0]!r}; accepted for {store.folder}: {', '.join(stored)}")
        for pair in ({"boxes", "labels"}, {"boxes_right", "labels_right"}):
            if pair & chosen:
                chosen |= pair
        self.keys = tuple(key for key in stored if key in chosen)
        height, width = store["image"].shape[-2:]
        self.size: tuple[int, int] = (height, width)
        names = tuple(store.meta.get("classes", ()))
        self._merge = classes == 7 and names == CITYSCAPES
        if classes not in (None, len(names)) and not self._merge:
            raise ValueError(f"classes is {classes}; accepted for {store.folder}: {len(names)}{_or_seven(names)}")
        self.class_names = CITYSCAPES_7 if self._merge else names
        self.box_names: tuple[str, ...] = tuple(store.meta.get("box_classes", ()))
        order = np.random.default_rng(_SHARES).permutation(len(self))
        self._shown = {key: np.isin(order, part_of(len(self), share)) for key, share in self.shares.items()}

    @property
    def n_classes(self) -> int:
        """Number of classes of `segmentation`."""
        return len(self.class_names)

    def reading(self, keys: Iterable[str]) -> "Dataset":
        """Return the same split with other keys."""
        return Dataset(self.store, keys=keys, classes=7 if self._merge else None, shares=self.shares)

    def showing(self, shares: Mapping[str, Share]) -> "Dataset":
        """Return the same split with other shares of labels."""
        return Dataset(self.store, keys=self.keys, classes=7 if self._merge else None, shares=shares)

    @property
    def ragged(self) -> list[str]:
        """Keys of boxes and labels."""
        return [key for key in self.keys if is_ragged(key)]

    @property
    def nbytes(self) -> int:
        """Bytes of the keys as they are stored."""
        return sum(self.store[key].nbytes for key in self.keys)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Sample:
        """Sample at an index; it lacks the targets that this image does not have."""
        index = range(len(self))[index]
        batch = self.batch([index])
        own = [key for key in (*self.keys, "index") if self.has(key, [index]).all()]
        return {key: batch[key][0] for key in own}

    def batch(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """Samples at B indices as a batch: maps stacked, boxes and labels as lists of B tensors, and `index`.

        A map that an image does not have is unknown everywhere; `labelled`, by key a `[B]` bool tensor on the CPU,
        says which images have the target.
        """
        return to_samples(self.stored(indices))

    def stored(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """Return a batch in the types in which it is stored; `to_samples` converts it."""
        rows = np.asarray(indices, dtype=np.int64)
        batch: Batch = {}
        for key in self.keys:
            if is_ragged(key):
                batch[key] = self._ragged(key, rows)
            else:
                values = self.store[key][rows]
                merged = self._merge and key.startswith("segmentation")
                values = _CATEGORIES[values] if merged else values
                if _target(key) in self._shown:
                    values[~self.has(key, rows)] = TARGETS[key].invalid
                batch[key] = torch.from_numpy(values)
        labels = [key for key in self.keys if not TARGETS[key].picture]
        batch["labelled"] = {key: torch.from_numpy(self.has(key, rows)) for key in labels}
        batch["index"] = torch.from_numpy(rows)
        return batch

    def has(self, key: str, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Say for each index, `[B]` bool, whether that image has the target, and it is not hidden."""
        places = np.asarray(rows, dtype=np.int64)
        flag, target = "has_detection" if is_ragged(key) else f"has_{key}", _target(key)
        flags = self.store[flag][places] if flag in self.store else np.ones(len(places), dtype=bool)
        return flags & self._shown[target][places] if target in self._shown else flags

    def _ragged(self, key: str, rows: np.ndarray) -> list[Tensor]:
        offsets, values = self.store[offsets_of(key)], self.store[key]
        hidden = ~self.has(key, rows) if _target(key) in self._shown else np.zeros(len(rows), dtype=bool)
        ends = np.where(hidden, offsets[rows], offsets[rows + 1])
        return [torch.from_numpy(np.array(values[a:b])) for a, b in zip(offsets[rows], ends, strict=True)]


def _target(key: str) -> str:
    """Name of the target to which a key belongs, in whichever view: `boxes` for boxes and labels."""
    return "boxes" if is_ragged(key) else key.removesuffix("_right")


def _or_seven(names: tuple[str, ...]) -> str:
    return ", 7" if names == CITYSCAPES else ""
