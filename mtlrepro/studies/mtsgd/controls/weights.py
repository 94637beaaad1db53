"""Fixed weights of both losses: their front, the point that is tuned on validation, and methods against both.

All have the best of their learning rates, so that no method is held against weights at a rate that was searched less:
the points of the front have that of joint SGD, whose weights are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import fixed
from mtlrepro.studies.fronts import Front
from mtlrepro.studies.mtsgd import grids, plane
from mtlrepro.studies.mtsgd.controls import rates
from mtlrepro.studies.mtsgd.controls.rates import BASELINES, OURS, Chosen, answer, beside, judgement
from mtlrepro.studies.mtsgd.tables import AS_THEY_ARE, LABELS, SCORES, SUBJECTS, better, gained_in
from mtlrepro.studies.scores import DELTA
from mtlrepro.studies.setting import Setting, diverged

TUNED = "fixed weights, tuned"
ASKED = {"MTSGD (0)": "MTSGD", "MTSGD (-1)": "Balance alone"}
"""Method that is held against the tuned weights, to what a claim calls it."""
FIXED = "fixed weights"
METRICS = {f"{label}{end}" for label in LABELS.values() for end in ("", " low", " high")}
"""Columns of `rates.beside` about the methods alone."""


@dataclass(frozen=True)
class Weights:
    """Fixed weights.

    Attributes:
        rate: Learning rate of all of them: the best of joint SGD, or that of the scale where joint SGD has none.
        front: Nine fixed weights.
        tuned: Runs of its point that is best on the validation split.
        lost: How many of them diverged and are left out.
    """

    rate: float
    front: Front
    tuned: pd.DataFrame
    lost: int


def load_front(setting: Setting, rate: float) -> Front:
    """Nine fixed weights, and equal ones; missing runs of all seeds are trained.

    Args:
        setting: What all runs share.
        rate: Learning rate of all of them, one at which joint SGD was searched.
    """
    points = grids.front(setting, rate)
    setting.finite(points)  # `fronts.load` alone would train the first seed
    return fronts.load(setting, points, rates.at_rate(setting, "joint SGD", rate), SCORES)


def load(setting: Setting, joint: Chosen) -> Weights:
    """Read the runs, and train what is missing.

    Args:
        setting: What all runs share.
        joint: Joint SGD at the best of its learning rates.
    """
    rate = joint.rate or setting.run().lr
    front = load_front(setting, rate)
    tuned, lost = rates.evaluated(setting, grids.tuned_front(setting, rate, front.tuned))
    return Weights(rate, front, tuned, lost)


def table(found: Weights, methods: Sequence[Chosen]) -> pd.DataFrame:
    """Hold methods against the tuned point, by their gains over it, and against the front, see `fronts.summary`.

    Args:
        found: As `load` gives it.
        methods: As `rates.load` gives them.
    """
    runs = {one.name: one.runs for one in methods}
    summary = fronts.summary(fronts.against(found.front, runs, found.tuned), SCORES.sign)
    far = summary.set_index("method")[list(fronts.FAR)].to_dict("index")
    rows = [row for row in beside(runs, found.tuned) if row["method"] in far]
    gains = [{name: value for name, value in row.items() if name not in METRICS} for row in rows]
    return pd.DataFrame([{**row, **far[row["method"]]} for row in gains])


# --- exhibits -----------------------------------------------------------------------------------------


def exhibit(found: Weights, methods: Sequence[Chosen]) -> Exhibit:
    """Methods against nine fixed weights and the tuned ones.

    Args:
        found: As `load` gives it.
        methods: As `rates.load` gives them.
    """
    rows = table(found, methods)
    answers = [
        f"{one.name} {answer(one.runs, found.tuned)}" for one in methods if one.name in grids.SEARCHED and one.rate
    ]
    edge = ""
    if found.front.tuned in (found.front.runs["weights"].min(), found.front.runs["weights"].max()):
        edge = ", an end of the grid, beyond which better ones may lie"
    caption = (
        f"Methods at the best of their learning rates against fixed weights of both tasks at {found.rate:g}. "
        f"{found.front.missing()} Tuned on the validation split: {_tuned(found)}{edge}. Against these "
        f"{'; '.join(answers)}. Better at one task and worse at the other may be another point of the front: "
        f"{DELTA} and the last columns count both.{_left_out(found, methods)} (Gains over the tuned weights: positive "
        "where better, paired 95 %, not corrected, and without the spread of the choice of weights and rates. Beyond "
        "the front: the least improvement over equal weights, the same at both tasks, with which some fixed weights "
        "would match the method at each; negative where some are better at both. Points as far: the share of fixed "
        "weights that are at least as far beyond the others. Means and ranges over the seeds of the front.)"
    )
    return Exhibit(name="against_front", table=rows, shown=fronts.shown(found.front, rows), caption=caption)


def _tuned(found: Weights) -> str:
    return found.front.weights_in_words(found.front.tuned)


def _left_out(found: Weights, methods: Sequence[Chosen]) -> str:
    lost = {TUNED: found.lost, **{one.name: one.lost for one in methods}}
    return diverged({name: count for name, count in lost.items() if count})


def points(found: Weights, methods: Sequence[Chosen]) -> pd.DataFrame:
    """Both metrics of every fixed weight over the seeds of the front, and of methods over theirs.

    Args:
        found: As `load` gives it.
        methods: As `rates.load` gives them; those without a run are left out.

    Returns:
        `group`, `name`, and both metrics with their bounds, see `plane.point`.
    """
    runs = found.front.runs
    rows = [
        {"group": FIXED, "name": found.front.weights_in_words(weights), **plane.point(runs[runs["weights"] == weights])}
        for weights in runs["weights"].unique()
    ]
    rows.append({"group": TUNED, "name": _tuned(found), **plane.point(found.tuned)})
    rows += [{"group": one.name, "name": one.name, **plane.point(one.runs)} for one in methods if len(one.runs)]
    return pd.DataFrame(rows)


def plane_exhibit(found: Weights, methods: Sequence[Chosen]) -> Exhibit:
    """Fixed weights and methods in the plane of both metrics.

    Args:
        found: As `load` gives it.
        methods: As `rates.load` gives them.
    """
    rows = points(found, methods)
    drawing, _ = plane.draw(rows, joined=FIXED)
    own = rows[rows["group"] == FIXED]
    ends = [own.sort_values(plane.Y).iloc[-1], own.sort_values(plane.X).iloc[0]]
    told = [f"{end['name']}: {fixed(end[plane.Y])} % at {fixed(end[plane.X], 3)} px" for end in ends]
    caption = (
        f"Fixed weights at {found.rate:g} as a line, and methods, each at the best of its learning rates: the better "
        f"corner is the upper left. The weights with the highest mIoU are {told[0]}; those with the lowest AEPE "
        f"{told[1]}.{_left_out(found, methods)} (Line: {fronts.seeds_in_words(found.front.seeds)}; other points, of "
        "which the tuned weights are one of the line once more, have all their seeds. Bars: 95 %, the range of up to "
        "three.)"
    )
    return Exhibit(
        name="front_plane",
        table=rows,
        caption=caption,
        figure=drawing,
        alt="A plane of AEPE and mIoU: a dashed line through the points of fixed weights, and a marker for the tuned "
        "weights and for each method.",
        uses=("scale", "seeds"),
        form="drawing",
    )


# --- verdicts -----------------------------------------------------------------------------------------


def claims(found: Weights, methods: Sequence[Chosen]) -> list[Verdict]:
    """Ask whether MTSGD is more than a good weight: than the tuned one, and than the front.

    Args:
        found: As `load` gives it.
        methods: As `rates.load` gives them.
    """
    by_name = {one.name: one for one in methods}
    verdicts = []
    for name, called in ASKED.items():
        one = by_name[name]
        for about, metric in SUBJECTS.items():
            gained = None if found.lost or one.lost else gained_in(metric, one.runs, found.tuned)
            claim = f"{called} at the best of the rates tried is better {about} than fixed weights tuned on validation"
            fields = judgement(metric)
            if (name, metric) == ("MTSGD (0)", DELTA):  # at one task another point of the front may do as well
                fields["limits"] = BASELINES
            verdicts.append(better(claim, gained, metric, **fields))
    seeds = len(found.front.seeds)
    own = [row for row in table(found, methods).to_dict("records") if row["method"] == "MTSGD (0)"]
    # One seed of the front says nothing of its spread.
    told = [Interval(*(float(row[f"as far{end}"]) for end in ("", " low", " high"))) for row in own if seeds > 1]
    verdicts.append(
        Verdict(
            "MTSGD is further beyond the front than nearly all of its points are beyond the others",
            OURS,
            fronts.LEVEL,
            0.0,
            told[0] if told else None,
            below=True,
            reading=f"% of the points that are at least as far, mean [range] over the front's seeds, {seeds} in number",
            kind="ours",
            case=AS_THEY_ARE,
            limits=BASELINES,
        )
    )
    return verdicts
