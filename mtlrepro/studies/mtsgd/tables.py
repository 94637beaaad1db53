"""Tables 2 to 4 of the article, in its layout and beside its values, and Figures 5 to 7.

Runs of one seed share initial weights and the order of images, so rows are compared by the differences of such pairs.
Intervals are Student's, 95 %; a single row has the range of up to three seeds. Delta_m is the mean relative improvement
over single tasks, in %, with the spread of the single-task runs in it. Runs that diverged are left out and counted: a
table has the rows with two runs or more, and a claim about a row of which a run diverged is not judged.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NotRequired, TypedDict, Unpack

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtlrepro.analysis import published
from mtlrepro.analysis.compare import with_spread_of
from mtlrepro.analysis.significance import detectable_difference, holm, paired_p_value
from mtlrepro.analysis.verdicts import Interval, Kind, Verdict, bracketed_over, mean_interval, over_seeds
from mtlrepro.pages import figures
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts, predictions
from mtlrepro.studies.comparison import ALPHA, bracketed, columns, fixed, paired
from mtlrepro.studies.mtsgd import grids, printed
from mtlrepro.studies.mtsgd.grids import BALANCE_ALONE, JOINT, NO_CONFLICT, TABLE_2, TABLE_3, TABLE_4, Cell
from mtlrepro.studies.scores import DELTA, Scores
from mtlrepro.studies.setting import Setting, diverged
from mtlrepro.training.config import RunConfig

MIOU, AEPE = "segmentation.miou", "disparity.aepe"
SCORES = Scores.of([MIOU, AEPE])
SIGNS = {MIOU: 1, AEPE: -1}
"""1 where higher is better."""
PRINTED = {MIOU: printed.SEGMENTATION, AEPE: printed.DISPARITY}
"""Columns of the article's tables."""
LABELS = {MIOU: "mIoU, %", AEPE: "AEPE, px"}
DECIMALS = {MIOU: 1, AEPE: 3}
TASKS = {MIOU: "segmentation", AEPE: "disparity"}
ALONE = tuple(f"{task} alone" for task in TASKS.values())
"""Names of single tasks."""
UNITS = {MIOU: "points", AEPE: "px"}
MEASURES = {MIOU: "points of mIoU", AEPE: "px of AEPE", DELTA: f"% of {DELTA}"}
"""In what a difference is told, by metric, and `DELTA`."""
AS_THEY_ARE = "losses as they are"
"""Case of verdicts about runs without a factor on the loss of disparity."""
ABOUT: dict[str, tuple[tuple[Cell, ...], tuple[tuple[Cell, Cell], ...]]] = {
    "Table 2": (TABLE_2, ((Cell(NO_CONFLICT), JOINT),)),
    "Table 3": ((*TABLE_2, *TABLE_3), ((Cell(NO_CONFLICT, decay=0.0), Cell(NO_CONFLICT)),)),
    "Table 4": (
        (*TABLE_2[1:], *TABLE_4),
        tuple((Cell(end), Cell(end, level)) for level in ("filter", "parameter") for end in grids.ENDS),
    ),
}
"""The article's tables: their rows, and the pairs of rows that the caption compares."""
PAIRED = "[paired 95 %, not corrected]"
ABLATION = "Section 4.4, Table 2"
Pairs = dict[tuple[str, str], tuple[pd.DataFrame, pd.DataFrame]]
"""Names of two rows, the second being the reference, to their runs."""


class About(TypedDict):
    """Further fields of a verdict."""

    source: str
    kind: NotRequired[Kind]
    finding: NotRequired[int]
    limits: NotRequired[int]
    case: NotRequired[str]


def title(cell: Cell) -> str:
    """Name of a row: the method, and what is not that of Table 2."""
    name = "joint SGD" if cell.threshold is None else f"MTSGD, threshold {cell.threshold:g}"
    level = f", {cell.level}" if cell.level != "channel" else ""
    decay = "" if cell.decay == grids.PAPER_DECAY else f", decay {cell.decay:g}"
    return f"{name}{level}{decay}"


def scaled_title(cell: Cell) -> str:
    """Name of a row with the loss of disparity scaled."""
    return f"{title(cell)} with the scaled loss"


