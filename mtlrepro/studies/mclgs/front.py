"""Whether the poster's methods go beyond what fixed weights reach, a question of ours; see `studies.fronts`.

Weights of three tasks are searched, and the methods are held against the whole front, against its point tuned on the
validation split, and MCLGS against its own mean weights, held fixed from the first step. Runs that diverged are left
out and counted, and a claim about what has lost one is not judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import EQUAL, bracketed, paired
from mtlrepro.studies.fronts import Front
from mtlrepro.studies.mclgs import grids
from mtlrepro.studies.mclgs.scores import ROOMS, better, gains
from mtlrepro.studies.scores import DELTA, method_title
from mtlrepro.studies.setting import Setting, diverged
from mtlrepro.training.config import RunConfig

OWN, REPLAYED, TUNED = method_title("mclgs"), "MCLGS's mean weights", "tuned weights"


@dataclass(frozen=True)
class Found:
    """The front and what is held against it.

    Attributes:
        front: Fixed weights.
        tuned: Runs of the tuned point.
        methods: Title to its runs, as `fronts.evaluated` gives them.
        held: Mean weights of MCLGS by task, over its steps and runs, which `REPLAYED` holds fixed run by run.
        lost: Title, or `TUNED`, to how many of its runs diverged and are left out, if any did.
    """

    front: Front
    tuned: pd.DataFrame
    methods: Mapping[str, pd.DataFrame]
    held: tuple[float, ...]
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
        held=_mean_weights(setting, setting.finite(by_method["mclgs"])),
        lost=setting.lost({**methods, TUNED: tuned}),
    )


def _mean_weights(setting: Setting, runs: Sequence[RunConfig]) -> tuple[float, ...]:
    means = [setting.store.step_weights(run).mean(axis=0) for run in runs]
    return tuple(np.mean(means, axis=0).round(3).tolist()) if means else ()


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
    gained, equal = (fronts.gains(rows).get(name) for name in (OWN, EQUAL))
    tuned = None if equal is None else Interval(-equal.value, -equal.high, -equal.low)
    weights = found.front.weights_in_words(found.front.tuned)
    own = f" ({found.front.weights_in_words(found.held)})" if found.held else ""
    caption = (
        f"The poster's methods against fixed weights. {found.front.missing()} Tuned on the validation split: "
        f"{weights}. Tuned less equal weights: {bracketed(tuned, signed=True)} points of {DELTA}; MCLGS less the tuned "
        f"weights: {bracketed(gained, signed=True)}; less its own mean weights held fixed{own}: "
        f"{bracketed(replayed(found), signed=True)}.{diverged(found.lost)} (Improvements over equal weights; paired 95 "
        "%, not corrected; all methods at the learning rate of the scale. Beyond the front and points as far: "
        f"{fronts.seeds_in_words(found.front.seeds)} alone.)"
    )
    return Exhibit(name="against_front", table=rows, shown=fronts.shown(found.front, rows), caption=caption)


def claims(found: Found | None) -> list[Verdict]:
    """Ask whether MCLGS goes beyond fixed weights: the tuned point, the front, and its own mean weights.

    Args:
        found: As `load` gives it; None if there are no such runs.
    """
    tuned = as_far = own = None
    seeds = len(found.front.seeds) if found else 0
    if found:
        rows = table(found)
        tuned = found.judged(fronts.gains(rows).get(OWN), TUNED)
        own = found.judged(replayed(found), REPLAYED)
        held = rows[rows["method"] == OWN].to_dict("records")
        if held and seeds > 1:  # one seed of the front says nothing of its spread
            as_far = found.judged(Interval(*(float(held[0][f"as far{end}"]) for end in ("", " low", " high"))))
    ours: dict[str, Any] = {"source": "our question", "kind": "ours"}
    return [
        better("MCLGS is better than fixed weights tuned on the validation split", tuned, **ours),
        Verdict(
            "MCLGS is further beyond the front than its points are beyond each other",
            claimed=fronts.LEVEL,
            tolerance=0.0,
            measured=as_far,
            below=True,
            reading=f"% of the points that are at least as far, mean [range] over the front's seeds, {seeds} in number",
            **ours,
        ),
        better("MCLGS is better than its own mean weights held fixed", own, **ours),
    ]
