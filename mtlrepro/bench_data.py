"""Speed of the generators of scenes: images per second by number of images at once, and what the maps take of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import torch

from mtlrepro.bench import interleaved
from mtlrepro.data import rooms, streets
from mtlrepro.data.scenes import SIZE

BATCHES = {"cpu": (1, 8, 32), "cuda": (32, 256, 1024)}
RAYS = ("image", "segmentation", "depth", "normal", "curvature", "valid")


def data(device: str = "cpu", *, size: tuple[int, int] = SIZE, rounds: int = 5) -> pd.DataFrame:
    """Time the generation of rooms and streets, on the CPU with one thread.

    Arms: rooms with all ten maps in three batch sizes; rooms in the largest without the maps that are computed from
    the picture, depth and normals (``maps``); streets, both views and boxes, in the two smaller batch sizes.

    Args:
        device: a torch device.
        size: (height, width) in pixels.
        rounds: rounds that count, see ``bench.interleaved``.

    Returns:
        The columns of ``bench.interleaved``, ``images`` made by a call and ``images_per_second``, from the median.

    Raises:
        ValueError: CUDA is asked for and absent, or ``rounds`` is below 1.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA device; accepted here: 'cpu'")
    batches = BATCHES[torch.device(device).type]
    options: dict[str, Any] = {"split": "train", "size": size, "device": device}
    arms: dict[str, tuple[int, Callable[[], object]]] = {
        f"rooms, {n} at once": (n, partial(rooms.generate, range(n), **options)) for n in batches
    }
    n = batches[-1]
    arms[f"rooms without maps, {n} at once"] = n, partial(rooms.generate, range(n), keys=RAYS, **options)
    for n in batches[:2]:
        arms[f"streets, {n} at once"] = n, partial(streets.generate, range(n), **options)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        table = interleaved({name: arm for name, (_, arm) in arms.items()}, rounds)
    finally:
        torch.set_num_threads(threads)
    images = [n for n, _ in arms.values()]
    return table.assign(images=images, images_per_second=images / table["seconds"])