def decayed_title(form: grids.Decay, threshold: float | None) -> str:
    """Name of a row with matched decay, see `mtsgd.decay`."""
    return f"{title(Cell(threshold))}, matched {'coupled' if form == 'torch' else form} decay"


@dataclass(frozen=True)
class Trained:
    """Runs of the rows of some parts.

    Attributes:
        single: Single tasks, `[seeds, metrics]`.
        cells: Row of the article's tables to its runs: one row a run with `seed` and the columns of the metrics.
        scaled: Row to its runs with the loss of disparity scaled.
        decayed: Form of decay to threshold (None: joint SGD) to its runs with matched decay, see `mtsgd.decay`.
        lost: Name of a row, see `title`, `scaled_title` and `decayed_title`, or task alone to how many of its runs
            diverged and are left out, if any did.
        dataset: Data of the runs.
        factor: Factor on the loss of disparity in `scaled`.
    """

    single: pd.DataFrame
    cells: Mapping[Cell, pd.DataFrame]
    scaled: Mapping[Cell, pd.DataFrame]
    decayed: Mapping[grids.Decay, Mapping[float | None, pd.DataFrame]]
    lost: Mapping[str, int]
    dataset: str
    factor: float = grids.PREMISE

    def delta_m(self, runs: pd.DataFrame) -> pd.Series:
        """Delta_m of each run against single tasks, in %, with the spread of the single-task runs of its seeds.

        Seeds that single tasks lack are left out.
        """
        own = runs[runs["seed"].isin(self.single.index)].set_index("seed")[SCORES.names]
        return SCORES.delta_m(with_spread_of(self.single.loc[own.index], own), self.single.mean())

    def shown(self, runs: pd.DataFrame) -> bool:
        """Whether runs have a row in a table: two or more of the seeds of single tasks, the fewest with a spread."""
        return len(self.delta_m(runs)) > 1

    def judged(self, gained: Interval | None, *names: str) -> Interval | None:
        """A gain, but None if a run of one of the rows of some names diverged: there is no mean over the seeds."""
        return None if self.lost.keys() & names else gained

    def left_out(self, names: Collection[str]) -> str:
        """Say which runs of some rows diverged, in a sentence after others; see `diverged`."""
        return diverged({name: count for name, count in self.lost.items() if name in names})


def load(setting: Setting) -> Trained:
    """Read the runs of Tables 2 to 4 and those beside them; missing ones are trained.

    Args:
        setting: What all runs share.

    Raises:
        RuntimeError: Of single tasks or of joint SGD, the baselines, no seed is left, see `Setting.reference`.
    """
    setting.reference(title(JOINT), JOINT.runs(setting))
    alone = grids.single_tasks(setting)
    single = setting.trained(setting.reference("single tasks", alone)).groupby("seed")[SCORES.names].first()
    cells = {cell: cell.runs(setting) for cell in (*TABLE_2, *TABLE_3, *TABLE_4)}
    scaled, decayed = _scaled(setting), _decayed(setting)
    by_name = {name: [run for run in alone if name == f"{run.tasks[0]} alone"] for name in ALONE}
    by_name |= {title(cell): runs for cell, runs in cells.items()}
    by_name |= {scaled_title(cell): runs for cell, runs in scaled.items()}
    by_name |= {decayed_title(form, one): runs for form, own in decayed.items() for one, runs in own.items()}
    return Trained(
        single,
        {cell: measured(setting, runs) for cell, runs in cells.items()},
        {cell: measured(setting, runs) for cell, runs in scaled.items()},
        {form: {one: measured(setting, runs) for one, runs in own.items()} for form, own in decayed.items()},
        setting.lost(by_name),
        setting.dataset,
    )


def _scaled(setting: Setting) -> dict[Cell, list[RunConfig]]:
    """Rows of Table 2 with the loss of disparity scaled."""
    configs = grids.scaled(setting, range(setting.seeds))
    return {
        cell: [run for run in configs if run.method_options.get("threshold") == cell.threshold]
        for cell in (JOINT, Cell(BALANCE_ALONE), Cell(NO_CONFLICT))
    }


def _decayed(setting: Setting) -> dict[grids.Decay, dict[float | None, list[RunConfig]]]:
    """Form of matched decay to threshold to its runs."""
    strong = grids.decayed(setting)
    return {
        form: {
            threshold: [run for run in strong if run.decay == form and run.method_options.get("threshold") == threshold]
            for threshold in (None, NO_CONFLICT)
        }
        for form in dict.fromkeys(run.decay for run in strong)
    }


