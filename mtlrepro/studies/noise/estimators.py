"""Signal and noise estimated from batch gradients alone: a part of the reconstruction of MaxGNR."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from mtlrepro import noise
from mtlrepro.analysis.summaries import summarise
from mtlrepro.analysis.verdicts import Verdict, mean_interval, number
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import dots, legend, panels
from mtlrepro.studies.noise.digits import BARS, TASKS, Snapshot, conditions, powers, task_rows


def estimators(
    snapshots: Sequence[Snapshot], batch_size: int, gamma: float, steps: int, *, rate: float, chains: int
) -> pd.DataFrame:
    """Signal and noise of each task at fixed parameters: from momentum and from two batch sizes, against the exact.

    Both estimators see `steps` mini-batches; the two-batch one compares the norm of each with those of its two
    halves. Each row averages `chains` independent runs.

    Returns:
        Columns `seed`, `task`, `estimator`, `quantity` (`signal` or `noise`), `ratio`: estimate over
        exact value, at the last step.
    """
    entries = []
    for snapshot in snapshots:
        generator = snapshot.generator(6)
        signal, noise_ = powers(snapshot, batch_size)
        estimates: dict[str, list[Tensor]] = {"momentum": [], "two batches": []}
        for _ in range(chains):
            halves = snapshot.batches(batch_size // 2, 2 * steps, generator) @ snapshot.gradients
            half = halves.square().sum(-1).mean(1)
            whole = halves.view(len(TASKS), steps, 2, -1).mean(2)
            squared, trace = noise.two_batch_estimate(half, whole.square().sum(-1).mean(1), batch_size // 2, batch_size)
            estimates["two batches"].append(torch.stack([squared, trace / batch_size]))
            last = [torch.stack([run[-1] for run in noise.momentum_estimates(task, gamma, rate)]) for task in whole]
            estimates["momentum"].append(torch.stack(last, 1))
        for estimator, runs in estimates.items():
            mean = torch.stack(runs).mean(0)
            for quantity, estimate, exact in zip(("signal", "noise"), mean, (signal, noise_), strict=True):
                entries += task_rows(snapshot, estimator=estimator, quantity=quantity, ratio=estimate / exact)
    return pd.DataFrame(entries)


def estimator_finding(table: pd.DataFrame) -> str:
    """What the estimator figure shows: how many intervals hold the exact value, and the widest of them."""
    width = (table["high"] - table["low"]).groupby(table["quantity"]).max() / 2
    inside = ((table["low"] <= 1) & (table["high"] >= 1)).sum()
    return (
        f"{inside} of {len(table)} intervals contain the exact value. The widest reaches"
        f" {number(100 * width['noise'], 2)}% to either side for the noise and {number(100 * width['signal'], 2)}% for"
        " the signal."
    )


def estimator_claims(estimates: pd.DataFrame) -> list[Verdict]:
    """Verdicts on both estimators, from :func:`estimators`.

    Estimates may come out negative, so that their intervals are those of a mean.
    """
    return [
        Verdict(
            "Estimates from batch gradients equal the exact powers",
            "reconstruction",
            1,
            0.1,
            mean_interval(rows.groupby("seed")["ratio"].mean()),
            reading="estimated over exact power, mean over tasks; frozen parameters",
            case=f"{quantity} from {estimator}",
            kind="ours",
        )
        for (estimator, quantity), rows in estimates.groupby(["estimator", "quantity"])
    ]


def estimator_figure(estimates: pd.DataFrame) -> Exhibit:
    """Estimated over exact signal and noise of each task, from :func:`estimators`."""
    table = summarise(estimates, "ratio", ["task", "quantity", "estimator"])
    figure, axes_by_quantity = panels(2, height=2.8)
    for axes, (quantity, rows) in zip(axes_by_quantity, table.groupby("quantity"), strict=True):
        dots(axes, rows, "task", by="estimator", reference=1)
        axes.set(xlabel=f"estimated / exact {quantity} power")
    legend(figure, axes_by_quantity[0], 2)
    return Exhibit(
        name="estimators",
        table=table,
        figure=figure,
        uses=("seeds", "batch_size", "gamma", "draws"),
        caption="Power of signal and noise estimated from batch gradients, over the exact powers."
        f" {estimator_finding(table)} {conditions(estimates['seed'].nunique(), BARS)}",
        alt="Estimated over exact noise (left) and signal (right) per task and estimator, with intervals; a line at"
        " one.",
    )
