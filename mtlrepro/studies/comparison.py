"""One method against others in one network: the grids behind it, its table, tests and figure.

Runs of one seed share initial weights and the order of images, so methods are compared by the differences of such
pairs: Student's test and interval, 95 %. No test of their signs could be significant at 5 % with five seeds. Intervals
of Delta_m have the spread of the single-task runs too, see :func:`mtlrepro.analysis.compare.with_spread_of`. The
metrics, ranks and Delta_m of one method have the range of up to three seeds, see `over_seeds`: a Student interval of so
few leaves the domain of a metric.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mtlrepro.analysis.significance import paired_against_others
from mtlrepro.analysis.verdicts import FEW, Interval, bracketed_over, mean_interval, over_seeds
from mtlrepro.pages import figures
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.readable import transposed
from mtlrepro.studies.scores import AVERAGE_RANK, DELTA, Scores, method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig
from mtlrepro.training.scales import Scale

DIRECTIONS = {"better": 1, "worse": -1}
ALPHA = 0.05
"""Level of significance."""
NOT_KNOWN = "?"
"""Text of what cannot be told."""
EQUAL = method_title("equal")
"""The plain method that findings measure others by."""
DIFFERENCES = {AVERAGE_RANK: "places gained in average rank", DELTA: f"gain in {DELTA}, points of %"}
"""Measures over all metrics, to the title of a difference in them."""


# --- grids --------------------------------------------------------------------------------------------


def methods_grid(
    setting: Setting,
    methods: Iterable[str],
    network: str = "",
    rates: Mapping[str, float] | None = None,
    pictures: Mapping[str, Any] | None = None,
) -> list[RunConfig]:
    """Every method in one network with the seeds of the comparison.

    Args:
        setting: What all runs share.
        methods: Methods by name.
        network: Name of the network; empty: that of the setting.
        rates: Learning rate of each method; default: that of the scale.
        pictures: Predictions that the first seed keeps of methods at the learning rate of the scale, as in `RunConfig`.
    """
    default = setting.run().lr
    configs = []
    for method in methods:
        rate = default if rates is None else rates[method]
        for seed in range(setting.comparison_seeds):
            kept = {"pictures": pictures} if pictures and seed == 0 and rate == default else {}
            configs.append(setting.run(network, method=method, seed=seed, lr=rate, **kept))
    return configs


def single_tasks(setting: Setting) -> list[RunConfig]:
    """Each task of the setting by itself, with the seeds of the comparison."""
    tasks = setting.run().tasks
    return [setting.run(tasks=(task,), seed=seed) for task in tasks for seed in range(setting.comparison_seeds)]


# --- the comparison -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """The methods in one network.

    Attributes:
        method: Title of the method that is compared with the others.
        scores: Metrics by which it is compared.
        network: Name of the network.
        scale: Size of the runs.
        runs: One row a run: `method` as tables call it, `seed` and the columns of the metrics.
        single: Single-task learning, the baseline of Delta_m: one row a seed with the columns of the metrics.
        rates: Learning rate of each method by name; None: that of the scale.
    """

    method: str
    scores: Scores
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
        return self.single[self.scores.names].mean()

    def scored(self) -> pd.DataFrame:
        """Score each run.

        Returns:
            One row a run: `method`, `seed`, the columns of the metrics, `average rank` of a run among all, over
            all metrics, and `Δm` against the baseline in per cent.
        """
        found = {
            AVERAGE_RANK: self.scores.average_ranks(self.runs),
            DELTA: self.scores.delta_m(self.runs, self.baseline),
        }
        return self.runs[["method", "seed", *self.scores.names]].assign(**found)

    def deltas(self) -> pd.Series:
        """Delta_m of each run against single-task learning, in per cent, with the spread of single-task learning."""
        return self.scores.paired_delta_m(self.runs, self.single)

    def table(self) -> pd.DataFrame:
        """Mean of each metric with half its 95 % interval, of few seeds with the range; ranks; Delta_m likewise.

        Returns:
            One row a method, and one for single-task learning, as text: `method`; a column for each metric;
            `rank of runs`, the mean of the runs' average ranks; `rank of means`, the average rank of a method's
            means among those of all methods; and `Δm, %`, whose interval has the baseline's spread too.
        """
        scored = self.scored()
        means = scored.groupby("method", sort=False)[self.scores.names].mean()
        of_means = self.scores.average_ranks(means)
        deltas = dict(iter(self.deltas().groupby(self.runs["method"], sort=False)))
        rows = [
            {
                "method": name,
                **self._cells(own),
                "rank of runs": mean_and_spread(own[AVERAGE_RANK], 1),
                "rank of means": f"{of_means[name]:.2f}",
                f"{DELTA}, %": mean_and_spread(deltas[name], 1),
            }
            for name, own in scored.groupby("method", sort=False)
        ]
        rows.append({"method": "single task", **self._cells(self.single)})
        return pd.DataFrame(rows).fillna("")

    def _cells(self, runs: pd.DataFrame) -> dict[str, str]:
        metrics = self.scores.metrics.items()
        return {measure.label: mean_and_spread(runs[name], measure.decimals) for name, measure in metrics}

    def _mean_intervals(self, values: pd.Series) -> dict[str, Interval]:
        groups = values.groupby(self.runs["method"], sort=False)
        return {str(name): over_seeds(own, mean_interval) for name, own in groups}

    def average_ranks(self) -> dict[str, Interval]:
        """Mean over its runs of each method's average rank, with what `over_seeds` gives, best method first."""
        found = self._mean_intervals(self.scores.average_ranks(self.runs))
        return dict(sorted(found.items(), key=lambda entry: entry[1].value))

    def mean_deltas(self) -> dict[str, Interval]:
        """Delta_m of each method with what `over_seeds` gives, the baseline's spread in it, best method first."""
        found = self._mean_intervals(self.deltas())
        return dict(sorted(found.items(), key=lambda entry: -self.scores.sign * entry[1].value))

    def finding(self) -> str:
        """The method's place by average rank and by Delta_m, each beside the best other method, in sentences.

        A rank does not see how large a difference is, so Delta_m against equal weighting is told too, and the metric
        on which the method is furthest behind it, where the paired interval is on that side.
        """
        parts = []
        for title, order, decimals in (
            ("the average rank of runs", self.average_ranks(), 1),
            (f"{DELTA} against single tasks, in %,", self.mean_deltas(), 1),
        ):
            place = [*order].index(self.method) + 1
            rival = next(method for method in order if method != self.method)
            own, other = (bracketed(order[name], decimals) for name in (self.method, rival))
            parts.append(
                f"By {title} {self.method} takes place {place} of {len(order)}, {own}; the best other method is "
                f"{rival}, {other}."
            )
        return " ".join([*parts, *self._beside_equal()])

    def _beside_equal(self) -> list[str]:
        if self.method == EQUAL or EQUAL not in set(self.runs["method"]):
            return []
        tests = self.significance()
        found = {str(row["measure"]): _interval(row) for _, row in tests[tests["against"] == EQUAL].iterrows()}
        change = bracketed(found[DELTA], signed=True)
        parts = [f"Against {EQUAL} weighting its {DELTA} differs by {change} points."]
        own, other = (self.runs[self.runs["method"] == name][self.scores.names].mean() for name in (self.method, EQUAL))
        lost = (own / other - 1).abs()[[name for name in self.scores.names if found[name].high < 0]]
        if len(lost):
            worst = str(lost.idxmax())
            measure = self.scores.metrics[worst]
            values = " against ".join(fixed(float(means[worst]), measure.decimals) for means in (own, other))
            parts.append(
                f"It falls furthest behind on {measure.title}: {values}{measure.unit and f' {measure.unit}'}. How far, "
                "ranks do not see."
            )
        return parts

    def significance(self) -> pd.DataFrame:
        """Test the method against each other one in runs of one seed, by metrics, average rank and Delta_m.

        Returns:
            `network`, and the columns of :func:`mtlrepro.analysis.significance.paired_against_others`; positive where
            the method is better.
        """
        values = self.scores.measures(self.runs).assign(**{DELTA: self.scores.sign * self.deltas()})
        found = paired_against_others(values, self.runs["method"], self.method, self.runs["seed"])
        return found.assign(network=self.title)[["network", *found.columns]]

    def exhibit(self, name: str) -> Exhibit:
        """The table as an exhibit of that name."""
        seeds = self.runs["seed"].nunique()
        marks = "Brackets" if seeds <= FEW else f"±: half the 95 % interval over {seeds} seeds; brackets"
        caption = (
            f"Metrics, ranks and {DELTA} of every method in the {self.title} network. {self.finding()} ({marks}: "
            f"{bracketed_over(seeds)}, that of {DELTA} with the spread of the single-task runs, and of a "
            f"difference the paired 95 % interval; ranks are among {len(self.runs)} runs.)"
        )
        table = self.table()
        return Exhibit(name=name, table=table, shown=transposed(table, "measure"), caption=caption)

    def runs_exhibit(self, name: str) -> Exhibit:
        """Every run, a panel for each metric; dashed: single-task learning."""
        references = {metric: float(self.baseline[metric]) for metric in self.scores.names}
        count = self.runs["method"].nunique()
        return Exhibit(
            name=name,
            table=self.scored(),
            caption=f"Every run in the {self.title} network, a panel for each metric. {self.finding()} (Dots: seeds; "
            "bars: their means; dashed: single tasks.)",
            figure=figures.strips(self.runs, self.scores.directed, by="method", references=references),
            alt=f"{in_words(len(self.scores.names)).capitalize()} panels, one a metric, each with a line of dots for "
            f"every one of {in_words(count)} methods and a bar at their mean.",
            uses=("scale", "comparison_seeds"),
            form="drawing",
        )


