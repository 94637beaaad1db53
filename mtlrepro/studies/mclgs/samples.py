"""Samples: which of them MCLGS would weigh down, whether these are the hard ones, and runs with weights by sample.

The poster speaks of samples that generate gradient conflicts, beside a curriculum that removes hard samples; whether
the ones are the others it does not say. Runs of equal weights keep the gradients of the tasks on single samples, early
and late in training, of the same images with the same transforms. The weight of a sample is that of the rule at a0,
the mean over pairs of tasks; there it is nearly 0 or 2 for each pair, so that correlations are those of the similarity
itself. A sample is as hard as its losses under the trained network, which has seen it in training: the mean over tasks
of its rank among the samples of the run, so that no task counts more for having larger losses. Conflicts occur between
samples of one task too (arXiv 2311.04698): they are the control of those between tasks. Runs that diverged are left
out and counted, and a claim about what has lost one is not judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from mtlrepro.analysis.verdicts import (
    Interval,
    Verdict,
    bracketed_over,
    correlation_interval,
    mean_interval,
    over_seeds,
    percent_interval,
)
from mtlrepro.balancers import MCLGS
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import bracketed, columns, fixed, paired
from mtlrepro.studies.mclgs import grids
from mtlrepro.studies.mclgs.scores import ROOMS, better, gains
from mtlrepro.studies.scores import DELTA
from mtlrepro.studies.setting import Setting, diverged
from mtlrepro.training.cosines import Cosines

A0 = MCLGS(1).a0
"""Strength of the curriculum at its start."""
TASKS_SAMPLE, TASKS_OTHER, ONE_TASK, TASKS_BATCH = (
    "two tasks, the same sample",
    "two tasks, two samples",
    "one task, two samples",
    "two tasks, the same batch",
)
KINDS = (TASKS_SAMPLE, TASKS_OTHER, ONE_TASK, TASKS_BATCH)
"""Gradients that are compared."""
BY_BATCH, BY_SAMPLE = "MCLGS by batch", "MCLGS by sample"
COMPARED = "equal weights whose gradients are compared"
THEN, END = "hard then", "hard in the end"
"""How hard a sample is early in training, and under the trained network."""
HARDEST = 20
"""Share in % of the samples that count as the hardest."""


@dataclass(frozen=True)
class Samples:
    """What gradients of single samples say.

    Attributes:
        cosines: Seed to epoch to gradients of batches and of their samples.
        runs: `equal`, `BY_BATCH` and `BY_SAMPLE` to runs on small images, as `fronts.evaluated` gives them.
        lost: One of these, or `COMPARED`, to how many of its runs diverged and are left out, if any did.
    """

    cosines: Mapping[int, Mapping[int, Cosines]]
    runs: Mapping[str, pd.DataFrame]
    lost: Mapping[str, int]

    def left_out(self, *names: str) -> str:
        """Say which runs of some names diverged, in a sentence after others; see `diverged`."""
        return diverged({name: count for name, count in self.lost.items() if name in names})

    @property
    def epochs(self) -> list[int]:
        """Epochs after which gradients were compared."""
        return sorted(next(iter(self.cosines.values())))


def load(setting: Setting) -> Samples:
    """Read the runs, and train what is missing.

    Args:
        setting: What all runs share.

    Raises:
        RuntimeError: All runs of equal weights, of those whose gradients are compared or of those on small images,
            diverged, see `Setting.reference`.
    """
    compared, by_name = grids.compared(setting), grids.sampled(setting)
    setting.reference("equal weights on small images", by_name["equal"])
    cosines = {
        run.seed: {epoch: found.cosines for epoch, found in setting.store.gradients(run).items()}
        for run in setting.reference(COMPARED, compared)
    }
    runs = {name: fronts.evaluated(setting, configs) for name, configs in by_name.items()}
    return Samples(cosines, runs, setting.lost({COMPARED: compared, **by_name}))


def similarities(found: Cosines) -> np.ndarray:
    """Cosines of the tasks' gradients on each sample, `[pairs, m, B]`; NaN where a task has no label.

    Args:
        found: Gradients of the samples of m batches.
    """
    pairs = combinations(found.tasks.tolist(), 2)
    similar: np.ndarray = np.stack([np.diagonal(found.between_samples(*pair), axis1=1, axis2=2) for pair in pairs])
    return similar


def sample_weights(found: Cosines, p: float = A0) -> np.ndarray:
    """Weight of each sample, 1 + tanh(p s) on average over pairs of tasks, `[m, B]`; NaN where a task has no label.

    Args:
        found: Gradients of the samples of m batches.
        p: Strength of the curriculum.
    """
    weights: np.ndarray = (1 + np.tanh(p * similarities(found))).mean(axis=0)
    return weights


def of_samples(found: Samples) -> pd.DataFrame:
    """Weight and losses of every sample.

    Returns:
        One row a seed and sample: `seed`, `index` among the training images; `similarity`, the mean over pairs of
        tasks after the first of the compared epochs, and `weight`, that at the start of the curriculum; and `hard then`
        and `hard in the end`, in % of the samples: the mean over tasks of the share of the run's samples whose loss is
        no larger, under the network of the first and of the last of these epochs.
    """
    rows = []
    for seed, by_epoch in found.cosines.items():
        first, last = (by_epoch[epoch] for epoch in (found.epochs[0], found.epochs[-1]))
        weights = sample_weights(first)
        rows.append(
            pd.DataFrame(
                {
                    "seed": seed,
                    "index": first.indices[: len(weights)].ravel(),
                    "similarity": similarities(first).mean(axis=0).ravel(),
                    "weight": weights.ravel(),
                    THEN: _hard(first),
                    END: _hard(last),
                }
            )
        )
    return pd.concat(rows, ignore_index=True).dropna()


def _hard(found: Cosines) -> np.ndarray:
    """See `of_samples`; NaN where a task has no label."""
    losses = pd.DataFrame(np.moveaxis(found.losses, 1, -1).reshape(-1, len(found.tasks)))
    hard: np.ndarray = 100 * losses.rank(pct=True).mean(axis=1, skipna=False).to_numpy()
    return hard


def hardness(table: pd.DataFrame) -> pd.DataFrame:
    """How the similarity of gradients on a sample goes with how hard it is.

    Args:
        table: As `of_samples` gives it.

    Returns:
        One row a seed: `seed`; Spearman's rank correlation of the similarity with `hard then` and `hard in the end`;
        `weighed down, %`, the share of samples with a weight below 1; and `of the hardest, %`, that among the `HARDEST`
        that are hardest in the end.
    """
    rows = []
    for seed, own in table.groupby("seed"):
        hard = own[END] >= own[END].quantile(1 - HARDEST / 100)
        row = {"seed": seed}
        for name in (THEN, END):
            row[name] = float(stats.spearmanr(own["similarity"], own[name]).statistic)
        row["weighed down, %"] = float(100 * (own["weight"] < 1).mean())
        row["of the hardest, %"] = float(100 * (own[hard]["weight"] < 1).mean())
        rows.append(row)
    return pd.DataFrame(rows)


def conflicts(found: Samples) -> pd.DataFrame:
    """Cosines of tasks and of samples, with those of one task on two samples as the control.

    Returns:
        One row an epoch, kind of `KINDS` and seed: `epoch`, `compared`, `seed`; the mean `cosine`; `conflicts, %`, the
        share of negative ones; and `weight at a0`, the mean of 1 + tanh(a0 s).
    """
    rows = []
    for seed, by_epoch in found.cosines.items():
        for epoch, cosines in by_epoch.items():
            for kind in KINDS:
                values = _cosines(cosines, kind)
                weight = float((1 + np.tanh(A0 * values)).mean())
                rows.append((epoch, kind, seed, float(values.mean()), float(100 * (values < 0).mean()), weight))
    return pd.DataFrame(rows, columns=["epoch", "compared", "seed", "cosine", "conflicts, %", "weight at a0"])


def _cosines(found: Cosines, kind: str) -> np.ndarray:
    """All cosines of a kind, those of absent gradients left out."""
    tasks = found.tasks.tolist()
    if kind == TASKS_BATCH:
        values = [found.between(*pair) for pair in combinations(tasks, 2)]
    elif kind == TASKS_SAMPLE:
        values = [np.diagonal(found.between_samples(*pair), axis1=1, axis2=2) for pair in combinations(tasks, 2)]
    else:
        pairs = combinations(tasks, 2) if kind == TASKS_OTHER else ((task, task) for task in tasks)
        b = found.samples.shape[2]
        values = [found.between_samples(*pair)[:, ~np.eye(b, dtype=bool)] for pair in pairs]
    joined: np.ndarray = np.concatenate([part.ravel() for part in values])
    known: np.ndarray = joined[~np.isnan(joined)]
    return known


# --- exhibits and verdicts ----------------------------------------------------------------------------


def hardness_exhibit(found: Samples) -> Exhibit:
    """Similarity of gradients on samples early in training, against how hard they are then and in the end.

    Args:
        found: As `load` gives it.
    """
    table = of_samples(found)
    measured = hardness(table)
    drawing = Figure(figsize=(7.2, 3.4), layout="constrained")
    for axes, name in zip(drawing.subplots(1, 2, sharey=True), (THEN, END), strict=True):
        axes.plot(table[name], table["similarity"], ".", color=COLOURS[0], alpha=0.4)
        axes.axhline(0, color="0.5", linewidth=1)
        axes.set_xlabel(f"{name}, %")
    drawing.axes[0].set_ylabel("mean similarity on the sample")
    own = {name: over_seeds(measured[name], correlation_interval) for name in (THEN, END)}
    down, hard = (over_seeds(measured[name], percent_interval) for name in ("weighed down, %", "of the hardest, %"))
    caption = (
        f"Similarity of the tasks' gradients on single samples after epoch {found.epochs[0]}, by how hard the sample "
        "is then and under the trained network: the share of samples whose loss is no larger, mean over tasks. Rank "
        f"correlations: {bracketed(own[THEN], 2)} and {bracketed(own[END], 2)}. With a0 = {A0:g}, weighed down are "
        f"{bracketed(down)} % of the samples, and {bracketed(hard)} % of the {HARDEST} % that are hardest in the end."
        f"{found.left_out(COMPARED)} (Equal weights; {len(table) // len(measured)} samples a seed; brackets: "
        f"{bracketed_over(len(measured))}.)"
    )
    return Exhibit(
        name="weighed_down_samples",
        table=measured,
        caption=caption,
        figure=drawing,
        alt="Two clouds of dots, one a sample: the similarity of gradients against how hard it is early in training "
        "and in the end.",
        uses=("scale", "seeds"),
        form="drawing",
    )


def conflicts_exhibit(found: Samples) -> Exhibit:
    """Conflicts between tasks and between samples of one task.

    Args:
        found: As `load` gives it.
    """
    table = conflicts(found)
    rows: list[dict[str, Any]] = []
    for (epoch, kind), own in table.groupby(["epoch", "compared"], sort=False):
        row: dict[str, Any] = {"after epoch": epoch, "compared": kind}
        row |= columns("cosine", over_seeds(own["cosine"], mean_interval))
        row |= columns("conflicts, %", over_seeds(own["conflicts, %"], percent_interval))
        rows.append(row | columns("weight at a0", over_seeds(own["weight at a0"], mean_interval)))
    shown = pd.DataFrame(rows).sort_values("after epoch", kind="stable").reset_index(drop=True)
    first = shown[shown["after epoch"] == found.epochs[0]].set_index("compared")["conflicts, %"]
    texts = ", ".join(f"{kind} {fixed(value)} %" for kind, value in first.items())
    caption = (
        f"Negative cosines of gradients over the shared parameters. After epoch {found.epochs[0]}: {texts}. One task "
        "on two samples is the control of two tasks on two samples, from which it differs in the task alone."
        f"{found.left_out(COMPARED)} (Samples share a forward pass, in which batch normalisation makes them look less "
        "alike than they are, so that both rows of two samples may have too many conflicts; brackets: "
        f"{bracketed_over(len(found.cosines))}.)"
    )
    return Exhibit(name="conflicts_of_samples", table=shown, caption=caption)


def training_exhibit(found: Samples) -> Exhibit:
    """Runs with weights by batch and by sample, beside equal weights.

    Args:
        found: As `load` gives it.
    """
    rows = []
    for name, runs in found.runs.items():
        gained = _gained(found, name, "equal")
        if len(gained) < 2:
            continue
        deltas = ROOMS.delta_m(runs, found.runs["equal"][ROOMS.names].mean())
        row: dict[str, Any] = {"runs": name, **columns(f"{DELTA}, %", over_seeds(deltas, mean_interval))}
        rows.append(row | columns("less equal, points", mean_interval(gained)))
    own = paired(_gained(found, BY_SAMPLE, BY_BATCH))
    caption = (
        "MCLGS with weights by batch and by sample on small images. By sample less by batch: "
        f"{bracketed(own, signed=True)} points of {DELTA}.{found.left_out(*found.runs)} (By sample the mean weight is "
        "another one, so that the size of the weights differs too. Differences: paired 95 %, not corrected; rows: "
        f"{bracketed_over(len(found.runs['equal']))}; against the mean of equal weights.)"
    )
    return Exhibit(name="weights_by_sample", table=pd.DataFrame(rows), caption=caption)


def _gained(found: Samples, one: str, other: str) -> pd.Series:
    return gains(found.runs[one], found.runs[other], found.runs["equal"], ROOMS)


def hardness_claim(correlations: pd.Series | None, case: str) -> Verdict:
    """Ask whether samples on which tasks conflict tend to be the hard ones: a correlation below 0, however weak.

    Args:
        correlations: Of similarity and how hard samples are, one a seed; None if it cannot be tested.
        case: Data of the runs.
    """
    return Verdict(
        "The less alike the gradients of the tasks on a sample are, the harder it is in the end",
        "our question",
        0.0,
        0.0,
        None if correlations is None else correlation_interval(correlations),
        below=True,
        reading="rank correlation over training samples of the similarity early in training and of how hard they are "
        "in the end, mean over seeds [95 %]; any value below 0 counts",
        case=case,
        kind="ours",
        limits=5,
    )


def claims(found: Samples | None) -> list[Verdict]:
    """Ask whether conflicts mark hard samples, and judge what weights by sample gain.

    Args:
        found: As `load` gives it; None if there are no such runs.
    """
    table = early = None
    if found and COMPARED not in found.lost:
        table = hardness(of_samples(found))
        early = conflicts(found)
        early = early[early["epoch"] == found.epochs[0]].pivot(index="seed", columns="compared", values="conflicts, %")
    ours: dict[str, Any] = {"source": "our question", "claimed": 0.0, "tolerance": 0.0, "below": True, "kind": "ours"}
    return [
        hardness_claim(None if table is None else table[END], "rooms"),
        Verdict(
            "Of the hardest samples more are weighed down than of all",
            measured=None if table is None else paired(table["weighed down, %"] - table["of the hardest, %"]),
            reading=f"share of all samples less that of the hardest {HARDEST} %, points of %, mean over seeds "
            "[paired 95 %]",
            limits=5,
            **ours,
        ),
        Verdict(
            "On two samples, two tasks conflict more often than one task",
            measured=None if early is None else paired(early[ONE_TASK] - early[TASKS_OTHER]),
            reading="conflicts of one task less those of two, points of %, mean over seeds [paired 95 %]",
            **ours,
        ),
        better(
            "With weights by sample MCLGS is better than equal weights",
            _judged(found, "equal"),
            source="Proposed method",
            case="small images",
            finding=5,
        ),
        better(
            "Weights by sample are better than by batch", _judged(found, BY_BATCH), source="our question", kind="ours"
        ),
    ]


def _judged(found: Samples | None, other: str) -> Interval | None:
    """By how much weights by sample are better; None if a run of either is left out or there are none."""
    if found is None or found.lost.keys() & {BY_SAMPLE, other}:
        return None
    return paired(_gained(found, BY_SAMPLE, other))
