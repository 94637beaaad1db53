"""The step of MTSGD taken apart: balance, mask, and the length of its updates."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mtlrepro.analysis.verdicts import Verdict
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import bracketed
from mtlrepro.studies.mtsgd import grids, survival
from mtlrepro.studies.mtsgd.controls.rates import Chosen, beside, judgement
from mtlrepro.studies.mtsgd.grids import BALANCE_ALONE, JOINT, NO_CONFLICT, Cell
from mtlrepro.studies.mtsgd.tables import AS_THEY_ARE, DECIMALS, LABELS, MEASURES, SUBJECTS, better, gained_in, title
from mtlrepro.studies.setting import Setting, diverged

BALANCE, MASK, BY_SLICE, BY_STEP, DIVIDED = (
    "balance without mask",
    "mask without balance",
    "length restored by slice",
    "length restored by step",
    "rate divided by the length",
)
"""Parts by name: those of Table 2 and without balance, slices and steps as long as plain ones, and another rate."""
SGD, CLIPPED = title(JOINT), title(Cell(NO_CONFLICT))
"""Rows of the tables that parts are compared with."""
QUESTIONS = (
    (MASK, "The mask alone is better {} than the mask with balance", CLIPPED),
    (BY_SLICE, "MTSGD is better {} with slices of the plain length", CLIPPED),
    (BY_STEP, "MTSGD is better {} with steps of the plain length", CLIPPED),
    (BY_STEP, "MTSGD is better {} with steps of the plain length than with slices of the plain length", BY_SLICE),
    (DIVIDED, "MTSGD is better {} with its learning rate divided by the length of its steps", CLIPPED),
    (MASK, "The mask alone is better {} than joint SGD", SGD),
    (BY_SLICE, "MTSGD with slices of the plain length is better {} than joint SGD", SGD),
    (BY_STEP, "MTSGD with steps of the plain length is better {} than joint SGD", SGD),
    (DIVIDED, "MTSGD with its rate divided by the length of its steps is better {} than joint SGD", SGD),
)
"""Part, claim with a place for what it is about, and what it is compared with."""
AT_ONE_RATE = f"{AS_THEY_ARE}, learning rate of the tables"
"""Case of verdicts on parts that have this rate."""


@dataclass(frozen=True)
class Parts:
    """MTSGD at a threshold of 0, and what is left of it without one of its parts.

    Attributes:
        joint: Runs of joint SGD with the learning rate of the scale.
        clipped: Runs of MTSGD at a threshold of 0, likewise.
        length: Of the latter's updates as a share of that of the plain mean, see `update_length`.
        apart: MTSGD taken apart, by what is left.
        lost: Title of a row of the tables, or name of a part, to how many of its runs diverged and are left out, if any
            did.
    """

    joint: pd.DataFrame
    clipped: pd.DataFrame
    length: float
    apart: Mapping[str, pd.DataFrame]
    lost: Mapping[str, int]


def update_length(setting: Setting) -> float:
    """Length of the updates of MTSGD at a threshold of 0 as a share of that of the plain mean, over the schedule.

    Its mean over the first `seeds` runs that are left, so that further seeds of the tables change nothing; see
    `survival.rate_shares`.

    Args:
        setting: Holds the stored runs.
    """
    shares = survival.rate_shares(survival.history(setting, [Cell(NO_CONFLICT)]))
    return float(shares.iloc[: setting.seeds].mean())


def load(setting: Setting) -> Parts:
    """Read the runs, and train what is missing.

    Args:
        setting: What all runs share.

    Raises:
        RuntimeError: All runs of joint SGD, or of MTSGD at a threshold of 0, with which others are compared, diverged;
            see `Setting.reference`.
    """
    rows = {SGD: JOINT.runs(setting), CLIPPED: Cell(NO_CONFLICT).runs(setting)}
    joint, clipped = (setting.reference(name, runs) for name, runs in rows.items())
    length = update_length(setting)
    apart = {
        BALANCE: Cell(BALANCE_ALONE).runs(setting),
        **grids.lengths(setting),
        DIVIDED: grids.matched(setting, length),
    }
    return Parts(
        joint=fronts.evaluated(setting, joint),
        clipped=fronts.evaluated(setting, clipped),
        length=length,
        apart={name: fronts.evaluated(setting, runs) for name, runs in apart.items()},
        lost=setting.lost({**rows, **apart}),
    )


def exhibit(found: Parts, joint: Chosen) -> Exhibit:
    """MTSGD taken apart, against joint SGD.

    Args:
        found: As `load` gives it.
        joint: Joint SGD at the best of its learning rates, which has a row where that is not the rate of the others.
    """
    tuned = {f"joint SGD, rate {joint.rate:g}": joint.runs} if joint.rate else {}
    if set(joint.runs["run"]) <= set(found.joint["run"]):
        tuned = {}
    parts = {**tuned, CLIPPED: found.clipped, **found.apart}
    caption = (
        "MTSGD at a threshold of 0 taken apart, at the learning rate of the tables where no other is named. Steps as "
        f"long as the plain mean in place of {100 * found.length:.0f} % of it change MTSGD by "
        f"{_gains(found.apart[BY_STEP], found.clipped)}: that is the length. Such steps differ from joint SGD by "
        f"{_gains(found.apart[BY_STEP], found.joint)}: that is the direction. With the plain length in every slice "
        f"in place of the whole step it is {_gains(found.apart[BY_SLICE], found.joint)}; with the rate divided by the "
        f"length {_gains(found.apart[DIVIDED], found.joint)}; as MTSGD is {_gains(found.clipped, found.joint)}; "
        f"without the mask {_gains(found.apart[BALANCE], found.joint)}; and with the mask alone "
        f"{_gains(found.apart[MASK], found.joint)}.{diverged(found.lost)} (Positive where better; paired 95 %, not "
        "corrected; length: of steps of shared parameters, before momentum, beside the plain mean "
        "at the same weights; MTSGD and balance without mask have the seeds of the comparison; brackets of rows 95 %, "
        "of up to three seeds the range.)"
    )
    rows = pd.DataFrame(beside(parts, found.joint))
    return Exhibit(name="taken_apart", table=rows, shown=rows.drop(columns="pairs", errors="ignore"), caption=caption)


def _gains(one: pd.DataFrame, other: pd.DataFrame) -> str:
    """By how much runs are better than others at both tasks, in words."""
    return " and ".join(
        f"{bracketed(gained_in(metric, one, other), DECIMALS[metric], signed=True)} {MEASURES[metric]}"
        for metric in LABELS
    )


def claims(found: Parts) -> list[Verdict]:
    """Ask what each part does, see `QUESTIONS`.

    Args:
        found: As `load` gives it.
    """
    runs = {SGD: found.joint, CLIPPED: found.clipped, **found.apart}
    verdicts = []
    for name, claim, other in QUESTIONS:
        lost = {name, other} & found.lost.keys()
        for about, metric in SUBJECTS.items():
            gained = None if lost else gained_in(metric, runs[name], runs[other])
            fields = judgement(metric)
            fields["case"] = AS_THEY_ARE if name == DIVIDED else AT_ONE_RATE
            verdicts.append(better(claim.format(about), gained, metric, **fields))
    return verdicts
