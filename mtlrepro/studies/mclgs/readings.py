"""Where the poster slips or leaves something open: what is printed, what follows, what is taken, what else is tried."""

import pandas as pd

from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.mclgs.grids import CENTRE, ITERATIONS, STAR
from mtlrepro.studies.mclgs.rule import STRENGTHS

COLUMNS = ("place", "as printed", "what follows", "taken here")
TRIED = "also tried"
"""Column of the other readings that runs try, of what is left open."""
NONE = "nothing else"


def slips() -> pd.DataFrame:
    """Formulas that cannot be meant as they are printed, and a sentence that they exceed; columns `COLUMNS`."""
    return _table(
        COLUMNS,
        (
            "naive update rule",
            "a sum from i = 0 to N, over N",
            "N + 1 terms for N tasks",
            "N terms, the mean",
        ),
        (
            "loss weight",
            "w of tasks i and j, of the gradients 1 and 2",
            "one weight for all pairs",
            "the gradients of tasks i and j",
        ),
        (
            "PCGrad",
            "both projections, without a condition",
            "gradients that agree would lose what they share",
            "only where the inner product is negative, as in PCGrad's paper",
        ),
        (
            "proposed method",
            "just downweights, and does not manipulate gradients",
            "pairs that agree have weights up to 2, and three tasks or more another direction of the step",
            "as in the formula",
        ),
    )


def gaps() -> pd.DataFrame:
    """What the poster does not say; columns `COLUMNS` and `TRIED`."""
    return _table(
        (*COLUMNS, TRIED),
        (
            "curriculum p(t)",
            "a0 and its decrease are hyperparameters, without values",
            "from no effect to a binary gate",
            f"a0 = {STRENGTHS[0]:g}, the default of a third-party version, in which p falls to 0 over the whole run; "
            "here over half of it",
            "; ".join(name for name in STAR if name not in (CENTRE, ITERATIONS)),
        ),
        (
            "curriculum p(t)",
            "t",
            "epochs or iterations; nearly the same curve for the same length",
            "epochs",
            "iterations",
        ),
        (
            "similarity",
            "samples that generate conflicts",
            "gradients of single samples, or of batches, as the formulas can be read",
            "batches",
            "single samples, on small images",
        ),
        (
            "update rule",
            "all parameters, the heads too",
            "a head's steps are gated by conflicts that it has no part in",
            "shared parameters and heads alike",
            NONE,
        ),
        (
            "CAGrad + MCLGS",
            "not how they are combined",
            "weights before or after CAGrad's search",
            "CAGrad on the gradients times N W; heads have W",
            NONE,
        ),
        (
            "tables",
            "improvements in %, not of which metrics",
            "a mean over metrics within a task hides the choice",
            "the benchmark's nine on rooms, beside them the mean drop over all; mAP, mAP at IoU 0.5 and mIoU on "
            "streets",
            NONE,
        ),
        (
            "tables",
            "network, epochs, batches, learning rates, how batches of BDD100K are drawn",
            "values compare in direction alone",
            "our choices, one learning rate for all",
            "to come: learning rates searched alike; batches of both sets together and in turn",
        ),
        (
            "tables",
            "names of the other methods",
            "each has several forms in use",
            "GradDrop on gradients of shared parameters, MGDA without normalisation, solved exactly, CAGrad with "
            "c = 0.4, its paper's on NYUv2, rescaled",
            NONE,
        ),
    )


def _table(columns: tuple[str, ...], *rows: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns))


def exhibits() -> list[Exhibit]:
    """Slips and gaps as exhibits."""
    return [
        Exhibit(
            name="slips",
            table=slips(),
            caption="Formulas and a sentence of the poster that cannot be meant as printed.",
        ),
        Exhibit(name="left_open", table=gaps(), caption="What the poster leaves open, and what is taken here."),
    ]
