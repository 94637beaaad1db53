"""Figures drawn from data tables, as SVG or WebP whose bytes depend on the data alone."""

from collections.abc import Mapping, Sequence
from io import BytesIO, StringIO
from itertools import product
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import NullLocator
from PIL import Image
from torch import Tensor

from mtlrepro.targets import Display

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GONE = 1e-3
"""Length up to which an arrow is no more than a dot, in the units of its axes."""
UNKNOWN = "#FF00FF"
"""Colour of pixels whose target is unknown, far from those of all classes and colour maps."""
METHODS: dict[str, tuple[str, str]] = {
    "lsb": ("#0072B2", "o"),
    "uncertainty": ("#D55E00", "s"),
    "dwa": ("#009E73", "^"),
    "gls": ("#CC79A7", "D"),
    "gradnorm": ("#E69F00", "v"),
    "fixed": ("#56B4E9", "P"),
    "equal": ("#000000", "X"),
    "maxgnr": ("#0072B2", "s"),
    "mtsgd": ("#009E73", "o"),
    "mclgs": ("#D55E00", "D"),
    "cagrad": ("#CC79A7", "v"),
    "cagrad+mclgs": ("#CC79A7", "o"),
    "mgda": ("#E69F00", "P"),
    "pcgrad": ("#56B4E9", "s"),
    "graddrop": ("#009E73", "X"),
    "uw-so": ("#E69F00", "^"),
    "rlw": ("#56B4E9", "v"),
    "replay": ("#0072B2", "P"),
    "lagged_gls": ("#D55E00", "X"),
    "warmup": ("#000000", "D"),
}
"""Colour and marker of each method, the same in every figure of the book; those compared most differ in both."""
TITLES = {
    "equal weighting": "equal",
    "uncert": "uncertainty",
    "proposed": "lsb",
    "lsb with priorities": "lsb",
    "fixed weights": "fixed",
    "lagged gls": "lagged_gls",
    "cagrad + mclgs": "cagrad+mclgs",
    "random weights": "rlw",
    "replayed weights": "replay",
    "warm-up": "warmup",
}
"""What methods are called in figures and in the papers' tables, in lower case, where it is not their name."""
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 100,
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.markersize": 4,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "svg.fonttype": "none",
    "svg.hashsalt": "mtlrepro",
}


def use_style() -> None:
    """Set the book's matplotlib style for this process."""
    mpl.rcParams.update(STYLE)


def canvas(*, height: float = 3.2) -> tuple[Figure, Axes]:
    """Make an empty figure of one panel, `height` inches high, not registered with pyplot."""
    figure, (axes,) = panels(1, height=height)
    return figure, axes


