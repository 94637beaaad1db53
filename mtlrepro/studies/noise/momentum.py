"""Noise of momentum at fixed parameters, from independent batches and from shuffled epochs (Eq. 6 to 8)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from mtlrepro import noise
from mtlrepro.analysis.summaries import summarise, with_expected
from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import canvas, curves, legend, level, log_x
from mtlrepro.studies.noise.digits import Snapshot, task_rows


def frozen_noise(snapshots: Sequence[Snapshot], gammas: Sequence[float], batch_size: int, chains: int) -> pd.DataFrame:
    """Eq. 8 at fixed parameters: noise of momentum after t steps over the noise of one gradient.

    Momentum starts from zero and runs for 4 / (1 - gamma) steps, when 0.03% of the limit is missing in power.

    Returns:
        Columns `seed`, `task`, `gamma`, `step`, `ratio` (root of the power ratio, mean over `chains`),
        `finite` (exact for that step), `limit` (the appendix's), `ratio_finite` and `ratio_limit` (quotients).
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
    snapshots: Sequence[Snapshot], gammas: Sequence[float], batch_size: int, chains: int
) -> pd.DataFrame:
    """Eq. 8 at fixed parameters when batches come from shuffled epochs, as most training loops draw them.

    Every image appears once per epoch, so successive batches are negatively correlated. After 4 / (1 - gamma) steps,
    the noise is measured at eight steps spread over one epoch, and averaged.

    Returns:
        Columns `seed`, `task`, `gamma`, `ratio_limit`: noise of momentum over noise of one batch drawn
        without replacement, over the printed root.

    Raises:
        ValueError: If a batch takes all samples, where no noise is left.
    """
    entries = []
    for snapshot in snapshots:
        generator = snapshot.generator(9)
        n = len(snapshot.data)
        if batch_size >= n:
            raise ValueError(f"batch_size is {batch_size}; accepted: below the number of samples, {n}")
        single = noise.covariance_trace(snapshot.gradients) / batch_size * noise.finite_population_factor(n, batch_size)
        for gamma in gammas:
            first = round(4 / (1 - gamma))
            marks = {first + round(step) for step in np.linspace(0, n // batch_size, 8, endpoint=False)}
            means, powers_ = torch.zeros(chains, n).to(snapshot.gradients), []
            for step in range(1, max(marks) + 1):
                start = (step - 1) * batch_size % n
                if start == 0:
                    order = torch.rand(chains, n, generator=generator, dtype=torch.float64).argsort(1).to(means.device)
                means = gamma * means
                share = means.new_full((chains, batch_size), (1 - gamma) / batch_size)
                means.scatter_add_(1, order[:, start : start + batch_size], share)
                if step in marks:
                    powers_.append(noise.noise_power(snapshot.gradients, means).mean(-1))
            ratio = (torch.stack(powers_).mean(0) / single).sqrt() / momentum_limit(gamma)
            entries += task_rows(snapshot, gamma=gamma, ratio_limit=ratio)
    return pd.DataFrame(entries)


def momentum_limit(gamma: float) -> float:
    """Ratio of standard deviations that Eq. 8 prints."""
    return float(noise.momentum_power_factor(gamma) ** 0.5)


def _marks(last: int) -> list[int]:
    """Steps to report, about evenly spaced in the logarithm from 1 to `last`."""
    return sorted({round(step) for step in np.geomspace(1, last, 8)})


def settled(ratios: pd.DataFrame) -> pd.DataFrame:
    """Rows of :func:`frozen_noise` at steps where the exact form is within 1 % of the printed limit."""
    return ratios[ratios["finite"] > 0.99 * ratios["limit"]]


def exact_ratio(ratios: pd.DataFrame) -> Interval:
    """Measured noise of momentum over the exact form for finite t, all steps and gammas."""
    return mean_interval(ratios.groupby("seed")["ratio_finite"].mean())


def frozen_claims(ratios: pd.DataFrame, shuffled: pd.DataFrame) -> list[Verdict]:
    """Verdicts on Eq. 8 at fixed parameters from :func:`frozen_noise` and :func:`shuffled_noise`."""
    verdicts = []
    for table, claim, source in (
        (settled(ratios), "Momentum scales the noise by the printed root", "Eq. 8"),
        (shuffled, "The same when batches come from shuffled epochs", "Eq. 8, extended to shuffled data"),
    ):
        for gamma, rows in table.groupby("gamma"):
            limit = mean_interval(rows.groupby("seed")["ratio_limit"].mean())
            verdicts.append(Verdict(f"{claim} (quotient), γ = {gamma:g}", source, 1, 0.05, limit))
    claim = "The same with the factor for finite t (quotient), all steps and γ"
    return [*verdicts, Verdict(claim, "our correction", 1, 0.05, exact_ratio(ratios))]


def limit_table(ratios: pd.DataFrame, shuffled: pd.DataFrame) -> Exhibit:
    """Quotient by the printed root per gamma, for independent batches and for shuffled epochs, with intervals."""
    tables = {"independent": settled(ratios), "shuffled": shuffled}
    parts = [
        summarise(table, "ratio_limit", ["gamma"]).set_index("gamma").add_prefix(f"{name}, ")
        for name, table in tables.items()
    ]
    return Exhibit(
        name="momentum_draws",
        table=pd.concat(parts, axis=1).reset_index(),
        caption="Noise of momentum over the root printed in Eq. 8, mean and interval over seeds.",
    )


def frozen_figure(ratios: pd.DataFrame) -> Exhibit:
    """Noise of momentum against the step, one picture per gamma, from :func:`frozen_noise`."""
    table = with_expected(ratios, "ratio", ["gamma", "step"], expected="finite")
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
        uses=("seeds", "gammas", "batch_size", "draws"),
        caption=f"At frozen parameters the measured noise of momentum over the exact form for finite t (dashed) is"
        f" {exact_ratio(ratios)}; the printed limit (grey line) is reached after several times 1/(1-γ) steps. Arrow"
        " keys move γ.",
    )


def momentum_alt(gamma: float, table: pd.DataFrame) -> str:
    """Alternative text of the momentum figure for one gamma, from the rows drawn in it."""
    first, last = table.iloc[0], table.iloc[-1]
    return (
        f"Momentum {gamma:g}: the noise ratio goes from {first['mean']:.2f} at step {first['step']:.0f} to"
        f" {last['mean']:.2f} at step {last['step']:.0f}; the printed limit is {momentum_limit(gamma):.2f}."
    )
