"""The picture at the head of the chapter: two pairs of gradients, and the steps that their weights make of them."""

import numpy as np
import pandas as pd
import torch

from mtlrepro.pages import figures
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS
from mtlrepro.studies.comparison import fixed
from mtlrepro.studies.mclgs.rule import task_form

ANGLES = {"the tasks agree": 75.0, "the tasks conflict": 105.0}
"""Angle between the two gradients of each pair, in degrees; both have the length 1."""
MOMENTS = {"at the start": 40.0, "later": 4.0, "at the end": 0.0}
"""Moments of training, with the strength p of the curriculum."""
ARROWS = {"gradient of task A": COLOURS[0], "gradient of task B": COLOURS[1], "step of MCLGS": "black"}


def arrows() -> pd.DataFrame:
    """Arrows of both pairs at each moment: the two gradients, and the step that is made of them.

    Returns:
        One row an arrow: `pair` of `ANGLES`, `moment` of `MOMENTS`, `arrow` of `ARROWS`, `x` and `y` of its tip.
    """
    rows = []
    for pair, angle in ANGLES.items():
        turned = np.radians([90 + angle / 2, 90 - angle / 2])
        gradients = torch.from_numpy(np.stack([np.cos(turned), np.sin(turned)], axis=1))
        for moment, p in MOMENTS.items():
            tips = [*gradients, task_form(gradients, p)]
            rows += [(pair, moment, name, *tip.tolist()) for name, tip in zip(ARROWS, tips, strict=True)]
    return pd.DataFrame(rows, columns=["pair", "moment", "arrow", "x", "y"])


def picture() -> Exhibit:
    """Show the arrows of `arrows`: a row a pair, a column a moment."""
    table = arrows()
    agreeing, conflicting = (_factors(table, pair) for pair in ANGLES)
    return Exhibit(
        name="intuition",
        table=table,
        figure=figures.arrows(
            table,
            ARROWS,
            {moment: f"{moment}, p = {p:g}" for moment, p in MOMENTS.items()},
            height=4.4,
            xlim=(-1, 1),
            ylim=(-0.15, 1.7),
        ),
        caption="Two tasks whose gradients agree, and two whose gradients conflict. MCLGS multiplies their mean by a"
        f" weight: at the start of training (left) it is {agreeing[0]} where they agree and {conflicting[0]} where they"
        f" conflict, later {agreeing[1]} and {conflicting[1]}, and at the end (right) {agreeing[-1]} in both. The step"
        " of two tasks always points where their mean does; its length alone changes. (Two made-up pairs of gradients"
        f" of equal lengths, at angles of {' and '.join(f'{angle:g}°' for angle in ANGLES.values())})",
        alt="Six panels of arrows from a point. Above, two gradients at an acute angle and a step between them that is"
        " long on the left and shorter on the right. Below, two gradients at an obtuse angle without a step on the"
        " left, and with one on the right that is as long as their mean.",
    )


def _factors(table: pd.DataFrame, pair: str) -> list[str]:
    """Length of the step of a pair at each moment over that of the mean gradient, which is the step at the end."""
    steps = table[(table["pair"] == pair) & (table["arrow"] == "step of MCLGS")]
    lengths = np.hypot(steps["x"].to_numpy(), steps["y"].to_numpy())
    return [fixed(float(factor), 2) for factor in lengths / lengths[-1]]