def load(
    setting: Setting,
    configs: Iterable[RunConfig],
    method: str,
    scores: Scores,
    rates: Mapping[str, float] | None = None,
) -> Comparison:
    """Read or train the runs of a comparison in one network.

    Args:
        setting: What all runs share.
        configs: Runs of all methods in one network, and of single tasks.
        method: Name of the method that is compared with the others.
        scores: Metrics by which it is compared.
        rates: Learning rate of each method, where the runs have such.
    """
    configs = list(configs)
    runs = setting.trained(configs)
    alone = runs["tasks"].map(len) == 1
    network = next(config.model for config in configs if len(config.tasks) > 1)
    compared = runs[~alone].assign(method=runs["method"].map(method_title))
    single = single_task(runs[alone], scores)
    return Comparison(method_title(method), scores, network, setting.scale, compared, single, rates)


def single_task(runs: pd.DataFrame, scores: Scores) -> pd.DataFrame:
    """Put together the runs of one seed that each train one task, `[seeds, metrics]`."""
    return runs.groupby("seed")[scores.names].first()


def mean_and_spread(values: pd.Series, decimals: int) -> str:
    """Text of a mean with half its 95 % interval, or with the range of few seeds in brackets; see `over_seeds`."""
    interval = over_seeds(values, mean_interval)
    if len(values) <= FEW:
        return bracketed(interval, decimals)
    return f"{fixed(interval.value, decimals)} ± {fixed(interval.high - interval.value, decimals)}"


