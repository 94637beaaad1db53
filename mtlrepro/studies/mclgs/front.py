"""Whether the poster's methods go beyond what fixed weights reach, a question of ours; see `studies.fronts`.

Weights of three tasks are searched, and the methods are held against the whole front, against its point tuned on the
validation split, and MCLGS against its own mean weights, held fixed from the first step. Runs that diverged are left
out and counted, and a claim about what has lost one is not judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import bracketed, paired
from mtlrepro.studies.fronts import Front
from mtlrepro.studies.mclgs import grids
from mtlrepro.studies.mclgs.scores import ROOMS, better, gains
from mtlrepro.studies.scores import DELTA, method_title
from mtlrepro.studies.setting import Setting, diverged

OWN, REPLAYED, TUNED = method_title("mclgs"), "MCLGS's mean weights", "tuned weights"


@dataclass(frozen=True)
class Found:
    """The front and what is held against it.

    Attributes:
        front: Fixed weights.
        tuned: Runs of the tuned point.
        methods: Title to its runs, as `fronts.evaluated` gives them.
        lost: Title, or `TUNED`, to how many of its runs diverged and are left out, if any did.
    """

    front: Front
    tuned: pd.DataFrame
    methods: Mapping[str, pd.DataFrame]
    lost: Mapping[str, int]

    def judged(self, gained: Interval | None, *names: str) -> Interval | None:
        """What was measured, but None if a run of MCLGS or of one of some names diverged."""
        return None if self.lost.keys() & {OWN, *names} else gained


def load(setting: Setting) -> Found:
    """Read what is stored and train what is missing.

    Args:
        setting: What all runs share.
    """
    by_method = {method: runs[: setting.seeds] for method, runs in grids.methods(setting).items()}
    front = fronts.load(setting, grids.front(setting), by_method["equal"], ROOMS)
    tuned = grids.tuned_front(setting, front.tuned)
    methods = {**{method_title(method): runs for method, runs in by_method.items()}, REPLAYED: grids.replayed(setting)}
    return Found(
        front=front,
        tuned=fronts.evaluated(setting, tuned),
        methods={title: fronts.evaluated(setting, runs) for title, runs in methods.items()},
        lost=setting.lost({**methods, TUNED: tuned}),
    )


def table(found: Found) -> pd.DataFrame:
    """Hold every method against the front and its tuned point, one row a method; see `fronts.summary`."""
    return fronts.summary(fronts.against(found.front, found.methods, found.tuned), ROOMS.sign)


def replayed(found: Found) -> Interval | None:
    """Delta_m of MCLGS less that of its own mean weights held fixed, in runs of the same seed, in points of %."""
    own, held = found.methods[OWN], found.methods[REPLAYED]
    return paired(gains(own, held, found.front.equal, ROOMS))


def exhibit(found: Found) -> Exhibit:
    """Every method against the front and its tuned point.

    Args:
        found: As `load` gives it.
    """
    rows = table(found)
    gained = fronts.gains(rows).get(OWN)
    weights = found.front.weights_in_words(found.front.tuned)
    caption = (
        f"The poster's methods against fixed weights. {found.front.missing()} Tuned on the validation split: "
        f"{weights}. MCLGS less the tuned weights: {bracketed(gained, signed=True)} points of {DELTA}; less its own "
        f"mean weights held fixed: {bracketed(replayed(found), signed=True)}.{diverged(found.lost)} "
        "(Improvements over equal weights; paired "
        "95 %, not corrected; all methods at the learning rate of the scale.)"
    )
    return Exhibit(name="against_front", table=rows, shown=fronts.shown(found.front, rows), caption=caption)


def claims(found: Found) -> list[Verdict]:
    """Ask whether MCLGS goes beyond fixed weights: the tuned point, the front, and its own mean weights.

    Args:
        found: As `load` gives it.
    """
    rows = table(found)
    held = [row for row in rows.to_dict("records") if row["method"] == OWN]
    seeds = len(found.front.seeds)
    # One seed of the front says nothing of its spread.
    told = [Interval(*(float(row[f"as far{end}"]) for end in ("", " low", " high"))) for row in held if seeds > 1]
    return [
        better(
            "MCLGS is better than fixed weights tuned on the validation split",
            found.judged(fronts.gains(rows).get(OWN), TUNED),
            source="our question",
            kind="ours",
        ),
        Verdict(
            "MCLGS is further beyond the front than its points are beyond each other",
            "our question",
            fronts.LEVEL,
            0.0,
            found.judged(told[0] if told else None),
            below=True,
            reading=f"% of the points that are at least as far, mean [range] over the front's seeds, {seeds} in number",
            kind="ours",
        ),
        better(
            "MCLGS is better than its own mean weights held fixed",
            found.judged(replayed(found), REPLAYED),
            source="our question",
            kind="ours",
        ),
    ]
