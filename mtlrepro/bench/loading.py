"""Speed of the loaders: alone, with transforms, and feeding a small network, so that the share of waiting is seen."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import Any

import pandas as pd
import torch
from torch import nn

from mtlrepro.bench.timing import timings
from mtlrepro.data.datasets import Dataset
from mtlrepro.data.loading import DiskLoader, Loader, MemoryLoader
from mtlrepro.data.samples import Batch
from mtlrepro.data.transforms import Augmentation

AUGMENTATION = Augmentation(flip=0.5, scales=(1.0, 1.2, 1.5))
BATCH = 32


class SmallNetwork(nn.Module):
    """Six 3 x 3 convolutions with 32 to 128 channels at a half to an eighth of the size, and one upsampled output."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 32, 64, 64, 128, 128)
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(before, after, 3, stride=2 - number % 2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(128, 1, 1), nn.Upsample(scale_factor=8))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images `[B, 3, H, W]` to `[B, 1, H, W]`, H and W multiples of 8."""
        output: torch.Tensor = self.layers(images)
        return output


def loading(dataset: Dataset, device: str = "cpu", *, workers: int = 2, rounds: int = 5) -> pd.DataFrame:
    """Time epochs of both loaders in batches of 32 images.

    Every variant is run without and with mirror and zoom, and once more with a training step of a small network for
    each batch; the step alone, on one batch that is there already, is the first variant.

    Args:
        dataset: What to load.
        device: A torch device.
        workers: Processes of the loader from disk.
        rounds: Rounds that count, see `timings`.

    Returns:
        The columns of `timings`, with `ratio` to the step alone; `images_per_second`; `waiting`, for
        variants with a step, the share of the time that is not spent on it.
    """
    network = SmallNetwork().to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)

    def train(batches: Iterable[Batch]) -> None:
        for batch in batches:
            optimizer.zero_grad()
            torch.autograd.backward(network(batch["image"]).square().mean())
            optimizer.step()

    loaders: dict[str, Loader] = {}
    for transforms, augmentation in (("", None), (", transforms", AUGMENTATION)):
        options: dict[str, Any] = {"augmentation": augmentation, "device": device}
        loaders[f"memory{transforms}"] = MemoryLoader(dataset, BATCH, **options)
        loaders[f"disk{transforms}"] = DiskLoader(dataset, BATCH, workers=workers, **options)
    ready = list(MemoryLoader(dataset, BATCH, device=device))
    variants: dict[str, Callable[[], object]] = {"step alone": partial(train, ready)}
    for name, loader in loaders.items():
        variants[name] = partial(_read, loader)
        variants[f"{name}, step"] = partial(train, loader)
    table = timings(variants, rounds)
    steps = table["arm"].str.endswith(", step")
    return table.assign(
        images_per_second=len(dataset) / table["seconds"], waiting=(1 - 1 / table["ratio"]).where(steps).clip(lower=0)
    )


def _read(batches: Iterable[Batch]) -> None:
    for _ in batches:
        pass
