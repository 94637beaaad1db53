r"""What survives the rule of MTSGD: the length of its steps, the slices that it keeps, the learning rate that it makes.

The length of a step is that of the combined gradient of all shared parameters over that of the plain mean. It is the
root of a sum of squares over slices. With a cosine c, a slice of which both gradients are brought to the length s has
the square :math:`s^2 (2 + 2c)`, so that of independent random directions in :math:`R^n` a threshold leaves the part
:math:`E[(1 + c)\, 1(c \ge t)]` of the squares, whatever s is. The expected length of a single slice falls by more: the
slices that a threshold drops are the short ones, which count for little among squares.

Runs that diverged are left out and counted, and a question about a row of which one did is not answered; what follows
by algebra is looked at in the runs that are left.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from mtlrepro.analysis.verdicts import (
    Interval,
    Verdict,
    bracketed_over,
    geometric_interval,
    number,
    over_seeds,
    percent_interval,
    range_interval,
    share_interval,
)
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import METHODS, dots, legend, styles
from mtlrepro.studies.comparison import columns
from mtlrepro.studies.mtsgd import grids
from mtlrepro.studies.mtsgd.comparisons import (
    KERNELS,
    TASKS,
    Epochs,
    exhibit_by_epoch,
    groups,
    last_by_channel,
    pooled,
    read,
)
from mtlrepro.studies.mtsgd.conflicts import at
from mtlrepro.studies.mtsgd.grids import Cell
from mtlrepro.studies.mtsgd.rule import expected_part
from mtlrepro.studies.setting import Setting, diverged
from mtlrepro.studies.trends import by_epoch
from mtlrepro.training.config import RunConfig
from mtlrepro.training.slices import LEVELS, THRESHOLDS, Slices

OURS = "our question"
CELLS = tuple(cell for cell in (*grids.TABLE_2, *grids.TABLE_4) if cell.threshold is not None)
"""Rows of the tables whose steps are looked at: each threshold and level, with the article's decay."""
AS_LONG = 0.1
"""Part of its length by which a step may fall short of the plain one and still count as long as it."""
UNCHANGED = 0.05
"""Part of its length that a threshold may take from a step and still count as leaving it as it is."""
AS_MUCH = 0.2
"""Part by which what a threshold takes may differ from what it takes by chance and still count as that."""
ROUNDING = 1e-6
"""By which the length of a step that is not longer may exceed 1 as computed."""


@dataclass(frozen=True)
class Survival:
    """What is left of the steps of MTSGD.

    Attributes:
        setting: At the scale of the runs.
        steps: As `history` gives it.
        compared: Threshold, of `grids.ENDS`, to the comparisons of gradients along the runs of MTSGD by channel at it.
        lost: Level and threshold to how many of their runs diverged and are left out, if any did.
    """

    setting: Setting
    steps: pd.DataFrame
    compared: dict[float, list[Epochs]]
    lost: Mapping[tuple[str, float | None], int] = field(default_factory=dict)

    @property
    def left_out(self) -> str:
        """Say which runs diverged, in a sentence after others; see `diverged`."""
        return diverged(
            {f"threshold {one:g} by {level}": n for (level, one), n in self.lost.items() if one is not None}
        )


def load(setting: Setting, cells: Sequence[Cell] = CELLS) -> Survival:
    """Read what the runs kept, at the largest scale at which all are stored; missing ones are trained.

    Args:
        setting: What all experiments share.
        cells: Rows of MTSGD, with both ends of the thresholds by channel.

    Raises:
        RuntimeError: All runs of an end of the thresholds whose gradients are compared diverged, see
            `Setting.reference`.
    """

    def configs(one: Setting) -> list[RunConfig]:
        return one.unbroken(grids.runs_of(one, cells))

    at_size = setting.largest_stored(configs)
    at_size.finite(configs(at_size))
    compared = {end: read(at_size, at_size.reference(_name(end), _compared(at_size, end))) for end in grids.ENDS}
    by_row: dict[tuple[str, float | None], list[RunConfig]]
    by_row = {(cell.level, cell.threshold): cell.runs(at_size) for cell in cells}
    return Survival(at_size, history(at_size, cells), compared, at_size.lost(by_row))


def _compared(setting: Setting, threshold: float) -> list[RunConfig]:
    """Runs by channel whose gradients are compared."""
    return [run for run in Cell(threshold).runs(setting) if run.gradients]


