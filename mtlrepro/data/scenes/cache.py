"""Scenes, generated once into memory-mapped arrays of the cache folder."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from tqdm import tqdm

from mtlrepro.data.catalogue import CATALOGUE, GENERATED
from mtlrepro.data.samples import is_ragged
from mtlrepro.data.store import Writer, build_once
from mtlrepro.files import cache_dir

COUNTS = {"train": 2000, "val": 500, "test": 500}
SIZE = (96, 128)
PIXELS = (16, 4096)
"""Fewest and most pixels of a scene each way."""
CHUNK = 32
"""Scenes that are made and written at a time."""


class Generator(Protocol):
    """What a module of scenes provides.

    Attributes:
        VERSION: Raised whenever a scene changes.
        KEYS: Keys of the samples.
    """

    VERSION: int
    KEYS: Sequence[str]

    def generate(
        self,
        indices: Sequence[int],
        *,
        split: str,
        size: tuple[int, int],
        seed: int = 0,
        device: str | torch.device = "cpu",
        keys: Iterable[str] | None = None,
    ) -> Mapping[str, Any]:
        """Make the scenes of these indices: `[B, ...]` by key, lists of B tensors for boxes and labels."""


def generator_of(name: str) -> Generator:
    """Import the module that makes the scenes of that name."""
    return cast(Generator, import_module(CATALOGUE[name].generator))


def check_size(size: tuple[int, int]) -> None:
    """Refuse a size of scenes.

    Raises:
        ValueError: Height or width is not within `PIXELS`.
    """
    least, most = PIXELS
    if not all(least <= pixels <= most for pixels in size):
        raise ValueError(f"size is {tuple(size)}; accepted: {least} to {most} pixels each way")


def generate(
    name: str,
    split: str = "train",
    *,
    n: int | None = None,
    size: tuple[int, int] | None = None,
    seed: int | None = None,
    generator: Generator | None = None,
    progress: bool = True,
) -> Path:
    """Generate a split of scenes unless it is in the cache, and return its folder.

    The folder's name holds the generator's version and every parameter. Scenes are written in chunks: a run that was
    stopped goes on where it was, and a second process waits for the first.

    Args:
        name: `rooms` or `streets`.
        split: `train`, `val` or `test`.
        n: Number of scenes, at least 1; default: `COUNTS[split]`.
        size: (height, width) in pixels, see `PIXELS`; default: `SIZE`.
        seed: At least 0; default: 0.
        generator: Module that makes the scenes; default: that of the catalogue.
        progress: Whether to show a bar on stderr while scenes are made, if that is a terminal.

    Raises:
        ValueError: An argument is out of range.
    """
    if name not in GENERATED:
        raise ValueError(f"name is {name!r}; accepted: {', '.join(GENERATED)}")
    if split not in COUNTS:
        raise ValueError(f"split is {split!r}; accepted: {', '.join(COUNTS)}")
    n = COUNTS[split] if n is None else n
    seed = 0 if seed is None else seed
    height, width = SIZE if size is None else size
    for argument, value, least in (("n", n, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{argument} is {value}; accepted: {least} or more")
    check_size((height, width))
    module = generator or generator_of(name)
    folder = cache_dir() / name / f"{split}-v{module.VERSION}-n{n}-{height}x{width}-seed{seed}"
    meta = {"dataset": name, "split": split, "version": module.VERSION, "seed": seed, "size": [height, width]}
    meta["classes"] = list(CATALOGUE[name].classes)
    if CATALOGUE[name].box_classes:
        meta["box_classes"] = list(CATALOGUE[name].box_classes)

    def build(folder: Path) -> None:
        with (
            Writer(folder, n, meta, resume=True) as writer,
            tqdm(
                desc=f"{name} {split}", total=n, initial=writer.done, unit=" scenes", disable=None if progress else True
            ) as bar,
        ):
            while writer.done < n:
                rows = range(writer.done, min(writer.done + CHUNK, n))
                scenes = module.generate(rows, split=split, size=(height, width), seed=seed)
                for key in module.KEYS:
                    if is_ragged(key):
                        for boxes in scenes[key]:
                            writer.append(key, boxes)
                    else:
                        writer.put(key, rows.start, scenes[key])
                writer.advance(len(rows))
                bar.update(len(rows))

    return build_once(folder, build)
