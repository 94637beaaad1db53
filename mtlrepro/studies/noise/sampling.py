"""Noise of mini-batches: unbiased, and of power tr(C)/B (Eq. 1, 2 and Section 5)."""

from collections.abc import Sequence
from itertools import product

import pandas as pd
import torch

from mtlrepro import noise
from mtlrepro.analysis.summaries import slopes, with_expected
from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval, range_interval
from mtlrepro.models.digits import shared_gradient, task_losses
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import canvas, curves, legend, log_x
from mtlrepro.studies.noise.digits import TASKS, Snapshot, task_rows


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
    """Eq. 2 for random batches: distance of the mean of n independent batch gradients from the full gradient.

    Returns:
        Columns `seed`, `task`, `batches` (n), `error`: root mean square over `draws`, in units of the noise
        of one batch, `sqrt(tr C / B)`; and `expected`, `1 / sqrt(n)`.
    """
    entries = []
    for snapshot in snapshots:
        generator = snapshot.generator(1)
        unit = (noise.covariance_trace(snapshot.gradients) / batch_size).sqrt()
        for n in counts:
            weights = snapshot.batches(batch_size, draws * n, generator).view(draws, n, -1).mean(1)
            error = noise.noise_power(snapshot.gradients, weights).mean(-1).sqrt() / unit
            entries += task_rows(snapshot, batches=n, error=error, expected=n**-0.5)
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
    """Exponent with which the error of n averaged batches changes with n."""
    return mean_interval(slopes(errors, "batches", "error", ["seed"])["slope"])


def unbiased_claims(epoch: pd.DataFrame, errors: pd.DataFrame) -> list[Verdict]:
    """Verdicts on Eq. 2 from :func:`epoch_identity` and :func:`monte_carlo`."""
    worst = range_interval(epoch.groupby("seed")[["loss", "gradient"]].max().max(axis=1))
    claim = "The batches of one epoch average to the full loss and gradient (largest relative error)"
    falls = "The error of n averaged batches falls as n to the power -1/2 (exponent)"
    return [Verdict(claim, "Eq. 2", 0, 1e-10, worst), Verdict(falls, "Eq. 2", -0.5, 0.03, error_exponent(errors))]


def error_figure(errors: pd.DataFrame) -> Exhibit:
    """Error of averaged batches against their number, from :func:`monte_carlo`."""
    table = with_expected(errors, "error", ["task", "batches"])
    figure, axes = canvas()
    curves(axes, table, "batches", by="task", expected="expected")
    axes.set(yscale="log", xlabel="batches averaged, n", ylabel="error / noise of one batch")
    log_x(axes, list(table["batches"].unique()))
    legend(figure, axes, 3)
    return Exhibit(
        name="monte_carlo",
        table=table,
        figure=figure,
        uses=("seeds", "batch_size", "draws"),
        caption=f"Averaging random batches closes in on the full gradient with exponent {error_exponent(errors)};"
        " dashed: the predicted root of 1/n. Bars here and below: 95% intervals over seeds.",
        alt="Log-log plot of relative error against number of batches: three straight falling lines on their"
        " predictions.",
    )


def power_claims(power: pd.DataFrame, batch_size: int) -> list[Verdict]:
    """Verdicts on Section 5 from :func:`noise_by_batch_size`."""
    drawn = dict(list(power.groupby("sampling")))
    slope = mean_interval(slopes(drawn["with replacement"], "batch", "power", ["seed"])["slope"])
    verdicts = [Verdict("Noise power falls as 1/B: exponent, with replacement", "Section 5", -1, 0.03, slope)]
    for sampling, column, exact, source in (
        ("with replacement", "ratio", "", "Section 5"),
        ("without replacement", "ratio_exact", " times (N - B)/(N - 1)", "our correction"),
    ):
        ratio = mean_interval(drawn[sampling].groupby("seed")[column].mean())
        verdicts.append(Verdict(f"Noise power is tr(C)/B{exact} (quotient), {sampling}", source, 1, 0.05, ratio))
    sizes = power["batch"].unique()
    for size in sorted({batch_size, max(sizes)} & set(sizes)):
        claim = f"Noise power is tr(C)/B (quotient), without replacement, B = {size}"
        source = "Section 5, extended to shuffled data"
        verdicts.append(Verdict(claim, source, 1, 0.05, shuffled_ratio(power, size)))
    return verdicts


def shuffled_ratio(power: pd.DataFrame, size: int) -> Interval:
    """Noise power over tr(C)/B of batches of one size, drawn without replacement."""
    rows = power[(power["sampling"] == "without replacement") & (power["batch"] == size)]
    return mean_interval(rows.groupby("seed")["ratio"].mean())


def power_figure(power: pd.DataFrame) -> Exhibit:
    """Noise power over tr(C)/B against batch size, from :func:`noise_by_batch_size`."""
    table = with_expected(power, "ratio", ["sampling", "batch"], expected="factor")
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
        caption="Noise power over tr(C)/B, measured and predicted (dashed: 1, and the finite-population factor). Drawn"
        f" without replacement it is {shuffled_ratio(power, largest)} at B = {largest}.",
        alt="Noise power over tr(C)/B against batch size: flat at one with replacement, falling without.",
    )
