"""The poster's two tables rerun: improvements over single tasks, beside its values.

Delta of a task is the mean relative improvement over the task's metrics against single tasks, in %, and Delta_m the
mean over tasks, as on the poster; beside it stands the mean drop over all metrics, the convention of CAGrad and others.
Runs of one seed share initial weights and the order of images, so methods are compared by the differences of such
pairs: Student's interval and test, 95 %. Runs that diverged are left out and counted, and a claim about a method of
which one did is not judged: there is no mean over the seeds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mtlrepro.analysis.compare import with_spread_of
from mtlrepro.analysis.significance import detectable_difference, holm, paired_p_value
from mtlrepro.analysis.verdicts import Interval, Verdict, bracketed_over, joined, mean_interval, over_seeds
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import ALPHA, NOT_KNOWN, bracketed, columns, fixed, paired
from mtlrepro.studies.mclgs import grids, rates
from mtlrepro.studies.mclgs.poster import BDD100K, NYUV2, Poster
from mtlrepro.studies.mclgs.scores import better, by_metric, of_task, scores_of
from mtlrepro.studies.scores import DELTA, Scores, method_title
from mtlrepro.studies.setting import Setting, diverged
from mtlrepro.training.config import RunConfig

BEST = {
    "mclgs": ("MCLGS is better than every method without it", 0),
    "cagrad+mclgs": ("CAGrad + MCLGS is better than every other method", 2),
}
"""Method to what is claimed of it, and the number of that claim in the box; 0 is that of the table."""
COLLAPSE = 7
"""The poster's row of MGDA in the box *What the poster claims*."""
WITH_ZERO = "With a loss of 0 MGDA falls as far below single tasks as on the poster"
WITHOUT_ZERO = "Without a loss of 0 MGDA falls as far below single tasks as on the poster"
"""What is asked of MGDA where a task without a label has a loss of 0, and where it has none or has all labels."""
GAIN, PRINTED_GAIN = "gain, points", "printed gain, points"
"""Columns of what `tests` gives."""
SPREAD = "[95 %, of up to three seeds the range, with the spread of single tasks]"


