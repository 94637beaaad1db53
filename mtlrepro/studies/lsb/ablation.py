r"""What matters in loss scale balancing (LSB): its method with parts left out, faster difficulty, longer periods, GLS.

Nothing here is in the supplement. Variants are those of `lsb.grids.variants`. The supplement's
schedule has 1,000 epochs; a shorter one can keep its growth of beta per epoch, as `DEFAULT` does, or its last beta,
as `END` does.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, permutations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import ArrayLike

from mtlrepro.analysis.significance import pairs_needed
from mtlrepro.analysis.verdicts import (
    Interval,
    Verdict,
    bracketed_over,
    excess_interval,
    geometric_interval,
    largest_share_interval,
    mean_interval,
    number,
    over_seeds,
    percent_interval,
    range_interval,
)
from mtlrepro.balancers import LSB
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS, legend, styles
from mtlrepro.studies import trends as studies_trends
from mtlrepro.studies import variants as studies_variants
from mtlrepro.studies.comparison import columns
from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.lsb.scores import TABLE_S3
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import Record

DEFAULT = "LSB"
STILL = "no difficulty"
END = "paper's end value"
LAGGED = "lagged GLS"
PLAIN = "GLS"
LOOSE = "end value, no alpha"
PARTS = ("no alpha", STILL, LAGGED, PLAIN, "equal")
"""Variants that lack a part of LSB."""
SOURCE = "our question"
LARGEST, APART, CHANGES = "largest share, %", "weights apart, factor", "epochs with another leader, %"
MEASURES = (LARGEST, APART, CHANGES)
"""Columns of `readings`."""
POINT = 1.0
"""Difference of Delta_m, in points of %, that counts as none; seeds of one method spread by more."""
FACTOR = 1.25
"""Measured and computed deviations that are within this factor of each other count as equal."""


@dataclass(frozen=True)
class Ablation:
    """Runs of all variants.

    Attributes:
        runs: Variant to what `grid` gives for it.
        histories: Variant to what `studies_trends.history` gives for it, with the variant as `method`. Both hold
            the variants of which every run is complete.
        broken: One row a run that broke off as its numbers were no longer finite: `variant`, `seed`, `epoch` in
            which it did; `lowest` and `highest` sum of the loss scales in the epochs before.
    """

    runs: dict[str, pd.DataFrame]
    histories: dict[str, pd.DataFrame]
    broken: pd.DataFrame


def load(setting: Setting) -> Ablation:
    """Read the stored runs of every variant and train the missing ones.

    A run whose numbers are no longer finite is a result: it would break off again, and is not tried again.

    Args:
        setting: What all experiments share.
    """
    grids = lsb_grids.ablation(setting)
    found = setting.trained(unbroken(setting))
    broken = setting.broken_off(run for own in grids.values() for run in own)
    whole = {name: own for name, own in grids.items() if not any(run.hash in broken for run in own)}
    runs = {name: found.loc[[run.hash for run in own]] for name, own in whole.items()}
    return Ablation(runs, histories(setting, whole), breaks(grids, broken))


def unbroken(setting: Setting) -> list[RunConfig]:
    """Runs of the ablation, without those that broke off; see `load`."""
    return setting.unbroken(run for own in lsb_grids.ablation(setting).values() for run in own)


def breaks(grids: Mapping[str, Sequence[RunConfig]], broken: Mapping[str, Record]) -> pd.DataFrame:
    """Tell when runs broke off, and what became of the total before; see `Ablation`.

    Args:
        grids: Variant to its configurations.
        broken: Hash to record of the runs that broke off.
    """
    rows = []
    for name, own in grids.items():
        for run in own:
            if run.hash in broken:
                totals = [sum(entry["loss_scales"].values()) for entry in broken[run.hash]["history"]]
                bounds = min(totals, default=np.nan), max(totals, default=np.nan)
                rows.append((name, run.seed, len(totals) + 1, *bounds))
    return pd.DataFrame(rows, columns=["variant", "seed", "epoch", "lowest", "highest"])


def break_finding(broken: pd.DataFrame) -> str:
    """State which variants broke off, in a sentence for each.

    Args:
        broken: As `breaks` gives it.
    """
    found = [
        f"{name}: numbers are no longer finite in epoch {', '.join(map(str, own['epoch']))} (runs: {len(own)}), after "
        f"sums of the loss scales between {own['lowest'].min():.1g} and {own['highest'].max():.1g}."
        for name, own in broken.groupby("variant", sort=False)
    ]
    return " ".join(found) or "All runs end with finite numbers."


def histories(setting: Setting, grids: Mapping[str, Sequence[RunConfig]]) -> dict[str, pd.DataFrame]:
    """Losses, weights and loss scales of each variant, see `Ablation`."""
    every = studies_trends.history(setting, [run for own in grids.values() for run in own])
    return {
        name: every[every["run"].isin([run.hash for run in own])].assign(method=name) for name, own in grids.items()
    }


def rates(epochs: int, names: Collection[str]) -> dict[str, float]:
    """Growth of beta per epoch of those of some variants that have difficulty and a period of one epoch."""
    plans = lsb_grids.variants(epochs)
    options = {
        name: plan.get("method_options", {})
        for name, plan in plans.items()
        if plan["method"] == "lsb" and name in names
    }
    return {
        name: own.get("rate", LSB(1).rate) for name, own in options.items() if name != STILL and "period" not in own
    }


# --- scores -------------------------------------------------------------------------------------------


def scored(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Delta_m of each run against the mean of the default, in per cent, higher is better.

    Args:
        runs: Variant to what `grid` gives for it.

    Returns:
        One row a run: `variant`, `seed`, `score`.
    """
    return studies_variants.scored(runs, DEFAULT, TABLE_S3)