def history(setting: Setting, cells: Iterable[Cell]) -> pd.DataFrame:
    """Read what the records have of the steps of MTSGD, means over the steps of an epoch; see `Survival.lost`.

    Args:
        setting: Holds the store.
        cells: Of MTSGD.

    Returns:
        One row a run and epoch: `level`, `threshold`, `seed`, `epoch`, `lr`; `length` of the step over that of the
        plain mean; `slices` and `elements` that are kept, in %; `effective`, the learning rate times the length.

    Raises:
        KeyError: A run is not stored.
    """
    rows = []
    for cell in cells:
        runs = setting.unbroken(cell.runs(setting))
        records = setting.records(runs)
        for run in runs:
            for entry in records[run.hash]["history"]:
                found = entry["observed"]
                kept = 100 * found["slices_kept"], 100 * found["elements_kept"]
                rows.append(
                    (
                        cell.level,
                        cell.threshold,
                        run.seed,
                        entry["epoch"],
                        entry["lr"],
                        found["length"],
                        *kept,
                        entry["lr"] * found["length"],
                    )
                )
    return pd.DataFrame(
        rows, columns=["level", "threshold", "seed", "epoch", "lr", "length", "slices", "elements", "effective"]
    )


def rate_shares(steps: pd.DataFrame) -> pd.Series:
    """Effective learning rate of a run over that of its schedule, both summed over the epochs.

    Args:
        steps: As `history` gives it.

    Returns:
        By `level`, `threshold` and `seed`, in [0, 1] up to rounding for two tasks.
    """
    sums = steps.groupby(["level", "threshold", "seed"], sort=False)[["effective", "lr"]].sum()
    shares: pd.Series = sums["effective"] / sums["lr"]
    return shares


def _shares(values: ArrayLike) -> Interval:
    """Shares that rounding may carry beyond 1, over seeds."""
    return over_seeds(np.minimum(values, 1.0), share_interval)


def thinned(slices: Slices, level: str, layers: np.ndarray) -> np.ndarray:
    """Length of the step at each of `THRESHOLDS` over that without one, balance alone.

    Args:
        slices: A comparison.
        level: What a slice is.
        layers: Mask [L] of the layers.
    """
    lengths = slices.length(TASKS, level, layers)
    return np.asarray(lengths / lengths[0])


def expected_thinned(slices: Slices, level: str, layers: np.ndarray, threshold: float) -> float:
    """What `thinned` would be at a threshold under independent random directions.

    Args:
        slices: A comparison, which says how much of the squared length without a threshold is in which layer.
        level: See `thinned`.
        layers: See `thinned`.
        threshold: Of the mask.
    """
    positions = np.flatnonzero(layers)
    sizes = slices.sizes[positions] // slices.counts[positions, LEVELS.index(level)]
    squares = [slices.length(TASKS, level, i)[0] ** 2 * slices.plain[_pair(slices), i] for i in positions]
    parts = [expected_part(threshold, int(n), power=2) for n in sizes]
    return float(np.sqrt(np.average(parts, weights=squares)))


def _pair(slices: Slices) -> int:
    return [tuple(pair) for pair in slices.pairs.tolist()].index(TASKS)


# --- exhibits -----------------------------------------------------------------------------------------


def _name(threshold: float) -> str:
    """What figures call MTSGD at a threshold, as `grids.SEARCHED` does."""
    return f"MTSGD ({threshold:g})"


def lengths_exhibit(shown: Survival) -> Exhibit:
    """Length of the steps and effective learning rate over the epochs, a column a level and a curve a threshold.

    Args:
        shown: What `load` gives.
    """
    steps = shown.steps
    rows = pd.concat(
        [
            own.agg(["mean", "min", "max"])
            .rename(columns={"min": "low", "max": "high"})
            .reset_index()
            .assign(measure=measure)
            for measure in ("length", "effective")
            for own in [steps.groupby(["level", "threshold", "epoch"], sort=False)[measure]]
        ]
    )
    return Exhibit(
        name="step_lengths",
        table=by_epoch(rows, ["mean", "low", "high"]),
        caption="Length of the steps of MTSGD, as a share of that of the plain mean, above, and the learning rate "
        f"times it below. {_lengths_sentence(steps)}{shown.left_out} "
        "(Lines: means over seeds; bars: all seeds; black: joint SGD, "
        "whose steps are the plain mean.)",
        figure=lengths_figure(rows, steps),
        alt="Two rows of panels, a column for each level: length of the step above, effective learning rate on a "
        "logarithmic axis below, against the epoch, a curve for each threshold, all below the black one of joint SGD.",
        uses=("scale", "seeds"),
        form="drawing",
        rtol=1e-3,
    )


