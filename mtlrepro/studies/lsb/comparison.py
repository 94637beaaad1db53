"""Table S-3 of loss scale balancing (LSB) rerun: six methods, three networks, single-task learning as reference.

Runs of one seed share initial weights and the order of images, so a test could pair them. Five pairs have 32 patterns
of signs, of which none is significant at 5 %; tests here take samples as independent, as the audit of the printed
trials does. Intervals are Student's or Welch's, 95 %, over seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from mtlrepro.analysis.significance import one_against_others
from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval, number
from mtlrepro.pages import figures
from mtlrepro.studies.lsb import grids
from mtlrepro.studies.lsb.scores import (
    AVERAGE_RANK,
    HIGHER,
    METRICS,
    NAMES,
    best_rates,
    improvements,
    measures,
    ranks,
    rate_scores,
)
from mtlrepro.training.config import RunConfig
from mtlrepro.training.scales import Scale

LSB = "LSB"
DELTA = "Δm"
DIRECTIONS = {"better": 1, "worse": -1}
ALPHA = 0.05
"""Level of significance."""
SHARE = 5
"""One run in five belongs to the "top 20 %"."""
COLUMNS = {metric: f"{title}, {unit}" for metric, (title, unit, _) in METRICS.items()}
DECIMALS = {metric: 3 if unit == "m" else 1 for metric, (_, unit, _) in METRICS.items()}
"""As Table S-3 prints them."""


@dataclass(frozen=True)
class Comparison:
    """The methods in one network.

    Attributes:
        network: Its name.
        scale: Of the runs.
        runs: One row a run: ``method`` as in ``NAMES``, ``seed`` and the columns of ``METRICS``.
        single: Single-task learning, the baseline of Delta_m: one row a seed with the columns of ``METRICS``.
        rates: Learning rate of each method as ``grids.METHODS`` names it; None: that of the scale.
    """

    network: str
    scale: Scale
    runs: pd.DataFrame
    single: pd.DataFrame
    rates: Mapping[str, float] | None = None

    @property
    def title(self) -> str:
        """Name of the network in words."""
        return self.network.replace("_", " ")

    @property
    def baseline(self) -> pd.Series:
        """Means of single-task learning."""
        return self.single[[*METRICS]].mean()


def rerun(setting: grids.Setting, network: str, rates: Mapping[str, float] | None = None) -> list[RunConfig]:
    """Runs of the comparison in one network, and those of single tasks.

    Args:
        setting: What all runs share.
        network: Name of the network.
        rates: Learning rate of each method; default: that of the scale.
    """
    return [*grids.comparison(setting, networks=[network], rates=rates), *grids.single(setting)]


def load(setting: grids.Setting, network: str, rates: Mapping[str, float] | None = None) -> Comparison:
    """Read or train the runs of :func:`rerun`.

    Args:
        setting: What all runs share.
        network: Name of the network.
        rates: Learning rate of each method; default: that of the scale.
    """
    runs = setting.trained(rerun(setting, network, rates))
    alone = runs["tasks"].map(len) == 1
    compared = runs[~alone]
    methods = compared["method"].map(NAMES)
    return Comparison(network, setting.scale, compared.assign(method=methods), single_task(runs[alone]), rates)


def single_task(runs: pd.DataFrame) -> pd.DataFrame:
    """Put together the runs of one seed that each train one task, ``[seeds, metrics]``."""
    return runs.groupby("seed")[[*METRICS]].first()


# --- table and tests ----------------------------------------------------------------------------------


def scored(comparison: Comparison) -> pd.DataFrame:
    """Score each run.

    Returns:
        One row a run: ``method``, ``seed``, the columns of ``METRICS``, ``average rank`` of a run among all, over six
        metrics, and ``Δm`` against the baseline in per cent, where higher is better.
    """
    scores = {
        AVERAGE_RANK: ranks(comparison.runs, HIGHER).mean(axis=1),
        DELTA: improvements(comparison.runs, comparison.baseline),
    }
    return comparison.runs[["method", "seed", *METRICS]].assign(**scores)


def table(comparison: Comparison) -> pd.DataFrame:
    """Table S-3, averages: mean and half the 95 % interval over seeds of each metric, ranks and Delta_m.

    The baseline of Delta_m counts as exact: its own spread over seeds is not in the interval.

    Returns:
        One row a method, and one for single-task learning, as text: ``method``; a column for each metric;
        ``rank of runs``, the mean of the runs' average ranks; ``rank of means``, the average rank of a method's means
        among those of all methods; and ``Δm, %``.
    """
    scores = scored(comparison)
    order = scores["method"].unique()
    means = scores.groupby("method", sort=False)[[*METRICS]].mean()
    of_means = ranks(means, HIGHER).mean(axis=1)
    own = dict(list(scores.groupby("method", sort=False)))
    rows = [
        {
            "method": name,
            **_cells(own[name]),
            "rank of runs": _cell(own[name][AVERAGE_RANK], 1),
            "rank of means": f"{of_means[name]:.2f}",
            f"{DELTA}, %": _cell(own[name][DELTA], 1),
        }
        for name in order
    ]
    rows.append({"method": "single task", **_cells(comparison.single)})
    return pd.DataFrame(rows).fillna("")


def _cells(runs: pd.DataFrame) -> dict[str, str]:
    return {COLUMNS[metric]: _cell(runs[metric], DECIMALS[metric]) for metric in METRICS}


def _cell(values: pd.Series, decimals: int) -> str:
    interval = mean_interval(values)
    return f"{_fixed(interval.value, decimals)} ± {_fixed(interval.high - interval.value, decimals)}"


def _fixed(value: float, decimals: int = 1) -> str:
    """Text with a number of decimals, without the sign of a zero."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def average_ranks(comparison: Comparison) -> dict[str, Interval]:
    """Mean over its runs of each method's average rank, with its interval over seeds, best method first."""
    groups = scored(comparison).groupby("method", sort=False)[AVERAGE_RANK]
    found = {str(name): mean_interval(values) for name, values in groups}
    return dict(sorted(found.items(), key=lambda entry: entry[1].value))


