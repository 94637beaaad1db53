"""Batches against single samples, on a network for two digits whose samples do not touch each other.

It has no batch normalisation, so that a sample's gradient is its own, and a batch's gradient the mean of its samples'.
The weight of the rule is then looked at for batches of several sizes, the smallest of one sample, and beside it that
of one task on two batches that share no sample: the control that differs in the samples alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from mtlrepro.analysis.verdicts import (
    Interval,
    Verdict,
    bracketed_over,
    correlation_interval,
    over_seeds,
    percent_interval,
)
from mtlrepro.data.digits import two_digits
from mtlrepro.models.digits import DigitNet, sample_gradients, task_losses
from mtlrepro.pages import figures
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.comparison import bracketed, columns, fixed, paired
from mtlrepro.studies.mclgs.samples import A0, hardness_claim
from mtlrepro.tasks import TWO_DIGITS

SEEDS, SAMPLES = 5, 512
EARLY, LATE = 20, 1000
"""Steps of training after which gradients are taken; the network then counts as trained."""
BATCH, RATE = 32, 0.02
"""Of training by SGD with momentum 0.9 on the mean of the losses."""
SIZES = (1, 4, 16, 64, 256)
"""Sizes of the batches that are compared, each at most half of the samples."""
TASKS, CONTROL = "two tasks, one batch", "one task, two batches"


@dataclass(frozen=True)
class Snapshot:
    """Gradients and losses of all samples at two moments of one training.

    Attributes:
        early: Gradients of each task on each sample over the shared parameters after `EARLY` steps, `[T, N, P]`.
        losses: Mean loss over the tasks of each sample after `EARLY` and after `LATE` steps, `[2, N]`.
    """

    early: Tensor
    losses: np.ndarray


def snapshots(seeds: int = SEEDS, samples: int = SAMPLES, late: int = LATE) -> list[Snapshot]:
    """Train a network for each seed; the numbers are the same in every call.

    Args:
        seeds: Number of networks.
        samples: Number N of images.
        late: Steps of a training, more than `EARLY`.
    """
    return [_train(seed, samples, late) for seed in range(seeds)]


def _train(seed: int, samples: int, late: int) -> Snapshot:
    data = two_digits(samples, seed=seed).to("cpu", torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DigitNet().to(torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    generator = torch.Generator().manual_seed(seed)
    early, losses = torch.empty(0), []
    for step in range(1, late + 1):
        optimizer.zero_grad()
        batch = data[torch.randint(samples, (BATCH,), generator=generator)]
        torch.autograd.backward(task_losses(model, batch).mean())
        optimizer.step()
        if step in (EARLY, late):
            with torch.no_grad():
                outputs = model(data.images)
                terms = [task.loss(outputs[task.name], data.targets).samples() for task in TWO_DIGITS]
            losses.append(torch.stack(terms).mean(0).numpy())
        if step == EARLY:
            early = sample_gradients(model, data)
    return Snapshot(early, np.stack(losses))


def cosines(gradients: Tensor, size: int) -> dict[str, np.ndarray]:
    """Cosines of gradients of disjoint batches.

    Args:
        gradients: Of each task on each sample, `[T, N, P]`.
        size: Samples of a batch, at most N / 2.

    Returns:
        `TASKS`: of each pair of tasks on each batch; `CONTROL`: of each task on each batch and the next one.
    """
    tasks, samples, parameters = gradients.shape
    batches = samples // size
    means = gradients[:, : batches * size].reshape(tasks, batches, size, parameters).mean(2)
    unit = torch.nn.functional.normalize(means, dim=2)
    pairs = [(unit[i] * unit[j]).sum(1) for i, j in combinations(range(len(unit)), 2)]
    return {
        TASKS: torch.cat(pairs).numpy(),
        CONTROL: (unit[:, :-1] * unit[:, 1:]).sum(2).flatten().numpy(),
    }


def by_size(found: Sequence[Snapshot], sizes: Sequence[int] = SIZES) -> pd.DataFrame:
    """What the rule sees at each size of batch.

    Returns:
        One row a seed, size and kind: `seed`, `batch size`, `compared`, `conflicts, %`, the share of negative cosines,
        and `weight`, the mean of 1 + tanh(a0 s).
    """
    rows = []
    for seed, snapshot in enumerate(found):
        for size in sizes:
            for kind, values in cosines(snapshot.early, size).items():
                weight = float((1 + np.tanh(A0 * values)).mean())
                rows.append((seed, size, kind, float(100 * (values < 0).mean()), weight))
    return pd.DataFrame(rows, columns=["seed", "batch size", "compared", "conflicts, %", "weight"])


def correlations(found: Sequence[Snapshot]) -> pd.DataFrame:
    """Spearman's rank correlation, over samples, of the mean similarity of two tasks with the sample's losses.

    Returns:
        One row a seed: `seed`, `loss then` and `loss in the end`.
    """
    rows = []
    for seed, snapshot in enumerate(found):
        similar = cosines(snapshot.early, 1)[TASKS].reshape(-1, snapshot.early.shape[1]).mean(0)
        then, end = (float(stats.spearmanr(similar, losses).statistic) for losses in snapshot.losses)
        rows.append((seed, then, end))
    return pd.DataFrame(rows, columns=["seed", "loss then", "loss in the end"])


def exhibit(found: Sequence[Snapshot], sizes: Sequence[int] = SIZES) -> Exhibit:
    """Conflicts against the size of batches, for two tasks and for one.

    Args:
        found: As `snapshots` gives it.
        sizes: Sizes of the batches, increasing.
    """
    table = by_size(found, sizes)
    rows: list[dict[str, Any]] = []
    for (size, kind), own in table.groupby(["batch size", "compared"], sort=False):
        row: dict[str, Any] = {"batch size": size, "compared": kind}
        row |= columns("conflicts, %", over_seeds(own["conflicts, %"], percent_interval))
        share = over_seeds(50 * own["weight"], percent_interval)  # weights lie between 0 and 2
        weight = Interval(*(value / 50 for value in (share.value, share.low, share.high)))
        rows.append(row | columns("mean weight at a0", weight))
    shown = pd.DataFrame(rows)
    curve = shown.rename(columns={"conflicts, %": "mean", "conflicts, % low": "low", "conflicts, % high": "high"})
    drawing, axes = figures.canvas()
    figures.curves(axes, curve, "batch size", by="compared")
    figures.log_x(axes, sizes)
    axes.set_xlabel("batch size")
    axes.set_ylabel("conflicts, %")
    figures.legend(drawing, axes, 2)
    shares = {str(kind): part["conflicts, %"].tolist() for kind, part in shown.groupby("compared", sort=False)}
    texts = "; ".join(f"{kind} {fixed(part[0])} and {fixed(part[-1])} %" for kind, part in shares.items())
    hard = over_seeds(correlations(found)["loss in the end"], correlation_interval)
    fewest = {kind: len(values) for kind, values in cosines(found[0].early, sizes[-1]).items()}
    caption = (
        f"Negative cosines of gradients over the shared parameters of the two-digit network after {EARLY} steps, by "
        f"the size of the batch. With one sample and with the largest batch: {texts}. The similarity on a sample and "
        f"its loss in the trained network have a rank correlation of {bracketed(hard, 2)}. (Brackets and bars: "
        f"{bracketed_over(len(found))}, the range where a seed has 0 or 100 %; the largest batch has {fewest[TASKS]} "
        f"cosines of tasks and {fewest[CONTROL]} of one task a seed.)"
    )
    return Exhibit(
        name="batches_and_samples",
        table=shown,
        caption=caption,
        figure=drawing,
        alt="Two curves of the share of conflicts against the batch size: between two tasks on one batch, and between "
        "two batches of one task, which falls.",
        rtol=1e-4,
    )


def claims(found: Sequence[Snapshot], sizes: Sequence[int] = SIZES) -> list[Verdict]:
    """Judge whether conflicts mark hard samples here, and ask whether two tasks conflict more often than one.

    Args:
        found: As `snapshots` gives it.
        sizes: Sizes of the batches, increasing.
    """
    shares = by_size(found, sizes).pivot(index=["batch size", "seed"], columns="compared", values="conflicts, %")
    fewer = shares[CONTROL] - shares[TASKS]
    return [
        hardness_claim(correlations(found)["loss in the end"], "two-digit network"),
        *(
            Verdict(
                "Two tasks conflict more often than one task with itself",
                "our question",
                0.0,
                0.0,
                paired(fewer.loc[size]),
                below=True,
                reading="conflicts of one task on two batches less those of two tasks on one, points of %, mean "
                "over seeds [paired 95 %]",
                case=f"batches of {size}, two-digit network",
                kind="ours",
            )
            for size in (sizes[0], sizes[-1])
        ),
    ]
