"""Networks on two overlapping digits, three tasks: frozen, with the gradient of every task on every image.

The other modules of this study measure the noise of these gradients. Their functions return one row per seed and
condition; what is shown and claimed is made from these tables, by functions that stand beside them. Random draws come
from CPU generators seeded by the snapshot's seed, so CPU and CUDA see the same batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mtlrepro import noise
from mtlrepro.data.digits import SHIFT, SIDE, TwoDigits, two_digits
from mtlrepro.models.digits import DigitNet, sample_gradients, task_losses
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import gallery
from mtlrepro.tasks import TWO_DIGITS

TASKS = [task.name for task in TWO_DIGITS]
BARS = "bars: 95% intervals over seeds"


@dataclass(frozen=True)
class Snapshot:
    """A network at fixed parameters.

    Attributes:
        seed: Seed of data, initial parameters, training and of all draws made with this snapshot.
        data: The `N` training images.
        model: The network, float64.
        gradients: Per-sample gradients of each task over the shared parameters, `[T, N, P]`.
        losses: Mean loss of each task over the data, `[T]`.
    """

    seed: int
    data: TwoDigits
    model: DigitNet
    gradients: Tensor
    losses: Tensor

    def generator(self, study: int) -> torch.Generator:
        """CPU generator of this seed for the study with that number."""
        return seeded_generator(self.seed, study)

    def batches(self, batch: int, draws: int, generator: torch.Generator, *, replacement: bool = True) -> Tensor:
        """Sample weights `[draws, N]` of mini-batches, where the gradients live."""
        weights = noise.batch_weights(len(self.data), batch, draws, generator, replacement=replacement)
        return weights.to(self.gradients)


def seeded_generator(seed: int, study: int) -> torch.Generator:
    """CPU generator whose stream belongs to this seed and study alone."""
    state = np.random.SeedSequence([seed, study]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def check_parameters(samples: int, batch_size: int, batch_sizes: Sequence[int], gammas: Sequence[float]) -> None:
    """Refuse combinations of the chapter's parameters that it cannot show, before anything is computed.

    Raises:
        ValueError: If `batch_size` is odd or no proper divisor of `samples`; if `batch_sizes` or `gammas` holds
            fewer than two values or one twice; if a batch size is not below `samples`.
    """
    _check_batch_size(batch_size, samples)
    if len(batch_sizes) < 2 or len(set(batch_sizes)) < len(batch_sizes) or max(batch_sizes) >= samples:
        raise ValueError(f"batch_sizes is {list(batch_sizes)}; accepted: two or more, all different, below {samples}")
    if len(gammas) < 2 or len(set(gammas)) < len(gammas):
        raise ValueError(f"gammas is {list(gammas)}; accepted: two or more, all different")


def _check_batch_size(batch_size: int, samples: int) -> None:
    if batch_size % 2 or samples % batch_size or batch_size == samples:
        accepted = f"an even divisor of samples, which is {samples}, below it"
        raise ValueError(f"batch_size is {batch_size}; accepted: {accepted}")


def snapshots(
    seeds: int, samples: int, steps: int, *, learning_rate: float, batch_size: int, device: str
) -> list[Snapshot]:
    """Train one network per seed with equal weights, then freeze it.

    Training minimises the mean of the three losses by SGD with momentum 0.9, batches drawn with replacement. Seeds
    are 0, 1, ...; each has its own images, initial parameters and batches.

    Raises:
        ValueError: If `batch_size` is odd or no proper divisor of `samples`, or CUDA is asked for and absent.
        FloatingPointError: If a loss is not finite, naming step and task.
    """
    _check_batch_size(batch_size, samples)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA device; accepted here: 'cpu'")
    frozen = []
    for seed in range(seeds):
        data = two_digits(samples, seed=seed).to(device, torch.float64)
        model = _train(data, seed, steps, learning_rate=learning_rate, batch_size=batch_size)
        losses = task_losses(model, data).detach()
        check_finite(losses, steps + 1)
        frozen.append(Snapshot(seed, data, model, sample_gradients(model, data), losses))
    return frozen


def _train(data: TwoDigits, seed: int, steps: int, *, learning_rate: float, batch_size: int) -> DigitNet:
    """Train a new network with momentum 0.9."""
    model = initial_network(seed, data)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    generator = seeded_generator(seed, 7)
    for step in range(1, steps + 1):
        index = torch.randint(len(data), (batch_size,), generator=generator).to(data.images.device)
        losses = task_losses(model, data[index])
        check_finite(losses, step)
        optimizer.zero_grad()
        torch.autograd.backward(losses.mean())
        optimizer.step()
    return model


def initial_network(seed: int, data: TwoDigits) -> DigitNet:
    """Network with initial parameters of that seed, the same on every device, where the data are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitNet()
    return model.to(data.images)


