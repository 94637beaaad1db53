"""One method against others in one network: the grids behind it, its table, tests and figure.

Runs of one seed share initial weights and the order of images. Tests here take samples as independent nevertheless:
five pairs have 32 patterns of signs, of which none is significant at 5 %. Intervals are Student's or Welch's, 95 %,
over seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mtlrepro.analysis.significance import one_against_others
from mtlrepro.analysis.verdicts import Interval, mean_interval, number
from mtlrepro.pages import figures
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.scores import AVERAGE_RANK, DELTA, Scores, method_title
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig
from mtlrepro.training.scales import Scale

DIRECTIONS = {"better": 1, "worse": -1}
ALPHA = 0.05
"""Level of significance."""


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

    def table(self) -> pd.DataFrame:
        """Mean and half the 95 % interval over seeds of each metric, ranks and Delta_m.

        The baseline of Delta_m counts as exact: its own spread over seeds is not in the interval.

        Returns:
            One row a method, and one for single-task learning, as text: `method`; a column for each metric;
            `rank of runs`, the mean of the runs' average ranks; `rank of means`, the average rank of a method's
            means among those of all methods; and `Δm, %`.
        """
        scored = self.scored()
        means = scored.groupby("method", sort=False)[self.scores.names].mean()
        of_means = self.scores.average_ranks(means)
        rows = [
            {
                "method": name,
                **self._cells(own),
                "rank of runs": mean_and_half(own[AVERAGE_RANK], 1),
                "rank of means": f"{of_means[name]:.2f}",
                f"{DELTA}, %": mean_and_half(own[DELTA], 1),
            }
            for name, own in scored.groupby("method", sort=False)
        ]
        rows.append({"method": "single task", **self._cells(self.single)})
        return pd.DataFrame(rows).fillna("")

    def _cells(self, runs: pd.DataFrame) -> dict[str, str]:
        metrics = self.scores.metrics.items()
        return {measure.label: mean_and_half(runs[name], measure.decimals) for name, measure in metrics}

    def average_ranks(self) -> dict[str, Interval]:
        """Mean over its runs of each method's average rank, with its interval over seeds, best method first."""
        groups = self.scored().groupby("method", sort=False)[AVERAGE_RANK]
        found = {str(name): mean_interval(values) for name, values in groups}
        return dict(sorted(found.items(), key=lambda entry: entry[1].value))

    def finding(self) -> str:
        """The method's rank by the average rank of runs, beside the best other method, in sentences."""
        order = self.average_ranks()
        place = list(order).index(self.method) + 1
        rival = next(method for method in order if method != self.method)
        seeds = self.runs["seed"].nunique()
        return (
            f"{self.title.capitalize()}, {seeds} seeds: {self.method} takes place {place} of {len(order)} by the "
            f"average rank of {len(self.runs)} runs, {order[self.method]}; the best other method is {rival}, "
            f"{order[rival]}. {DELTA} is against single-task learning; ± and brackets: 95 % over seeds."
        )

    def significance(self) -> pd.DataFrame:
        """Test the method against each other one, on each metric, on the average rank and on Delta_m.

        Returns:
            `network`, and the columns of :func:`mtlrepro.analysis.significance.one_against_others`; positive where
            the method is better.
        """
        values = self.scores.measures(self.runs).assign(**{DELTA: self.scores.sign * self.scored()[DELTA]})
        found = one_against_others(values, self.runs["method"], self.method)
        return found.assign(network=self.title)[["network", *found.columns]]

    def exhibit(self, name: str) -> Exhibit:
        """The table as an exhibit of that name."""
        return Exhibit(name=name, table=self.table(), caption=self.finding())

    def runs_exhibit(self, name: str) -> Exhibit:
        """Every run, a panel for each metric; dashed: single-task learning."""
        references = {metric: float(self.baseline[metric]) for metric in self.scores.names}
        count = self.runs["method"].nunique()
        return Exhibit(
            name=name,
            table=self.scored(),
            caption=f"{self.finding()} Dots: seeds; bars: their means; dashed: single tasks.",
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


def mean_and_half(values: pd.Series, decimals: int) -> str:
    """Text of a mean and of half its 95 % interval, with a number of decimals."""
    interval = mean_interval(values)
    return f"{fixed(interval.value, decimals)} ± {fixed(interval.high - interval.value, decimals)}"


def fixed(value: float, decimals: int = 1) -> str:
    """Text with a number of decimals, without the sign of a zero."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def in_words(count: int) -> str:
    """Write a number up to ten as a word."""
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[count] if count < len(words) else str(count)


# --- tests of several networks ------------------------------------------------------------------------


def summary(tests: pd.DataFrame, metrics: Iterable[str]) -> pd.DataFrame:
    """Condense tests to one row a network and other method.

    Args:
        tests: As `Comparison.significance` gives them, of any number of networks.
        metrics: Metrics of the comparison.

    Returns:
        `network`, `against`; the difference of average ranks with `low` and `high`, `hedges_g`, exact `p`
        and `p_holm` over the other methods, which with so many seeds cannot be below `p_reachable`; `better` and
        `worse`, the number of metrics on which the method is so with a corrected p-value below 5 %.
    """
    keys = ["network", "against"]
    names = {"p_holm_measure": "p_holm"}
    columns = [*keys, "difference", "low", "high", "hedges_g", "p", "p_holm", "p_reachable"]
    found = tests[tests["measure"] == AVERAGE_RANK].rename(columns=names)[columns]
    found["p_reachable"] = (found["p_reachable"] * found["against"].nunique()).clip(upper=1)
    counted = tests[tests["measure"].isin(list(metrics))]
    clear = counted["p_holm_measure"] < ALPHA
    for name, sign in DIRECTIONS.items():
        count = (clear & (sign * counted["difference"] > 0)).groupby([counted[key] for key in keys]).sum()
        found[name] = count.loc[pd.MultiIndex.from_frame(found[keys])].to_numpy()
    return found.reset_index(drop=True)


def tests(comparisons: Sequence[Comparison], name: str) -> Exhibit:
    """Tests of one method against the others in several networks.

    Args:
        comparisons: One a network, of one method by the same scores.
        name: Name of the table.
    """
    method, metrics = comparisons[0].method, comparisons[0].scores.names
    table = summary(pd.concat([one.significance() for one in comparisons], ignore_index=True), metrics)
    caption = f"{summary_finding(table, method, len(metrics))} Each network at the scale of its table above."
    return Exhibit(name=name, table=table, caption=caption)


def summary_finding(summary: pd.DataFrame, method: str, n_metrics: int) -> str:
    """How often a method is significantly better or worse, in a sentence.

    Args:
        summary: As `summary` gives it.
        method: Title of the method.
        n_metrics: Number of metrics.
    """
    clear = summary["p_holm"] < ALPHA
    ranked = {name: int((clear & (sign * summary["difference"] > 0)).sum()) for name, sign in DIRECTIONS.items()}
    single = {name: int(summary[name].sum()) for name in DIRECTIONS}
    return (
        f"With Holm's correction over the other methods, at 5 %, {method}'s average rank is better in "
        f"{ranked['better']} and worse in {ranked['worse']} of {len(summary)} comparisons; on single metrics {method} "
        f"is better in {single['better']} and worse in {single['worse']} of {len(summary) * n_metrics}. With so many "
        f"seeds the smallest corrected p-value can be {number(summary['p_reachable'].min(), 2)}."
    )
