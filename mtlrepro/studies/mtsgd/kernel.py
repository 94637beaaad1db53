"""MTSGD's rule on single kernels: every step in numbers, and what angle, ratio of lengths and threshold do."""

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mtlrepro.analysis.verdicts import number
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import COLOURS, METHODS
from mtlrepro.studies.mtsgd.grids import NO_CONFLICT, THRESHOLDS
from mtlrepro.studies.mtsgd.rule import AXIS, summed

KERNELS = {
    "3x3, first channel": ([5, 4, 1, 5, 2, 0, 5, 2, 0], [0.5, 0.2, -0.2, 0.5, 0.4, 0.1, 0.0, 0.5, 0.0]),
    "3x3, second channel": ([5, 4, 1, 5, 2, 0, 5, 2, 0], [-0.5, 0.2, 0.5, 0.0, -0.4, 0.2, 0.1, 0.0, 0.5]),
    "1x1, first channel": ([3], [0.4]),
    "1x1, second channel": ([3], [-0.4]),
}
"""Slices of two kernels of two input channels: the gradients of both tasks. Those of 3x3 have lengths of 10 and 1."""
COLUMNS = {"Δ₁": "Eq. 2", "Δ₂": "Eq. 2", "e₁": "Eq. 3", "e₂": "Eq. 3", "sum": "Eq. 2", "m s (e₁ + e₂)": "Eqs. 7, 8"}
"""Drawn columns, to the equations that define them."""
ANGLES = (0, 30, 60, 90, 100, 120, 150, 170)
"""Angles between the gradients, in degrees; at 180 two of one length have no sum."""
RATIOS = (1, 3, 10, 100)
"""Lengths of the first gradient in that of the second."""
START = ("100°", "10")
"""Angle and ratio at which the sliders start: the plain sum follows one task, and a threshold of 0 drops the slice."""


# --- step by step -------------------------------------------------------------------------------------


def steps() -> tuple[pd.DataFrame, dict[str, dict[str, Tensor]]]:
    """Go through Eqs. 2 to 8 on the slices of `KERNELS` at a threshold of 0.

    Returns:
        One row a slice: `slice`, the lengths `r₁` and `r₂`, their minimum `s`, the similarity `c`, the mask `m`, and
        the lengths of both sums; and the numbers of each slice, `[H, W]`, by the names of `COLUMNS`, of which the last
        comes from the balancer.
    """
    rows, drawn = [], {}
    for name, both in KERNELS.items():
        gradients = [torch.tensor(one, dtype=torch.float64) for one in both]
        r1, r2 = (float(gradient.norm()) for gradient in gradients)
        e1, e2 = gradients[0] / r1, gradients[1] / r2
        c = float(e1 @ e2)
        side = round(len(e1) ** 0.5)
        total = summed([one.view(1, 1, side, side) for one in gradients], threshold=NO_CONFLICT)
        plain = gradients[0] + gradients[1]
        numbers = dict(zip(COLUMNS, [*gradients, e1, e2, plain, total], strict=True))
        drawn[name] = {title: part.view(side, side) for title, part in numbers.items()}
        rows.append((name, r1, r2, min(r1, r2), c, int(c >= NO_CONFLICT), float(plain.norm()), float(total.norm())))
    titles = ["slice", "r₁", "r₂", "s", "c", "m", "length of the sum", "length that is left"]
    return pd.DataFrame(rows, columns=titles), drawn


def steps_exhibit() -> Exhibit:
    """Show each step of the rule on a 3x3 and a 1x1 kernel as maps with their numbers."""
    table, drawn = steps()
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    heights = [3 if name.startswith("3x3") else 1.4 for name in drawn]
    grid = figure.subplots(len(drawn), len(COLUMNS), gridspec_kw={"height_ratios": heights})
    for row, (name, numbers) in enumerate(drawn.items()):
        for column, (title, part) in enumerate(numbers.items()):
            _draw_numbers(grid[row, column], part.numpy())
            if row == 0:
                grid[row, column].set_title(f"{title}\n{COLUMNS[title]}", fontsize=9)
        facts = table.set_index("slice").loc[name]
        grid[row, 0].set_ylabel(
            f"{name.replace(', ', chr(10))}\ns = {facts['s']:.2g}\nc = {facts['c']:.2f}\nm = {facts['m']:.0f}",
            fontsize=8,
            rotation=0,
            ha="right",
            va="center",
        )
    first = table.iloc[0]
    share = 100 * first["length that is left"] / first["length of the sum"]
    caption = (
        f"The rule on the channel slices of a 3x3 and a 1x1 kernel at a threshold of {NO_CONFLICT:g}. In the first "
        f"slice the gradients agree: both are brought to the shorter length s, and what is left is {number(share, 2)} %"
        f" as long as the plain sum. In the second they conflict (c = {table['c'].iloc[1]:.2f}), and nothing is left. A"
        " slice of one number has a direction of 1 or -1, so that c is 1 or -1 as well, and two opposite directions "
        "cancel with or without the mask. (Made-up gradients; the last column is computed by the balancer)"
    )
    alt = (
        "A grid of small maps with a number in each cell, four rows of slices and six columns of steps. The last map of"
        " the second and of the fourth row is zero everywhere."
    )
    return Exhibit(name="rule_steps", table=table, figure=figure, caption=caption, alt=alt, form="drawing")


