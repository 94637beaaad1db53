"""The picture at the head of the chapter: two gradients of unequal length, added, balanced, and clipped."""

import numpy as np
import pandas as pd
import torch

from mtlrepro.analysis.verdicts import number
from mtlrepro.pages import figures
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS
from mtlrepro.studies.mtsgd.grids import BALANCE_ALONE, NO_CONFLICT
from mtlrepro.studies.mtsgd.rule import summed

RATIO = 4.0
"""Length of the first task's gradient, in that of the second's."""
ANGLES = {"the tasks agree": 50.0, "the tasks conflict": 125.0}
"""Angle between the two gradients of each slice, in degrees."""
RULES = {"plain sum": None, "balanced": BALANCE_ALONE, "balanced and clipped": NO_CONFLICT}
"""What is done to the two gradients, to the threshold of MTSGD; None without it."""
ARROWS = {"gradient of task A": COLOURS[0], "gradient of task B": COLOURS[1], "what is left": "black"}


def arrows() -> pd.DataFrame:
    """Arrows of both slices under each rule: the gradients that are added, and their sum.

    Returns:
        One row an arrow: `slice` of `ANGLES`, `rule` of `RULES`, `arrow` of `ARROWS`, `x` and `y` of its tip.
    """
    turned = [np.radians([90 + angle / 2, 90 - angle / 2]) for angle in ANGLES.values()]
    slices = torch.tensor([[[np.cos(one), np.sin(one)] for one in pair] for pair in turned], dtype=torch.float64)
    slices[:, 0] *= RATIO
    gradients = list(slices.unbind(1))  # a row of a matrix is a slice
    rows = []
    for rule, threshold in RULES.items():
        added = gradients
        if threshold is not None:
            shorter = torch.minimum(*(gradient.norm(dim=1, keepdim=True) for gradient in gradients))
            added = [shorter * gradient / gradient.norm(dim=1, keepdim=True) for gradient in gradients]
        total = gradients[0] + gradients[1] if threshold is None else summed(gradients, threshold=threshold)
        for name, tips in zip(ARROWS, [*added, total], strict=True):
            rows += [(one, rule, name, *tip) for one, tip in zip(ANGLES, tips.tolist(), strict=True)]
    return pd.DataFrame(rows, columns=["slice", "rule", "arrow", "x", "y"])


def picture() -> Exhibit:
    """Show the arrows of :func:`arrows`: a row a slice, a column a rule."""
    table = arrows()
    left = table.loc[table["arrow"] == "what is left", ["x", "y"]].to_numpy()
    length = np.hypot(*left.T).reshape(len(RULES), -1)
    agreeing, conflicting = 100 * length[1] / length[0]
    return Exhibit(
        name="intuition",
        table=table,
        figure=figures.arrows(
            table, ARROWS, {rule: rule for rule in RULES}, height=4.2, xlim=(-4.2, 1.8), ylim=(-0.6, 4.8)
        ),
        caption=f"The gradient of task A is {RATIO:g} times as long as that of task B, so that their plain sum (left)"
        " nearly points where A points. MTSGD brings both to the shorter length before it adds them (middle): the sum"
        f" points between them, and is {number(agreeing, 2)} % as long as the plain one where the tasks agree,"
        f" {number(conflicting, 2)} % where they conflict. Clipped at a threshold of {NO_CONFLICT:g} (right), nothing"
        " is left of a slice in which the tasks conflict. (Two made-up slices of two numbers, at angles of"
        f" {' and '.join(f'{angle:g}°' for angle in ANGLES.values())})",
        alt="Six panels of arrows from a point. On the left a long and a short arrow and their sum, which nearly"
        " follows the long one. In the middle two short arrows and a sum between them. On the right the same in the"
        " upper panel; in the lower one the sum is missing.",
    )
