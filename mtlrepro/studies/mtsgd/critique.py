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
QUOTED = {"STAN [13]": "STAN", "MTAN [13]": "MTAN", "AdaMT [33]": "AdaMT-Net"}
"""Rows of Table 1 with numbers of other papers, to what those call them."""
STEREO = "MC-CNN [37]"
SOURCES = ("Cityscapes, 7 classes", "Cityscapes, quoted second-hand")
"""Places of `published.read("mtan")` where the numbers of these rows stand."""
COARSE = "7 classes, 128 x 256, one view"
OWN = "19 classes, crops of 512 x 512 in training, two views"
SET_UPS = {
    STEREO: "not stated, two views, disparity alone",
    **dict.fromkeys(QUOTED, COARSE),
    "STAN [13]": f"{COARSE}, a network for each task",
    JOINT: OWN,
    WITH_DECAY: OWN,
    BEST: OWN,
}
"""Under what the numbers of Table 1 were measured; for AdaMT that of the table in which its row is quoted."""
DECAYS = {WITH_DECAY: "with decay, as joint SGD has it", BEST: "without decay, which joint SGD has"}
"""Rows of MTSGD, to how they stand to the row of joint SGD."""
WORDS = {SEGMENTATION: ("segmentation", "points of mIoU"), DISPARITY: ("disparity", "pixels of AEPE")}
"""Metrics, to the task and the unit in words."""
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
    return {title: miou[miou.index.str.split(",").str[0] == name] for title, name in QUOTED.items()}


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
        f"{number(miou[BEST] - miou[[*QUOTED]].max())} points over other networks compares "
        f"{OWN.split(',')[0]} with {COARSE.split(',')[0]}, and crops of two views with small images of one. The number "
        "of MTAN is the mean over three weightings of its losses. MC-CNN and STAN are no multi-task models, as which "
        "Section 4.3 names them. (As printed; the row of AdaMT is quoted in a table of MTAN's set-up)"
    )
    return Exhibit(name="comparators", table=comparators(numbers, others), caption=caption)


def _behind(one: float, other: float, metric: str) -> float:
    """By how much one printed number is worse than another; less than 0 is a lead."""
    return other - one if BETTER[metric] else one - other


def comparator_claims(numbers: pd.DataFrame, others: pd.DataFrame) -> list[Verdict]:
    """Judge the comparison of Table 1."""
    table = printed.table(numbers, "Table 1")
    miou, aepe = table[SEGMENTATION], table[DISPARITY]
    own = numbers[numbers["row"].str.contains("MTSGD")]
    values = {metric: own.loc[own["column"] == metric, "value"] for metric in BETTER}
    best = {metric: float(found.max() if BETTER[metric] else found.min()) for metric, found in values.items()}
    baseline = "a baseline, as Section 4.4 names it; one run each"

    def in_table_1(row: str, metric: str) -> float:
        return printed.cell(numbers, "Table 1", row, metric)

    return [
        Verdict(
            "MTSGD segments better than STAN, MTAN and AdaMT",
            "Section 4.3, Table 1",
            reading="mIoU under one set-up; those of the table are of other classes, images and networks",
            finding=8,
        ),
        *(
            Verdict(
                f"MTSGD at its best is better than the single-task model in {task}",
                "Abstract, Table 2",
                0.0,
                0.0,
                exactly(_behind(best[metric], printed.cell(numbers, "Table 2", SINGLE[metric], metric), metric)),
                below=True,
                reading=f"{unit} that the best of all its printed rows is worse by than {baseline}",
                finding=8,
            )
            for metric, (task, unit) in WORDS.items()
        ),
        *(
            Verdict(
                f"MTSGD is better than joint SGD in {task}",
                "Abstract, Table 1",
                0.0,
                0.0,
                exactly(_behind(in_table_1(row, metric), in_table_1(JOINT, metric), metric)),
                below=True,
                reading=f"{unit} that it is worse by than {baseline}",
                case=case,
                finding=8,
            )
            for metric, (task, unit) in WORDS.items()
            for row, case in DECAYS.items()
        ),
        Verdict(
            "MTSGD has the best disparity of the table",
            "our question",
            0.0,
            0.0,
            exactly(aepe[BEST] - aepe.drop(BEST).min()),
            below=True,
            reading="its AEPE less the best other one, pixels, one run each",
            kind="ours",
            limits=8,
        ),
        *(
            Verdict(
                "MTSGD without decay has a slightly worse disparity",
                "Section 4.3",
                0.0,
                0.0,
                exactly(aepe[other] - aepe[BEST]),
                below=True,
                reading="AEPE of another row of Table 1 less its own, pixels, which is below 0 if it is worse; the "
                "text says neither than what it is worse nor how much is slight",
                case=f"than {other}",
            )
            for other in (JOINT, STEREO)
        ),
        Verdict(
            "The printed numbers of comparators are those of their papers",
            "Table 1",
            0.0,
            ROUNDING,
            exactly(max(abs(float(values.mean()) - miou[row]) for row, values in sources(others).items())),
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
