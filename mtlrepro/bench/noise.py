"""Benchmark of per-sample gradients."""

from collections.abc import Callable
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from mtlrepro.bench.timing import check_device, timings
from mtlrepro.data.digits import TwoDigits, two_digits
from mtlrepro.models.digits import DigitNet, sample_gradients, shared_gradient, task_losses

CHUNKS = (64, 256)


def noise(device: str = "cpu", *, images: int = 256, rounds: int = 11) -> pd.DataFrame:
    """Time per-sample gradients of the three digit tasks: a loop of backward passes against one vectorised pass.

    In float64, as the chapter on gradient noise, with as many CPU threads as PyTorch is set to.

    Args:
        device: A torch device.
        images: Number of images, each with three gradients.
        rounds: Rounds that count, see `timings`.

    Returns:
        The columns of `timings` and `images_per_second`, from the median.

    Raises:
        ValueError: CUDA is asked for and absent, or `images` or `rounds` is below 1.
    """
    check_device(device)
    data = two_digits(images).to(device, torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DigitNet().to(data.images)
    table = timings(gradient_variants(model, data), rounds)
    return table.assign(images_per_second=images / table["seconds"])


def gradient_variants(model: DigitNet, data: TwoDigits) -> dict[str, Callable[[], Tensor]]:
    """Ways to compute per-sample gradients over the shared parameters; each returns `[T, N, P]`, the same numbers."""

    def loop() -> Tensor:
        rows = []
        for i in range(len(data)):
            tasks = task_losses(model, data[i : i + 1])
            rows.append(torch.stack([shared_gradient(loss, model) for loss in tasks]))
        return torch.stack(rows, 1)

    vectorised = {f"vmap, chunk {chunk}": partial(sample_gradients, model, data, chunk) for chunk in CHUNKS}
    return {"loop of backward passes": loop, **vectorised}
