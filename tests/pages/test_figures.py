"""Drawings hold the table's numbers, and equal ones give equal bytes."""

import io
import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from page_cases import drawing, measured
from PIL import Image

from mtlrepro.balancers import METHODS
from mtlrepro.data.catalogue import CATALOGUE
from mtlrepro.pages import figures as plots
from mtlrepro.studies.scores import method_title
from mtlrepro.targets import TARGETS


def test_equal_figures_give_equal_text():
    assert plots.svg(drawing()) == plots.svg(drawing())
    assert plots.svg(drawing()) != plots.svg(drawing((0.0, 1.0, 0.6)))


def test_equal_figures_give_equal_text_in_another_process():
    code = (
        "import sys\nfrom mtlrepro.pages import figures as plots\nplots.use_style()\nfigure, axes = plots.canvas()\n"
        "axes.plot(range(3), (0.0, 1.0, 0.5), marker='o', label='a line')\naxes.legend()\n"
        "sys.stdout.write(plots.svg(figure))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "17"}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert other.stdout == plots.svg(drawing())


def test_figures_hold_no_date_no_version_and_text_as_text():
    text = plots.svg(drawing())
    assert "dc:date" not in text
    assert mpl.__version__ not in text
    assert ">a line</text>" in text


def test_compact_pictures_keep_size_paper_and_inks_and_are_smaller():
    figure, axes = plots.canvas()
    for height, colour in enumerate(plots.COLOURS):
        axes.plot([0, 1], [height, height + 1], color=colour)
    content = plots.webp(figure)
    assert content == plots.webp(figure)
    assert len(content) < len(plots.svg(figure)) / 2
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (720, 320)
        assert image.getpixel((0, 0)) == (255, 255, 255)
        pixels = np.asarray(image, dtype=int).reshape(-1, 3)
    for colour in plots.COLOURS:
        ink = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert np.abs(pixels - ink).max(axis=1).min() <= 24


def test_compact_pictures_have_their_ink_where_a_saved_figure_has_it():
    figure, axes = plots.canvas()
    axes.plot([0, 1], [0, 1], color="#000000")
    axes.set_xlabel("a label that takes space")
    saved = io.BytesIO()
    figure.savefig(saved, format="png")
    content = plots.webp(figure)
    one, other = (np.asarray(Image.open(io.BytesIO(file)).convert("L")) for file in (saved.getvalue(), content))
    assert np.abs(one.astype(int) - other).max() <= 16 and (one < 128).sum() > 500


def test_figures_are_not_registered_with_pyplot():
    from matplotlib import pyplot

    drawing()
    assert pyplot.get_fignums() == []


def bars(container):
    """Ends of an errorbar container's bars, `[points, 2 ends, x and y]`."""
    (collection,) = container.lines[2]
    return np.array(collection.get_segments())


def test_curves_draw_means_bars_and_expectations():
    _, axes = plots.canvas()
    table = measured()
    plots.curves(axes, table, "batch", by="task", expected="expected")
    assert [container.get_label() for container in axes.containers] == ["sum", "left"]  # as first met
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    for container, line, task in zip(axes.containers, dashed, ("sum", "left"), strict=True):
        rows = table[table["task"] == task]
        data = container.lines[0]
        np.testing.assert_array_equal(data.get_xydata(), rows[["batch", "mean"]])
        np.testing.assert_array_equal(bars(container)[:, :, 0], rows[["batch", "batch"]])
        np.testing.assert_allclose(bars(container)[:, :, 1], rows[["low", "high"]], rtol=1e-15)
        np.testing.assert_array_equal(line.get_xydata(), rows[["batch", "expected"]])
        assert line.get_color() == data.get_color()
    first, second = (container.lines[0] for container in axes.containers)
    assert first.get_color() != second.get_color()
    assert first.get_marker() != second.get_marker()


def test_curves_without_bounds_have_no_bars_and_labels_can_be_given():
    _, axes = plots.canvas()
    table = measured().drop(columns=["low", "high"])
    plots.curves(axes, table, "batch", by="task", labels=["Σ", "L"], linestyle=":")
    for container, label in zip(axes.containers, ("Σ", "L"), strict=True):
        assert container.lines[2] == ()
        assert container.get_label() == label
        assert container.lines[0].get_linestyle() == ":"
    assert len(axes.lines) == 2


def test_more_curves_than_colours():
    _, axes = plots.canvas()
    count = len(plots.COLOURS) + 2
    plots.curves(axes, pd.DataFrame({"k": range(count), "x": 1.0, "mean": 2.0}), "x", by="k")
    assert len(axes.containers) == count


def test_dots_draw_each_row_at_its_line():
    _, axes = plots.canvas()
    table = measured().rename(columns={"batch": "size"}).iloc[[0, 2, 1, 3]]
    plots.dots(axes, table, "size", by="task", reference=2.5)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["2", "8"]
    assert axes.get_yticks().tolist() == [0, 1]
    bottom, top = axes.get_ylim()
    assert bottom > 1 > 0 > top  # the first line on top
    heights = []
    for container, task in zip(axes.containers, ("sum", "left"), strict=True):
        rows = table[table["task"] == task]
        x, y = container.lines[0].get_data()
        np.testing.assert_array_equal(x, rows["mean"])
        np.testing.assert_array_equal(np.round(y), [0, 1])
        np.testing.assert_allclose(bars(container)[:, :, 0], rows[["low", "high"]], rtol=1e-15)
        np.testing.assert_array_equal(bars(container)[:, :, 1], np.stack([y, y], 1))
        assert container.get_label() == task
        heights.append(y)
    np.testing.assert_allclose(heights[0] + heights[1], [0, 2], atol=1e-15)  # shifted to both sides of the line
    assert (heights[0] < heights[1]).all()
    assert [line.get_xdata() for line in axes.lines if line.get_linestyle() == "--"] == [[2.5, 2.5]]


def test_strips_draw_every_run_and_a_bar_at_the_mean_of_each_group():
    table = measured().assign(low=lambda rows: rows["low"] * 2)
    figure = plots.strips(table, {"mean": "score", "low": "loss"}, by="task", references={"low": 2.5})
    left, right = figure.axes
    assert [left.get_xlabel(), right.get_xlabel()] == ["score", "loss"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["sum", "left"]
    dots, bar, others, _ = left.lines
    assert dots.get_xdata().tolist() == [1.0, 2.0]
    assert np.round(dots.get_ydata()).tolist() == [0, 0]
    assert dots.get_ydata()[0] < dots.get_ydata()[1]  # so that ties are seen
    assert list(bar.get_xdata()) == [1.5, 1.5]
    assert (dots.get_color(), dots.get_marker()) != (others.get_color(), others.get_marker())
    assert list(right.lines[0].get_xdata()) == [2.5, 2.5]
    assert right.lines[1].get_xdata().tolist() == [1.0, 3.5]


def test_a_strip_has_more_lines_than_colours():
    _, axes = plots.canvas()
    count = len(plots.COLOURS) + 2
    plots.strip(axes, pd.DataFrame({"k": range(count), "x": 1.0}), "x", by="k")
    assert len(axes.lines) == 2 * count


def test_quantiles_draw_the_table_and_the_diagonal():
    _, axes = plots.canvas()
    table = pd.DataFrame({"by": ["a", "a", "b", "b"], "normal": [-1.0, 2.0, -1.0, 2.0], "noise": [-3.0, 4.0, 0.0, 1.0]})
    plots.quantiles(axes, table, by="by")
    diagonal, *sets = axes.lines
    assert diagonal.get_xydata().tolist() == [[-1.0, -1.0], [2.0, 2.0]]
    for line, value in zip(sets, "ab", strict=True):
        assert line.get_label() == value
        np.testing.assert_array_equal(line.get_xydata(), table.loc[table["by"] == value, ["normal", "noise"]])


def test_level_log_x_and_legend():
    figure, axes = plots.canvas()
    plots.curves(axes, measured(), "batch", by="task")
    plots.level(axes, 0.75, "limit")
    plots.log_x(axes, [2, 8])
    plots.legend(figure, axes, 3, "title")
    figure.draw_without_rendering()
    assert axes.lines[-1].get_ydata() == [0.75, 0.75]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "8"]
    assert len(axes.get_xticks(minor=True)) == 0
    (found,) = figure.legends
    assert sorted(text.get_text() for text in found.get_texts()) == ["left", "limit", "sum"]
    assert found.get_title().get_text() == "title"
    assert axes.get_legend() is None
    # Above the panel, not over the data.
    assert found.get_window_extent().y0 >= axes.get_window_extent().y1


@pytest.mark.parametrize("count", [1, 3])
def test_gallery_shows_every_image_in_the_same_greys(count):
    images = [np.full((2, 2), 0.25 * k) for k in range(count)]
    figure = plots.gallery(images, [f"image {k}" for k in range(count)])
    assert [axes.get_title() for axes in figure.axes] == [f"image {k}" for k in range(count)]
    for axes, image in zip(figure.axes, images, strict=True):
        (picture,) = axes.images
        np.testing.assert_array_equal(picture.get_array(), image)
        assert picture.get_clim() == (0, 1)


def test_gallery_refuses_missing_titles():
    with pytest.raises(ValueError, match="zip"):
        plots.gallery([np.zeros((2, 2))] * 2, ["one"])


def test_every_helper_draws_on_plain_figures():
    """Figures come from `Figure`, so that a notebook does not show them a second time."""
    assert isinstance(plots.canvas()[0], Figure)
    figure, axes = plots.panels(3)
    assert len(axes) == len(figure.axes) == 3
    axes[0].set_ylim(0, 7)
    assert [panel.get_ylim() for panel in axes] == [(0, 7)] * 3


def test_every_method_has_a_look_of_its_own():
    assert plots.METHODS.keys() == METHODS.keys()
    looks = list(plots.METHODS.values())
    assert len(set(looks)) == len(looks)
    assert {colour for colour, _ in looks} == set(plots.COLOURS)
    assert {marker for _, marker in looks} == set(plots.MARKERS)
    assert set(plots.TITLES.values()) <= METHODS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_looks_the_same_beside_whatever_by_name_and_by_title(name):
    title = method_title(name)
    for names in ([title], ["target", title, "dwa"], ["pcgrad", title, "lsb", "other"]):
        assert plots.styles(names)[title] == plots.METHODS[name]


def test_the_methods_of_the_lsb_chapter_differ_in_colour_and_in_marker():
    looks = plots.styles(["equal", "uncertainty", "DWA", "GLS", "GradNorm", "LSB", "fixed weights"]).values()
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == len(looks)
    printed = plots.styles(["Equal weighting", "Uncert", "DWA", "GLS", "Proposed"])
    assert printed["Proposed"] == plots.METHODS["lsb"] and printed["Uncert"] == plots.METHODS["uncertainty"]


def test_what_is_no_method_has_no_look_of_a_method_in_the_figure():
    looks = plots.styles(["LSB", "no alpha", "equal", "rate 0.2", "period 2"])
    taken = [plots.METHODS["lsb"], plots.METHODS["equal"]]
    free = [looks[name] for name in ("no alpha", "rate 0.2", "period 2")]
    for place in (0, 1):
        assert {look[place] for look in free}.isdisjoint(look[place] for look in taken)
    assert len(set(free)) == 3
    assert list(looks) == ["LSB", "no alpha", "equal", "rate 0.2", "period 2"]
    assert list(plots.styles(["a", "b"]).values()) == list(zip(plots.COLOURS, plots.MARKERS, strict=True))[:2]


@pytest.mark.parametrize("draw", ["curves", "dots", "strip", "quantiles"])
def test_figures_draw_methods_with_their_looks_whatever_their_order(draw):
    names = ["GLS", "pooled", "LSB"]
    table = pd.DataFrame({"method": names, "x": 1.0, "mean": 2.0, "low": 1.0, "high": 3.0})
    table = table.assign(normal=1.0, noise=2.0, label="a")
    _, axes = plots.canvas()
    if draw == "curves":
        plots.curves(axes, table, "x", by="method")
    elif draw == "dots":
        plots.dots(axes, table, "label", by="method")
    elif draw == "strip":
        plots.strip(axes, table, "x", by="method")
    else:
        plots.quantiles(axes, table, by="method")
    marked = [line for line in axes.lines if line.get_marker() in plots.MARKERS]
    assert [(line.get_color(), line.get_marker()) for line in marked] == list(plots.styles(names).values())


def palettes():
    """Colours of every class of every data set, and of every colour map of a target."""
    for entry in CATALOGUE.values():
        if entry.classes:
            classes = torch.arange(len(entry.classes))[None]
            display = TARGETS["segmentation"].display
            yield entry.name, plots.paint(display, classes, torch.ones_like(classes, dtype=torch.bool), classes.numel())
    for name in sorted({target.display.colours for target in TARGETS.values()} - {"", "tab20"} | {"magma"}):
        yield name, mpl.colormaps[name](np.linspace(0, 1, 256), bytes=True)[None, :, :3]


@pytest.mark.parametrize(
    ("name", "colours"), list(palettes()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_colour_of_unknown_pixels_is_far_from_every_other(name, colours):
    unknown = np.array(mpl.colors.to_rgb(plots.UNKNOWN)) * 255
    assert np.linalg.norm(colours.reshape(-1, 3) - unknown, axis=1).min() > 100
