"""Noise of momentum at fixed parameters, from independent batches and from shuffled epochs (Eq. 6 to 8)."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch

from mtlrepro import noise
from mtlrepro.analysis.summaries import with_expected
from mtlrepro.analysis.verdicts import Interval, Verdict, geometric_interval, range_interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import canvas, curves, legend, level, log_x
from mtlrepro.studies.noise.digits import BARS, Snapshot, conditions, spread, task_rows


def frozen_noise(snapshots: Sequence[Snapshot], gammas: Sequence[float], batch_size: int, chains: int) -> pd.DataFrame:
    """Eq. 8 at fixed parameters: noise of momentum after t steps over the noise of one gradient.

    Momentum starts from zero and runs for 4 / (1 - gamma) steps, when 0.03% of the limit is missing in power.

    Returns:
        Columns `seed`, `task`, `gamma`, `step`, `ratio` (root of the power ratio, mean over `chains`),
        `finite` (root of the sum in the second line of Eq. 8), `limit` (the printed root), `ratio_finite` and
        `ratio_limit` (quotients).
    """
    entries = []
    for snapshot in snapshots:
        generator = snapshot.generator(3)
        trace = noise.covariance_trace(snapshot.gradients)
        for gamma in gammas:
            marks = _marks(round(4 / (1 - gamma)))
            means = torch.zeros(chains, len(snapshot.data)).to(snapshot.gradients)
            for step in range(1, marks[-1] + 1):
                means = gamma * means + (1 - gamma) * snapshot.batches(batch_size, chains, generator)
                if step not in marks:
                    continue
                power = noise.noise_power(snapshot.gradients, means).mean(-1)
                ratio = (power * batch_size / trace).sqrt()
                finite, limit = (noise.momentum_power_factor(gamma, t) ** 0.5 for t in (step, None))
                entries += task_rows(
                    snapshot,
                    gamma=gamma,
                    step=step,
                    ratio=ratio,
                    finite=finite,
                    limit=limit,
                    ratio_finite=ratio / finite,
                    ratio_limit=ratio / limit,
                )
    return pd.DataFrame(entries)


def shuffled_noise(
    snapshots: Sequence[Snapshot], gammas: Sequence[float], sizes: Sequence[int], chains: int
) -> pd.DataFrame:
    """Momentum at fixed parameters when batches come from shuffled epochs, as most training loops draw them.

    Every image appears once per epoch, so the noises of an epoch's batches sum to zero. After 4 / (1 - gamma) steps,
    the noise is measured at up to eight steps spread evenly over one epoch.

    Args:
        snapshots: Frozen networks.
        gammas: Momenta.
        sizes: Batch sizes, each a divisor of the number of samples below it.
        chains: Independent runs of momentum for each snapshot and condition.

    Returns:
        Columns `seed`, `task`, `gamma`, `batches` (an epoch, K), `ratio_limit`: noise of momentum, the root of its mean
        power over the steps, over the noise of one batch drawn without replacement, over the printed root; `exact`:
        that quotient by :func:`~mtlrepro.noise.shuffled_power_factor` at the same positions in the epoch; and
        `ratio_exact`: the first over the second.

    Raises:
        ValueError: A batch size is no divisor of the number of samples, or takes all of them, where no noise is left.
    """
    n = len(snapshots[0].data)
    bad = [size for size in sizes if n % size or size == n]
    if bad:
        raise ValueError(f"batch_size is {bad[0]}; accepted: a divisor of the number of samples, {n}, below it")
    entries = []
    for snapshot, size in product(snapshots, sizes):
        generator = snapshot.generator(9)
        batches = n // size
        single = noise.covariance_trace(snapshot.gradients) / size * noise.finite_population_factor(n, size)
        for gamma in gammas:
            marks = _epoch_marks(round(4 / (1 - gamma)), batches)
            means, powers_ = torch.zeros(chains, n).to(snapshot.gradients), []
            for step in range(1, max(marks) + 1):
                start = (step - 1) * size % n
                if start == 0:
                    order = torch.rand(chains, n, generator=generator, dtype=torch.float64).argsort(1).to(means.device)
                means = gamma * means
                share = means.new_full((chains, size), (1 - gamma) / size)
                means.scatter_add_(1, order[:, start : start + size], share)
                if step in marks:
                    powers_.append(noise.noise_power(snapshot.gradients, means).mean(-1))
            ratio = (torch.stack(powers_).mean(0) / single).sqrt() / momentum_limit(gamma)
            factors = [noise.shuffled_power_factor(gamma, batches, (step - 1) % batches + 1) for step in marks]
            exact = float(np.mean(factors) ** 0.5)
            entries += task_rows(
                snapshot, gamma=gamma, batches=batches, ratio_limit=ratio, exact=exact, ratio_exact=ratio / exact
            )
    return pd.DataFrame(entries)


def epoch_sizes(batch_sizes: Sequence[int], batch_size: int, samples: int) -> list[int]:
    """Up to four of the batch sizes that divide the samples, evenly spaced, and the chapter's own."""
    divisors = sorted({size for size in batch_sizes if samples % size == 0 and size < samples})
    return sorted({*spread(divisors), batch_size})