def finding(comparison: Comparison) -> str:
    """LSB's place by the average rank of runs, beside the best other method, in a sentence."""
    order = average_ranks(comparison)
    place = list(order).index(LSB) + 1
    rival = next(method for method in order if method != LSB)
    seeds = comparison.runs["seed"].nunique()
    return (
        f"{comparison.title.capitalize()}, {comparison.scale} scale, {seeds} seeds: LSB takes place {place} of "
        f"{len(order)} by the average rank of {len(comparison.runs)} runs, {order[LSB]}; the best other method is "
        f"{rival}, {order[rival]}. Δm is against single-task learning; ± and brackets: 95 % over seeds."
    )


def significance(comparison: Comparison) -> pd.DataFrame:
    """Test LSB against each other method, on each metric, on the average rank and on Delta_m.

    Returns:
        ``network``, and the columns of :func:`mtlrepro.analysis.significance.one_against_others`; positive where LSB
        is better.
    """
    values = measures(comparison.runs, HIGHER).assign(**{DELTA: scored(comparison)[DELTA]})
    found = one_against_others(values, comparison.runs["method"], LSB)
    return found.assign(network=comparison.title)[["network", *found.columns]]


def summary(tests: pd.DataFrame) -> pd.DataFrame:
    """Condense tests to one row a network and other method.

    Args:
        tests: As :func:`significance` gives them, of any number of networks.

    Returns:
        ``network``, ``against``; the difference of average ranks with ``low`` and ``high``, ``hedges_g``, exact ``p``
        and ``p_holm`` over the other methods, which with so many seeds cannot be below ``p_reachable``; ``better`` and
        ``worse``, the number of the six metrics on which LSB is so with a corrected p-value below 5 %.
    """
    keys = ["network", "against"]
    names = {"p_holm_measure": "p_holm"}
    columns = [*keys, "difference", "low", "high", "hedges_g", "p", "p_holm", "p_reachable"]
    found = tests[tests["measure"] == AVERAGE_RANK].rename(columns=names)[columns]
    found["p_reachable"] = (found["p_reachable"] * found["against"].nunique()).clip(upper=1)
    counted = tests[tests["measure"].isin(METRICS)]
    clear = counted["p_holm_measure"] < ALPHA
    for name, sign in DIRECTIONS.items():
        count = (clear & (sign * counted["difference"] > 0)).groupby([counted[key] for key in keys]).sum()
        found[name] = count.loc[pd.MultiIndex.from_frame(found[keys])].to_numpy()
    return found.reset_index(drop=True)