def paired(differences: pd.Series) -> Interval | None:
    """Mean of the differences of pairs with Student's 95 % interval; None if there are fewer than two pairs."""
    return mean_interval(differences) if len(differences) > 1 else None


def bracketed(interval: Interval | None, decimals: int = 1, *, signed: bool = False) -> str:
    """Text of a value and its interval in brackets with a number of decimals, the value with its sign if asked for.

    Without an interval, as of too few pairs, it is `NOT_KNOWN`.
    """
    if interval is None:
        return NOT_KNOWN
    value = fixed(interval.value, decimals)
    plus = "+" if signed and float(value) > 0 else ""
    return f"{plus}{value} [{fixed(interval.low, decimals)}, {fixed(interval.high, decimals)}]"


def columns(title: str, interval: Interval) -> dict[str, float]:
    """Columns of a value and its bounds, which a page shows in one: `title`, `title low` and `title high`."""
    return {title: interval.value, f"{title} low": interval.low, f"{title} high": interval.high}


def _interval(row: pd.Series) -> Interval:
    """Difference of a row of tests with its bounds."""
    return Interval(float(row["difference"]), float(row["low"]), float(row["high"]))


def fixed(value: float, decimals: int = 1) -> str:
    """Text with a number of decimals, without the sign of a zero."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def in_words(count: int) -> str:
    """Write a number up to ten as a word."""
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[count] if count < len(words) else str(count)


# --- tests of several networks ------------------------------------------------------------------------


def summary(tests: pd.DataFrame, metrics: Iterable[str]) -> pd.DataFrame:
    """Condense tests to one row a network and other method: average rank and Delta_m side by side.

    Args:
        tests: As `Comparison.significance` gives them, of any number of networks.
        metrics: Metrics of the comparison.

    Returns:
        `network`, `against`; for both of `DIFFERENCES` the difference, its `... low` and `... high`, and `p of ...`,
        with Holm's correction over the other methods; `better` and `worse`, the number of metrics on which the method
        is so with a corrected p-value below 5 %.
    """
    keys = ["network", "against"]
    found = tests[keys].drop_duplicates().set_index(keys)
    for measure, title in DIFFERENCES.items():
        own = tests[tests["measure"] == measure].set_index(keys)
        found[title] = own["difference"]
        found[f"{title} low"], found[f"{title} high"] = own["low"], own["high"]
        found[f"p of {measure}"] = own["p_holm_measure"]
    counted = tests[tests["measure"].isin(list(metrics))]
    clear = counted["p_holm_measure"] < ALPHA
    for name, sign in DIRECTIONS.items():
        count = (clear & (sign * counted["difference"] > 0)).groupby([counted[key] for key in keys]).sum()
        found[f"metrics {name}"] = count
    return found.reset_index()


def tests(comparisons: Sequence[Comparison], name: str) -> Exhibit:
    """Tests of one method against the others in several networks.

    Args:
        comparisons: One a network, of one method by the same scores.
        name: Name of the table.
    """
    method, metrics = comparisons[0].method, comparisons[0].scores.names
    table = summary(pd.concat([one.significance() for one in comparisons], ignore_index=True), metrics)
    seeds = comparisons[0].runs["seed"].nunique()
    caption = (
        f"{method} against every other method in each network. {summary_finding(table, method, len(metrics))} "
        f"{uncorrected_finding(table, method)} "
        f"(Student's paired tests over {seeds} seeds, two-sided, with Holm's correction over the other methods of a "
        "network; brackets: 95 %, not corrected, as the verdicts on single differences have them; each network at the "
        "scale of its table above.)"
    )
    counts = [f"{row['metrics better']}, {row['metrics worse']}" for row in table.to_dict("records")]
    shown = table.drop(columns=["metrics better", "metrics worse"]).assign(**{"metrics better, worse": counts})
    return Exhibit(name=name, table=table, shown=shown, caption=caption)


def uncorrected_finding(summary: pd.DataFrame, method: str) -> str:
    """In how many comparisons the uncorrected interval is on one side, in a sentence; with `summary_finding` above.

    Args:
        summary: As `summary` gives it.
        method: Title of the method.
    """
    parts = []
    for measure, title in DIFFERENCES.items():
        better, worse = int((summary[f"{title} low"] > 0).sum()), int((summary[f"{title} high"] < 0).sum())
        parts.append(f"by {measure} in {better} and {worse}")
    return f"By intervals alone, which are not corrected, {method} is better and worse {' and '.join(parts)}."


def summary_finding(summary: pd.DataFrame, method: str, n_metrics: int) -> str:
    """How often a method is significantly better or worse by rank, by Delta_m and on single metrics, in a sentence.

    Args:
        summary: As `summary` gives it.
        method: Title of the method.
        n_metrics: Number of metrics.
    """
    parts = []
    for measure, title in DIFFERENCES.items():
        clear = summary[f"p of {measure}"] < ALPHA
        better, worse = (int((clear & (sign * summary[title] > 0)).sum()) for sign in DIRECTIONS.values())
        parts.append(f"by {measure} in {better} and {worse}")
    single = [int(summary[f"metrics {name}"].sum()) for name in DIRECTIONS]
    return (
        f"Of {len(summary)} comparisons, {method} is significantly better and worse {' and '.join(parts)}; of "
        f"{len(summary) * n_metrics} on single metrics, in {single[0]} and {single[1]}."
    )
