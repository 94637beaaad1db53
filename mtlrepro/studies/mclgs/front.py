"""Whether the poster's methods go beyond what fixed weights reach, a question of ours; see `studies.fronts`.

Weights of three tasks are searched, and the methods are held against the whole front, against its point tuned on the
validation split, and MCLGS against its own mean weights, held fixed from the first step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import bracketed
from mtlrepro.studies.fronts import Front
from mtlrepro.studies.mclgs import grids
from mtlrepro.studies.mclgs.scores import ROOMS, better, gains
from mtlrepro.studies.scores import DELTA, method_title
from mtlrepro.studies.setting import Setting

REPLAYED = "MCLGS's mean weights"


@dataclass(frozen=True)
class Found:
    """The front and what is held against it.

    Attributes:
        front: Fixed weights.
        tuned: Runs of the tuned point.
        methods: Title to its runs, as `fronts.evaluated` gives them.
    """

    front: Front
    tuned: pd.DataFrame
    methods: Mapping[str, pd.DataFrame]


def load(setting: Setting) -> Found:
    """Read what is stored and train what is missing.

    Args:
        setting: What all runs share.
    """
    by_method = {method: runs[: setting.seeds] for method, runs in grids.methods(setting).items()}
    front = fronts.load(setting, grids.front(setting), by_method["equal"], ROOMS)
    methods = {method_title(method): fronts.evaluated(setting, runs) for method, runs in by_method.items()}
    return Found(
        front=front,
        tuned=fronts.evaluated(setting, grids.tuned_front(setting, front.tuned)),
        methods={**methods, REPLAYED: fronts.evaluated(setting, grids.replayed(setting))},
    )


def table(found: Found) -> pd.DataFrame:
    """Hold every method against the front and its tuned point, one row a method; see `fronts.summary`."""
    return fronts.summary(fronts.against(found.front, found.methods, found.tuned), ROOMS.sign)


def replayed(found: Found) -> Interval:
    """Delta_m of MCLGS less that of its own mean weights held fixed, in runs of the same seed, in points of %."""
    own, held = found.methods[method_title("mclgs")], found.methods[REPLAYED]
    return mean_interval(gains(own, held, found.front.equal, ROOMS))


def exhibit(found: Found) -> Exhibit:
    """Every method against the front and its tuned point.

    Args:
        found: As `load` gives it.
    """
    rows = table(found)
    gained = fronts.gains(rows)[method_title("mclgs")]
    weights = found.front.weights_in_words(found.front.tuned)
    caption = (
        f"The poster's methods against fixed weights. {found.front.missing()} Tuned on the validation split: "
        f"{weights}. MCLGS less the tuned weights: {bracketed(gained, signed=True)} points of {DELTA}; less its own "
        f"mean weights held fixed: {bracketed(replayed(found), signed=True)}. (Improvements over equal weights; paired "
        "95 %, not corrected; all methods at the learning rate of the scale.)"
    )
    return Exhibit(name="against_front", table=rows, shown=fronts.shown(found.front, rows), caption=caption)


def claims(found: Found) -> list[Verdict]:
    """Ask whether MCLGS goes beyond fixed weights: the tuned point, the front, and its own mean weights.

    Args:
        found: As `load` gives it.
    """
    rows = table(found)
    row = rows.set_index("method").to_dict("index")[method_title("mclgs")]
    seeds = len(found.front.seeds)
    return [
        better(
            "MCLGS is better than fixed weights tuned on the validation split",
            fronts.gains(rows)[method_title("mclgs")],
            source="our question",
            kind="ours",
        ),
        Verdict(
            "MCLGS is further beyond the front than its points are beyond each other",
            "our question",
            fronts.LEVEL,
            0.0,
            # One seed of the front says nothing of its spread.
            Interval(*(float(row[name]) for name in ("as far", "as far low", "as far high"))) if seeds > 1 else None,
            below=True,
            reading=f"% of the points that are at least as far, mean [range] over the front's seeds, {seeds} in number",
            kind="ours",
        ),
        better(
            "MCLGS is better than its own mean weights held fixed",
            replayed(found),
            source="our question",
            kind="ours",
        ),
    ]