def check_finite(losses: Tensor, step: int) -> None:
    """Refuse losses that are not finite.

    Raises:
        FloatingPointError: A loss is not finite; the message names step and task.
    """
    bad = [name for name, loss in zip(TASKS, losses.tolist(), strict=True) if not np.isfinite(loss)]
    if bad:
        raise FloatingPointError(f"step {step}: loss of task {', '.join(bad)} is not finite; lower the learning rate")


def task_rows(snapshot: Snapshot, **columns: Tensor | float | str) -> list[dict[str, float | str]]:
    """One row per task; tensors hold one value per task, other values are repeated."""
    return [
        {
            "seed": snapshot.seed,
            "task": task,
            **{name: value[k].item() if isinstance(value, Tensor) else value for name, value in columns.items()},
        }
        for k, task in enumerate(TASKS)
    ]


def powers(snapshot: Snapshot, batch_size: int) -> tuple[Tensor, Tensor]:
    """Exact signal |g|^2 and noise tr(C)/B of each task, `[T]` each."""
    signal = snapshot.gradients.mean(1).square().sum(-1)
    return signal, noise.covariance_trace(snapshot.gradients) / batch_size


def spread(values: Sequence[int], count: int = 4) -> list[int]:
    """Up to `count` of the values, evenly spaced in their order, first and last included."""
    index = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)
    return [values[i] for i in index]


def conditions(seeds: int, *others: str) -> str:
    """End of a caption, in brackets: how many seeds are behind it, and what else it depends on."""
    return f"({', '.join([f'{seeds} seed' + 's' * (seeds != 1), *others])}.)"


def examples(samples: int, count: int) -> Exhibit:
    """The first of the `samples` images of seed 0; the table holds targets and the images' mean brightness."""
    data = two_digits(samples)[:count]
    images = data.images[:, 0].numpy()
    left, right = (data.targets[name].tolist() for name in ("left", "right"))
    table = pd.DataFrame({"left": left, "right": right, "brightness": images.mean((1, 2)).astype(float)})
    table["sum"] = table["left"] + table["right"]
    return Exhibit(
        name="examples",
        table=table,
        figure=gallery(list(images), [f"{i}, {j}; {i + j}" for i, j in zip(left, right, strict=True)]),
        uses=("samples",),
        caption=f"The first {len(data)} training images, each below its three targets: left digit, right digit; sum."
        f" The digits overlap on {(SIDE - SHIFT) ** 2} of {(SIDE + SHIFT) ** 2} pixels. (Images of the first seed.)",
        alt="A row of eight small grey images. Each shows two handwritten digits, one towards the upper left and one"
        " towards the lower right, overlapping in the middle; the digits and their sum are printed above.",
    )


def overview(snapshots: Sequence[Snapshot], batch_size: int) -> Exhibit:
    """Loss, signal and noise of each task, mean over seeds."""
    entries = []
    for snapshot in snapshots:
        signal, noise_ = powers(snapshot, batch_size)
        entries += task_rows(snapshot, loss=snapshot.losses, signal=signal, noise=noise_)
    return Exhibit(
        name="snapshots",
        table=pd.DataFrame(entries).drop(columns="seed").groupby("task", sort=False).mean().reset_index(),
        caption="Loss, signal power |g|² and noise power tr(C)/B of each task in the shared parameters of the frozen"
        " networks. " + conditions(len(snapshots), "means", f"batches of {batch_size}"),
    )
