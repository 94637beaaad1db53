"""The step of MTSGD taken apart: balance, mask, and the length of its updates."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mtlrepro.analysis.verdicts import Verdict
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.mtsgd import grids, survival
from mtlrepro.studies.mtsgd.controls.rates import BASELINES, Chosen, answer, beside, judgement
from mtlrepro.studies.mtsgd.grids import BALANCE_ALONE, JOINT, NO_CONFLICT, Cell
from mtlrepro.studies.mtsgd.tables import AS_THEY_ARE, SUBJECTS, better, gained_in, title
from mtlrepro.studies.setting import Setting, diverged

BALANCE, MASK, PLAIN = "balance without mask", "mask without balance", "length restored by step"
"""Parts by name: those of Table 2, without balance, and with steps as long as the plain ones."""
QUESTIONS = {
    MASK: "The mask alone is better {} than the mask with balance",
    "length restored by slice": "MTSGD is better {} with slices of the plain length",
    PLAIN: "MTSGD is better {} with steps of the plain length",
    "rate divided by the length": "MTSGD is better {} with its learning rate divided by the length of its steps",
}
"""Part that is compared with MTSGD at a threshold of 0, to the claim with a place for what it is about."""
AGAINST_JOINT = {
    MASK: ("The mask alone is better {} than joint SGD", 0),
    PLAIN: ("MTSGD with steps of the plain length is better {} than joint SGD", BASELINES),
}
"""Part that is compared with joint SGD, likewise, and the claim whose limits it shows."""
AT_ONE_RATE = f"{AS_THEY_ARE}, learning rate of the tables"
"""Case of verdicts."""


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
    rows = {title(cell): cell.runs(setting) for cell in (JOINT, Cell(NO_CONFLICT))}
    joint, clipped = (setting.reference(name, runs) for name, runs in rows.items())
    length = update_length(setting)
    apart = {
        BALANCE: Cell(BALANCE_ALONE).runs(setting),
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


def exhibit(found: Parts, joint: Chosen) -> Exhibit:
    """MTSGD taken apart, against joint SGD.

    Args:
        found: As `load` gives it.
        joint: Joint SGD at the best of its learning rates, which has a row where that is not the rate of the others.
    """
    tuned = {f"joint SGD, rate {joint.rate:g}": joint.runs} if joint.rate else {}
    if set(joint.runs["run"]) <= set(found.joint["run"]):
        tuned = {}
    parts = {**tuned, title(Cell(NO_CONFLICT)): found.clipped, **found.apart}
    named = (("MTSGD", found.clipped), *((name, found.apart[name]) for name in (BALANCE, MASK, PLAIN)))
    answers = "; ".join(f"{name} {answer(runs, found.joint)}" for name, runs in named)
    caption = (
        "MTSGD at a threshold of 0 taken apart, at the learning rate of the tables. Its steps of shared parameters, "
        f"before momentum, are {100 * found.length:.0f} % as long as the plain mean at the same weights. Against joint "
        f"SGD {answers}.{diverged(found.lost)} (Positive where better, paired 95 %, not corrected; MTSGD and balance "
        "without mask have the seeds of the comparison; brackets of rows 95 %, of up to three seeds the range.)"
    )
    return Exhibit(name="taken_apart", table=pd.DataFrame(beside(parts, found.joint)), caption=caption)


def claims(found: Parts) -> list[Verdict]:
    """Ask what each part does: against MTSGD at a threshold of 0, and what is left of it against joint SGD.

    Args:
        found: As `load` gives it.
    """
    asked = [(name, claim, title(Cell(NO_CONFLICT)), found.clipped, 0) for name, claim in QUESTIONS.items()]
    asked += [(name, claim, title(JOINT), found.joint, limits) for name, (claim, limits) in AGAINST_JOINT.items()]
    verdicts = []
    for name, claim, other, runs, limits in asked:
        lost = {name, other} & found.lost.keys()
        for about, metric in SUBJECTS.items():
            gained = None if lost else gained_in(metric, found.apart[name], runs)
            fields = judgement(metric, limits)
            fields["case"] = AT_ONE_RATE
            verdicts.append(better(claim.format(about), gained, metric, **fields))
    return verdicts