def panels(columns: int, *, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    """Make an empty figure of `columns` panels side by side that share their vertical axis."""
    figure = Figure(figsize=(7.2, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, sharey=True, squeeze=False)[0])


def svg(figure: Figure) -> str:
    """Render a figure as SVG text without a date; under :func:`use_style`, equal figures give equal text."""
    buffer = StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def webp(figure: Figure, *, photograph: bool = False) -> bytes:
    """Render a figure as WebP: for many small drawings or many pixels, about a quarter of their SVG.

    Args:
        figure: The drawing.
        photograph: Whether it has many colours, and is kept with some loss; else it is kept without, in 24 colours.
    """
    packed = BytesIO()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    pixels = Image.fromarray(drawn).convert("RGB")
    if photograph:
        pixels.save(packed, format="WEBP", quality=40, method=6)
    else:
        few = pixels.quantize(24, Image.Quantize.FASTOCTREE).convert("RGB")
        few = few.point(lambda level: 255 if level > 250 else level)  # paper stays white
        few.save(packed, format="WEBP", lossless=True)
    return packed.getvalue()


def styles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Choose the colour and the marker of each line of a figure.

    Args:
        names: What the lines stand for. A method, by name or title, has its own of `METHODS`; everything else gets
            the colours and the markers that no method of the figure has, in order, and again from the start where they
            run out.

    Returns:
        Name to colour and marker.
    """
    keys = {name: TITLES.get(name.lower(), name.lower()) for name in names}
    own = {name: METHODS[key] for name, key in keys.items() if key in METHODS}
    colours = [colour for colour in COLOURS if colour not in {used for used, _ in own.values()}] or COLOURS
    markers = [marker for marker in MARKERS if marker not in {used for _, used in own.values()}] or MARKERS
    others = [name for name in keys if name not in own]
    free = {name: (colours[i % len(colours)], markers[i % len(markers)]) for i, name in enumerate(others)}
    return {name: own.get(name) or free[name] for name in keys}


def curves(
    axes: Axes,
    table: pd.DataFrame,
    x: str,
    *,
    by: str,
    expected: str | None = None,
    labels: Sequence[str] | None = None,
    linestyle: str = "-",
) -> None:
    """Draw `mean` against `x`, with bars from `low` to `high`, one curve per value of column `by`.

    Args:
        axes: Panel to draw in.
        table: Columns `x`, `by`, `mean`; for bars `low` and `high`; and, if given, `expected`.
        x: Column of the abscissa.
        by: Column that separates curves, in order of first appearance; methods have their own look, see :func:`styles`.
        expected: Column with a predicted value, drawn dashed in the same colour.
        labels: Legend texts; the values of `by` if not given.
        linestyle: Of the measured curves.
    """
    groups = list(table.groupby(by, sort=False))
    looks = styles([str(value) for value, _ in groups])
    for index, (value, group) in enumerate(groups):
        colour, marker = looks[str(value)]
        axes.errorbar(
            group[x],
            group["mean"],
            yerr=_bars(group) if "low" in group else None,
            color=colour,
            marker=marker,
            linestyle=linestyle,
            capsize=2,
            label=str(value) if labels is None else labels[index],
        )
        if expected is not None:
            axes.plot(group[x], group[expected], color=colour, linestyle="--", linewidth=1)


def _bars(table: pd.DataFrame) -> np.ndarray:
    """Lengths of the bars below and above the mean, `[2, rows]`."""
    lengths: np.ndarray = np.abs(table[["low", "high"]].to_numpy().T - table["mean"].to_numpy())
    return lengths


def dots(axes: Axes, table: pd.DataFrame, label: str, *, by: str, reference: float | None = None) -> None:
    """Draw `mean` and the bar from `low` to `high` of each row, one line of text per value of column `label`.

    Args:
        axes: Panel to draw in.
        table: Columns `label`, `by`, `mean`, `low`, `high`.
        label: Column whose values stand along the vertical axis.
        by: Column that separates the looks of :func:`styles` and shifts the dots, in order of first appearance.
        reference: Value to mark by a dashed line.
    """
    lines = list(dict.fromkeys(table[label]))
    groups = list(table.groupby(by, sort=False))
    looks = styles([str(value) for value, _ in groups])
    for index, (value, group) in enumerate(groups):
        colour, marker = looks[str(value)]
        height = np.array([lines.index(entry) for entry in group[label]])
        shift = (index - (len(groups) - 1) / 2) * 0.6 / len(groups)
        axes.errorbar(
            group["mean"],
            height + shift,
            xerr=_bars(group),
            color=colour,
            marker=marker,
            linestyle="none",
            capsize=2,
            label=str(value),
        )
    if reference is not None:
        axes.axvline(reference, color="0.4", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(lines)), lines)
    axes.set_ylim(len(lines) - 0.5, -0.5)


def strip(axes: Axes, table: pd.DataFrame, column: str, *, by: str) -> None:
    """Draw a line of dots for each value of column `by`, one dot a row, and a bar at their mean.

    Args:
        axes: Panel to draw in.
        table: One row a run, in the same order within each group: its dots stand below each other, so that ties are
            seen.
        column: What is drawn along the horizontal axis.
        by: Column that separates lines, with the look that :func:`styles` gives them, in order of first appearance.
    """
    groups = list(table.groupby(by, sort=False)[column])
    looks = styles([str(name) for name, _ in groups])
    for line, (name, values) in enumerate(groups):
        shifts = 0.12 * (np.arange(len(values)) - (len(values) - 1) / 2)
        colour, marker = looks[str(name)]
        axes.plot(values, line + shifts, marker, color=colour, markersize=6, markeredgewidth=0)
        axes.plot([values.mean()] * 2, [line - 0.4, line + 0.4], color=colour)
    axes.set_yticks(range(len(groups)), [str(name) for name, _ in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)


def strips(
    table: pd.DataFrame, labels: Mapping[str, str], *, by: str, references: Mapping[str, float] | None = None
) -> Figure:
    """Draw a panel for each of some columns, see :func:`strip`.

    Args:
        table: One row a run.
        labels: Column to the text below its panel; up to three stand side by side, more in two rows, filled by columns.
        by: Column that separates lines, with the look that :func:`styles` gives them, in order of first appearance.
        references: Column to a value to mark by a dashed line.
    """
    rows = 1 if len(labels) <= 3 else 2
    drawing = Figure(figsize=(7.2, 2.7 * rows), dpi=110, layout="constrained")
    panels = drawing.subplots(rows, -(-len(labels) // rows), sharey=True, squeeze=False).T.flat
    for axes, (column, label) in zip(panels, labels.items(), strict=True):
        if references and column in references:
            axes.axvline(references[column], color="0.4", linestyle="--", linewidth=1)
        strip(axes, table, column, by=by)
        axes.set_xlabel(label, fontsize=9)
        axes.tick_params(left=False, bottom=False)
    return drawing


def legend(figure: Figure, axes: Axes, columns: int, title: str = "") -> None:
    """Put the legend of `axes` above the figure, in `columns` columns, where it hides no data."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, title=title or None)


def log_x(axes: Axes, ticks: Sequence[float]) -> None:
    """Make the horizontal axis logarithmic, with plain numbers at `ticks`."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def level(axes: Axes, height: float, label: str) -> None:
    """Draw a horizontal reference line."""
    axes.axhline(height, color="0.5", linewidth=1, label=label)


def quantiles(axes: Axes, table: pd.DataFrame, *, by: str) -> None:
    """Draw columns `noise` against `normal`, one set of markers per value of column `by`, and the diagonal."""
    ends = table["normal"].agg(["min", "max"])
    axes.plot(ends, ends, color="0.5", linewidth=1)
    groups = list(table.groupby(by, sort=False))
    looks = styles([str(value) for value, _ in groups])
    for value, group in groups:
        colour, marker = looks[str(value)]
        axes.plot(
            group["normal"],
            group["noise"],
            color=colour,
            marker=marker,
            linestyle="none",
            label=str(value),
        )


def gallery(images: Sequence[np.ndarray], titles: Sequence[str]) -> Figure:
    """Draw grey images in [0, 1] side by side, a title over each."""
    figure, frames = panels(len(images), height=1.3)
    for axes, image, title in zip(frames, images, titles, strict=True):
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    return figure


def draw_map(
    axes: Axes, display: Display, values: Tensor, known: Tensor, n_classes: int | None = None
) -> AxesImage | None:
    """Draw a target or a prediction, with unknown pixels in magenta.

    Args:
        axes: Panel to draw in.
        display: How maps of this kind are drawn.
        values: `[C, H, W]`, or `[H, W]` classes. Where the display has a colour map the first channel is drawn;
            otherwise images are drawn as they are, and normals with red, green and blue for right, up and towards the
            camera.
        known: Bool `[H, W]`.
        n_classes: Of a map of classes.

    Returns:
        What a colour bar belongs to; None for maps that are colours themselves.
    """
    axes.set_title(f"{display.title}, {display.unit}" if display.unit else display.title, fontsize=9)
    if not display.colours:
        axes.imshow(paint(display, values, known), interpolation="none")
        return None
    pixels, palette, high = _scaled(display, values, known, n_classes)
    return axes.imshow(pixels, cmap=palette, vmin=display.low, vmax=high, interpolation="none")


def paint(display: Display, values: Tensor, known: Tensor, n_classes: int | None = None) -> np.ndarray:
    """Colours of a map as :func:`draw_map` draws it, uint8 `[H, W, 3]`."""
    if display.colours:
        pixels, palette, high = _scaled(display, values, known, n_classes)
        shades = (pixels - display.low) / (high - display.low)
        return np.asarray(palette(shades.clip(0, 1), bytes=True)[..., :3])
    normals = display.title == "normals"
    shown = (values * values.new_tensor([1.0, -1.0, -1.0]).view(3, 1, 1) + 1) / 2 if normals else values
    colours = shown.permute(1, 2, 0).numpy().clip(0, 1)
    colours[~known.numpy()] = mpl.colors.to_rgb(UNKNOWN)
    return np.asarray((255 * colours).round().astype(np.uint8))


def _scaled(
    display: Display, values: Tensor, known: Tensor, n_classes: int | None
) -> tuple[np.ma.MaskedArray, mpl.colors.Colormap, float]:
    """Pixels of a map with a colour map, unknown ones masked; that map, and the value at its upper end."""
    pixels = np.ma.masked_array((values if values.ndim == 2 else values[0]).float().numpy(), ~known.numpy())
    high = display.high
    if n_classes is not None:
        high = max(n_classes - 1, 1)
    elif high is None:
        high = max(np.quantile(pixels.compressed(), 0.98), 1e-6) if known.any() else 1.0
    return pixels, mpl.colormaps[display.colours].with_extremes(bad=UNKNOWN), float(high)


def arrows(
    table: pd.DataFrame,
    colours: Mapping[str, str],
    titles: Mapping[str, str],
    *,
    height: float,
    xlim: tuple[float, float],
    ylim: tuple[float, float],
) -> Figure:
    """Draw arrows from a point, a row of panels for each value of the table's first column and a column for the second.

    Args:
        table: The two columns by which panels are laid out; `arrow`, and `x` and `y` of its tip. One shorter than
            `GONE` is not drawn.
        colours: Arrow to its colour; the last is what is made of the others, and is drawn thick and behind them.
        titles: Value of the second column to what stands above its panels.
        height: Of the figure, in inches.
        xlim: Ends of the horizontal axis.
        ylim: Ends of the vertical one.
    """
    rows, result = list(dict.fromkeys(table.iloc[:, 0])), list(colours)[-1]
    figure = Figure(figsize=(7.2, height), layout="constrained")
    grid = figure.subplots(len(rows), len(titles), sharex=True, sharey=True)
    for (i, row), (j, column) in product(enumerate(rows), enumerate(titles)):
        axes = grid[i, j]
        shown = table[(table.iloc[:, 0] == row) & (table.iloc[:, 1] == column)]
        for name, x, y in shown[["arrow", "x", "y"]].to_numpy():
            if np.hypot(x, y) > GONE:
                width, order = (3, 1) if name == result else (1.6, 2)
                look = {"arrowstyle": "->", "color": colours[name], "linewidth": width, "shrinkA": 0, "shrinkB": 0}
                axes.annotate("", (x, y), (0, 0), arrowprops={**look, "zorder": order})
        axes.plot(0, 0, ".", color="black")
        axes.set(aspect="equal", xlim=xlim, ylim=ylim, xticks=[], yticks=[])
        axes.set_title(titles[column] if i == 0 else "")
        axes.set_ylabel(row if j == 0 else "")
    for name, colour in colours.items():
        grid[0, 0].plot([], [], color=colour, linewidth=2, label=name)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(colours))
    return figure