def measured(setting: Setting, configs: Sequence[RunConfig]) -> pd.DataFrame:
    """Metrics of some runs on the test split, one row a run that is left: `seed` and the columns of the metrics.

    Args:
        setting: What all runs share.
        configs: Runs of both tasks; missing ones are trained.
    """
    return fronts.evaluated(setting, configs)[["seed", *SCORES.names]]


def differences(one: pd.DataFrame, other: pd.DataFrame, metric: str) -> pd.Series:
    """Differences of one metric between runs of the same seed, one less other."""
    gap = one.set_index("seed")[metric] - other.set_index("seed")[metric]
    return gap.dropna()


# --- the tables ---------------------------------------------------------------------------------------


def rows(trained: Trained, cells: Sequence[Cell], place: str) -> pd.DataFrame:
    """Rows of one of the article's tables, its values beside ours.

    Args:
        trained: What `load` gives.
        cells: Rows of the table.
        place: The article's table, as `book/published/mtsgd.csv` names it.

    Returns:
        One row a cell of `Trained.shown`: `method`, `printed mIoU, %`, `mIoU, %` with its bounds, likewise for AEPE in
        pixels, and `Δm, %` with its bounds.
    """
    numbers = published.read("mtsgd")
    found = []
    for cell in cells:
        runs = trained.cells[cell]
        if not trained.shown(runs):
            continue
        row: dict[str, Any] = {"method": title(cell)}
        for metric, label in LABELS.items():
            row[f"printed {label}"] = printed.text(numbers, place, printed.label(cell, place), PRINTED[metric])
            row |= columns(label, over_seeds(runs[metric], mean_interval))
        row |= columns(f"{DELTA}, %", over_seeds(trained.delta_m(runs), mean_interval))
        found.append(row)
    return pd.DataFrame(found)


def table_exhibit(trained: Trained, place: str) -> Exhibit:
    """One of the article's tables rerun, with the difference that it is about.

    Args:
        trained: What `load` gives.
        place: `Table 2`, `Table 3` or `Table 4`.
    """
    cells, compared = ABOUT[place]
    gains = "; that ".join(
        f"of {title(one)} over {title(other)} is {_gains(trained.cells[one], trained.cells[other])}"
        for one, other in compared
    )
    caption = (
        f"{place} on {trained.dataset} beside the article's values"
        f"{'' if trained.dataset == 'cityscapes' else ', which are of Cityscapes and compare in direction alone'}. "
        f"The gain {gains}.{trained.left_out([*map(title, cells), *ALONE])} "
        "(Positive: better; brackets: paired 95 %, not "
        f"corrected; of rows 95 %, of up to three seeds the range; {DELTA} against single tasks.)"
    )
    return Exhibit(name=place.lower().replace(" ", "_"), table=rows(trained, cells, place), caption=caption)


