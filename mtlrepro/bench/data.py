"""Speed of the scenes and of the loaders."""

from collections.abc import Callable
from functools import partial

import pandas as pd
import torch

from mtlrepro.bench.loading import loading
from mtlrepro.bench.timing import interleaved
from mtlrepro.data import datasets
from mtlrepro.data.catalogue import GENERATED
from mtlrepro.data.scenes.cache import generator_of

SIZE = (96, 128)
KEYS = ("image", "segmentation", "depth", "normal")
LOADED = 256


def data(device: str = "cpu", *, images: int | None = None, rounds: int = 5) -> pd.DataFrame:
    """Time how fast scenes are made, by key, and how fast loaders give them, at 96 x 128 pixels.

    On one CPU thread, as one of several processes works. ``loading`` describes the arms of the loaders; they read 256
    rooms with four keys from the cache.

    Args:
        device: a torch device.
        images: scenes in a batch that is made; default: 32 on the CPU, 256 on others.
        rounds: rounds that count, see ``bench.interleaved``.

    Returns:
        ``part`` (name of the scenes, or loading), ``arm``, the times of ``bench.interleaved``, ``images_per_second``
        and, for loaders that feed a network, ``waiting``, the share of the time not spent on it.

    Raises:
        ValueError: CUDA is asked for and absent, or an argument is below 1.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA device; accepted here: 'cpu'")
    count = (32 if device == "cpu" else 256) if images is None else images
    if count < 1:
        raise ValueError(f"images is {count}; accepted: 1 or more")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tables = [generation(name, count, device, rounds) for name in GENERATED]
        rooms = datasets.load("rooms", n=LOADED, size=SIZE, keys=KEYS)
        tables.append(loading(rooms, device, rounds=rounds).assign(part="loading"))
    finally:
        torch.set_num_threads(threads)
    table = pd.concat(tables, ignore_index=True)
    return table[["part", *(column for column in table if column != "part")]]


def generation(name: str, images: int, device: str = "cpu", rounds: int = 5) -> pd.DataFrame:
    """Time a generator with all keys, and with the picture and one more key each; ``ratio`` is to all keys.

    Args:
        name: ``rooms`` or ``streets``.
        images: scenes in a batch.
        device: a torch device.
        rounds: rounds that count.
    """
    module = generator_of(name)
    make = partial(module.generate, range(images), split="train", size=SIZE, device=device)
    left = [key for key in module.KEYS if not key.endswith("_right")]
    arms: dict[str, Callable[[], object]] = {"all keys": partial(make, keys=left)}
    arms |= {"image" if key == "image" else f"image, {key}": partial(make, keys=[key]) for key in left}
    table = interleaved(arms, rounds)
    return table.assign(part=name, images_per_second=images / table["seconds"])