@dataclass(frozen=True)
class Table:
    """One table rerun.

    Attributes:
        poster: The table that is rerun.
        dataset: Data of the runs.
        scores: Metrics, and the poster's convention.
        single: Single tasks, `[seeds, metrics]`.
        runs: Method to its runs: one row a run with `seed` and the columns of the metrics.
        lost: Method or single task to how many of its runs diverged and are left out, if any did; of a method that
            diverged at every rate, how many did of all.
        rates: Learning rate of each method and single task that has one.
        tuned: Whether the rates were chosen on the validation split.
    """

    poster: Poster
    dataset: str
    scores: Scores
    single: pd.DataFrame
    runs: Mapping[str, pd.DataFrame]
    lost: Mapping[str, int]
    rates: Mapping[str, float]
    tuned: bool

    @property
    def methods(self) -> list[str]:
        """Methods with two runs or more of the seeds of single tasks, the fewest that have a spread."""
        return [method for method in self.runs if len(self.spread(method)) > 1]

    def improvements(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Delta of each task, and Delta_m in both conventions, of each run against the mean of single tasks, in %.

        Args:
            runs: `[runs, metrics]`, indexed by seed.

        Returns:
            A column for each task, `Δm`, and `drop`, the mean drop over all metrics.
        """
        baseline = self.single.mean()
        found = {}
        for task in self.poster.tasks:
            own = of_task(self.scores, task)
            found[task] = own.delta_m(runs, baseline[own.names])
        drop = by_metric(self.scores).delta_m(runs, baseline)
        return pd.DataFrame({**found, DELTA: self.scores.delta_m(runs, baseline), "drop": drop})

    def of(self, method: str) -> pd.DataFrame:
        """Improvements of a method's runs by seed, see `improvements`."""
        return self.improvements(self.runs[method].set_index("seed")[self.scores.names])

    def spread(self, method: str) -> pd.DataFrame:
        """The same with the spread of the single-task runs of these seeds, see `compare.with_spread_of`."""
        own = self.runs[method].set_index("seed")[self.scores.names]
        own = own.loc[own.index.intersection(self.single.index)]
        return self.improvements(with_spread_of(self.single.loc[own.index], own))

    def gains(self, method: str, other: str) -> pd.Series:
        """Delta_m of one method less that of another in runs of the same seed, in points of %."""
        return (self.of(method)[DELTA] - self.of(other)[DELTA]).dropna()

    def gained(self, method: str, other: str) -> Interval | None:
        """Mean of `gains` with its paired interval; None if a run of either diverged."""
        return None if {method, other} & self.lost.keys() else paired(self.gains(method, other))

    def against_single(self, method: str, column: str) -> Interval | None:
        """A column of `spread` with its interval; None if a run of the method or of a single task diverged."""
        lost = {method, *self.poster.tasks} & self.lost.keys()
        return None if lost else over_seeds(self.spread(method)[column], mean_interval)


def load(setting: Setting, *, tuned: bool) -> Table:
    """Read the runs of a table, and train what is missing.

    Args:
        setting: What all runs share; that of `grids.streets` for the second table.
        tuned: Whether each method and single task has the best of the learning rates that were tried.

    Raises:
        RuntimeError: Of single tasks, the baseline, fewer than two seeds are left, see `Setting.reference`.
    """
    search = rates.of_methods(setting) if tuned else None
    chosen = {**search.rates, **rates.of_single_tasks(setting).rates} if search else None
    methods = grids.methods(setting, chosen)
    alone = grids.single_tasks(setting, chosen)
    default = dict.fromkeys([*methods, *setting.run().tasks], setting.run().lr)
    scores = scores_of(setting)
    poster = BDD100K if setting.network == "detection" else NYUV2
    whole = setting.reference("single tasks", alone, least=2)
    runs = {method: measured(setting, configs, scores) for method, configs in methods.items()}
    by_task = {task: [run for run in alone if run.tasks == (task,)] for task in poster.tasks}
    return Table(
        poster=poster,
        dataset=setting.dataset,
        scores=scores,
        single=setting.trained(whole).groupby("seed")[scores.names].first(),
        runs={method: own for method, own in runs.items() if len(own)},
        lost={**setting.lost({**methods, **by_task}), **(search.lost if search else {})},
        rates=chosen or default,
        tuned=tuned,
    )


def measured(setting: Setting, configs: Iterable[RunConfig], scores: Scores) -> pd.DataFrame:
    """Metrics of some runs on the test split, one row a run that is left: `seed` and the columns of the metrics.

    Args:
        setting: What all runs share; missing ones are trained.
        configs: Runs of all tasks.
        scores: Metrics.
    """
    return fronts.evaluated(setting, configs)[["seed", *scores.names]]


# --- tables -------------------------------------------------------------------------------------------


def rows(table: Table) -> pd.DataFrame:
    """The poster's table with our values beside the printed ones.

    Returns:
        One row a method of `Table.methods`: `method`, `learning rate`; for each task and for Delta_m `printed ...` as
        text, and ours with `... low` and `... high`, see `over_seeds`, with the spread of single tasks; `standard
        error` of Delta_m over seeds without it; and `mean drop, %` in the other convention, likewise with bounds.
    """
    poster, found = table.poster, []
    for method in table.methods:
        own = table.spread(method)
        row: dict[str, Any] = {"method": method_title(method), "learning rate": table.rates[method]}
        for task, column in poster.tasks.items():
            row[f"printed Δ of {task}, %"] = f"{poster.printed(method, column):.2f}"
            row |= columns(f"Δ of {task}, %", over_seeds(own[task], mean_interval))
        error = poster.printed(method, values="uncertainty")
        row[f"printed {DELTA}, %"] = f"{poster.printed(method):.2f} ± {error:.2f}"
        row |= columns(f"{DELTA}, %", over_seeds(own[DELTA], mean_interval))
        values = table.of(method)[DELTA]
        row["standard error"] = float(values.std(ddof=1) / np.sqrt(len(values)))
        found.append(row | columns("mean drop, %", over_seeds(own["drop"], mean_interval)))
    return pd.DataFrame(found)


def beside(table: Table, main: pd.DataFrame) -> pd.DataFrame:
    """Put our values into one cell with the printed ones, as wide as a page allows.

    Args:
        table: What was rerun.
        main: As `rows` gives it.

    Returns:
        `rows` with a column of text for each task and Delta_m, that with standard errors, in place of those with
        numbers.
    """
    shown = main[["method", "learning rate"] if table.tuned else ["method"]].copy()
    for name in (*(f"Δ of {task}, %" for task in table.poster.tasks), f"{DELTA}, %"):
        own = main[[name, f"{name} low", f"{name} high"]].to_numpy()
        shown[f"{name}, printed; ours"] = [
            f"{text}; {bracketed(Interval(*values))}" for text, values in zip(main[f"printed {name}"], own, strict=True)
        ]
    errors = [f" ± {fixed(error)} [" for error in main["standard error"]]
    cells = shown[f"{DELTA}, %, printed; ours"]
    shown[f"{DELTA}, %, printed; ours"] = [cell.replace(" [", error) for cell, error in zip(cells, errors, strict=True)]
    return shown.join(main[[f"mean drop, %{bound}" for bound in ("", " low", " high")]])


def tests(table: Table) -> pd.DataFrame:
    """Every method against equal weights, and MCLGS and CAGrad with MCLGS against the others, by runs of one seed.

    Returns:
        One row a pair: `method`, `against`, `pairs`; `printed gain, points`, the difference of the poster's Delta_m;
        `gain, points`, points of % of Delta_m by which the method is better, with `low` and `high` of the paired 95 %
        interval; `p` with Holm's correction over all rows; and `would show, points`, the smallest true gain that a test
        of so many pairs, by itself and at 5 %, shows with a power of 80 %. Methods that have no two pairs are left out.
    """
    found: list[dict[str, Any]] = []
    pairs = [(method, "equal") for method in table.runs if method != "equal"]
    for own in BEST:
        pairs += [(own, method) for method in table.runs if method not in ("equal", "cagrad+mclgs", own)]
    for method, other in pairs:
        if not {method, other} <= table.runs.keys() or len(gains := table.gains(method, other)) < 2:
            continue
        gained = mean_interval(gains)
        found.append(
            {
                "method": method_title(method),
                "against": method_title(other),
                "pairs": len(gains),
                PRINTED_GAIN: table.poster.printed(method) - table.poster.printed(other),
                **columns(GAIN, gained),
                "p": paired_p_value(gains),
                "would show, points": detectable_difference(len(gains)) * float(gains.std(ddof=1)),
            }
        )
    rows = pd.DataFrame(found)
    return rows.assign(p=holm(rows["p"])) if found else rows


def exhibits(table: Table) -> list[Exhibit]:
    """The table beside the poster's, and the differences between its methods."""
    name = f"{table.poster.title.lower()}_{'tuned' if table.tuned else 'untuned'}"
    lost = diverged({method_title(method): count for method, count in table.lost.items()})
    return [_table_exhibit(table, name, lost), _tests_exhibit(table, f"{name}_differences", lost)]


def _table_exhibit(table: Table, name: str, lost: str) -> Exhibit:
    main = rows(table)
    if main.empty:
        return Exhibit(name=name, table=main, caption=f"No method has two runs of the seeds of single tasks.{lost}")
    order = main.sort_values(f"{DELTA}, %", ascending=False)["method"].tolist()
    drops = main.sort_values("mean drop, %")["method"].tolist()
    seeds = sorted({len(table.spread(method)) for method in table.methods}, reverse=True)
    rate = "the best of the learning rates that were tried" if table.tuned else "the learning rate of the scale"
    other = " The printed values are of other data and compare in direction alone."
    caption = (
        f"The poster's table of {table.poster.title} rerun on {table.dataset}, each method and single task at {rate}. "
        f"By the mean of {DELTA} the order is {', '.join(order)}; by the mean drop over all metrics it is "
        f"{'the same' if order == drops else ', '.join(drops)}. Which differences show, the next table says."
        f"{'' if table.dataset == table.poster.title.lower() else other}{lost} (Brackets: "
        f"{', or '.join(map(bracketed_over, seeds))}, with the spread of single tasks; {DELTA}: mean over tasks ± "
        "standard error, without that spread; there a gain is positive, in the mean drop a drop.)"
    )
    return Exhibit(name=name, table=main, shown=beside(table, main), caption=caption)


def _tests_exhibit(table: Table, name: str, lost: str) -> Exhibit:
    compared = tests(table)
    pairs = {(row["method"], row["against"]): row for row in compared.to_dict("records")}
    own = pairs.get((method_title("mclgs"), method_title("equal")))
    gained = Interval(*(own[f"{GAIN}{bound}"] for bound in ("", " low", " high"))) if own else None
    would_show = fixed(own["would show, points"]) if own else NOT_KNOWN
    printed = fixed(table.poster.printed("mclgs") - table.poster.printed("equal"))
    broken = {method_title(method) for method in table.lost}
    judged = [row for row in pairs.values() if not broken & {row["method"], row["against"]}]
    better_pairs, worse_pairs = (
        "; ".join(
            f"{row['method']} than {row['against']}" for row in judged if row["p"] < ALPHA and sign * row[GAIN] > 0
        )
        or "none"
        for sign in (1, -1)
    )
    left_out = len(compared) - len(judged)
    note = f" (of {left_out} rows, of which a run diverged, nothing is said)" if left_out else ""
    caption = (
        f"Differences of {DELTA} in runs of the same seed. MCLGS less equal weights: "
        f"{bracketed(gained, signed=True)} points; the poster prints {printed}, and so many pairs would show a true "
        f"gain of {would_show}. After Holm's correction over the {len(compared)} rows better: {better_pairs}; worse: "
        f"{worse_pairs}{note}.{lost} (Brackets: paired 95 %, not corrected; what would show: by a test by itself at 5 "
        "%, with a power of 80 %.)"
    )
    return Exhibit(name=name, table=compared, caption=caption)


def single_exhibit(table: Table) -> Exhibit:
    """Single tasks, the baseline, with their spread over seeds."""
    found, widest = [], (0.0, "")
    for name, measure in table.scores.metrics.items():
        values = table.single[name]
        row: dict[str, Any] = {"metric": measure.label, "task": name.split(".")[0]}
        row |= columns("alone", over_seeds(values, mean_interval))
        row["spread of seeds, % of the mean"] = spread = float(100 * values.std(ddof=1) / values.mean())
        widest = max(widest, (spread, measure.title))
        found.append(row)
    rows = pd.DataFrame(found)
    caption = (
        f"Each task alone on {table.dataset}, the baseline of {DELTA}. Seeds spread most in {widest[1]}: a "
        f"standard deviation of {fixed(widest[0])} % of its mean."
        f"{diverged({task: count for task, count in table.lost.items() if task in table.poster.tasks})} (Brackets: "
        f"{bracketed_over(len(table.single))}.)"
    )
    return Exhibit(name=f"{table.poster.title.lower()}_single", table=rows, caption=caption)


# --- verdicts -----------------------------------------------------------------------------------------


def claims(table: Table) -> list[Verdict]:
    """Judge the poster's claims about a table by runs of the same seed, on Delta_m.

    MCLGS is held against every method without it; CAGrad with MCLGS, the second finding, which the first table has
    alone, against every other method. MGDA's fall below single tasks is the finding of the second table alone.
    """
    found = []
    rate = "tuned learning rates" if table.tuned else ""
    for method, (claim, finding) in BEST.items():
        if method not in table.runs and method not in table.lost:
            continue
        for other in dict.fromkeys([*table.runs, *table.lost]):
            if other in (method, "cagrad+mclgs", *table.poster.tasks):
                continue
            about = {"source": table.poster.place, "case": joined(method_title(other), table.dataset, rate)}
            gained = table.gained(method, other)
            found.append(better(claim, gained, finding=finding or table.poster.finding, **about))
    for method, subject, finding in (
        ("equal", "Equal weights are", 0),
        ("mclgs", "MCLGS is", table.poster.finding),
        ("cagrad+mclgs", "CAGrad + MCLGS is", 2),
    ):
        if method not in table.runs and method not in table.lost:
            continue
        own = table.against_single(method, DELTA)
        found.append(
            Verdict(
                f"{subject} better than single tasks",
                table.poster.place,
                0.0,
                0.0,
                None if own is None else Interval(-own.value, -own.high, -own.low),
                below=True,
                reading=f"points of % by which single tasks are better in {DELTA}, mean over seeds {SPREAD}",
                case=joined(table.dataset, rate),
                finding=finding,
            )
        )
    if table.poster is BDD100K:
        case = joined("labels as the data set has them", table.dataset, rate)
        found += [
            fall(WITHOUT_ZERO, task, table.against_single("mgda", task), case=case) for task in table.poster.tasks
        ]
    return found


def fall(claim: str, task: str, measured: Interval | None, *, case: str) -> Verdict:
    """Judge whether MGDA falls as far below single tasks as the poster prints.

    Args:
        claim: `WITH_ZERO` or `WITHOUT_ZERO`.
        task: A task of the second table.
        measured: Delta of the task in %; None if it cannot be tested.
        case: How the runs have their labels.
    """
    return Verdict(
        f"{claim} ({task})",
        "our question" if claim == WITH_ZERO else BDD100K.place,
        BDD100K.printed("mgda", BDD100K.tasks[task]),
        0.0,
        measured,
        below=True,
        reading=f"Δ of the task, %, mean over seeds {SPREAD}",
        kind="ours" if claim == WITH_ZERO else "paper",
        case=case,
        finding=COLLAPSE,
    )