def _gains(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """Say by how much some runs are better than others of the same seeds in both metrics."""
    return " and ".join(
        f"{bracketed(gain(one, other, metric), DECIMALS[metric])} {UNITS[metric]} of {label.split(',')[0]}"
        for metric, label in LABELS.items()
    )


def single_exhibit(trained: Trained) -> Exhibit:
    """Single tasks, the first rows of Table 2."""
    numbers = published.read("mtsgd")
    found = []
    for metric, column in PRINTED.items():
        own = over_seeds(trained.single[metric], mean_interval)
        value = printed.text(numbers, "Table 2", printed.SINGLE[column], column)
        found.append({"task alone": LABELS[metric], "printed": value, **columns("here", own)})
    seeds = len(trained.single)
    caption = (
        f"Each task alone under SGD, the baseline of {DELTA}: mIoU {bracketed(_interval(found[0]))} %, AEPE "
        f"{bracketed(_interval(found[1]), 3)} px.{trained.left_out(ALONE)} (Brackets: {bracketed_over(seeds)}.)"
    )
    return Exhibit(name="single_tasks", table=pd.DataFrame(found), caption=caption)


def _interval(row: Mapping[str, Any]) -> Interval:
    return Interval(row["here"], row["here low"], row["here high"])


def scaled_exhibit(trained: Trained) -> Exhibit:
    """Table 2's ends once more with the loss of disparity scaled, so that its gradient dominates."""
    found = []
    for cell, runs in trained.scaled.items():
        if not trained.shown(runs):
            continue
        row: dict[str, Any] = {"method": title(cell)}
        for metric, label in LABELS.items():
            row |= columns(label, over_seeds(runs[metric], mean_interval))
        found.append(row | columns(f"{DELTA}, %", over_seeds(trained.delta_m(runs), mean_interval)))
    joint, clipped = trained.scaled[JOINT], trained.scaled[Cell(NO_CONFLICT)]
    gains = {metric: paired(differences(clipped, joint, metric)) for metric in LABELS}
    counts = sorted({len(runs) for runs in trained.scaled.values() if trained.shown(runs)}, reverse=True)
    undone = {metric: paired(differences(clipped, trained.cells[JOINT], metric)) for metric in LABELS}
    caption = (
        f"Joint SGD and MTSGD with the loss of disparity times {trained.factor:g}. MTSGD at a threshold of 0 changes "
        f"mIoU by {bracketed(gains[MIOU], signed=True)} points and AEPE by {bracketed(gains[AEPE], 3, signed=True)} "
        "px (more is better of the first, worse of the second). In all three rows the head of disparity takes the "
        "scaled step, since heads are not balanced. The learning rate is that of the other tables; the scaled loss "
        "lengthens joint SGD's steps above all, so that a smaller rate may help it as much as MTSGD does. A fixed "
        "weight that undoes the factor makes joint SGD of Table 2; MTSGD here less that is "
        f"{bracketed(undone[MIOU], signed=True)} points and {bracketed(undone[AEPE], 3, signed=True)} px."
        f"{trained.left_out([*map(scaled_title, trained.scaled), *ALONE])} (Brackets of rows: "
        f"{', or '.join(map(bracketed_over, counts))}; of differences: paired 95 %.)"
    )
    return Exhibit(name="premise_table", table=pd.DataFrame(found), caption=caption)


# --- differences --------------------------------------------------------------------------------------


def pairs(trained: Trained) -> Pairs:
    """Rows of Tables 2 and 4 that the article's claims compare; for Table 3 see `mtsgd.decay`.

    Args:
        trained: What `load` gives.
    """
    wanted = [
        *((cell, JOINT) for cell in TABLE_2[1:]),
        *((Cell(threshold), Cell(BALANCE_ALONE)) for threshold in grids.THRESHOLDS[1:]),
        *((replace(cell, level="channel"), cell) for cell in TABLE_4),
        *((Cell(NO_CONFLICT, level), Cell(BALANCE_ALONE, level)) for level in ("filter", "parameter")),
    ]
    cells = trained.cells
    return {(title(one), title(other)): (cells[one], cells[other]) for one, other in wanted}


def tests(compared: Pairs) -> pd.DataFrame:
    """Paired differences of some rows, a family of tests.

    Args:
        compared: Which rows.

    Returns:
        One row a pair with two seeds in common or more: `compared`, `with`, `pairs`; for both metrics the gain,
        positive where the first is better, with its bounds, its p-value with Holm's correction over all rows of this
        table, and the smallest true gain that so many pairs show with a power of 80 %.
    """
    found: list[dict[str, Any]] = []
    p_values: list[tuple[int, str, float]] = []
    for (one, other), (first, second) in compared.items():
        row: dict[str, Any] = {"compared": one, "with": other}
        by_metric = {metric: sign * differences(first, second, metric) for metric, sign in SIGNS.items()}
        if min(map(len, by_metric.values())) < 2:
            continue
        for metric, gaps in by_metric.items():
            name = f"gain in {LABELS[metric].split(',')[0]}, {UNITS[metric]}"
            row["pairs"] = len(gaps)
            row |= columns(name, mean_interval(gaps))
            row[f"{name}, would show"] = detectable_difference(len(gaps)) * float(gaps.std(ddof=1))
            p_values.append((len(found), f"p of {LABELS[metric].split(',')[0]}", paired_p_value(gaps)))
        found.append(row)
    table = pd.DataFrame(found)
    if not found:
        return table
    for (row_index, name, _), corrected in zip(p_values, holm([p for *_, p in p_values]), strict=True):
        table.loc[row_index, name] = corrected
    return table


def tests_exhibit(trained: Trained) -> Exhibit:
    """Paired differences behind the claims about Tables 2 and 4, with what so few pairs can show.

    Args:
        trained: What `load` gives.
    """
    return pairs_exhibit(trained, pairs(trained), "differences", "rows of the tables")


def pairs_exhibit(trained: Trained, compared: Pairs, name: str, of: str, unjudged: Collection[str] = ()) -> Exhibit:
    """Paired differences of some rows, see `tests`.

    Args:
        trained: What `load` gives.
        compared: Which rows.
        name: Name of the table.
        of: What the rows are.
        unjudged: Names of those whose training breaks down, so that their differences judge nothing.
    """
    table, lost = tests(compared), trained.left_out({row for both in compared for row in both})
    if table.empty:
        return Exhibit(name=name, table=table, caption=f"No two {of} have two seeds in common.{lost}")
    clear = table[(table["p of mIoU"] < ALPHA) | (table["p of AEPE"] < ALPHA)]
    void = int((clear["compared"].isin(unjudged) | clear["with"].isin(unjudged)).sum())
    of_them = "all" if void == len(clear) else void
    broken = f", {of_them} of them with a row whose training breaks down, which judges nothing" if void else ""
    counts = sorted(set(table["pairs"]), reverse=True)
    detectable, corrected = (
        ", ".join(f"{detectable_difference(count, alpha=alpha):.{digits}f} with {count} pairs" for count in counts)
        for alpha, digits in ((ALPHA, 1), (ALPHA / (2 * len(table)), 0))
    )
    caption = (
        f"Differences between {of}, positive where the first is better. After Holm's correction over "
        f"all {2 * len(table)} of them, {len(clear)} of {len(table)} rows differ in a metric at the 5 % level{broken}. "
        "The smallest difference that shows with a power of 80 %, without that correction, was known before the runs: "
        f"in standard deviations of the pairs it is {detectable}; what that is in points and pixels stands beside "
        f"each. To be the first that shows with the correction, it has to be {corrected}.{lost} "
        "(Brackets: paired 95 %, not corrected.)"
    )
    return Exhibit(name=name, table=table, shown=_by_metric(table), caption=caption)


def _by_metric(table: pd.DataFrame) -> pd.DataFrame:
    """Give each metric a row of its own in what `tests` gives, so that the table fits a page."""
    found = []
    for _, row in table.iterrows():
        for key, label in LABELS.items():
            metric, unit = label.split(",")[0], UNITS[key]
            name = f"gain in {metric}, {unit}"
            values = {"gain": row[name], "gain low": row[f"{name} low"], "gain high": row[f"{name} high"]}
            shows = {"would show": row[f"{name}, would show"], "p": row[f"p of {metric}"]}
            found.append({**row[["compared", "with", "pairs"]], "in": f"{metric}, {unit}", **values, **shows})
    return pd.DataFrame(found)


def gain(one: pd.DataFrame, other: pd.DataFrame, metric: str) -> Interval | None:
    """By how much `one` is better than `other` in a metric, in its unit: the mean over seeds with its paired interval.

    Of fewer than two pairs there is none.

    Args:
        one: Runs, one row each, with `seed` and the metric.
        other: Runs of the same seeds.
        metric: Column of both.
    """
    return paired(SIGNS[metric] * differences(one, other, metric))


def delta_gain(one: pd.DataFrame, other: pd.DataFrame) -> Interval | None:
    """By how much `one` is better than `other` in Delta_m against the mean of `other`, in %; see `gain`.

    Args:
        one: Runs, one row each, with `seed` and both metrics.
        other: Runs of the same seeds.
    """
    if other.empty:
        return None
    baseline = other[SCORES.names].mean()
    values = [SCORES.delta_m(runs, baseline).set_axis(runs["seed"]) for runs in (one, other)]
    return paired(SCORES.sign * (values[0] - values[1]).dropna())


SUBJECTS = {**{f"at {task}": metric for metric, task in TASKS.items()}, f"by {DELTA}": DELTA}
"""What a claim about both tasks can be about, in words, to the metric, or `DELTA`."""


def gained_in(metric: str, one: pd.DataFrame, other: pd.DataFrame) -> Interval | None:
    """By how much `one` is better than `other` in a metric, see `gain`, or by `DELTA`, see `delta_gain`.

    Args:
        metric: Column of both, or `DELTA`.
        one: Runs.
        other: Runs of the same seeds.
    """
    return delta_gain(one, other) if metric == DELTA else gain(one, other, metric)


def better(claim: str, gained: Interval | None, metric: str, **about: Unpack[About]) -> Verdict:
    """Verdict on the claim that one row is better than another.

    Args:
        claim: In a sentence.
        gained: As `gain` or `delta_gain` gives it; None if that is not judged.
        metric: Of what; `DELTA` for Delta_m.
        **about: Further fields of the verdict.
    """
    reading = f"{MEASURES[metric]} by which it is worse, mean over seeds {PAIRED}"
    lost = None if gained is None else Interval(-gained.value, -gained.high, -gained.low)
    return Verdict(claim, claimed=0.0, tolerance=0.0, measured=lost, below=True, reading=reading, **about)


def claims(trained: Trained) -> list[Verdict]:
    """Judge the article's claims about Tables 2 and 4 by runs of the same seed.

    Args:
        trained: What `load` gives.
    """
    cells, balance, clipped = trained.cells, Cell(BALANCE_ALONE), Cell(NO_CONFLICT)
    found: list[Verdict] = []
    premise = f"loss of disparity times {trained.factor:g}, one learning rate"
    for case, runs, named in ((AS_THEY_ARE, cells, title), (premise, trained.scaled, scaled_title)):
        for claim, source, number, one, other in (
            ("Balance alone improves {} over joint SGD", ABLATION, 2, balance, JOINT),
            ("Clipping at a threshold of 0 improves {} over balance alone", ABLATION, 3, clipped, balance),
            ("MTSGD at a threshold of 0 is better at {} than joint SGD", "Abstract, Table 2", 8, clipped, JOINT),
        ):
            for metric, task in TASKS.items():
                gained = trained.judged(gain(runs[one], runs[other], metric), named(one), named(other))
                found.append(better(claim.format(task), gained, metric, source=source, finding=number, case=case))
    for metric, task in TASKS.items():
        claim = f"MTSGD at a threshold of 0 is better at {task} than the fixed weight that undoes the factor"
        own: About = {"source": "our question", "kind": "ours", "case": premise, "limits": 8}
        gained = trained.judged(
            gain(trained.scaled[clipped], cells[JOINT], metric), scaled_title(clipped), title(JOINT)
        )
        found.append(better(claim, gained, metric, **own))
    for one in TABLE_4:
        channel, balance = replace(one, level="channel"), replace(one, threshold=BALANCE_ALONE)
        for metric, task in TASKS.items():
            claim = f"Directions by channel are better at {task} than by {one.level}"
            gained = trained.judged(gain(cells[channel], cells[one], metric), title(channel), title(one))
            found.append(better(claim, gained, metric, **_of_level(one, 5, f"threshold {one.threshold:g}")))
            if one.threshold == NO_CONFLICT:
                claim = f"Clipping at a threshold of 0 improves {task} over balance alone"
                gained = trained.judged(gain(cells[one], cells[balance], metric), title(one), title(balance))
                found.append(better(claim, gained, metric, **_of_level(one, 3, f"by {one.level}")))
    alone = trained.single.reset_index()
    gained = trained.judged(gain(cells[JOINT], alone, AEPE), title(JOINT), *ALONE)
    claim = "Joint SGD is better at disparity than disparity alone"
    found.append(better(claim, gained, AEPE, source=ABLATION, finding=7))
    for threshold in grids.ENDS:
        cell = Cell(threshold)
        gained = trained.judged(gain(cells[cell], alone, AEPE), title(cell), *ALONE)
        own = {"source": "our question", "kind": "ours", "case": f"threshold {threshold:g}", "limits": 7}
        found.append(better("MTSGD is better at disparity than disparity alone", gained, AEPE, **own))
    return found


def _of_level(cell: Cell, number: int, case: str) -> About:
    """Whose statement a row of Table 4 tries: the article prints filters, and whole parameters are our question."""
    if cell.level == "filter":
        return {"source": "Section 4.4, Table 4", "finding": number, "case": case}
    return {"source": "our question", "kind": "ours", "limits": number, "case": case}


# --- figures ------------------------------------------------------------------------------------------


def curves(setting: Setting) -> pd.DataFrame:
    """Training losses and metrics over the epochs of the central rows, Figure 5.

    Args:
        setting: Holds the stored runs; those that diverged are left out.

    Returns:
        One row a method, epoch and quantity: `method`, `epoch`, `quantity`, and mean over seeds `mean`, `low`, `high`.
    """
    found = []
    for cell in TABLE_2:
        if not cell.central:
            continue
        configs = setting.unbroken(cell.runs(setting))
        entries = [
            {"seed": config.seed, "epoch": entry["epoch"], **_quantities(entry)}
            for config, record in zip(configs, setting.records(configs).values(), strict=True)
            for entry in record["history"]
        ]
        if not entries:
            continue
        table = pd.DataFrame(entries)
        for epoch, own in table.groupby("epoch"):
            for quantity in own.columns.drop(["seed", "epoch"]):
                values = own[quantity].dropna()
                if len(values):
                    interval = over_seeds(values, mean_interval)
                    found.append((title(cell), epoch, quantity, interval.value, interval.low, interval.high))
    return pd.DataFrame(found, columns=["method", "epoch", "quantity", "mean", "low", "high"])


def _quantities(entry: Mapping[str, Any]) -> dict[str, float]:
    losses = {f"loss of {task}": value for task, value in entry["losses"].items()}
    metrics = entry.get("metrics") or {}
    values = {
        LABELS[name]: metrics.get(name.split(".")[0], {}).get(name.split(".")[1], np.nan) for name in SCORES.names
    }
    return {**losses, **values}


def curves_exhibit(setting: Setting) -> Exhibit:
    """Figure 5: losses and metrics over the epochs.

    Args:
        setting: Holds the stored runs.
    """
    table = curves(setting)
    quantities = list(dict.fromkeys(table["quantity"]))
    drawing = Figure(figsize=(7.2, 5.2), layout="constrained")
    grid = drawing.subplots(2, 2, sharex=True)
    for axes, quantity in zip(grid.flat, quantities, strict=True):
        figures.curves(axes, table[table["quantity"] == quantity], "epoch", by="method")
        axes.set_ylabel(quantity)
        axes.set_xlabel("epoch")
    figures.legend(drawing, grid[0, 0], 3)
    last = table[table["epoch"] == table["epoch"].max()]
    texts = []
    for label in LABELS.values():
        own = last[last["quantity"] == label].set_index("method")["mean"]
        texts.append(f"{label.split(',')[0]} {', '.join(f'{name} {fixed(value, 2)}' for name, value in own.items())}")
    lost = diverged(setting.lost({title(cell): cell.runs(setting) for cell in TABLE_2 if cell.central}))
    caption = (
        f"Losses and metrics over the epochs (Figure 5 with its missing seeds). At the end: {'; '.join(texts)}.{lost} "
        "(Means over seeds; bars: 95 %, the range of up to three.)"
    )
    return Exhibit(
        name="figure_5",
        table=table,
        caption=caption,
        figure=drawing,
        alt="Four panels over the epochs: training losses of segmentation and disparity, mIoU and AEPE, with a curve "
        "for joint SGD and one for each end of MTSGD's thresholds.",
        uses=("scale", "comparison_seeds"),
        form="drawing",
    )


def pictures_exhibit(setting: Setting) -> Exhibit:
    """Figure 6: estimates and errors of single tasks, of joint SGD, and of MTSGD at both ends of the thresholds.

    Args:
        setting: Holds the stored runs, whose first seed keeps its predictions.
    """
    columns = {"single tasks": grids.single_tasks(setting)}
    columns |= {name: Cell(threshold).runs(setting) for name, threshold in grids.SEARCHED.items()}
    columns = {name: [run for run in runs if run.pictures] for name, runs in columns.items()}
    lost = setting.lost(columns)
    titles = {run.hash: name for name, runs in columns.items() if name not in lost for run in runs}
    configs = [run for runs in columns.values() for run in runs if run.hash in titles]
    shown = predictions.panels_exhibit(predictions.load(setting, configs, titles), "mtsgd")
    return replace(shown, caption=f"{shown.caption}{diverged(lost)}")