def summary_finding(summary: pd.DataFrame) -> str:
    """How often LSB is significantly better or worse, in a sentence.

    Args:
        summary: As :func:`summary` gives it.
    """
    clear = summary["p_holm"] < ALPHA
    ranked = {name: int((clear & (sign * summary["difference"] > 0)).sum()) for name, sign in DIRECTIONS.items()}
    single = {name: int(summary[name].sum()) for name in DIRECTIONS}
    return (
        f"With Holm's correction over the other methods, at 5 %, LSB's average rank is better in {ranked['better']} "
        f"and worse in {ranked['worse']} of {len(summary)} comparisons; on single metrics LSB is better in "
        f"{single['better']} and worse in {single['worse']} of {len(summary) * len(METRICS)}. With so many seeds the "
        f"smallest corrected p-value can be {number(summary['p_reachable'].min(), 2)}."
    )


# --- figure ------------------------------------------------------------------------------------------


def figure(comparison: Comparison) -> Figure:
    """Draw the runs, a panel for each metric; dashed: single-task learning."""
    labels = {
        metric: f"{COLUMNS[metric]}\n{'higher' if higher else 'lower'} is better" for metric, higher in HIGHER.items()
    }
    references = {metric: float(comparison.baseline[metric]) for metric in METRICS}
    return figures.strips(comparison.runs, labels, by="method", references=references)


# --- what the supplement says -------------------------------------------------------------------------


def _top(comparison: Comparison) -> int:
    return len(comparison.runs) // SHARE


def claims(comparison: Comparison) -> list[Verdict]:
    """Judge the statements of Section 4 about Table S-3 by the rerun.

    Share of top places: each run of LSB holds so many, the interval is Student's over these runs. Distance: Welch's
    interval; the best other method is picked after the fact, which counts against LSB. Significance: the largest
    p-value of all other methods, and 1 where LSB is not better; with too few seeds for 5 % it cannot be tested. Best
    averages: the interval begins with the metrics on which LSB is clearly better than every other method (every Welch
    interval above 0) and ends with those on which it is clearly worse than none. Section 4 is about the multi-column
    network; other networks extend it.
    """
    source = "Section 4, Table S-3" if comparison.network == "multi_column" else "Section 4, extended"
    where = f"{comparison.title}, {comparison.scale} scale{', tuned rates' if comparison.rates else ''}"
    tests = significance(comparison)
    by_rank = tests[tests["measure"] == AVERAGE_RANK]
    rival = by_rank.sort_values("difference").iloc[0]
    p_value = float(by_rank["p"].where(by_rank["difference"] > 0, 1.0).max())
    can_be_significant = by_rank["p_reachable"].max() < ALPHA
    by_metric = tests[tests["measure"].isin(METRICS)].groupby("measure")[["difference", "low", "high"]].min()
    best, least, most = (int((by_metric[name] > 0).sum()) for name in ("difference", "low", "high"))

    own = comparison.runs["method"] == LSB
    places = (ranks(comparison.runs, HIGHER) <= _top(comparison))[own].sum(axis=1)
    others = 100 - 100 * places * own.sum() / (_top(comparison) * len(METRICS))
    return [
        Verdict(
            f"Other methods hold less than half of the top 20 % of runs over all metrics, in % ({where})",
            source,
            50.0,
            0.0,
            mean_interval(others),
            below=True,
        ),
        Verdict(
            f"LSB's average rank is below every other method's: distance from the best, {rival['against']} ({where})",
            source,
            0.0,
            0.0,
            Interval(-rival["difference"], -rival["high"], -rival["low"]),
            below=True,
        ),
        Verdict(
            f"LSB's average rank is significantly better than every other method's: largest exact p ({where})",
            source,
            ALPHA,
            0.0,
            Interval(p_value, p_value, p_value) if can_be_significant else None,
            below=True,
        ),
        Verdict(
            f"LSB's average is best; number of metrics ({where})",
            source,
            float(len(METRICS)),
            0.0,
            Interval(best, least, most),
        ),
    ]


# --- learning rates -----------------------------------------------------------------------------------


def chosen_rates(setting: grids.Setting) -> dict[str, float]:
    """Learning rate of each method that the runs of :func:`grids.tuning` choose; missing ones are trained."""
    runs = setting.trained(grids.tuning(setting))
    return best_rates(rate_scores(runs, setting.run().lr))


