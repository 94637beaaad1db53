"""Fixed weights of both losses: their front, the point that is tuned on validation, and methods against both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mtlrepro.analysis.verdicts import Verdict
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import bracketed
from mtlrepro.studies.fronts import Front
from mtlrepro.studies.mtsgd import grids
from mtlrepro.studies.mtsgd.controls.rates import BASELINES, OURS, Chosen
from mtlrepro.studies.mtsgd.grids import JOINT, NO_CONFLICT, Cell
from mtlrepro.studies.mtsgd.tables import SCORES, About, better, title
from mtlrepro.studies.scores import DELTA
from mtlrepro.studies.setting import Setting, diverged

TUNED = "fixed weights, tuned"


@dataclass(frozen=True)
class Weights:
    """Fixed weights, and the rows of the tables that are held against them.

    Attributes:
        front: Nine fixed weights.
        tuned: Runs of its point that is best on the validation split.
        joint: Runs of joint SGD with the learning rate of the scale.
        clipped: Runs of MTSGD at a threshold of 0, likewise.
        lost: Title of a row of the tables, or `TUNED`, to how many of its runs diverged and are left out, if any did.
    """

    front: Front
    tuned: pd.DataFrame
    joint: pd.DataFrame
    clipped: pd.DataFrame
    lost: Mapping[str, int]


def load_front(setting: Setting) -> Front:
    """Nine fixed weights, as far as they are stored.

    Args:
        setting: What all runs share.
    """
    return fronts.load(setting, grids.front(setting), JOINT.runs(setting), SCORES)


def load(setting: Setting) -> Weights:
    """Read the runs, and train what is missing.

    Args:
        setting: What all runs share.
    """
    front = load_front(setting)
    rows = {
        title(JOINT): JOINT.runs(setting),
        title(Cell(NO_CONFLICT)): Cell(NO_CONFLICT).runs(setting),
        TUNED: grids.tuned_front(setting, front.tuned),
    }
    joint, clipped, tuned = (fronts.evaluated(setting, runs) for runs in rows.values())
    return Weights(front, tuned, joint, clipped, setting.lost(rows))


def table(found: Weights, methods: Sequence[Chosen]) -> pd.DataFrame:
    """Hold methods against the front and its tuned point, see `fronts.summary`.

    Args:
        found: As `load` gives it.
        methods: Others that are held against it, at learning rates of their own.
    """
    return fronts.summary(fronts.against(found.front, _held(found, methods), found.tuned), SCORES.sign)


def _held(found: Weights, methods: Sequence[Chosen]) -> dict[str, pd.DataFrame]:
    """Methods that are held against the front, to their runs."""
    own = {title(JOINT): found.joint, title(Cell(NO_CONFLICT)): found.clipped}
    return own | {one.name: one.runs for one in methods if one.name not in grids.SEARCHED}


def exhibit(found: Weights, methods: Sequence[Chosen]) -> Exhibit:
    """Methods against nine fixed weights.

    Args:
        found: As `load` gives it.
        methods: As `rates.load` gives them; those that are not in the tables are held against the front too.
    """
    rows = table(found, methods)
    gains = fronts.gains(rows)
    own = gains.get(title(Cell(NO_CONFLICT)))
    lost = {**found.lost, **{one.name: one.lost for one in methods if one.lost}}
    held = {name: count for name, count in lost.items() if name == TUNED or name in _held(found, methods)}
    caption = (
        f"Methods against fixed weights of both tasks. {found.front.missing()} Tuned on the validation split: "
        f"{found.front.weights_in_words(found.front.tuned)}. MTSGD at a threshold of 0 less the tuned weights: "
        f"{bracketed(own, signed=True)} % of {DELTA}.{diverged(held)} (Improvements over equal "
        "weights; paired 95 %, not corrected; "
        "fixed weights, joint SGD and MTSGD at the learning rate of the tables, other methods at the best of theirs.)"
    )
    return Exhibit(name="against_front", table=rows, shown=fronts.shown(found.front, rows), caption=caption)


def claims(found: Weights) -> list[Verdict]:
    """Ask whether MTSGD is more than a good weight.

    Args:
        found: As `load` gives it.
    """
    clipped = title(Cell(NO_CONFLICT))
    own = None if {TUNED, clipped} & found.lost.keys() else fronts.gains(table(found, [])).get(clipped)
    claim = "MTSGD is better than fixed weights tuned on the validation split"
    about: About = {"source": OURS, "kind": "ours", "case": "at one learning rate", "limits": BASELINES}
    return [better(claim, own, DELTA, **about)]