def differences(scores: pd.DataFrame) -> pd.DataFrame:
    """Compare every variant with the default in runs of the same seed.

    Args:
        scores: As `scored` gives it.

    Returns:
        As `studies.variants.paired_differences`: one row a variant, its exact `p` over the signs of the differences,
        the smallest `p_reachable` with so few seeds, 0.25 for three pairs.
    """
    return studies_variants.paired_differences(scores, DEFAULT, TABLE_S3.sign)


def table(scores: pd.DataFrame, trends: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compare every variant with the default, in scores and in balance.

    Args:
        scores: As `scored` gives it.
        trends: As `histories` gives it.

    Returns:
        One row a variant: `variant`; `Δm, points of %`, the mean difference from the default in runs of the same seed;
        after the last epoch, the `last spread` of log loss scales and the `largest share, %` of a task in their sum;
        each with `... low` and `... high` over seeds, those of Δm of the 95 % interval; and that sum over the first's,
        `last total over first`, which alpha keeps from drifting. Spread and share have the range of few seeds, see
        :func:`mtlrepro.analysis.verdicts.over_seeds`.
    """
    compared = differences(scores).set_index("variant")
    rows = []
    for name in scores["variant"].unique():
        change = Interval(0.0, 0.0, 0.0)
        if name != DEFAULT:
            change = Interval(*(float(compared.loc[[name], bound].iloc[0]) for bound in ("difference", "low", "high")))
        last = studies_trends.spread(trends[name]).query("epoch == epoch.max()")["spread"]
        row: dict[str, object] = {"variant": name} | columns("Δm, points of %", change)
        row |= columns("last spread", over_seeds(last, studies_trends.spread_interval))
        shares = studies_trends.largest_shares(trends[name])["share"]
        row |= columns("largest share, %", over_seeds(shares, _of_tasks(trends[name])))
        rows.append({**row, "last total over first": geometric_interval(_growth(trends[name])).value})
    return pd.DataFrame(rows)


def _of_tasks(history: pd.DataFrame) -> Callable[[ArrayLike], Interval]:
    """Interval of the largest share of a task, which is at least an equal one."""
    return partial(largest_share_interval, parts=history["task"].nunique())


def _growth(history: pd.DataFrame) -> pd.Series:
    """Sum of the loss scales in the last epoch over that in the first, by seed."""
    totals = history.groupby(["seed", "epoch"])["scale"].sum().unstack("epoch")
    growth: pd.Series = totals.iloc[:, -1] / totals.iloc[:, 0]
    return growth


def finding(compared: pd.DataFrame) -> str:
    """State which variants are better or worse than the default by interval, and which are so in each pair of runs.

    The exact p is the smallest that can be where all differences have one sign.

    Args:
        compared: As `differences` gives it.
    """
    apart = np.isclose(compared["p"], compared["p_reachable"])
    sides = [
        f"{title} {', '.join(compared.loc[where, 'variant']) or 'none'}"
        for title, where in (
            (f"By the paired interval of Δm, better than {DEFAULT}:", compared["low"] > 0),
            ("worse:", compared["high"] < 0),
            ("Better in every pair of runs:", apart & (compared["difference"] > 0)),
            ("worse:", apart & (compared["difference"] < 0)),
        )
    ]
    return (
        f"{sides[0]}; {sides[1]}. {sides[2]}; {sides[3]}: the exact p is then the smallest with so few seeds, "
        f"{compared['p_reachable'].min():.2g}."
    )


def figure(scores: pd.DataFrame) -> Figure:
    """Draw Delta_m of every run, a line of dots for each variant and a bar at its mean; beyond 5 % the axis is log."""
    drawing = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = drawing.subplots()
    axes.set_xscale("symlog", linthresh=5, linscale=3)
    names = list(dict.fromkeys(scores["variant"]))
    for height, (name, (colour, marker)) in enumerate(styles(names).items()):
        values = scores.loc[scores["variant"] == name, "score"]
        axes.plot(values, [height] * len(values), marker, color=colour, markersize=5)
        axes.plot([values.mean()] * 2, [height - 0.35, height + 0.35], color=colour)
    axes.axvline(0, color="0.4", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("Δm against LSB, %; higher is better; logarithmic beyond ±5")
    return drawing


# --- what would decide --------------------------------------------------------------------------------


def deciding(scores: pd.DataFrame) -> pd.DataFrame:
    """Seeds that would decide whether a variant differs from the default, see `pairs_needed`.

    Args:
        scores: As `scored` gives it.

    Returns:
        One row a variant: `variant`; `difference` of Delta_m in %, mean over runs of the same seed, with its paired
        `low` and `high`; and `seeds`, infinite where the mean is 0.
    """
    return _against(scores, DEFAULT, [name for name in scores["variant"].unique() if name != DEFAULT])


def difficulty(scores: pd.DataFrame, growth: Mapping[str, float], epochs: int) -> pd.DataFrame:
    """What the difficulty does to Delta_m, by how large beta becomes: each growth against none, in runs of one seed.

    At the default growth a short schedule ends before the exponent is 1, so that the difficulty is hardly on.

    Args:
        scores: As `scored` gives it.
        growth: Variant to its growth of beta per epoch, as `rates` gives it.
        epochs: Of a run.

    Returns:
        One row a variant with alpha: `variant`, `last beta`, and the columns of `deciding` against `STILL`.
    """
    names = [name for name in growth if name in set(scores["variant"]) and name not in ("no alpha", LOOSE)]
    found = _against(scores, STILL, names)
    found.insert(1, "last beta", [LSB(1, rate=growth[name]).beta(epochs) for name in names])
    return found


def _against(scores: pd.DataFrame, reference: str, names: Sequence[str]) -> pd.DataFrame:
    wide = scores.pivot(index="seed", columns="variant", values="score")
    rows = []
    for name in names:
        gains = wide[name] - wide[reference]
        gain = mean_interval(gains)
        rows.append((name, gain.value, gain.low, gain.high, pairs_needed(gains)))
    return pd.DataFrame(rows, columns=["variant", "difference", "low", "high", "seeds"])


def _counted(table: pd.DataFrame) -> pd.DataFrame:
    """The same with `seeds` as text."""
    return table.assign(seeds=["no number" if np.isinf(count) else f"{count:.0f}" for count in table["seeds"]])


def difficulty_claims(table: pd.DataFrame) -> list[Verdict]:
    """Ask whether the difficulty helps where beta is large enough to matter.

    Args:
        table: As `difficulty` gives it.
    """
    return [
        Verdict(
            "The difficulty improves Δm",
            SOURCE,
            0.0,
            0.0,
            Interval(-row["difference"], -row["high"], -row["low"]),
            below=True,
            reading="Δm without difficulty less that with it, %, mean of runs of the same seed [paired 95 %, not "
            "corrected]",
            case=row["variant"],
            circumstances=f"β up to {row['last beta']:.2g}",
            kind="ours",
        )
        for row in table.to_dict("records")
    ]


# --- two readings of a shortened schedule -------------------------------------------------------------


def readings(trends: Mapping[str, pd.DataFrame], growth: Mapping[str, float]) -> pd.DataFrame:
    """What different growths of beta do to the balance, over the second half of the epochs.

    Args:
        trends: As `histories` gives it.
        growth: Variant to its growth of beta per epoch, as `rates` gives it.

    Returns:
        One row a variant: `variant`, `rate`, `last beta`; and `MEASURES`, means over seeds with bounds `... low` and
        `... high`, see `over_seeds`: the mean over epochs of the largest share of a task; the largest over the
        smallest weight, geometric means; and the part of the epochs in which another task leads than the epoch before.
    """
    rows = []
    for name, rate in growth.items():
        history = trends[name]
        epochs, late = int(history["epoch"].max()), _late(history)
        row: dict[str, object] = {"variant": name, "rate": rate, "last beta": LSB(1, rate=rate).beta(epochs)}
        intervals = (_of_tasks(history), excess_interval, percent_interval)
        for measure, interval in zip(MEASURES, intervals, strict=True):
            row |= columns(measure, over_seeds(late[measure], interval))
        rows.append(row)
    return pd.DataFrame(rows)


def _late(history: pd.DataFrame) -> pd.DataFrame:
    """Measures of `readings` by seed."""
    half = history["epoch"].max() // 2
    shares, logs = (
        history.assign(log=np.log(history["weight"])).pivot_table(name, ["seed", "epoch"], "task", sort=False)
        for name in ("share", "log")
    )
    leader = shares.idxmax(axis=1)
    changed = leader != leader.groupby("seed").shift()
    values = (shares.max(axis=1), logs.max(axis=1) - logs.min(axis=1), 100.0 * changed)
    found = pd.DataFrame(dict(zip(MEASURES, values, strict=True)))
    means: pd.DataFrame = found[found.index.get_level_values("epoch") > half].groupby("seed").mean()
    return means.assign(**{APART: np.exp(means[APART])})


def reading_finding(read: pd.DataFrame, seeds: int) -> str:
    """Contrast both readings of the schedule in a sentence, as far as their runs are complete.

    Args:
        read: As `readings` gives it.
        seeds: Of each variant.
    """
    parts = []
    for name in (DEFAULT, END):
        if name not in set(read["variant"]):
            continue
        row = read.set_index("variant").loc[name]
        parts.append(
            f"{name}, β up to {row['last beta']:.2g}: largest share {row[LARGEST]:.0f} % "
            f"[{row[f'{LARGEST} low']:.0f}, {row[f'{LARGEST} high']:.0f}], weights a factor {row[APART]:.2g} apart, "
            f"another task leads in {row[CHANGES]:.0f} % of the epochs"
        )
    return f"In the second half of the epochs: {'; '.join(parts)}. (Brackets: {bracketed_over(seeds)}.)"


# --- noise --------------------------------------------------------------------------------------------


def falls(history: pd.DataFrame) -> pd.DataFrame:
    """Change of each log loss from one epoch to the next, less its mean over tasks, `f_k(t)`.

    Args:
        history: As `studies_trends.history` gives it.

    Returns:
        `[(seed, epoch), tasks]`, from the second epoch on.
    """
    wide = history.assign(log=np.log(history["loss"])).pivot_table("log", ["seed", "epoch"], "task", sort=False)
    steps = wide.groupby("seed").diff().dropna()
    return steps.sub(steps.mean(axis=1), axis=0)


def deviations(history: pd.DataFrame) -> pd.Series:
    """Deviation of log shares of the loss scales from equal ones, root mean square over tasks and epochs, by seed.

    It is over the second half of the epochs, when losses fall slowly.
    """
    late = history[history["epoch"] > history["epoch"].max() // 2]
    squares = studies_trends.spread(late).assign(square=lambda rows: rows["spread"] ** 2)
    found: pd.Series = squares.groupby("seed")["square"].mean() ** 0.5
    return found


def amplification(history: pd.DataFrame, still: pd.DataFrame, rate: float) -> tuple[Interval, float]:
    r"""How much larger deviations are than without difficulty: measured, and for losses that do not respond to weights.

    A weight divides by the loss of the epoch before, so with equal priorities and whatever alpha does to all tasks,
    :math:`\log s_k(t) = \mathrm{const} + f_k(t) + \beta(t) f_k(t-1)` for the loss scale :math:`s_k`, where
    :math:`f_k(t)` is the change of the log loss less its mean over tasks. If changes have deviation :math:`\sigma` and
    neighbouring ones correlate by :math:`\rho`, the deviation of log shares is
    :math:`\sigma \sqrt{1 + 2 \rho \beta + \beta^2}`. If the noise of each epoch is new, :math:`\rho = -1/2`.

    Args:
        history: Runs at a rate.
        still: Runs at rate 0 with the same seeds; :math:`\rho` is theirs.
        rate: Growth of beta per epoch.

    Returns:
        Quotient of the deviations of runs of the same seed, geometric mean with its 95 % interval; and the formula's.
    """
    measured = geometric_interval(deviations(history) / deviations(still))
    epochs = history["epoch"].max()
    steps = falls(still)
    late = steps[steps.index.get_level_values("epoch") > epochs // 2]
    before = steps.groupby("seed").shift().loc[late.index]
    # As of a stationary series; the estimate of one with few epochs can leave the range of a correlation.
    correlation = float(np.clip((late * before).to_numpy().mean() / np.square(late.to_numpy()).mean(), -1, 1))
    betas = np.array([LSB(1, rate=rate).beta(t) for t in range(epochs // 2 + 1, epochs + 1)])
    return measured, float(np.sqrt(np.mean(1 + 2 * correlation * betas + betas**2)))


def amplifications(trends: Mapping[str, pd.DataFrame], growth: Mapping[str, float]) -> pd.DataFrame:
    """Deviations at several rates against those without difficulty.

    Args:
        trends: As `histories` gives it, `STILL` among them.
        growth: Variant to its growth of beta per epoch, as `rates` gives it.

    Returns:
        One row a variant: `variant`, `rate`, `measured` with `low` and `high`, and `formula`.
    """
    rows = []
    for name, rate in growth.items():
        measured, formula = amplification(trends[name], trends[STILL], rate)
        rows.append((name, rate, measured.value, measured.low, measured.high, formula))
    return pd.DataFrame(rows, columns=["variant", "rate", "measured", "low", "high", "formula"])


def amplification_finding(amplified: pd.DataFrame) -> str:
    """Measured and computed amplification in a sentence.

    Args:
        amplified: As `amplifications` gives it.
    """
    parts = [
        f"{row['variant']} {Interval(row['measured'], row['low'], row['high'])}, formula {number(row['formula'])}"
        for _, row in amplified.iterrows()
    ]
    return f"Deviation of log shares over that without difficulty: {'; '.join(parts)}. (Brackets: 95 % over seeds.)"


def amplification_figure(amplified: pd.DataFrame) -> Figure:
    """Draw measured amplification with its bar, and the formula's as a hollow square.

    Args:
        amplified: As `amplifications` gives it.
    """
    drawing = Figure(figsize=(7.2, 2.6), layout="constrained")
    axes = drawing.subplots()
    heights = np.arange(len(amplified))
    ends = np.abs(amplified[["low", "high"]].to_numpy().T - amplified["measured"].to_numpy())
    axes.errorbar(
        amplified["measured"],
        heights,
        xerr=ends,
        fmt="o",
        color=COLOURS[0],
        capsize=2,
        label="measured, 95 % over seeds",
    )
    axes.plot(amplified["formula"], heights, "s", color=COLOURS[1], fillstyle="none", markersize=9, label="closed form")
    axes.set_xscale("log")
    axes.xaxis.set(major_locator=LogLocator(subs=(1, 3)), major_formatter="{x:g}", minor_locator=NullLocator())
    axes.set_yticks(heights, amplified["variant"])
    axes.set_ylim(len(heights) - 0.5, -0.5)
    axes.set_xlabel("deviation of log shares, that without difficulty is 1")
    legend(drawing, axes, 2)
    return drawing


# --- distances ----------------------------------------------------------------------------------------


def distances(
    trends: Mapping[str, pd.DataFrame],
    runs: Mapping[str, pd.DataFrame],
    names: Sequence[str] = (DEFAULT, LAGGED, PLAIN),
) -> pd.DataFrame:
    """How far variants are from each other, in weights and in final metrics, beside how far seeds are.

    Both are root mean squares in %: of differences of log weights less their mean over tasks, so that a common factor
    does not count, over tasks and epochs from the third; and of differences of the six metrics, relative to their means
    for the default. Runs of the same seed share initial weights and the order of images, runs of different seeds do
    not, so like is compared with like: what two variants do is their distance in the same seed; whether it is more
    than chance is seen from different seeds, where two variants are further apart than one from itself, or are not.

    Args:
        trends: As `histories` gives it.
        runs: Variant to what `grid` gives for it.
        names: Variants, all with the same seeds.

    Returns:
        One row a pair, first the default with itself, and seeds: `pair`; `seeds`, same or different; `weights, %` and
        `metrics, %`, means over pairs of runs, with `... low` and `... high`, the range.
    """
    weights = {name: _by_seed(_log_weights(trends[name])) for name in names}
    baseline = runs[DEFAULT][TABLE_S3.names].mean()
    metrics = {name: _by_seed(runs[name].set_index("seed")[TABLE_S3.names] / baseline) for name in names}
    seeds = list(weights[DEFAULT])
    different = list(permutations(seeds, 2))
    groups = [(DEFAULT, DEFAULT, "different", different)]
    for a, b in combinations(names, 2):
        groups += [(a, b, "same", [(seed, seed) for seed in seeds]), (a, b, "different", different)]
    rows = []
    for a, b, kind, pairs in groups:
        row: dict[str, object] = {"pair": f"{a}, {b}", "seeds": kind}
        for measure, values in (("weights, %", weights), ("metrics, %", metrics)):
            row |= columns(measure, range_interval([_distance(values[a][i], values[b][j]) for i, j in pairs]))
        rows.append(row)
    return pd.DataFrame(rows)


def _by_seed(values: pd.DataFrame) -> dict[Hashable, np.ndarray]:
    return {seed: own.to_numpy() for seed, own in values.groupby("seed")}


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(100 * np.sqrt(np.mean(np.square(a - b))))


def _log_weights(history: pd.DataFrame) -> pd.DataFrame:
    late = history[history["epoch"] >= 3]
    logs = late.assign(log=np.log(late["weight"])).pivot_table("log", ["seed", "epoch"], "task", sort=False)
    return logs.sub(logs.mean(axis=1), axis=0)


def distance_finding(apart: pd.DataFrame) -> str:
    """Distances of two variants and of one in different seeds, in a sentence.

    Args:
        apart: As `distances` gives it.
    """
    chance = apart.iloc[0]
    parts = []
    for pair, own in apart.iloc[1:].groupby("pair", sort=False):
        both = own.set_index("seeds")
        parts.append(
            f"{pair}: weights {both['weights, %']['same']:.1f} % in the same seed and "
            f"{both['weights, %']['different']:.1f} % in different ones, metrics {both['metrics, %']['same']:.1f} % "
            f"and {both['metrics, %']['different']:.1f} %"
        )
    return (
        f"{DEFAULT} in two different seeds is {chance['weights, %']:.1f} % apart in weights and "
        f"{chance['metrics, %']:.1f} % in metrics. {'; '.join(parts)}."
    )


# --- claims -------------------------------------------------------------------------------------------


def claims(found: Ablation, growth: Mapping[str, float]) -> list[Verdict]:
    """Judge what one would expect of LSB's parts.

    Each part helps; difficulty does little where beta grows slowly; the paper's last beta, reached in a short
    schedule, gives nearly all of the total to one task at a time, and without alpha training breaks off; and noise is
    amplified by as much as it would be if losses did not respond. What runs that broke off would have given is not
    judged.

    Args:
        found: As `load` gives it.
        growth: Variant to its growth of beta per epoch, as `rates` gives it.
    """
    verdicts = []
    for row in differences(scored(found.runs)).to_dict("records"):
        measured = Interval(*(float(row[name]) for name in ("difference", "low", "high")))
        if row["variant"] in PARTS:
            text = f"Without a part of {DEFAULT}, Δm is lower"
            reading = f"points of % less than {DEFAULT}, in runs of one seed [95 %, not corrected]"
            verdicts.append(_ours(text, 0, 0, measured, reading, str(row["variant"]), below=True))
        if row["variant"] == STILL:
            reading = f"points of % more than {DEFAULT}, in runs of one seed, within one"
            text = "At a slow growth of β, the difficulty changes Δm by less than a point"
            verdicts.append(_ours(text, 0, POINT, measured, reading, STILL))
    if END in found.histories:
        share = _of_tasks(found.histories[END])(_late(found.histories[END])[LARGEST])
        text = "Where β ends at the paper's last value, one task has nearly all of the loss scales"
        verdicts.append(
            _ours(text, 100, 10, share, "largest share, mean over the second half of the epochs, in %", END)
        )
    lost = int(found.broken["variant"].eq(LOOSE).sum())
    if lost or LOOSE in found.runs:
        text, every = "Without alpha, training breaks off at the paper's last β", len(found.runs[DEFAULT])
        verdicts.append(_ours(text, every, 0, Interval(lost, lost, lost), "number of runs", LOOSE))
    for row in amplifications(found.histories, growth).to_dict("records"):
        logs = [float(np.log(row[name] / row["formula"])) for name in ("measured", "low", "high")]
        text, tolerance = "Noise is amplified as if losses did not respond", round(float(np.log(FACTOR)), 3)
        reading = "logarithm of measured over computed deviation of log shares"
        verdicts.append(_ours(text, 0, tolerance, Interval(*logs), reading, str(row["variant"])))
    return verdicts


def _ours(
    claim: str, claimed: float, tolerance: float, measured: Interval, reading: str, case: str, *, below: bool = False
) -> Verdict:
    return Verdict(claim, SOURCE, claimed, tolerance, measured, below, reading, case, kind="ours")


# --- exhibits -----------------------------------------------------------------------------------------


def exhibit(found: Ablation) -> Exhibit:
    """Every variant against the default, in scores and in balance.

    Args:
        found: As `load` gives it.
    """
    scores = scored(found.runs)
    caption = (
        f"Every variant against {DEFAULT}, in scores and in balance. {finding(differences(scores))} "
        f"{break_finding(found.broken)} (Multi-decoder network; {_conditions(found)}; brackets of spreads and shares: "
        f"{bracketed_over(len(found.runs[DEFAULT]))}.)"
    )
    return Exhibit(name="ablation", table=table(scores, found.histories), caption=caption)


def _conditions(found: Ablation) -> str:
    return (
        f"{len(found.runs[DEFAULT])} seeds, runs of one seed together; brackets of Δm: 95 %, not corrected for the "
        f"number of variants; Δm against the mean of {DEFAULT}"
    )


def runs_exhibit(found: Ablation) -> Exhibit:
    """Delta_m of every run.

    Args:
        found: As `load` gives it.
    """
    scores = scored(found.runs)
    return Exhibit(
        name="ablation_runs",
        table=scores,
        caption=f"Δm of every run. {finding(differences(scores))} (Dots: seeds; bars: their means; "
        f"{_conditions(found)}.)",
        figure=figure(scores),
        alt="A line of dots for each variant of LSB, a dot for every seed and a bar at their mean, with a dashed line "
        "at LSB's mean.",
        uses=("scale", "seeds"),
        form="drawing",
    )


def deciding_exhibit(found: Ablation) -> Exhibit:
    """Seeds that would decide each comparison with the default.

    Args:
        found: As `load` gives it.
    """
    table = deciding(scored(found.runs))
    caption = (
        f"Δm of each variant less that of {DEFAULT}, %, in {found.runs[DEFAULT]['seed'].nunique()} pairs of runs of "
        "the same seed, with the paired 95 % interval; and the seeds with which a paired t-test at 5 % would find an "
        "effect of the observed size in 80 % of all repetitions. Of effects estimated so badly that is an order of "
        "magnitude."
    )
    return Exhibit(name="ablation_seeds", table=_counted(table), caption=caption)


def difficulty_exhibit(found: Ablation, growth: Mapping[str, float], epochs: int) -> Exhibit:
    """What the difficulty does by how large beta becomes; see `difficulty`."""
    table = difficulty(scored(found.runs), growth, epochs)
    parts = [
        f"β up to {row['last beta']:.2g} {Interval(row['difference'], row['low'], row['high'])}"
        for row in table.to_dict("records")
    ]
    caption = f"Δm with difficulty less that without it, %, paired 95 % intervals over seeds: {'; '.join(parts)}."
    return Exhibit(name="difficulty_scores", table=_counted(table), caption=caption)


def readings_exhibit(found: Ablation, growth: Mapping[str, float]) -> Exhibit:
    """What different growths of beta do to the balance; see `readings`."""
    table = readings(found.histories, growth)
    return Exhibit(name="readings", table=table, caption=reading_finding(table, len(found.runs[DEFAULT])))


def readings_trends_exhibit(found: Ablation, growth: Mapping[str, float]) -> Exhibit:
    """Weights and loss scales at three growths of beta; see `readings`."""
    shown = [name for name in (DEFAULT, "rate 0.2", END) if name in found.histories]
    own = pd.concat([found.histories[name] for name in shown])
    return Exhibit(
        name="readings_trends",
        table=studies_trends.by_epoch(studies_trends.curves(own, shown), ["weight", "scale"]),
        caption=reading_finding(readings(found.histories, growth), len(found.runs[DEFAULT])),
        figure=studies_trends.curves_figure(own, shown),
        alt="Weights above loss scales on logarithmic axes over the epochs, a column for each growth of beta and a "
        "line for each task.",
        uses=("scale", "seeds"),
        form="drawing",
        rtol=1e-4,
    )


def amplification_exhibit(found: Ablation, growth: Mapping[str, float]) -> Exhibit:
    """Deviations at several growths of beta, measured and by the closed form; see `amplifications`."""
    amplified = amplifications(found.histories, growth)
    return Exhibit(
        name="amplification",
        table=amplified,
        caption=amplification_finding(amplified),
        figure=amplification_figure(amplified),
        alt="For each variant a dot with a bar, the deviation of log shares measured over seeds, and a hollow square, "
        "that of the closed form, on a logarithmic axis.",
        uses=("scale", "seeds"),
        form="drawing",
    )


def distances_exhibit(found: Ablation) -> Exhibit:
    """How far LSB, lagged GLS and GLS are from each other; see `distances`."""
    apart = distances(found.histories, found.runs)
    caption = (
        "How far variants are from each other, and seeds of one. "
        f"{distance_finding(apart)} (Root mean squares; brackets: the range over pairs of runs, "
        f"{len(found.runs[DEFAULT])} seeds; runs of the same seed share initial weights and the order of images.)"
    )
    return Exhibit(name="distances", table=apart, caption=caption)