def lengths_figure(rows: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """Draw what `lengths_exhibit` shows.

    Args:
        rows: `level`, `threshold`, `epoch`, `measure`; `mean`, `low`, `high`.
        steps: As `history` gives it.
    """
    levels = list(dict.fromkeys(rows["level"]))
    looks = styles([_name(one) for one in dict.fromkeys(rows["threshold"])])
    joint = steps.groupby("epoch")["lr"].first()
    drawing = Figure(figsize=(7.2, 4.4), dpi=130, layout="constrained")
    axes = drawing.subplots(2, len(levels), sharex=True, sharey="row", squeeze=False)
    for column, kind in enumerate(levels):
        plain = {"length": joint * 0 + 1, "effective": joint}
        for row, measure in enumerate(("length", "effective")):
            panel = axes[row, column]
            panel.plot(joint.index, plain[measure], color=METHODS["equal"][0], linewidth=1, label="joint SGD")
            chosen = rows[(rows["level"] == kind) & (rows["measure"] == measure)]
            for threshold, own in chosen.groupby("threshold", sort=False):
                colour, marker = looks[_name(threshold)]
                every = max(len(own) // 5, 1)
                style = {"color": colour, "marker": marker, "markevery": every, "linewidth": 1}
                panel.plot(own["epoch"], own["mean"], label=_name(threshold), **style)
                panel.vlines(own["epoch"][::every], own["low"][::every], own["high"][::every], color=colour)
        axes[0, column].set_title(f"by {kind}", fontsize=10)
        axes[1, column].set(xlabel="epoch", yscale="log")
    axes[0, 0].set(ylabel="length of the step", ylim=(0, 1.05))
    axes[1, 0].set_ylabel("rate × length")
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(4, integer=True))
    legend(drawing, axes[0, 0], 3)
    return drawing


def _lengths_sentence(steps: pd.DataFrame) -> str:
    """Effective learning rates by channel at both ends of the thresholds, in a sentence."""
    shares = rate_shares(steps)
    ends = [f"{_name(end)} {_shares(shares['channel'][end])}" for end in grids.ENDS]
    return (
        f"By channel the learning rate in effect, as a part of the schedule's, is {' and '.join(ends)} "
        f"({bracketed_over(len(shares['channel'][grids.NO_CONFLICT]))})."
    )


def kept_exhibit(shown: Survival) -> Exhibit:
    """Length of the step, slices and elements kept by level and threshold, means over the epochs.

    Args:
        shown: What `load` gives.
    """
    steps = shown.steps
    rows = []
    for (kind, threshold), own in steps.groupby(["level", "threshold"], sort=False):
        seeds = own.groupby("seed")[["length", "slices", "elements"]].mean()
        row: dict[str, object] = {"level": kind, "threshold": f"{threshold:g}"}
        row |= columns("length of the step", _shares(seeds["length"]))
        row |= columns("effective learning rate", _shares(rate_shares(own)))
        row |= columns("slices kept, %", over_seeds(seeds["slices"].clip(upper=100), percent_interval))
        row |= columns("elements kept, %", over_seeds(seeds["elements"].clip(upper=100), percent_interval))
        rows.append(row)
    counts = sorted(set(steps.groupby(["level", "threshold"])["seed"].nunique()))
    return Exhibit(
        name="kept",
        table=pd.DataFrame(rows),
        caption=f"What is left of a step. {_kept_sentence(steps)}{shown.left_out} "
        "(Means over the epochs; effective learning rate: as "
        "a share of the schedule's; a slice of one element whose gradients cancel counts as not kept, but for balance "
        "alone, which drops nothing: there rounding leaves most of them a remainder, and its shares do not compare; "
        f"brackets: {' or '.join(map(bracketed_over, counts))}.)",
        rtol=1e-3,
    )


def _kept_sentence(steps: pd.DataFrame) -> str:
    """How much each level keeps at a threshold of 0 beside balance alone, in a sentence."""
    means = steps.groupby(["level", "threshold"], sort=False)[["elements", "length"]].mean()
    parts = []
    for kind in dict.fromkeys(steps["level"]):
        if any((kind, end) not in means.index for end in grids.ENDS):
            continue
        alone, clipped = (means.loc[(kind, end)] for end in grids.ENDS)
        parts.append(
            f"by {kind} a threshold of 0 keeps {number(clipped['elements'])} % of the elements and "
            f"{number(clipped['length'])} of the length, balance alone {number(alone['length'])} of the length"
        )
    return f"Of the plain mean, {'; '.join(parts)}."


def layers_exhibit(shown: Survival) -> Exhibit:
    """Length of the step against the plain sum by part of the network, a picture an epoch.

    Args:
        shown: What `load` gives.
    """
    runs = shown.compared[grids.NO_CONFLICT]
    table = by_layer(runs)
    return exhibit_by_epoch(
        name="length_by_layer",
        table=table,
        caption="Length of the sum under the rule over that of the plain sum, in each part of the network along runs "
        f"of {_name(grids.NO_CONFLICT)}. {_layers_sentence(table)}{shown.left_out} "
        "(Hollow: at a threshold of 0 if directions were "
        f"independent and random; bars: {bracketed_over(len(runs))}.)",
        frames={epoch: _layers_frame(table[table["epoch"] == epoch], epoch) for epoch in runs[0]},
    )


def by_layer(runs: Sequence[Epochs]) -> pd.DataFrame:
    """Lengths over the plain sum by part of the network.

    Args:
        runs: Comparisons of each seed.

    Returns:
        One row an epoch, level, part and threshold: `epoch`, `level`, `layers`, `threshold`; `mean`, `low` and `high`
        over seeds; `random`, the mean length at 0 under independent random directions of the balanced gradients.
    """
    rows = []
    for epoch in runs[0]:
        for level in LEVELS[1:]:
            for part, layers in groups(runs[0][epoch]).items():
                lengths = np.array([run[epoch].length(TASKS, level, layers) for run in runs])
                thin = [expected_thinned(run[epoch], level, layers, grids.NO_CONFLICT) for run in runs]
                random = float(np.mean(lengths[:, 0] * thin))
                for threshold in grids.THRESHOLDS:
                    found = _length_interval(lengths[:, at(threshold)])
                    rows.append((epoch, level, part, _name(threshold), found.value, found.low, found.high, random))
    return pd.DataFrame(rows, columns=["epoch", "level", "layers", "threshold", "mean", "low", "high", "random"])


def _length_interval(values: np.ndarray) -> Interval:
    """Lengths over seeds, by their logarithms; the range where nothing is left in one."""
    return over_seeds(values, geometric_interval if (values > 0).all() else range_interval)


def _layers_frame(own: pd.DataFrame, epoch: int) -> tuple[Figure, str]:
    levels, parts = list(dict.fromkeys(own["level"])), list(dict.fromkeys(own["layers"]))
    drawing = Figure(figsize=(7.2, 3.8), dpi=130, layout="constrained")
    panels = drawing.subplots(1, len(levels), sharey=True)
    for panel, level in zip(panels, levels, strict=True):
        chosen = own[own["level"] == level]
        dots(panel, chosen, "layers", by="threshold", reference=1)
        random = chosen.groupby("layers", sort=False)["random"].first()
        panel.plot(
            random, range(len(parts)), "D", color="0.3", markerfacecolor="none", markersize=7, label="random directions"
        )
        panel.set_xlim(0, 1.05)
        panel.set_title(f"by {level}", fontsize=10)
    drawing.supxlabel("length of the sum over the plain one", fontsize=10)
    legend(drawing, panels[0], 3)
    alt = (
        f"Dots with bars after epoch {epoch}, a panel for each level, a line for each part of the network and a colour "
        "for each threshold; hollow diamonds where random directions would be."
    )
    return drawing, alt


def _layers_sentence(table: pd.DataFrame) -> str:
    """Where the sum is shortest by channel after the last epoch, and what random directions would have."""
    last = last_by_channel(table)
    own = last[last["threshold"] == _name(grids.NO_CONFLICT)].set_index("layers")
    parts = own.drop(index=KERNELS)["mean"]
    whole = own.loc[KERNELS].to_dict()
    return (
        f"By channel at 0, after the last epoch, it is {number(whole['mean'])} over all convolutions, where random "
        f"directions would leave {number(whole['random'])}; from {number(parts.min())} ({parts.idxmin()}) to "
        f"{number(parts.max())} ({parts.idxmax()})."
    )


# --- claims -------------------------------------------------------------------------------------------


def claims(shown: Survival) -> list[Verdict]:
    """Ask what the rule does to the length of the step, and whether thresholds can matter.

    Args:
        shown: What `load` gives.
    """
    return [*_rate_claims(shown), *_threshold_claims(shown)]


def _rate_claims(shown: Survival) -> list[Verdict]:
    """Whether steps are as long as those of SGD, and never longer."""
    steps = shown.steps
    longest = steps.groupby(["level", "threshold", "seed"])["length"].max()
    found = [
        Verdict(
            "Of two tasks no step of MTSGD is longer than the plain one",
            "Eqs. 6 and 7",
            1.0,
            ROUNDING,
            range_interval(longest),
            below=True,
            reading="longest mean step of an epoch over the plain mean, all runs [range]",
            kind="identity",
        )
    ]
    by_row = {key: _shares(own) for key, own in rate_shares(steps).groupby(["level", "threshold"], sort=False)}
    for kind, threshold in dict.fromkeys([*by_row, *shown.lost]):
        found.append(
            Verdict(
                "At the same learning rate the steps of MTSGD are as long as the plain mean of its gradients",
                OURS,
                1.0,
                AS_LONG,
                None if (kind, threshold) in shown.lost else by_row[kind, threshold],
                reading="effective over scheduled learning rate, summed over the run, before momentum",
                case=f"by {kind}, threshold {threshold:g}",
                kind="ours",
            )
        )
    return found


def _threshold_claims(shown: Survival) -> list[Verdict]:
    """What each threshold takes from the steps of balance alone, by its own gradients, over all compared epochs.

    Where random directions would lose next to nothing, what is taken cannot be held against it.
    """
    parts = [pooled(list(run.values())) for run in shown.compared[grids.BALANCE_ALONE]]
    layers = groups(parts[0])[KERNELS]
    whole = ("channel", grids.BALANCE_ALONE) not in shown.lost
    found = []
    for level in LEVELS[1:]:
        left = np.array([thinned(one, level, layers) for one in parts])
        for threshold in grids.THRESHOLDS[1:]:
            own = left[:, at(threshold)]
            case = f"by {level}, threshold {threshold:g}"
            found.append(
                Verdict(
                    "The threshold leaves the step about as long as balance alone does",
                    OURS,
                    1.0,
                    UNCHANGED,
                    _shares(own) if whole else None,
                    reading="length with the threshold over that without, of the same gradients of all convolutions "
                    f"along {_name(grids.BALANCE_ALONE)}",
                    case=case,
                    kind="ours",
                )
            )
            by_chance = 1 - np.array([expected_thinned(one, level, layers, threshold) for one in parts])
            found.append(
                Verdict(
                    "The threshold takes from the step what it would take from independent random directions",
                    OURS,
                    1.0,
                    AS_MUCH,
                    _length_interval((1 - own) / by_chance) if whole and (by_chance > UNCHANGED).all() else None,
                    reading="part of the length that it takes over what it would take by chance, of the same "
                    f"gradients; where that is more than {UNCHANGED:g} of the length",
                    case=case,
                    kind="ours",
                )
            )
    return [*found, _single_elements(parts)]


def _single_elements(parts: Sequence[Slices]) -> Verdict:
    """Whether thresholds between -1 and 1 change nothing on slices of one element, in training."""
    inside = slice(1, len(THRESHOLDS) - 1)
    changes = []
    for one in parts:
        lengths = thinned(one, "channel", np.asarray(one.kinds == "1x1"))[inside]
        changes.append(float(np.ptp(lengths)))
    return Verdict(
        "By channel no threshold between the ends changes anything on 1x1 kernels",
        "Eqs. 3 to 5",
        0.0,
        ROUNDING,
        range_interval(changes),
        below=True,
        reading=f"largest less smallest length of the sum over {THRESHOLDS[inside].size} thresholds, measured [range]",
        kind="identity",
    )
