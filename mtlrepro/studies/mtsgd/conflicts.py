"""Whether the mask of MTSGD is a filter of conflicts between tasks, or of the noise of batches.

The gradients of one task on two halves of a batch differ in nothing but their images. Slices in which they conflict do
so by noise, and a threshold drops them as it drops those of two tasks. What it drops between two tasks on different
halves beyond that is due to the tasks. It is conflict only as far as the tasks disagree in more than half of the
slices, which gradients without any relation do as well. All four kinds of pairs stand in the same comparisons, so that
they are paired. Halves of a batch are noisier than the batches of training.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtlrepro.analysis.verdicts import (
    Interval,
    Verdict,
    bracketed_over,
    geometric_interval,
    mean_interval,
    number,
    over_seeds,
    percent_interval,
    range_interval,
)
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import dots, legend, panels, styles
from mtlrepro.studies.comparison import columns
from mtlrepro.studies.mtsgd.comparisons import (
    ALONE,
    APART,
    TASKS,
    Epochs,
    exhibit_by_epoch,
    last_by_channel,
    pooled,
)
from mtlrepro.studies.mtsgd.premise import Premise
from mtlrepro.studies.mtsgd.rule import expected_part
from mtlrepro.training.slices import LEVELS, STEPS, THRESHOLDS, Slices

OURS = "our question"
KINDS = ("1x1", "3x3")
"""Kernels that are looked at apart: at the level of channels, the slices of the first are single numbers."""
TOGETHER, BETWEEN = "two tasks, one batch", "two tasks, two halves"
PAIRS = {TOGETHER: TASKS, BETWEEN: APART} | {f"{task}, two halves": pair for task, pair in ALONE.items()}
"""Pairs of gradients by what figures call them."""
CUTS = (-0.5, 0.0)
"""Thresholds at which what is dropped is split up."""
HALF = 0.5
"""Part of noise in what the mask drops, below which most of it is due to the tasks."""
CHANCE = 50.0
"""Share in % of the slices of gradients without any relation that conflict, of every size."""
MASKED = LEVELS[1:]
"""Levels of MTSGD."""


def at(threshold: float) -> int:
    """Position of one of `THRESHOLDS`."""
    return round((threshold + 1) * STEPS)


def conflicts(runs: Sequence[Epochs]) -> pd.DataFrame:
    """Share of the slices with c < 0.

    Args:
        runs: Comparisons of each seed.

    Returns:
        One row an epoch, kind of kernel, level and pair: `epoch`, `kernels`, `level`, `pair`; `mean`, `low` and `high`
        in % over seeds, see `over_seeds`.
    """
    rows = []
    for epoch in runs[0]:
        for kind in KINDS:
            for level in LEVELS:
                for name, pair in PAIRS.items():
                    shares = [100 * run[epoch].conflicts(pair, level, _of(run[epoch], kind)) for run in runs]
                    found = over_seeds(shares, percent_interval)
                    rows.append((epoch, kind, level, name, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["epoch", "kernels", "level", "pair", "mean", "low", "high"])


def _of(slices: Slices, kind: str) -> np.ndarray:
    """Mask [L] of the layers of a kind."""
    return np.asarray(slices.kinds == kind)


def dropped(slices: Slices, level: str, kind: str, threshold: float) -> tuple[float, float]:
    """Shares of the slices that a threshold drops, in %.

    Args:
        slices: A comparison.
        level: What a slice is.
        kind: Kind of the kernels.
        threshold: One of `THRESHOLDS`.

    Returns:
        Between two tasks on different halves, and between the halves of one task, the mean of the tasks.
    """
    pairs = (APART, *ALONE.values())
    between, *alone = (100 * (1 - slices.survival(pair, level, _of(slices, kind))[at(threshold)]) for pair in pairs)
    return float(between), float(np.mean(alone))


def noise(runs: Sequence[Epochs]) -> pd.DataFrame:
    """Split what the mask drops into the noise of batches and what is due to the tasks, over all compared epochs.

    Args:
        runs: Comparisons of each seed.

    Returns:
        One row a run, level, kind of kernel and threshold, `seed`, `level`, `kernels`, `threshold`; `between` and
        `alone`, as `dropped` gives them; and `part`, their quotient `alone / between`, NaN where nothing is dropped.
    """
    rows = []
    for seed, run in enumerate(runs):
        slices = pooled(list(run.values()))
        for level in MASKED:
            for kind in KINDS:
                for threshold in CUTS:
                    between, alone = dropped(slices, level, kind, threshold)
                    part = alone / between if between > 0 else np.nan
                    rows.append((seed, level, kind, threshold, between, alone, part))
    return pd.DataFrame(rows, columns=["seed", "level", "kernels", "threshold", "between", "alone", "part"])


def _quotient(values: pd.Series) -> Interval:
    """Geometric mean of quotients, over seeds; the range where one is 0."""
    return over_seeds(values, geometric_interval if (values > 0).all() else range_interval)


# --- exhibits -----------------------------------------------------------------------------------------


def conflicts_exhibit(shown: Premise) -> Exhibit:
    """Share of conflicting slices by level and pair, 1x1 kernels apart, a picture an epoch.

    Args:
        shown: Comparisons of joint SGD.
    """
    table = conflicts(shown.plain)
    return exhibit_by_epoch(
        name="conflicts",
        table=table,
        caption=f"How many slices conflict (c < 0), of two tasks and of one. {_conflicts_sentence(table)}"
        f"{shown.left_out()} (Dashed: gradients without any relation, {CHANCE:g} %; halves of a batch are noisier than "
        f"the batches of training; bars: {bracketed_over(len(shown.plain))}.)",
        frames={epoch: _conflicts_frame(table[table["epoch"] == epoch], epoch) for epoch in shown.epochs},
    )


def _conflicts_frame(own: pd.DataFrame, epoch: int) -> tuple[Figure, str]:
    drawing, axes = panels(len(KINDS), height=3.4)
    for panel, kind in zip(axes, KINDS, strict=True):
        dots(panel, own[own["kernels"] == kind], "level", by="pair", reference=CHANCE)
        panel.set(title=f"{kind} kernels", xlabel="conflicting slices, %")
    legend(drawing, axes[0], 2)
    alt = (
        f"Dots with bars after epoch {epoch}: share of conflicting slices, a panel for each size of kernel, a line for "
        "each kind of slice and a colour for each pair of gradients, beside a dashed line at one half."
    )
    return drawing, alt


def _conflicts_sentence(table: pd.DataFrame) -> str:
    """Conflicts at the level of channels after the last epoch, in sentences."""
    parts = []
    for kind, own in last_by_channel(table).groupby("kernels", sort=False):
        means = own.set_index("pair")["mean"]
        alone = [f"{number(means[name])} % of {task}'s own" for task, name in _alone_names().items()]
        parts.append(
            f"of {kind} kernels {number(means[TOGETHER])} % conflict between the two tasks on one batch and "
            f"{number(means[BETWEEN])} % on different images, beside {' and '.join(alone)}"
        )
    return f"By channel, after the last epoch, {'; '.join(parts)}."


def _alone_names() -> dict[str, str]:
    """Task to the name of its own pair."""
    return {task: next(name for name, own in PAIRS.items() if own == pair) for task, pair in ALONE.items()}


def survival_exhibit(shown: Premise) -> Exhibit:
    """Share of the slices of 3x3 kernels that each threshold keeps, a picture an epoch.

    Args:
        shown: Comparisons of joint SGD.
    """
    frames, rows = {}, []
    for epoch in shown.epochs:
        slices = pooled([run[epoch] for run in shown.plain])
        kept = {
            level: {name: 100 * slices.survival(pair, level, _of(slices, "3x3")) for name, pair in PAIRS.items()}
            for level in ("channel", "filter")
        }
        nulls = {level: _expected(slices, level) for level in kept}
        frames[epoch] = _survival_frame(kept, nulls, epoch)
        rows += [
            (epoch, level, name, *(float(shares[at(one)]) for one in (-0.75, *CUTS)))
            for level, by_name in kept.items()
            for name, shares in {**by_name, "random directions": nulls[level]}.items()
        ]
    table = pd.DataFrame(rows, columns=["epoch", "level", "pair", "kept at -0.75, %", "at -0.5, %", "at 0, %"])
    last = last_by_channel(table).set_index("pair")["at 0, %"]
    alone = last[[*_alone_names().values()]]
    return exhibit_by_epoch(
        name="survival",
        table=table,
        caption="How many slices of 3x3 kernels each threshold keeps. By channel, after the last epoch, a threshold of "
        f"0 keeps {number(last[TOGETHER])} % between the two tasks on one batch, {number(last[BETWEEN])} % on two "
        f"halves of it, and {number(alone.min())} % to {number(alone.max())} % of one task on two halves; of random "
        f"directions it would keep {number(last['random directions'])} %.{shown.left_out()} "
        "(Dashed: independent random directions; "
        f"{len(shown.plain)} seeds together.)",
        frames=frames,
    )


def _expected(slices: Slices, level: str) -> np.ndarray:
    """Shares in % that thresholds keep of 3x3 kernels under independent random directions, [thresholds]."""
    layers = _of(slices, "3x3")
    counts = slices.counts[layers, LEVELS.index(level)]
    sizes = slices.sizes[layers] // counts
    by_size = {int(n): counts[sizes == n].sum() for n in np.unique(sizes)}
    shares = [[expected_part(float(one), n, power=0) for one in THRESHOLDS] for n in by_size]
    return np.asarray(100 * np.average(shares, axis=0, weights=list(by_size.values())))


def _survival_frame(
    kept: dict[str, dict[str, np.ndarray]], nulls: dict[str, np.ndarray], epoch: int
) -> tuple[Figure, str]:
    drawing, axes = panels(len(kept))
    for panel, (level, by_name) in zip(axes, kept.items(), strict=True):
        looks = styles(list(PAIRS))
        for name, shares in by_name.items():
            colour, marker = looks[name]
            panel.plot(THRESHOLDS, shares, color=colour, marker=marker, markevery=5, label=name)
        panel.plot(THRESHOLDS, nulls[level], color="0.3", linestyle="--", label="random directions")
        panel.set(title=f"by {level}", xlabel="threshold")
    axes[0].set_ylabel("slices kept, %")
    legend(drawing, axes[0], 2)
    alt = (
        f"Curves of the share of slices kept against the threshold after epoch {epoch}, falling from all to none, a "
        "panel for each level: two tasks, each task with itself, and a dashed curve of random directions."
    )
    return drawing, alt


def noise_exhibit(shown: Premise) -> Exhibit:
    """What the mask drops, split into the noise of batches and what is due to the tasks.

    Args:
        shown: Comparisons of joint SGD.
    """
    rows = []
    table = noise(shown.plain)
    for keys, own in table.groupby(["level", "kernels", "threshold"], sort=False):
        row: dict[str, object] = dict(zip(("level", "kernels", "threshold"), keys, strict=True))
        row["threshold"] = f"{row['threshold']:g}"
        row |= columns("dropped of two tasks, %", over_seeds(own["between"], percent_interval))
        row |= columns("dropped of one task, %", over_seeds(own["alone"], percent_interval))
        whole = own["part"].notna().all()
        row["part of noise"] = str(_quotient(own["part"])) if whole else "nothing dropped"
        rows.append(row)
    return Exhibit(
        name="noise",
        table=pd.DataFrame(rows),
        caption="What the mask drops between two tasks on different images, beside what it would drop between two "
        f"halves of one task's batch, where no tasks can conflict. {_noise_sentence(table)}{shown.left_out()} "
        "(Part of noise: the "
        "second over the first, geometric mean; means over both tasks and all compared epochs; halves of a batch are "
        f"noisier than the batches of training; brackets: {bracketed_over(len(shown.plain))}.)",
        rtol=1e-3,
    )


def _noise_sentence(table: pd.DataFrame) -> str:
    own = table[(table["level"] == "channel") & (table["threshold"] == 0)]
    parts = [
        f"{number(100 * _quotient(part['part']).value)} % of it on {kind} kernels"
        for kind, part in own.groupby("kernels", sort=False)
        if part["part"].notna().all()
    ]
    if not parts:
        return "Nothing drops."
    return (
        f"By channel and at 0, noise alone accounts for {' and for '.join(parts)}. Of gradients without any relation, "
        f"which do not conflict either, it would drop {CHANCE:g} %."
    )


# --- claims -------------------------------------------------------------------------------------------


def claims(shown: Premise) -> list[Verdict]:
    """Ask whether two tasks conflict more than one task with itself and than by chance, and how much noise there is.

    Where a threshold drops nothing between two tasks, the second question has no answer.

    Args:
        shown: Comparisons of joint SGD.
    """
    found = []
    spread = bracketed_over(len(shown.plain))
    for (level, kind, threshold), own in noise(shown.plain).groupby(["level", "kernels", "threshold"], sort=False):
        case = f"{kind} kernels by {level}, threshold {threshold:g}"
        found += [
            Verdict(
                "The mask drops more between two tasks than between two halves of one task's batch",
                OURS,
                0.0,
                0.0,
                shown.judged(over_seeds(own["alone"] - own["between"], mean_interval)),
                below=True,
                reading="slices dropped of one task less those of two tasks on different halves, points of %, paired, "
                f"all compared epochs [{spread}]",
                case=case,
                kind="ours",
            ),
            Verdict(
                "Most of what the mask drops is due to the tasks, not to the noise of batches",
                OURS,
                HALF,
                0.0,
                shown.judged(_quotient(own["part"])) if own["part"].notna().all() else None,
                below=True,
                reading="slices dropped of one task over those of two tasks on different halves, all compared epochs "
                f"[{spread}]",
                case=case,
                kind="ours",
            ),
        ]
    return [*found, *_chance_claims(shown)]


def _chance_claims(shown: Premise) -> list[Verdict]:
    """Whether the two tasks, on the batches of training, conflict in more slices than unrelated gradients would."""
    parts = [pooled(list(run.values())) for run in shown.plain]
    shares = {
        (level, kind): [CHANCE - 100 * one.conflicts(TASKS, level, _of(one, kind)) for one in parts]
        for level in MASKED
        for kind in KINDS
    }
    return [
        Verdict(
            "The two tasks conflict in more slices than gradients without any relation",
            OURS,
            0.0,
            0.0,
            shown.judged(over_seeds(own, mean_interval)),
            below=True,
            reading="half of the slices less those with c < 0 of the two tasks on one batch, points of %, all compared "
            f"epochs [{bracketed_over(len(parts))}]",
            case=f"{kind} kernels by {level}",
            kind="ours",
        )
        for (level, kind), own in shares.items()
    ]
