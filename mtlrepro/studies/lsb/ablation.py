r"""What matters in loss scale balancing (LSB): its method with parts left out, faster difficulty, longer periods, GLS.

Nothing here is in the supplement. Variants are those of `lsb.grids.variants`. The supplement's
schedule has 1,000 epochs; a shorter one can keep its growth of beta per epoch, as `DEFAULT` does, or its last beta,
as `END` does.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from mtlrepro.analysis.significance import one_against_others
from mtlrepro.analysis.verdicts import (
    Interval,
    Verdict,
    geometric_interval,
    mean_interval,
    number,
    plus_minus,
    range_interval,
)
from mtlrepro.balancers import LSB
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS, legend, styles
from mtlrepro.studies import trends as studies_trends
from mtlrepro.studies import variants as studies_variants
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
SOURCE = "our ablation"
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
    runs = [run for own in lsb_grids.ablation(setting).values() for run in own]
    broken = setting.broken_off(runs)
    return [run for run in runs if run.hash not in broken]


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
    """Compare every variant with the default, all samples independent.

    Args:
        scores: As `scored` gives it.

    Returns:
        One row a variant: `variant`; `difference` of mean Delta_m in per cent, positive where the variant is
        better, with `low` and `high` of Welch's 95 % interval; two-sided exact `p`, and the smallest
        `p_reachable` with so few seeds, 0.1 for three against three.
    """
    tests = one_against_others(-scores[["score"]], scores["variant"], DEFAULT)
    return tests.rename(columns={"against": "variant"})[["variant", "difference", "low", "high", "p", "p_reachable"]]


def table(scores: pd.DataFrame, trends: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compare every variant with the default, in scores and in balance.

    Args:
        scores: As `scored` gives it.
        trends: As `histories` gives it.

    Returns:
        One row a variant, as text: `variant`; `Δm, %` less that of the default, with its 95 % interval, and exact
        `p`, as `differences` gives them; after the last epoch, with half the 95 % interval over seeds, the
        `last spread` of log loss scales and the `largest share` of a task in their sum; and that sum over the first
        epoch's, `total`, which alpha keeps from drifting.
    """
    compared = differences(scores).set_index("variant")
    rows = []
    for name in scores["variant"].unique():
        last = studies_trends.spread(trends[name]).query("epoch == epoch.max()")["spread"]
        row = {"variant": name, "Δm, %": "0", "p": ""}
        if name != DEFAULT:
            own = compared.loc[name]
            row |= {"Δm, %": _bounds(own), "p": f"{own['p']:.2f}"}
        row |= {
            "last spread": plus_minus(mean_interval(last), 2),
            "largest share, %": plus_minus(mean_interval(studies_trends.largest_shares(trends[name])["share"]), 2),
            "total": number(geometric_interval(_growth(trends[name])).value, 2),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _growth(history: pd.DataFrame) -> pd.Series:
    """Sum of the loss scales in the last epoch over that in the first, by seed."""
    totals = history.groupby(["seed", "epoch"])["scale"].sum().unstack("epoch")
    growth: pd.Series = totals.iloc[:, -1] / totals.iloc[:, 0]
    return growth


def _bounds(row: pd.Series) -> str:
    return f"{row['difference']:+.1f} [{row['low']:.1f}, {row['high']:.1f}]"


def finding(compared: pd.DataFrame) -> str:
    """State which variants are better or worse than the default by interval, and which are so in all of their runs.

    All runs of a variant are on one side of all runs of the default where the exact p is the smallest that can be.

    Args:
        compared: As `differences` gives it.
    """
    apart = np.isclose(compared["p"], compared["p_reachable"])
    sides = [
        f"{title} {', '.join(compared.loc[where, 'variant']) or 'none'}"
        for title, where in (
            ("By the 95 % interval, better:", compared["low"] > 0),
            ("worse:", compared["high"] < 0),
            ("In every run, better:", apart & (compared["difference"] > 0)),
            ("worse:", apart & (compared["difference"] < 0)),
        )
    ]
    return (
        f"Variants against {DEFAULT} by Δm. {sides[0]}; {sides[1]}. {sides[2]}; {sides[3]}; then exact p is the "
        f"smallest with so few seeds, {compared['p_reachable'].min():.2g}."
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


# --- two readings of a shortened schedule -------------------------------------------------------------


def readings(trends: Mapping[str, pd.DataFrame], growth: Mapping[str, float]) -> pd.DataFrame:
    """What different growths of beta do to the balance, over the second half of the epochs.

    Args:
        trends: As `histories` gives it.
        growth: Variant to its growth of beta per epoch, as `rates` gives it.

    Returns:
        One row a variant: `variant`, `rate`, `last beta`; means over seeds with bounds `... low` and
        `... high` of the 95 % interval: `share`, the mean over epochs of the largest share of a task in %;
        `weights`, the largest over the smallest weight, geometric means; and `changes`, the part of the epochs in %
        in which another task leads than the epoch before.
    """
    rows = []
    for name, rate in growth.items():
        history = trends[name]
        epochs = int(history["epoch"].max())
        measures = {"share": mean_interval, "weights": geometric_interval, "changes": mean_interval}
        row: dict[str, object] = {"variant": name, "rate": rate, "last beta": LSB(1, rate=rate).beta(epochs)}
        for measure, interval in measures.items():
            found = interval(_late(history)[measure])
            row |= {measure: found.value, f"{measure} low": found.low, f"{measure} high": found.high}
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
    found = pd.DataFrame(
        {"share": shares.max(axis=1), "weights": logs.max(axis=1) - logs.min(axis=1), "changes": 100.0 * changed}
    )
    means: pd.DataFrame = found[found.index.get_level_values("epoch") > half].groupby("seed").mean()
    return means.assign(weights=np.exp(means["weights"]))


def reading_finding(read: pd.DataFrame) -> str:
    """Contrast both readings of the schedule in a sentence, as far as their runs are complete.

    Args:
        read: As `readings` gives it.
    """
    parts = []
    for name in (DEFAULT, END):
        if name not in set(read["variant"]):
            continue
        row = read.set_index("variant").loc[name]
        parts.append(
            f"{name}, β up to {row['last beta']:.2g}: largest share {row['share']:.0f} % "
            f"[{row['share low']:.0f}, {row['share high']:.0f}], weights a factor {row['weights']:.2g} apart, another "
            f"task leads in {row['changes']:.0f} % of the epochs"
        )
    return f"Second half of the epochs, 95 % over seeds. {'; '.join(parts)}."


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
    correlation = float((late * before).to_numpy().mean() / np.square(late.to_numpy()).mean())
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
    return f"Deviation of log shares over that without difficulty, 95 % over seeds: {'; '.join(parts)}."


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
    """How far variants are from each other, in weights and in final metrics.

    Both are root mean squares in %: of differences of log weights less their mean over tasks, so that a common factor
    does not count, over tasks and epochs from the third; and of differences of the six metrics, relative to their means
    for the default. Pairs of variants are runs of the same seed. As a measure of chance, the last row compares runs of
    the default with different seeds.

    Args:
        trends: As `histories` gives it.
        runs: Variant to what `grid` gives for it.
        names: Variants, all with the same seeds.

    Returns:
        One row a pair: `pair`, `weights` and `metrics`, means over seeds or pairs of them; with `... low` and
        `... high`, the range.
    """
    weights = {name: _by_seed(_log_weights(trends[name])) for name in names}
    baseline = runs[DEFAULT][TABLE_S3.names].mean()
    metrics = {name: _by_seed(runs[name].set_index("seed")[TABLE_S3.names] / baseline) for name in names}
    seeds = list(weights[DEFAULT])
    pairs = {f"{a}, {b}": [((a, seed), (b, seed)) for seed in seeds] for a, b in combinations(names, 2)}
    pairs[f"{DEFAULT}, other seed"] = [((DEFAULT, one), (DEFAULT, other)) for one, other in combinations(seeds, 2)]
    rows = []
    for label, pair in pairs.items():
        row: dict[str, object] = {"pair": label}
        for measure, values in (("weights", weights), ("metrics", metrics)):
            found = range_interval([_distance(values[a][i], values[b][j]) for (a, i), (b, j) in pair])
            row |= {measure: found.value, f"{measure} low": found.low, f"{measure} high": found.high}
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
    """Distances in a sentence.

    Args:
        apart: As `distances` gives it.
    """
    parts = [
        f"{row['pair']}: weights {row['weights']:.1f} %, metrics {row['metrics']:.1f} %" for _, row in apart.iterrows()
    ]
    return f"Distance of runs of the same seed, and of two seeds of {DEFAULT}. {'; '.join(parts)}."


# --- claims -------------------------------------------------------------------------------------------


def claims(found: Ablation, growth: Mapping[str, float]) -> list[Verdict]:
    """Judge what one would expect of LSB's parts.

    Each part helps; the paper's last beta, reached in a short schedule, gives nearly all of the total to one task at a
    time, and without alpha training breaks off; and noise is amplified by as much as it would be if losses did not
    respond. What runs that broke off would have given is not judged.

    Args:
        found: As `load` gives it.
        growth: Variant to its growth of beta per epoch, as `rates` gives it.
    """
    verdicts = []
    for row in differences(scored(found.runs)).to_dict("records"):
        if row["variant"] in PARTS:
            measured = Interval(*(float(row[name]) for name in ("difference", "low", "high")))
            text = f"{row['variant']}: Δm is below that of {DEFAULT}, in %"
            verdicts.append(Verdict(text, SOURCE, 0, 0, measured, below=True))
    if END in found.histories:
        share = mean_interval(_late(found.histories[END])["share"])
        text = f"{END}: one task has nearly all of the loss scales in the second half of the epochs, in %"
        verdicts.append(Verdict(text, SOURCE, 100, 10, share))
    lost = int(found.broken["variant"].eq(LOOSE).sum())
    if lost or LOOSE in found.runs:
        text = f"{LOOSE}: training breaks off; number of runs"
        verdicts.append(Verdict(text, SOURCE, len(found.runs[DEFAULT]), 0, Interval(lost, lost, lost)))
    for row in amplifications(found.histories, growth).to_dict("records"):
        logs = [float(np.log(row[name] / row["formula"])) for name in ("measured", "low", "high")]
        text = f"{row['variant']}: noise is amplified as in the closed form (log of measured over computed)"
        verdicts.append(Verdict(text, "reconstruction", 0, round(float(np.log(FACTOR)), 3), Interval(*logs)))
    return verdicts


# --- exhibits -----------------------------------------------------------------------------------------


def exhibit(found: Ablation) -> Exhibit:
    """Every variant against the default, in scores and in balance.

    Args:
        found: As `load` gives it.
    """
    scores = scored(found.runs)
    caption = f"{finding(differences(scores))} {break_finding(found.broken)}"
    return Exhibit(name="ablation", table=table(scores, found.histories), caption=caption)


def runs_exhibit(found: Ablation) -> Exhibit:
    """Delta_m of every run.

    Args:
        found: As `load` gives it.
    """
    scores = scored(found.runs)
    return Exhibit(
        name="ablation_runs",
        table=scores,
        caption=f"{finding(differences(scores))} Dots: seeds; bars: their means.",
        figure=figure(scores),
        alt="A line of dots for each variant of LSB, a dot for every seed and a bar at their mean, with a dashed line "
        "at LSB's mean.",
        uses=("scale", "seeds"),
        form="drawing",
    )


def readings_exhibit(found: Ablation, growth: Mapping[str, float]) -> Exhibit:
    """What different growths of beta do to the balance; see `readings`."""
    table = readings(found.histories, growth)
    return Exhibit(name="readings", table=table, caption=reading_finding(table))


def readings_trends_exhibit(found: Ablation, growth: Mapping[str, float]) -> Exhibit:
    """Weights and loss scales at three growths of beta; see `readings`."""
    shown = [name for name in (DEFAULT, "rate 0.2", END) if name in found.histories]
    own = pd.concat([found.histories[name] for name in shown])
    return Exhibit(
        name="readings_trends",
        table=studies_trends.by_epoch(studies_trends.curves(own, shown), ["weight", "scale"]),
        caption=reading_finding(readings(found.histories, growth)),
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
    return Exhibit(name="distances", table=apart, caption=distance_finding(apart))
