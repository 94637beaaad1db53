"""Table 1 of MTSGD read critically: whose numbers stand beside each other, and what its metric is.

All numbers are the printed ones of `book/published`; of what Tables 2 to 4 say see `printed`.
"""

import pandas as pd
import torch
from torch import Tensor

from mtlrepro import metrics
from mtlrepro.analysis.verdicts import Verdict, number
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.mtsgd import printed
from mtlrepro.studies.mtsgd.printed import BETTER, DISPARITY, JOINT, SEGMENTATION, SINGLE
from mtlrepro.studies.mtsgd.rule import EXACT, exactly

WITH_DECAY, BEST = "Joint + MTSGD with regularization", "Joint + MTSGD without regularization"
"""Rows of MTSGD in Table 1."""
JOINT_MODELS = {"STAN [13]": "STAN", "MTAN [13]": "MTAN", "AdaMT [33]": "AdaMT-Net"}
"""Rows of Table 1 with numbers of other papers, to what those call them."""
STEREO = "MC-CNN [37]"
SOURCES = ("Cityscapes, 7 classes", "Cityscapes, quoted second-hand")
"""Places of `published.read("mtan")` where the numbers of these rows stand."""
COARSE = "7 classes, 128 x 256, one view"
OWN = "19 classes, crops of 512 x 512, two views"
SET_UPS = {
    STEREO: "not stated, two views",
    **dict.fromkeys(JOINT_MODELS, COARSE),
    JOINT: OWN,
    WITH_DECAY: OWN,
    BEST: OWN,
}
"""Under what the numbers of Table 1 were measured; for AdaMT that of the table in which its row is quoted."""
ROUNDING = 0.005
"""Half a unit of the last printed decimal of the comparators."""
CONFUSED = torch.tensor([[50, 50], [0, 10]])
"""Pixels by true class (rows) and predicted class; half of a common class is taken for a rare one."""


# --- the comparators ----------------------------------------------------------------------------------


def sources(others: pd.DataFrame) -> dict[str, pd.Series]:
    """Give the mIoU of the comparators in the papers that they come from, by row of Table 1.

    Args:
        others: `published.read("mtan")`.

    Returns:
        Each with the rows of the source as its index; MTAN has one for each of three weightings.
    """
    miou = others[others["place"].isin(SOURCES) & (others["column"] == "mIoU")].set_index("row")["value"]
    return {title: miou[miou.index.str.split(",").str[0] == name] for title, name in JOINT_MODELS.items()}