def tuned_runs(setting: grids.Setting) -> list[RunConfig]:
    """Runs that choose the learning rates and, once these are stored, the reruns in all networks with and without."""
    tuning = grids.tuning(setting)
    if not grids.stored(tuning):
        return tuning
    rates = chosen_rates(setting)
    return [
        *tuning,
        *(run for name in grids.NETWORKS for own in (None, rates) for run in rerun(setting, name, own)),
    ]


def rate_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Delta_m on the validation split by method and learning rate.

    Args:
        scores: As :func:`mtlrepro.studies.lsb.scores.rate_scores` gives it.

    Returns:
        One row a method: ``method``; a column for each rate with the mean and the range over seeds in per cent, as
        text; ``best``; and ``at the edge``, whether the best rate is the smallest or the largest tried, so that a still
        better one may lie outside.
    """
    best = best_rates(scores)
    edges = scores["lr"].min(), scores["lr"].max()
    rows = []
    for method, own in scores.groupby("method", sort=False):
        cells = {
            f"{rate:g}": f"{_fixed(seeds.mean())} ({_fixed(seeds.min())} to {_fixed(seeds.max())})"
            for rate, seeds in own.groupby("lr")["score"]
        }
        rate = best[str(method)]
        rows.append(
            {"method": NAMES[str(method)], **cells, "best": rate, "at the edge": "yes" if rate in edges else "no"}
        )
    return pd.DataFrame(rows)


def rate_finding(table: pd.DataFrame) -> str:
    """For which methods the best rate lies at the edge of those tried, in a sentence.

    Args:
        table: As :func:`rate_table` gives it.
    """
    edge = table[table["at the edge"] == "yes"]["method"].tolist()
    if not edge:
        return "No best learning rate lies at the edge of those tried."
    return (
        f"The best learning rate lies at the edge of those tried for {', '.join(edge)}: "
        "a still better one may lie outside."
    )


def beside(untuned: Comparison, tuned: Comparison) -> pd.DataFrame:
    """Compare both choices of the learning rate in one network by Delta_m against the untuned baseline.

    Returns:
        One row a method: ``network``, ``method``, its ``tuned rate``; ``untuned, %`` and ``tuned, %``, the mean of
        Delta_m and half its 95 % interval over seeds, as text; ``change``, the mean difference of runs of one seed,
        with ``low`` and ``high`` of its interval, 0 where the rate is that of the scale; and ``untuned place`` and
        ``tuned place`` of the method by mean.

    Raises:
        ValueError: the second comparison has no rates.
    """
    if tuned.rates is None:
        raise ValueError("tuned has no rates; accepted: a comparison with a learning rate for each method")
    before, after = (
        runs.assign(score=improvements(runs, untuned.baseline)).pivot(index="seed", columns="method", values="score")
        for runs in (untuned.runs, tuned.runs)
    )
    places = [scores.mean().rank(ascending=False).astype(int) for scores in (before, after)]
    rows = []
    for key, rate in tuned.rates.items():
        name = NAMES[key]
        change = mean_interval(after[name] - before[name])
        texts = (_cell(scores[name], 1) for scores in (before, after))
        bounds = (change.value, change.low, change.high)
        rows.append((untuned.title, name, rate, *texts, *bounds, *(int(place[name]) for place in places)))
    names = ["tuned rate", "untuned, %", "tuned, %", "change", "low", "high", "untuned place", "tuned place"]
    return pd.DataFrame(rows, columns=["network", "method", *names])


def beside_finding(pairs: pd.DataFrame) -> str:
    """What tuning changes, and LSB's place by Delta_m without and with it, in two sentences.

    Args:
        pairs: As :func:`beside` gives it, of any number of networks.
    """
    better, worse = int((pairs["low"] > 0).sum()), int((pairs["high"] < 0).sum())
    places = [
        f"{row['network']} {row['untuned place']} and {row['tuned place']}"
        for _, row in pairs[pairs["method"] == LSB].iterrows()
    ]
    return (
        f"Tuning raises Δm beyond the spread of seeds in {better} and lowers it in {worse} of {len(pairs)} cases. "
        f"LSB's place of {pairs['method'].nunique()}, untuned and tuned: {', '.join(places)}."
    )
