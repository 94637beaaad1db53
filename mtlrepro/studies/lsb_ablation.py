r"""What matters in loss scale balancing (LSB): its method with parts left out, faster difficulty, longer periods, GLS.

Nothing here is in the supplement. Variants are those of :func:`mtlrepro.studies.lsb_grids.variants`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtlrepro.balancers import LSB
from mtlrepro.config import RunConfig
from mtlrepro.plots import COLOURS, MARKERS
from mtlrepro.runs.store import RESULTS
from mtlrepro.significance import permutation_test
from mtlrepro.studies import lsb_trends
from mtlrepro.studies.lsb_scores import METRICS, improvements
from mtlrepro.verdicts import Interval, Verdict, geometric_interval, mean_interval, number

DEFAULT = "LSB"
STILL = "no difficulty"
END = "paper's end value"
SOURCE = "our ablation"


def histories(grids: Mapping[str, Sequence[RunConfig]], store: str | Path = RESULTS) -> dict[str, pd.DataFrame]:
    """Weights and loss scales of each variant's runs, as :func:`lsb_trends.history` gives them."""
    return {name: lsb_trends.history(configs, store) for name, configs in grids.items()}


def scored(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Delta_m of each run against the mean of the default, in per cent, higher is better.

    Args:
        runs: Variant to what ``grid`` gives for it.

    Returns:
        One row a run: ``variant``, ``seed``, ``score``.
    """
    baseline = runs[DEFAULT][[*METRICS]].mean()
    parts = [own[["seed"]].assign(variant=name, score=improvements(own, baseline)) for name, own in runs.items()]
    return pd.concat(parts, ignore_index=True)[["variant", "seed", "score"]]


def table(scores: pd.DataFrame, trends: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compare every variant with the default.

    Args:
        scores: As :func:`scored` gives it.
        trends: As :func:`histories` gives it.

    Returns:
        One row a variant, as text: ``variant``; ``Δm, %`` against the default and half its 95 % interval over seeds;
        exact two-sided ``p`` of the difference, with samples taken as independent; ``last spread`` of log loss scales
        and ``largest share`` of a task in their sum, after the last epoch, means over seeds.
    """
    own = {str(name): group["score"].to_numpy() for name, group in scores.groupby("variant", sort=False)}
    rows = []
    for name, values in own.items():
        interval = mean_interval(values)
        last = lsb_trends.spread(trends[name]).query("epoch == epoch.max()")["spread"]
        share = lsb_trends.largest_shares(trends[name])["share"]
        rows.append(
            {
                "variant": name,
                "Δm, %": f"{interval.value:.1f} ± {interval.high - interval.value:.1f}",
                "p": "" if name == DEFAULT else f"{permutation_test(values, own[DEFAULT]).p_value:.2f}",
                "last spread": number(float(last.mean()), 2),
                "largest share, %": f"{share.mean():.0f}",
            }
        )
    return pd.DataFrame(rows)


def finding(scores: pd.DataFrame) -> str:
    """State which variants are better or worse than the default by interval, and the smallest p that can come out."""
    groups = {str(name): group["score"] for name, group in scores.groupby("variant", sort=False)}
    default = groups.pop(DEFAULT)
    intervals = {name: mean_interval(values) for name, values in groups.items()}
    better = [name for name, interval in intervals.items() if interval.low > 0]
    worse = [name for name, interval in intervals.items() if interval.high < 0]
    smallest = permutation_test(default, default).smallest_p_value
    return (
        f"Variants of LSB, Δm against its default. By the interval over {len(default)} seeds, better: "
        f"{', '.join(better) or 'none'}; worse: {', '.join(worse) or 'none'}. With so few seeds no exact p is below "
        f"{smallest:.2f}."
    )


def figure(scores: pd.DataFrame) -> Figure:
    """Draw Delta_m of every run, a line of dots for each variant and a bar at its mean."""
    drawing = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = drawing.subplots()
    names = list(dict.fromkeys(scores["variant"]))
    for height, name in enumerate(names):
        values = scores.loc[scores["variant"] == name, "score"]
        colour, marker = COLOURS[height % len(COLOURS)], MARKERS[height % len(MARKERS)]
        axes.plot(values, [height] * len(values), marker, color=colour, markersize=5)
        axes.plot([values.mean()] * 2, [height - 0.35, height + 0.35], color=colour)
    axes.axvline(0, color="0.4", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("Δm against LSB, %; higher is better")
    return drawing


# --- noise --------------------------------------------------------------------------------------------


def falls(history: pd.DataFrame) -> pd.DataFrame:
    """Change of each log loss from one epoch to the next, less its mean over tasks, ``f_k(t)``.

    Args:
        history: As :func:`lsb_trends.history` gives it; weights are constant within an epoch.

    Returns:
        ``[(seed, epoch), tasks]``, from the second epoch on.
    """
    logs = np.log(history["scale"] / history["weight"])
    wide = history.assign(log=logs).pivot_table("log", ["seed", "epoch"], "task", sort=False)
    steps = wide.groupby("seed").diff().dropna()
    return steps.sub(steps.mean(axis=1), axis=0)


def deviations(history: pd.DataFrame) -> pd.Series:
    """Deviation of log shares of the loss scales from equal ones, root mean square over tasks and epochs, by seed.

    It is over the second half of the epochs, when losses fall slowly.
    """
    late = history[history["epoch"] > history["epoch"].max() // 2]
    squares = lsb_trends.spread(late).assign(square=lambda rows: rows["spread"] ** 2)
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


def amplifications(trends: Mapping[str, pd.DataFrame], rates: Mapping[str, float]) -> pd.DataFrame:
    """Deviations at several rates against those without difficulty.

    Args:
        trends: As :func:`histories` gives it, ``STILL`` among them.
        rates: Variant to its growth of beta per epoch.

    Returns:
        One row a variant: ``variant``, ``rate``, ``measured`` with ``low`` and ``high``, and ``formula``.
    """
    rows = []
    for name, rate in rates.items():
        measured, formula = amplification(trends[name], trends[STILL], rate)
        rows.append((name, rate, measured.value, measured.low, measured.high, formula))
    return pd.DataFrame(rows, columns=["variant", "rate", "measured", "low", "high", "formula"])


# --- distances and claims ------------------------------------------------------------------------------


def distances(trends: Mapping[str, pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """How far the weights of variants are from the default's, in runs of the same seed.

    Root mean square over tasks and epochs from the third of the difference of log weights less their mean over tasks:
    0.1 is about 10 %. Common factors of all weights do not count.

    Returns:
        One row a variant: ``variant``, ``distance`` with its 95 % interval ``low`` to ``high`` over seeds.
    """
    own = _log_weights(trends[DEFAULT])
    rows = []
    for name in names:
        squares = ((_log_weights(trends[name]) - own) ** 2).mean(axis=1)
        interval = geometric_interval(squares.groupby("seed").mean() ** 0.5)
        rows.append((name, interval.value, interval.low, interval.high))
    return pd.DataFrame(rows, columns=["variant", "distance", "low", "high"])


def _log_weights(history: pd.DataFrame) -> pd.DataFrame:
    late = history[history["epoch"] >= 3]
    logs = late.assign(log=np.log(late["weight"])).pivot_table("log", ["seed", "epoch"], "task", sort=False)
    return logs.sub(logs.mean(axis=1), axis=0)


def claims(scores: pd.DataFrame, trends: Mapping[str, pd.DataFrame]) -> list[Verdict]:
    """Judge what one would expect of LSB's parts: each of them helps, and the paper's end value takes all.

    Args:
        scores: As :func:`scored` gives it.
        trends: As :func:`histories` gives it.
    """
    own = {str(name): group["score"] for name, group in scores.groupby("variant", sort=False)}
    found = [
        Verdict(f"{name}: Δm is below that of LSB, in %", SOURCE, 0, 0, mean_interval(own[name]), below=True)
        for name in ("no alpha", STILL, "lagged GLS", "GLS", "equal")
    ]
    share = mean_interval(lsb_trends.largest_shares(trends[END])["share"])
    text = f"{END}: one task ends with nearly all of the loss scales, in %"
    return [*found, Verdict(text, SOURCE, 100, 10, share)]