def comparators(numbers: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Rows of Table 1 beside the place that their numbers come from.

    Args:
        numbers: `published.read("mtsgd")`.
        others: `published.read("mtan")`.

    Returns:
        One row a row of the table: `method`, both metrics as printed (as text, `-` where nothing is printed),
        `set-up`, and `where it comes from`.
    """
    table, found = printed.table(numbers, "Table 1"), sources(others)
    origins = dict.fromkeys(table.index, "the article's own runs") | {STEREO: "not traced"}
    for row, values in found.items():
        parts = ", ".join(f"{value:.2f}" for value in values)
        mean = f"mean of {parts}: {values.mean():.2f}" if len(values) > 1 else parts
        origins[row] = f"{mean} ({'; '.join(map(str, values.index))})"
    texts = {metric: ["-" if pd.isna(value) else f"{value:g}" for value in table[metric]] for metric in BETTER}
    return pd.DataFrame(
        {
            "method": table.index,
            **{metric: texts[metric] for metric in BETTER},
            "set-up": [SET_UPS[row] for row in table.index],
            "where it comes from": [origins[row] for row in table.index],
        }
    )


def comparators_exhibit(numbers: pd.DataFrame, others: pd.DataFrame) -> Exhibit:
    """Show Table 1 with the set-up of each row."""
    miou = printed.table(numbers, "Table 1")[SEGMENTATION]
    caption = (
        "Table 1 with the set-up of each row. The margin of "
        f"{number(miou[BEST] - miou[[*JOINT_MODELS]].max())} points over other networks compares "
        f"{OWN.split(',')[0]} with {COARSE.split(',')[0]}, and crops of two views with small images of one. The number "
        "of MTAN is the mean over three weightings of its losses. (As printed; the row of AdaMT is quoted in a table "
        "of MTAN's set-up)"
    )
    return Exhibit(name="comparators", table=comparators(numbers, others), caption=caption)


def comparator_claims(numbers: pd.DataFrame, others: pd.DataFrame) -> list[Verdict]:
    """Judge the comparison of Table 1."""
    table = printed.table(numbers, "Table 1")
    miou, aepe, found = table[SEGMENTATION], table[DISPARITY], sources(others)
    best_single = printed.cell(numbers, "Table 2", SINGLE[SEGMENTATION], SEGMENTATION)
    best_joint = numbers.loc[numbers["row"].str.contains("MTSGD") & (numbers["column"] == SEGMENTATION), "value"].max()
    ours, lacking = "Section 4.3, Table 1", "baselines as Section 4.4 names them, one run each"
    return [
        Verdict(
            "MTSGD segments better than STAN, MTAN and AdaMT",
            ours,
            reading="mIoU under one set-up; those of the table are of other classes, images and networks",
            finding=8,
        ),
        Verdict(
            "MTSGD is better than the single-task model in segmentation",
            "Abstract, Table 2",
            0.0,
            0.0,
            exactly(best_single - best_joint),
            below=True,
            reading=f"mIoU that its best joint model is short of, points; {lacking}",
            finding=8,
        ),
        Verdict(
            "MTSGD is better than joint SGD in segmentation",
            ours,
            0.0,
            0.0,
            exactly(miou[JOINT] - miou[BEST]),
            below=True,
            reading=f"mIoU that it is short of, points, so that less than 0 is a lead; {lacking}",
            finding=8,
        ),
        Verdict(
            "MTSGD has the best disparity of the table",
            "Abstract, Table 1",
            0.0,
            0.0,
            exactly(aepe[BEST] - aepe.drop(BEST).min()),
            below=True,
            reading="its AEPE less the best other one, pixels, one run each",
            finding=8,
        ),
        Verdict(
            "MTSGD without decay has a slightly worse disparity than the baseline",
            "Section 4.3",
            0.0,
            0.0,
            exactly(aepe[JOINT] - aepe[BEST]),
            below=True,
            reading="AEPE of joint SGD less that of MTSGD without decay, pixels, which is below 0 if it is worse",
        ),
        Verdict(
            "The printed numbers of comparators are those of their papers",
            "Table 1",
            0.0,
            ROUNDING,
            exactly(max(abs(float(values.mean()) - miou[row]) for row, values in found.items())),
            reading="largest difference of mIoU, points; for MTAN to the mean over three weightings",
            kind="ours",
        ),
    ]


# --- Eq. 9 --------------------------------------------------------------------------------------------


def as_printed(counts: Tensor) -> Tensor:
    """Eq. 9 of each class in %, with the numerator read as p_ii: both sums run over the row of the true class.

    Args:
        counts: `[C, C]`, pixels by true class and predicted class.

    Returns:
        `[C]`, float64.
    """
    hits = counts.diagonal().double()
    return 100 * hits / (2 * counts.sum(1) - hits)


def iou(counts: Tensor) -> Tensor:
    """Intersection over union of each class in %, `[C]`; see `as_printed`."""
    hits = counts.diagonal().double()
    return 100 * hits / (counts.sum(1) + counts.sum(0) - hits)


def slip_exhibit() -> Exhibit:
    """Show Eq. 9 as printed beside intersection over union, on two classes."""
    table = pd.DataFrame(
        {
            "true class": ["common", "rare", "mean"],
            "pixels taken for the common one": [*CONFUSED[:, 0].tolist(), int(CONFUSED[:, 0].sum())],
            "pixels taken for the rare one": [*CONFUSED[:, 1].tolist(), int(CONFUSED[:, 1].sum())],
            "Eq. 9 as printed, %": [*as_printed(CONFUSED).tolist(), float(as_printed(CONFUSED).mean())],
            "intersection over union, %": [*iou(CONFUSED).tolist(), float(metrics.mean_iou(CONFUSED))],
        }
    )
    table.loc[2, "true class"] = "all; mean"
    mean = table.iloc[-1]
    caption = (
        "Eq. 9 on two classes, as printed and as the metric that it names. Both sums of the printed denominator run "
        "over the predictions for one true class, so that pixels which are wrongly taken for a class do not count "
        f"against it: the mean is {number(mean['Eq. 9 as printed, %'])} % in place of "
        f"{number(mean['intersection over union, %'])} %. The numerator is printed as p_ij, with no j left to be "
        "summed over, and k categories are k + 1. (Made-up counts; the numerator is read as p_ii)"
    )
    return Exhibit(name="equation_9", table=table, caption=caption)


def slip_claim() -> Verdict:
    """Judge whether Eq. 9 is the metric that it names."""
    difference = float(as_printed(CONFUSED).mean() - metrics.mean_iou(CONFUSED))
    return Verdict(
        "Eq. 9 is the mean intersection over union",
        "Eq. 9",
        0.0,
        EXACT,
        exactly(difference),
        reading="what it has more on two made-up classes, points",
    )


def claims(numbers: pd.DataFrame, others: pd.DataFrame) -> list[Verdict]:
    """Judge all that the printed numbers decide.

    Args:
        numbers: `published.read("mtsgd")`.
        others: `published.read("mtan")`.
    """
    return [*comparator_claims(numbers, others), *printed.claims(numbers), slip_claim()]
