"""Speed on this machine, as ratios: the ways to do one thing take turns, so that a busy moment slows all of them."""

import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from mtlrepro.data.digits import TwoDigits, two_digits
from mtlrepro.models.digits import DigitNet
from mtlrepro.studies.sgd_noise import sample_gradients, shared_gradient, task_losses

CHUNKS = (64, 256)


def turns(arms: Mapping[str, Callable[[], object]], rounds: int) -> np.ndarray:
    """Time functions that take turns: every round runs each once, in order, after a first round that does not count.

    A bar on stderr shows how far it is, if that is a terminal.

    Where this process has used CUDA, a time includes the work that the function leaves running on the device.

    Args:
        arms: name to function, one or more.
        rounds: rounds that count, at least 1.

    Returns:
        ``[rounds, arms]`` seconds.

    Raises:
        ValueError: if there are no arms or no rounds.
    """
    if not arms:
        raise ValueError("arms is empty; accepted: one or more functions")
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; accepted: 1 or more")
    with tqdm(total=(rounds + 1) * len(arms), unit=" runs", leave=False, disable=None) as bar:

        def seconds(name: str) -> float:
            bar.set_postfix_str(name)
            taken = _seconds(arms[name])
            bar.update()
            return taken

        return np.array([[seconds(name) for name in arms] for _ in range(rounds + 1)])[1:]


def interleaved(arms: Mapping[str, Callable[[], object]], rounds: int = 11) -> pd.DataFrame:
    """Summarise the times of functions that take turns; arguments and errors as for :func:`turns`.

    Returns:
        Columns ``arm``; ``seconds``, the median; ``lower`` and ``upper``, its quartiles; ``ratio``, the median over
        rounds of the time over that of the first arm in the same round.
    """
    times = turns(arms, rounds)
    lower, median, upper = np.quantile(times, [0.25, 0.5, 0.75], axis=0)
    ratio = np.median(times / times[:, :1], axis=0)
    return pd.DataFrame({"arm": list(arms), "seconds": median, "lower": lower, "upper": upper, "ratio": ratio})


def _seconds(arm: Callable[[], object]) -> float:
    _synchronise()
    started = time.perf_counter()
    arm()
    _synchronise()
    return time.perf_counter() - started


def _synchronise() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def noise(device: str = "cpu", *, images: int = 256, rounds: int = 11) -> pd.DataFrame:
    """Time per-sample gradients of the three digit tasks: a loop of backward passes against one vectorised pass.

    In float64, as the chapter on gradient noise, with as many CPU threads as PyTorch is set to.

    Args:
        device: a torch device.
        images: number of images, each with three gradients.
        rounds: rounds that count, see :func:`interleaved`.

    Returns:
        The columns of :func:`interleaved` and ``images_per_second``, from the median.

    Raises:
        ValueError: if CUDA is asked for and absent, or ``images`` or ``rounds`` is below 1.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA device; accepted here: 'cpu'")
    data = two_digits(images).to(device, torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DigitNet().to(data.images)
    table = interleaved(gradient_arms(model, data), rounds)
    return table.assign(images_per_second=images / table["seconds"])


def gradient_arms(model: DigitNet, data: TwoDigits) -> dict[str, Callable[[], Tensor]]:
    """Ways to compute per-sample gradients over the shared parameters; each returns ``[T, N, P]``, the same numbers."""

    def loop() -> Tensor:
        rows = []
        for i in range(len(data)):
            tasks = task_losses(model, data[i : i + 1])
            rows.append(torch.stack([shared_gradient(loss, model) for loss in tasks]))
        return torch.stack(rows, 1)

    vectorised = {f"vmap, chunk {chunk}": partial(sample_gradients, model, data, chunk) for chunk in CHUNKS}
    return {"loop of backward passes": loop, **vectorised}