def _epoch_marks(settled: int, batches: int) -> set[int]:
    """Up to eight steps, the middles of equal parts of the `batches` steps that follow the step `settled`."""
    parts = min(8, batches)
    return {settled + 1 + (2 * part + 1) * batches // (2 * parts) for part in range(parts)}


def momentum_limit(gamma: float) -> float:
    """Ratio of standard deviations that Eq. 8 prints."""
    return float(noise.momentum_power_factor(gamma) ** 0.5)


def _marks(last: int) -> list[int]:
    """Steps to report, about evenly spaced in the logarithm from 1 to `last`."""
    return sorted({round(step) for step in np.geomspace(1, last, 8)})


def settled(ratios: pd.DataFrame) -> pd.DataFrame:
    """Rows of :func:`frozen_noise` at steps where the finite sum is within 1 % of the printed limit."""
    return ratios[ratios["finite"] > 0.99 * ratios["limit"]]


def exact_ratio(ratios: pd.DataFrame) -> Interval:
    """Measured noise of momentum over the root of the finite sum, all steps and gammas."""
    return geometric_interval(ratios.groupby("seed")["ratio_finite"].mean())


def frozen_claims(ratios: pd.DataFrame, shuffled: pd.DataFrame, batches: int) -> list[Verdict]:
    """Verdicts on Eq. 8 at fixed parameters from :func:`frozen_noise` and :func:`shuffled_noise`.

    The largest momentum comes first, as the one that asks most of the printed root. In shuffled epochs the draws judge
    the closed form, and the closed form, which is exact, judges the printed root.

    Args:
        ratios: From :func:`frozen_noise`.
        shuffled: From :func:`shuffled_noise`.
        batches: Batches an epoch in the chapter's own run; beside them, the printed root is judged in the longest
            epochs that were measured.
    """
    printed = [
        Verdict(
            "Momentum scales the noise by the printed root",
            "Eq. 8",
            1,
            0.05,
            geometric_interval(rows.groupby("seed")["ratio_limit"].mean()),
            reading="measured over printed standard deviation, mean over tasks and late steps; independent batches",
            case=f"γ = {gamma:g}",
            finding=4,
        )
        for gamma, rows in sorted(settled(ratios).groupby("gamma"), reverse=True)
    ]
    finite = Verdict(
        "After t steps the noise of momentum is the finite sum",
        "Eq. 8, second line",
        1,
        0.05,
        exact_ratio(ratios),
        reading="measured over summed standard deviation, mean over tasks, steps and momenta; independent batches",
        finding=4,
    )
    exact = [
        Verdict(
            "Shuffled epochs leave momentum the noise of the closed form",
            "exact covariance of batches",
            1,
            0.05,
            geometric_interval(rows.groupby("seed")["ratio_exact"].mean()),
            reading="measured over exact standard deviation, both in units of one batch drawn without replacement, mean"
            " over tasks and momenta",
            case=f"{count} batches an epoch",
            kind="ours",
        )
        for count, rows in shuffled.groupby("batches")
    ]
    epochs = shuffled[shuffled["batches"].isin({batches, shuffled["batches"].max()})]
    extended = [
        Verdict(
            "Shuffled epochs leave momentum the printed root",
            "our question on Eq. 8",
            1,
            0.05,
            range_interval(rows["exact"].iloc[0]),
            reading="closed form over printed standard deviation, in units of one batch drawn without replacement",
            case=f"γ = {gamma:g}, {count} batches an epoch",
            kind="ours",
            limits=4,
        )
        for (count, gamma), rows in epochs.groupby(["batches", "gamma"])
    ]
    return [*printed, finite, *exact, *extended]


def epoch_figure(shuffled: pd.DataFrame, lengths: Sequence[int]) -> Exhibit:
    """Noise of momentum over the printed root against the batches of an epoch, from :func:`shuffled_noise`.

    Args:
        shuffled: Measurements.
        lengths: Numbers of batches an epoch that the caption gives the closed form for, at the largest momentum but
            one and the largest.
    """
    table = with_expected(shuffled, "ratio_limit", ["gamma", "batches"], "exact", geometric_interval)
    table = table.sort_values(["gamma", "batches"], ignore_index=True)
    figure, axes = canvas()
    labels = [f"γ = {gamma:g}" for gamma in table["gamma"].unique()]
    curves(axes, table, "batches", by="gamma", expected="expected", labels=labels)
    axes.set(xlabel="batches an epoch, K", ylabel="noise of momentum / root of Eq. 8", ylim=(0, 1.1))
    log_x(axes, sorted(table["batches"].unique()))
    legend(figure, axes, 4)
    return Exhibit(
        name="momentum_epochs",
        table=table,
        figure=figure,
        uses=("seeds", "samples", "batch_size", "batch_sizes", "gammas", "draws"),
        caption="Noise of momentum in shuffled epochs over the root printed in Eq. 8, against the batches of an epoch,"
        " in units of one batch drawn without replacement; dashed: the closed form at the same positions. The shortfall"
        " belongs to epochs that are short beside the memory of momentum. By the closed form, the root of the mean"
        " power over all positions is,"
        f" {length_finding(sorted(table['gamma'].unique())[-2:], lengths)}."
        f" {conditions(shuffled['seed'].nunique(), BARS)}",
        alt="Noise of momentum over the printed root against batches an epoch: one rising curve per momentum, each on"
        " its closed form; the larger the momentum, the later it comes near one.",
    )


def length_finding(gammas: Sequence[float], lengths: Sequence[int]) -> str:
    """Closed form of the quotient in shuffled epochs, mean power over the positions, as text."""
    return "; ".join(
        f"with γ = {gamma:g}, "
        + ", ".join(f"{noise.shuffled_power_factor(gamma, length) ** 0.5:.3f} at {length}" for length in lengths)
        for gamma in gammas
    )


def frozen_figure(ratios: pd.DataFrame) -> Exhibit:
    """Noise of momentum against the step, one picture per gamma, from :func:`frozen_noise`."""
    table = with_expected(ratios, "ratio", ["gamma", "step"], "finite", geometric_interval)
    frames = {}
    for gamma in table["gamma"].unique():
        rows = table[table["gamma"] == gamma]
        figure, axes = canvas()
        curves(axes, rows, "step", by="gamma", expected="expected", labels=["measured"])
        level(axes, momentum_limit(gamma), "limit printed in Eq. 8")
        axes.set(xlabel="step t", ylabel="noise of momentum / of gradient", ylim=(0, 1.1))
        log_x(axes, rows["step"].tolist())
        legend(figure, axes, 2)
        frames[f"{gamma:g}"] = (figure, momentum_alt(gamma, rows))
    return Exhibit(
        name="momentum_noise",
        table=table,
        frames=frames,
        sliders=("momentum γ",),
        start="0.9" if "0.9" in frames else None,
        uses=("seeds", "gammas", "batch_size", "draws"),
        caption="Noise of momentum over the noise of one gradient against the step, at frozen parameters; dashed: the"
        " root of the finite sum; grey: the limit printed in Eq. 8, which is reached after several times 1/(1-γ) steps."
        f" Over all steps and momenta, measured over summed noise is {exact_ratio(ratios)}."
        f" {conditions(ratios['seed'].nunique(), 'independent batches', BARS)}",
    )


def momentum_alt(gamma: float, table: pd.DataFrame) -> str:
    """Alternative text of the momentum figure for one gamma, from the rows drawn in it."""
    first, last = table.iloc[0], table.iloc[-1]
    return (
        f"Momentum {gamma:g}: the noise ratio goes from {first['mean']:.2f} at step {first['step']:.0f} to"
        f" {last['mean']:.2f} at step {last['step']:.0f}; the printed limit is {momentum_limit(gamma):.2f}."
    )
