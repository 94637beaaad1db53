"""The step of MTSGD taken apart: balance, mask, and the length of its updates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Verdict
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import bracketed
from mtlrepro.studies.mtsgd import grids
from mtlrepro.studies.mtsgd.controls.rates import OURS, beside
from mtlrepro.studies.mtsgd.grids import BALANCE_ALONE, JOINT, NO_CONFLICT, Cell
from mtlrepro.studies.mtsgd.tables import MIOU, TASKS, better, gain, title
from mtlrepro.studies.setting import Setting, diverged
from mtlrepro.training.config import RunConfig

QUESTIONS = {
    "mask without balance": "The mask without balance is better at {} than with it",
    "length restored by slice": "MTSGD with its length restored by slice is better at {} than without",
    "length restored by step": "MTSGD with its length restored by step is better at {} than without",
    "rate divided by the length": "MTSGD with its rate divided by the length of its steps is better at {} than without",
}
"""Part that is compared with MTSGD at a threshold of 0, to the claim with a place for the task."""


@dataclass(frozen=True)
class Parts:
    """MTSGD at a threshold of 0, and what is left of it without one of its parts.

    Attributes:
        joint: Runs of joint SGD with the learning rate of the scale.
        clipped: Runs of MTSGD at a threshold of 0, likewise.
        length: Mean length of the latter's updates as a share of that of the plain mean.
        apart: MTSGD taken apart, by what is left.
        lost: Title of a row of the tables, or name of a part, to how many of its runs diverged and are left out, if any
            did.
    """

    joint: pd.DataFrame
    clipped: pd.DataFrame
    length: float
    apart: Mapping[str, pd.DataFrame]
    lost: Mapping[str, int]


def update_length(setting: Setting, configs: Sequence[RunConfig]) -> float:
    """Mean over epochs and runs of the length of MTSGD's update as a share of that of the plain mean.

    Args:
        setting: Holds the stored runs.
        configs: Runs of MTSGD.
    """
    records = setting.records(configs).values()
    return float(np.mean([entry["observed"]["length"] for record in records for entry in record["history"]]))


def load(setting: Setting) -> Parts:
    """Read the runs, and train what is missing.

    Args:
        setting: What all runs share.

    Raises:
        RuntimeError: All runs of joint SGD, or of MTSGD at a threshold of 0, with which others are compared, diverged;
            see `Setting.reference`.
    """
    rows = {title(cell): cell.runs(setting) for cell in (JOINT, Cell(NO_CONFLICT))}
    joint, clipped = (setting.reference(name, runs) for name, runs in rows.items())
    length = update_length(setting, clipped)
    apart = {
        "balance without mask": Cell(BALANCE_ALONE).runs(setting),
        **grids.lengths(setting),
        "rate divided by the length": grids.matched(setting, length),
    }
    return Parts(
        joint=fronts.evaluated(setting, joint),
        clipped=fronts.evaluated(setting, clipped),
        length=length,
        apart={name: fronts.evaluated(setting, runs) for name, runs in apart.items()},
        lost=setting.lost({**rows, **apart}),
    )


def exhibit(found: Parts) -> Exhibit:
    """MTSGD taken apart, against joint SGD.

    Args:
        found: As `load` gives it.
    """
    rows = beside({title(Cell(NO_CONFLICT)): found.clipped, **found.apart}, found.joint)
    own, balance, mask = (
        bracketed(gain(runs, found.joint, MIOU), signed=True)
        for runs in (found.clipped, found.apart["balance without mask"], found.apart["mask without balance"])
    )
    caption = (
        f"MTSGD at a threshold of 0 taken apart. Its steps have {100 * found.length:.0f} % of the "
        f"plain length, before momentum. Against joint SGD its mIoU changes by {own} points, with balance alone by "
        f"{balance}, and with the mask alone by {mask}.{diverged(found.lost)} (Gains: positive "
        "where better than joint SGD, paired 95 %, not "
        "corrected; brackets of rows 95 %, of up to three seeds the range.)"
    )
    return Exhibit(name="taken_apart", table=pd.DataFrame(rows), caption=caption)


def claims(found: Parts) -> list[Verdict]:
    """Ask which part does the work: each against MTSGD at a threshold of 0.

    Args:
        found: As `load` gives it.
    """
    verdicts = []
    for name, claim in QUESTIONS.items():
        lost = {name, title(Cell(NO_CONFLICT))} & found.lost.keys()
        for metric, task in TASKS.items():
            gained = None if lost else gain(found.apart[name], found.clipped, metric)
            verdicts.append(better(claim.format(task), gained, metric, source=OURS, kind="ours"))
    return verdicts
