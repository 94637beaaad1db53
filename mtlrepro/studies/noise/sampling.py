"""Noise of mini-batches: unbiased, and of power tr(C)/B (Eq. 1, 2 and Section 5)."""

from collections.abc import Sequence
from itertools import product

import pandas as pd
import torch

from mtlrepro import noise
from mtlrepro.analysis.summaries import slopes, with_expected
from mtlrepro.analysis.verdicts import Interval, Kind, Verdict, geometric_interval, mean_interval, range_interval
from mtlrepro.models.digits import shared_gradient, task_losses
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import canvas, curves, legend, log_x
from mtlrepro.studies.noise.digits import BARS, TASKS, Snapshot, conditions, task_rows

QUOTIENT = "measured over claimed power, mean over tasks"
RATIOS: tuple[tuple[str, str, str, str, Kind, int], ...] = (
    ("with replacement", "ratio", "Noise power is tr(C)/B", "Section 5", "paper", 5),
    (
        "without replacement",
        "ratio_exact",
        "Noise power is tr(C)/B times (N - B)/(N - 1)",
        "finite-population factor",
        "ours",
        0,
    ),
)
"""How batches are drawn, the column of :func:`noise_by_batch_size` that should be 1, and the claim that it is: its
sentence, source, kind and finding."""


def epoch_identity(snapshots: Sequence[Snapshot], batch_size: int) -> pd.DataFrame:
    """Eq. 2 over the disjoint batches of one epoch: relative distance of their mean from the full loss and gradient.

    Batch losses and gradients come from one backward pass per batch and task, not from per-sample gradients.

    Returns:
        Columns `seed`, `task`, `loss`, `gradient`.
    """
    entries = []
    for snapshot in snapshots:
        order = torch.randperm(len(snapshot.data), generator=snapshot.generator(0)).to(snapshot.gradients.device)
        losses = [task_losses(snapshot.model, snapshot.data[index]) for index in torch.split(order, batch_size)]
        for k, task in enumerate(TASKS):
            loss = torch.stack([batch[k].detach() for batch in losses]).mean()
            gradient = torch.stack([shared_gradient(batch[k], snapshot.model) for batch in losses]).mean(0)
            full = snapshot.gradients[k].mean(0)
            entries.append(
                {
                    "seed": snapshot.seed,
                    "task": task,
                    "loss": ((loss - snapshot.losses[k]).abs() / snapshot.losses[k]).item(),
                    "gradient": ((gradient - full).norm() / full.norm()).item(),
                }
            )
    return pd.DataFrame(entries)


def monte_carlo(snapshots: Sequence[Snapshot], batch_size: int, counts: Sequence[int], draws: int) -> pd.DataFrame:
    """Eq. 2 for random batches: distance of the mean of J independent batch gradients from the full gradient.

    Returns:
        Columns `seed`, `task`, `batches` (J), `error`: root mean square over `draws`, in units of the noise
        of one batch, `sqrt(tr C / B)`; and `expected`, `1 / sqrt(J)`.
    """
    entries = []
    for snapshot in snapshots:
        generator = snapshot.generator(1)
        unit = (noise.covariance_trace(snapshot.gradients) / batch_size).sqrt()
        for count in counts:
            weights = snapshot.batches(batch_size, draws * count, generator).view(draws, count, -1).mean(1)
            error = noise.noise_power(snapshot.gradients, weights).mean(-1).sqrt() / unit
            entries += task_rows(snapshot, batches=count, error=error, expected=count**-0.5)
    return pd.DataFrame(entries)


def noise_by_batch_size(snapshots: Sequence[Snapshot], sizes: Sequence[int], draws: int) -> pd.DataFrame:
    """Section 5: noise power of batches of each size, drawn with and without replacement, against tr(C)/B.

    Returns:
        Columns `seed`, `task`, `sampling`, `batch`, `power` (mean over `draws`), `appendix` (tr(C)/B),
        `factor` (finite-population factor, 1 with replacement), `ratio` (power / appendix) and `ratio_exact`
        (power / appendix / factor).

    Raises:
        ValueError: If there are fewer than two sizes, or one is not below `N`, where no noise is left without
            replacement.
    """
    entries = []
    if len(set(sizes)) < 2:
        raise ValueError(f"sizes is {list(sizes)}; accepted: two or more batch sizes")
    if max(sizes) >= len(snapshots[0].data):
        raise ValueError(
            f"sizes go up to {max(sizes)}; accepted: below the number of samples, {len(snapshots[0].data)}"
        )
    for snapshot in snapshots:
        generator = snapshot.generator(2)
        trace = noise.covariance_trace(snapshot.gradients)
        for replacement, size in product((True, False), sizes):
            weights = snapshot.batches(size, draws, generator, replacement=replacement)
            power = noise.noise_power(snapshot.gradients, weights).mean(-1)
            factor = 1.0 if replacement else noise.finite_population_factor(len(snapshot.data), size)
            entries += task_rows(
                snapshot,
                sampling="with replacement" if replacement else "without replacement",
                batch=size,
                power=power,
                appendix=trace / size,
                factor=factor,
                ratio=power * size / trace,
                ratio_exact=power * size / (trace * factor),
            )
    return pd.DataFrame(entries)