def _draw_numbers(axes: Axes, values: np.ndarray) -> None:
    """Draw a map with its numbers, coloured by their size in the largest of the map."""
    largest = max(float(np.abs(values).max()), 1e-9)
    axes.imshow(values, cmap="RdBu_r", vmin=-2 * largest, vmax=2 * largest)
    for (row, column), value in np.ndenumerate(values):
        text = "0" if abs(value) < 1e-12 else f"{value:.2g}"
        axes.text(column, row, text, ha="center", va="center", fontsize=7)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)


# --- angle, ratio and threshold -----------------------------------------------------------------------


def pair(angle: float, ratio: float) -> list[Tensor]:
    """Gradients of one slice of two numbers: the second has length 1 and points along the first axis.

    Args:
        angle: From the second to the first, in degrees.
        ratio: Length of the first.

    Returns:
        Two kernels `[1, 1, 1, 2]`, float64.
    """
    turned = np.radians(angle)
    tips = torch.tensor([[ratio * np.cos(turned), ratio * np.sin(turned)], [1.0, 0.0]], dtype=torch.float64)
    return [tip.view(1, 1, 1, 2) for tip in tips]


def survival() -> pd.DataFrame:
    """Whether a slice is kept at each threshold, and how long its step then is.

    Returns:
        One row an angle, ratio and threshold of `AXIS`: `angle`, `ratio`, `threshold`, `length`, that of what the
        balancer leaves over that of the plain sum, 0 if the slice is dropped.
    """
    cases = [(angle, ratio) for angle in ANGLES for ratio in RATIOS]
    first, second = (torch.cat(gradients) for gradients in zip(*(pair(*case) for case in cases), strict=True))
    plain = (first + second).flatten(1).norm(dim=1)
    parts = []
    for threshold in AXIS:
        left = summed([first, second], threshold=threshold).flatten(1).norm(dim=1) / plain
        own = pd.DataFrame(cases, columns=["angle", "ratio"])
        parts.append(own.assign(threshold=threshold, length=left.numpy()))
    return pd.concat(parts).sort_values(["angle", "ratio", "threshold"], ignore_index=True)


def angles_exhibit() -> Exhibit:
    """Show one slice under two sliders, the angle between its gradients and the ratio of their lengths."""
    table = survival()
    frames = {
        (f"{angle}°", f"{ratio}"): (_frame(angle, ratio, rows), _describe(rows))
        for angle in ANGLES
        for ratio in RATIOS
        for rows in [table[(table["angle"] == angle) & (table["ratio"] == ratio)]]
    }
    caption = (
        "One slice of two gradients (left, in the length of the longer one) and what balancing makes of them (middle, "
        "in that of the shorter one). On the right, by threshold, how long the step is in the length of the plain sum; "
        "dots are the thresholds of the article's tables. The angle alone decides up to which threshold the slice is "
        "kept. Gradients of one length keep the plain step at every angle; the more the lengths differ, the shorter "
        "the step, and the wider the angle, the more so. No threshold gives the length back. (By the balancer)"
    )
    return Exhibit(
        name="rule_angles",
        table=table,
        caption=caption,
        frames=frames,
        sliders=("angle between the gradients", "ratio of their lengths"),
        start=START,
        form="drawing",
    )


def _describe(rows: pd.DataFrame) -> str:
    """Alternative text of a frame."""
    angle, ratio = rows[["angle", "ratio"]].iloc[0]
    kept = rows.loc[rows["length"] > 0, "threshold"].max()
    return (
        f"Two arrows at an angle of {angle:g} degrees, one {ratio:g} times as long as the other, their plain sum and "
        f"their balanced sum; beside them a step curve of height {number(rows['length'].max(), 2)} that falls to zero "
        f"above a threshold of {kept:g}."
    )


def _frame(angle: float, ratio: float, rows: pd.DataFrame) -> Figure:
    """Draw one angle and ratio: the gradients, the balanced ones, and the length of the step by threshold."""
    figure = Figure(figsize=(7.2, 2.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
    first, second = (part.flatten() for part in pair(angle, ratio))
    balanced = summed(pair(angle, ratio), threshold=-1.0).flatten()
    _draw_arrows(left, [first / ratio, second / ratio, (first + second) / ratio], COLOURS[6], "plain sum")
    _draw_arrows(middle, [first / ratio, second, balanced], METHODS["mtsgd"][0], "balanced sum")
    height = rows["length"].max()
    cosine = np.cos(np.radians(angle))
    right.step([-1, cosine, cosine, 1], [height, height, 0, 0], color=METHODS["mtsgd"][0])
    for threshold in THRESHOLDS:
        length = float(rows.loc[np.isclose(rows["threshold"], threshold), "length"].iloc[0])
        right.plot(threshold, length, "o", color=METHODS["mtsgd"][0], markersize=6)
    right.set(xlabel="threshold", xlim=(-1.1, 1.1), ylim=(-0.05, 1.1))
    right.set_title(f"step over plain sum: {number(float(height), 2)}", fontsize=9)
    return figure


def _draw_arrows(axes: Axes, tips: list[Tensor], colour: str, title: str) -> None:
    """Draw two gradients and, behind them, their sum, whose colour the title has."""
    for (x, y), own, width in zip([*map(Tensor.tolist, tips)], (*COLOURS[:2], colour), (1.6, 1.6, 3.5), strict=True):
        look = {"arrowstyle": "->", "color": own, "linewidth": width, "shrinkA": 0, "shrinkB": 0, "zorder": 5 - width}
        axes.annotate("", (x, y), (0, 0), arrowprops=look)
    axes.set(aspect="equal", xlim=(-1.2, 2.1), ylim=(-0.4, 2.0), xticks=[], yticks=[])
    axes.set_title(title, fontsize=9, color=colour)