def error_exponent(errors: pd.DataFrame) -> Interval:
    """Exponent with which the error of J averaged batches changes with J."""
    return mean_interval(slopes(errors, "batches", "error", ["seed"])["slope"])


def unbiased_claims(epoch: pd.DataFrame, errors: pd.DataFrame) -> list[Verdict]:
    """Verdicts on Eq. 2 from :func:`epoch_identity` and :func:`monte_carlo`."""
    worst = range_interval(epoch.groupby("seed")[["loss", "gradient"]].max().max(axis=1))
    return [
        Verdict(
            "The error of averaged random batches falls as one over the root of their number",
            "Eq. 2",
            -0.5,
            0.03,
            error_exponent(errors),
            reading="exponent of a power law, mean over tasks",
            finding=1,
        ),
        Verdict(
            "The batches of one epoch average to the full loss and gradient",
            "Eq. 2",
            0,
            1e-10,
            worst,
            reading="largest relative error",
            finding=1,
        ),
    ]


def error_figure(errors: pd.DataFrame) -> Exhibit:
    """Error of averaged batches against their number, from :func:`monte_carlo`."""
    table = with_expected(errors, "error", ["task", "batches"], interval=geometric_interval)
    figure, axes = canvas()
    curves(axes, table, "batches", by="task", expected="expected")
    axes.set(yscale="log", xlabel="batches averaged, J", ylabel="error / noise of one batch")
    log_x(axes, list(table["batches"].unique()))
    legend(figure, axes, 3)
    return Exhibit(
        name="monte_carlo",
        table=table,
        figure=figure,
        uses=("seeds", "batch_size", "draws"),
        caption="Distance of the mean of J random batch gradients from the full gradient, in units of the noise of one"
        " batch; dashed: one over the root of J, as unbiased gradients have it. Averaging closes in on the full"
        f" gradient with exponent {error_exponent(errors)}. {conditions(errors['seed'].nunique(), BARS)}",
        alt="Log-log plot of relative error against number of batches: three straight falling lines on their"
        " predictions.",
    )


def power_claims(power: pd.DataFrame, batch_size: int) -> list[Verdict]:
    """Verdicts on Section 5 from :func:`noise_by_batch_size`.

    Without replacement the draws judge the exact power, and the exact power judges tr(C)/B.
    """
    drawn = dict(list(power.groupby("sampling")))
    slope = mean_interval(slopes(drawn["with replacement"], "batch", "power", ["seed"])["slope"])
    verdicts = [
        Verdict(
            "Noise power falls as one over the batch size",
            "Section 5",
            -1,
            0.03,
            slope,
            reading="exponent of a power law, mean over tasks; drawn with replacement",
            finding=5,
        )
    ]
    for sampling, column, claim, source, kind, finding in RATIOS:
        ratio = geometric_interval(drawn[sampling].groupby("seed")[column].mean())
        reading = f"{QUOTIENT} and batch sizes; drawn {sampling}"
        verdicts.append(Verdict(claim, source, 1, 0.05, ratio, reading=reading, kind=kind, finding=finding))
    sizes = power["batch"].unique()
    return verdicts + [
        Verdict(
            "Shuffled data leave the noise power at tr(C)/B",
            "our question on Section 5",
            1,
            0.05,
            range_interval(shuffled_rows(power, size)["factor"].iloc[0]),
            reading="exact over claimed power; drawn without replacement",
            case=f"B = {size}",
            kind="ours",
            limits=5,
        )
        for size in sorted({batch_size, max(sizes)} & set(sizes))
    ]


def shuffled_ratio(power: pd.DataFrame, size: int) -> Interval:
    """Noise power over tr(C)/B of batches of one size, drawn without replacement."""
    return geometric_interval(shuffled_rows(power, size).groupby("seed")["ratio"].mean())


def shuffled_rows(power: pd.DataFrame, size: int) -> pd.DataFrame:
    """Rows of :func:`noise_by_batch_size` on batches of one size, drawn without replacement."""
    return power[(power["sampling"] == "without replacement") & (power["batch"] == size)]


def power_figure(power: pd.DataFrame) -> Exhibit:
    """Noise power over tr(C)/B against batch size, from :func:`noise_by_batch_size`."""
    table = with_expected(power, "ratio", ["sampling", "batch"], "factor", geometric_interval)
    largest = power["batch"].max()
    figure, axes = canvas()
    curves(axes, table, "batch", by="sampling", expected="expected")
    axes.set(xlabel="batch size B", ylabel="noise power / (tr(C) / B)", ylim=(0, 1.3))
    log_x(axes, list(power["batch"].unique()))
    legend(figure, axes, 2)
    return Exhibit(
        name="noise_power",
        table=table,
        figure=figure,
        uses=("seeds", "samples", "batch_sizes", "draws"),
        caption="Noise power over tr(C)/B against the batch size B; dashed: 1, and the finite-population factor. Drawn"
        " without replacement, a batch has less noise than the law says, the more of the data it takes: down"
        f" to {shuffled_ratio(power, largest)} of it at B = {largest}. {conditions(power['seed'].nunique(), BARS)}",
        alt="Noise power over tr(C)/B against batch size: flat at one with replacement, falling without.",
    )
