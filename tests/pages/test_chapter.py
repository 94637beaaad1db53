"""Drawings hold the table's numbers, HTML is escaped, commands can be run again, tables can be compared."""

import base64
import io
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from ipywidgets.embed import dependency_state, embed_data
from matplotlib.figure import Figure
from nbformat import v4
from PIL import Image

from mtlrepro import cli
from mtlrepro.analysis.verdicts import Interval, Verdict
from mtlrepro.pages import chapter as report
from mtlrepro.pages import figures as plots
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.notebook import PROVENANCE, TABLE, VERDICTS, NotebookError
from mtlrepro.pages.parameters import assign
from mtlrepro.pages.running import run_notebook
from mtlrepro.pages.sliders import figure_slider, figure_sliders
from mtlrepro.pages.stored import notebook_statistics
from mtlrepro.pages.tables import compare_tables, read_tables
from mtlrepro.training.provenance import PACKAGES, processor, provenance

NASTY = "5 < 6 & \"six\" > 'five' <b>bold</b>"


@pytest.fixture(autouse=True)
def settings():
    """Chapters set the figure style and the number of threads of the process."""
    threads = torch.get_num_threads()
    with mpl.rc_context():
        plots.use_style()
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, in order: a bundle of MIME types or an object."""
    found = []
    monkeypatch.setattr(report, "display", lambda content, **options: found.append(content))
    return found


CHOSEN = {"seeds": 3, "sizes": [4, 8], "rates": [1e-5, 0.5], "device": "cpu", "quick": True, "note": "it's < 5"}


def declaring(path, text):
    """Notebook that declares parameters."""
    cell = v4.new_code_cell(text, metadata={"tags": ["parameters"]})
    nbformat.write(v4.new_notebook(cells=[cell]), path)
    return path


def opened(notebook, values):
    """Chapter made in a module, or kernel, of these variables."""
    namespace = {"Chapter": report.Chapter, **values}
    exec(f"chapter = Chapter({str(notebook)!r})", namespace)
    return namespace["chapter"]


@pytest.fixture
def chapter(tmp_path):
    kinds = {"seeds": "int", "sizes": "list[int]", "rates": "list[float]", "device": "str", "quick": "bool"}
    lines = [f"{name}: {kinds.get(name, 'str')} = {value!r}  # help" for name, value in CHOSEN.items()]
    return opened(declaring(tmp_path / "chapter.ipynb", "\n".join(lines)), CHOSEN)


def exhibit(**changes):
    return Exhibit(**{"name": "noise", "table": measured(), "caption": "It falls.", **changes})


class Parsed(HTMLParser):
    """Attributes of the tags and the text of a piece of HTML, with entities resolved, as a browser does."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.open = {}, {}, []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.setdefault(tag, []).append(dict(attributes))
        if tag not in ("img", "br"):
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]][-1] += data


def drawing(heights=(0.0, 1.0, 0.5)):
    figure, axes = plots.canvas()
    axes.plot(range(len(heights)), heights, marker="o", label="a line")
    axes.legend()
    return figure


def measured():
    return pd.DataFrame(
        {
            "task": ["sum", "sum", "left", "left"],
            "batch": [2, 8, 2, 8],
            "mean": [1.0, 2.0, 3.0, 4.0],
            "low": [0.5, 1.75, 2.0, 3.0],
            "high": [1.25, 3.0, 3.5, 4.0],
            "expected": [1.1, 2.1, 3.1, 4.1],
        }
    )


# --- figures as text


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


def test_figures_are_not_registered_with_pyplot():
    from matplotlib import pyplot

    drawing()
    assert pyplot.get_fignums() == []


# --- what is drawn


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


# --- HTML


def test_figure_html_is_escaped():
    parsed = Parsed(report.figure_html(report.image_html(drawing(), NASTY), NASTY, NASTY))
    assert set(parsed.tags) == {"figure", "img", "figcaption", "p", "code"}  # no <b>
    assert parsed.tags["img"][0]["alt"] == NASTY
    assert parsed.texts["figcaption"] == parsed.texts["code"] == [NASTY]


def test_image_html_holds_the_figure():
    source = Parsed(report.image_html(drawing(), "alt")).tags["img"][0]["src"]
    kind, data = source.split(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == plots.svg(drawing())


@pytest.mark.parametrize("form", ["drawing", "photograph"])
def test_image_html_holds_pixels_of_a_size_that_the_figure_has(form):
    source = Parsed(report.image_html(drawing(), "alt", form)).tags["img"][0]["src"]
    kind, data = source.split(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == tuple((drawing().get_size_inches() * drawing().dpi).round().astype(int))
        colours = image.convert("RGB").getcolors(1 << 20)
    assert (len(colours) <= 24) == (form == "drawing")


def test_table_html_is_escaped_in_cells_headings_and_caption():
    parsed = Parsed(report.table_html(pd.DataFrame({NASTY: [NASTY, "plain"], "n": [1, 2]}), NASTY))
    assert set(parsed.tags) == {"div", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert parsed.texts["caption"] == [NASTY]
    assert parsed.texts["th"] == [NASTY, "n"]
    assert parsed.texts["td"] == [NASTY, "1", "plain", "2"]


def test_table_html_can_hold_html_but_its_caption_not():
    parsed = Parsed(report.table_html(pd.DataFrame({"a": ["<i>x</i>"]}), NASTY, escaped=True))
    assert parsed.texts["i"] == ["x"]
    assert parsed.texts["caption"] == [NASTY]


def test_table_html_keeps_intervals_together():
    html = report.table_html(pd.DataFrame({"a": ["1 ± 0.2", "2 [1, 3]", "x, y"]}), "1 ± 2")
    assert [">1 ±&nbsp;0.2<" in html, ">2 [1,&nbsp;3]<" in html, ">x, y<" in html, ">1 ± 2<" in html] == [True] * 4


def test_table_html_keeps_long_texts_and_all_rows():
    parsed = Parsed(report.table_html(pd.DataFrame({"a": ["word " * 99 + "end"] * 200}), "caption"))
    assert parsed.texts["td"] == ["word " * 99 + "end"] * 200


def test_a_caption_that_looks_like_markup_lands_in_the_caption():
    parsed = Parsed(report.table_html(pd.DataFrame({"<thead>": ["<thead>"]}), "<thead>"))
    assert parsed.texts["caption"] == parsed.texts["th"] == parsed.texts["td"] == ["<thead>"]


def test_badge():
    parsed = Parsed(report.badge("does not hold"))
    assert parsed.tags["span"] == [{"class": "verdict does-not-hold"}]
    assert parsed.texts["span"] == ["does not hold"]


# --- commands

DECLARED = """\
seeds: int = 5  # networks [1..]
rate: float = 0.1  # step size
device: str = "cpu"  # where
quick: bool = False  # less
sizes: list[int] = [8]  # images
rates: list[float] = [0.1]  # several
names: list[str] = ["a"]  # several
"""
DEFAULTS = {
    "seeds": 5,
    "rate": 0.1,
    "device": "cpu",
    "quick": False,
    "sizes": [8],
    "rates": [0.1],
    "names": ["a"],
}


@pytest.fixture
def notebook(tmp_path):
    return declaring(tmp_path / "it's a notebook.ipynb", DECLARED)


def test_rerun_command():
    line = report.rerun_command("book/a.ipynb", {"n": 3, "sizes": [4, 8], "quick": True, "slow": False, "rate": 1e-5})
    assert line == "mtlrepro run book/a.ipynb -p n 3 -p sizes 4,8 -p quick true -p slow false -p rate 1e-05"
    assert report.rerun_command("a.ipynb", {}) == "mtlrepro run a.ipynb"
    assert (
        report.rerun_command("a b.ipynb", {"x": "$HOME; it's"}) == """mtlrepro run 'a b.ipynb' -p x '$HOME; it'"'"'s'"""
    )


@pytest.mark.parametrize(
    "values",
    [
        {"seeds": 7, "rate": -2.5e-7, "device": "cuda:0", "quick": True, "sizes": [1, 2, 3]},
        {"quick": False, "rate": 3.0, "rates": [1e-300, 0.1, -12345678.123456789], "names": ["left", "a b"]},
        {"device": "", "sizes": [], "rates": [], "names": []},
        {"device": '$HOME `ls` "it\'s" *\\', "sizes": [-1]},
        {"rates": [0.1 + 0.2]},
        {},
    ],
)
def test_the_command_line_reads_back_the_values_that_rerun_command_writes(notebook, values):
    program, *words = shlex.split(report.rerun_command(str(notebook), values))
    arguments = cli._parser().parse_args(words)
    assert (program, arguments.subcommand, arguments.notebook) == ("mtlrepro", "run", notebook)
    assert assign(notebook, arguments.texts) == values


def test_chapters_name_the_parameters_that_were_asked_for(chapter):
    run = f"mtlrepro run {shlex.quote(chapter.notebook)}"
    assert chapter.command("sizes", "quick") == f"{run} -p sizes 4,8 -p quick true"
    chapter.defaults["seeds"] = 99
    assert chapter.command("sizes").endswith(f"-p sizes 4,8 -p seeds {chapter.parameters['seeds']}")
    with pytest.raises(KeyError, match="tasks"):
        chapter.command("tasks")


def test_the_rerun_line_has_all_parameters(chapter, capsys):
    chapter.rerun_line()
    assert capsys.readouterr().out == f"{chapter.command(*CHOSEN)}\n"


# --- tables


def stored(path, *payloads, mime=TABLE):
    outputs = [v4.new_output("display_data", {mime: json.loads(json.dumps(payload))}) for payload in payloads]
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("show()", outputs=outputs)]), path)
    return path


def test_table_payload_goes_through_a_notebook_and_back(tmp_path):
    table = pd.DataFrame(
        {
            "task": ["left", "sum"],
            "n": [1, 2],
            "x": [0.1 + 0.2, 1e-300],
            "small": np.array([0.5, 0.25], dtype=np.float32),
            "usable": [True, False],
        },
        index=[7, 3],
    )
    payload = Exhibit(name="t", table=table, caption="c").payload
    found = read_tables(stored(tmp_path / "n.ipynb", payload))["t"]
    assert (found.name, found.rtol, found.atol) == ("t", 1e-6, 1e-9)
    assert found.columns == {
        "task": ["left", "sum"],
        "n": [1, 2],
        "x": [0.1 + 0.2, 1e-300],
        "small": [0.5, 0.25],
        "usable": [True, False],
    }


@pytest.mark.parametrize(("change", "count"), [(0, 0), (0.9e-3, 0), (-0.9e-3, 0), (1.1e-3, 1), (-1.1e-3, 1)])
def test_tables_are_compared_within_their_tolerance(tmp_path, change, count):
    paths = []
    for factor in (1, 1 + change):
        table = pd.DataFrame({"x": [2.0 * factor], "k": ["a"]})
        payload = Exhibit(name="t", table=table, caption="c", rtol=1e-3, atol=0).payload
        paths.append(stored(tmp_path / f"{len(paths)}.ipynb", payload))
    assert len(compare_tables(*map(read_tables, paths))) == count


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_exhibit_refuses_numbers_that_are_not_finite(value):
    with pytest.raises(ValueError, match=r"table 'mine', column 'x', holds a value that is missing or not finite"):
        exhibit(name="mine", table=pd.DataFrame({"k": ["a", "b"], "x": [1.0, value]}))


@pytest.mark.parametrize("column", [["a", None], ["a", math.nan], pd.Series([1.0, math.nan], dtype=object)])
def test_an_exhibit_refuses_gaps_in_other_columns(tmp_path, column):
    try:
        payload = exhibit(table=pd.DataFrame({"k": column})).payload
    except ValueError:
        return
    try:
        read_tables(stored(tmp_path / "n.ipynb", payload))
    except NotebookError as error:
        pytest.fail(str(error))


# --- widgets


def test_figure_slider_links_its_position_to_the_figure_shown():
    """Both the link and what it links are in the state that a page stores, so that no kernel is needed."""
    box = figure_slider({"2": "<p>two</p>", "8": '<img alt="eight">', "32": "<p>more</p>"}, "images per batch")
    slider, stack = box.children
    assert slider.options == ("2", "8", "32")
    assert slider.index == stack.selected_index == 0
    assert slider.description == "images per batch"
    assert [child.value for child in stack.children] == ["<p>two</p>", '<img alt="eight">', "<p>more</p>"]
    models = embed_data([box])["manager_state"]["state"].values()
    (link,) = (model["state"] for model in models if model["model_name"] == "LinkModel")
    assert link["source"] == [f"IPY_MODEL_{slider.model_id}", "index"]
    assert link["target"] == [f"IPY_MODEL_{stack.model_id}", "selected_index"]


@pytest.mark.parametrize("figures", [{}, {"only": "<p>"}])
def test_a_slider_needs_two_figures(figures):
    with pytest.raises(ValueError, match=f"^figures holds {len(figures)} entries; accepted: 2 or more$"):
        figure_slider(figures, "nothing")


def test_two_sliders_choose_a_row_and_a_figure_in_it():
    figures = {(beta, pi): f"<p>{beta}, {pi}</p>" for pi in ("1/3", "0.9") for beta in ("0", "0.5", "1")}
    box = figure_sliders(figures, ("rate of beta", "priority"))
    betas, priorities, rows = box.children
    assert (betas.options, priorities.options) == (("0", "0.5", "1"), ("1/3", "0.9"))
    assert (betas.description, priorities.description) == ("rate of beta", "priority")
    assert betas.index == priorities.index == rows.selected_index == 0
    shown = [[child.value for child in row.children] for row in rows.children]
    assert shown == [[figures[beta, pi] for pi in priorities.options] for beta in betas.options]
    models = dependency_state([box]).values()
    links = [model["state"] for model in models if model["model_name"] == "LinkModel"]
    expected = [(betas, rows), *((priorities, row) for row in rows.children)]
    assert sorted((link["source"], link["target"]) for link in links) == sorted(
        ([f"IPY_MODEL_{slider.model_id}", "index"], [f"IPY_MODEL_{stack.model_id}", "selected_index"])
        for slider, stack in expected
    )
    assert len({child.layout.model_id for row in rows.children for child in row.children}) == 1


@pytest.mark.parametrize(
    ("labels", "counts"),
    [
        ([], "0 entries for 0 x 0 labels"),
        ([("0", "a"), ("1", "a")], "2 entries for 2 x 1 labels"),
        ([("0", "a"), ("0", "b"), ("1", "a")], "3 entries for 2 x 2 labels"),
    ],
)
def test_sliders_need_a_figure_for_each_pair(labels, counts):
    message = f"^figures holds {counts}; accepted: one for each pair, 2 or more labels a slider$"
    with pytest.raises(ValueError, match=message):
        figure_sliders(dict.fromkeys(labels, "<p>"), ("one", "two"))


# --- chapters


def test_a_chapter_sets_style_and_one_thread(notebook):
    mpl.rcdefaults()
    torch.set_num_threads(2)
    opened(notebook, DEFAULTS)
    assert mpl.rcParams["svg.hashsalt"] == "mtlrepro"
    assert torch.get_num_threads() == 1


def test_a_chapter_reads_the_declared_parameters_and_no_others(notebook):
    chapter = opened(notebook, DEFAULTS | {"seeds": 7, "rate": 2, "undeclared": 1})
    assert chapter.parameters == DEFAULTS | {"seeds": 7, "rate": 2.0}
    assert chapter.defaults == DEFAULTS


def test_a_chapter_names_parameters_without_a_value(notebook):
    values = {name: value for name, value in DEFAULTS.items() if name not in ("rate", "names")}
    with pytest.raises(NotebookError, match="no value of rate, names; accepted: a value for each"):
        opened(notebook, values)


def test_a_chapter_refuses_a_value_that_the_declaration_refuses(notebook):
    with pytest.raises(NotebookError, match=r"parameter 'seeds': found 0, accepted: a whole number in \[1\.\.\]"):
        opened(notebook, DEFAULTS | {"seeds": 0})


def test_a_chapter_in_a_kernel_sees_the_values_that_papermill_injects(tmp_path):
    path = declaring(tmp_path / "n.ipynb", DECLARED)
    book = nbformat.read(path, 4)
    code = f"from mtlrepro.pages.chapter import Chapter\nChapter({str(path)!r}).rerun_line()"
    book.cells.append(v4.new_code_cell(code))
    nbformat.write(book, path)
    done = nbformat.read(run_notebook(path, tmp_path / "out.ipynb", {"seeds": 9, "sizes": [3, 4]}), 4)
    (output,) = done.cells[-1].outputs
    expected = report.rerun_command(str(path), DEFAULTS | {"seeds": 9, "sizes": [3, 4]})
    assert output.text == f"{expected}\n"


def test_a_figure_carries_its_table_caption_alt_and_command(chapter, shown):
    one = exhibit(figure=drawing(), caption=NASTY, alt="A <curve>.", uses=("seeds", "note"), rtol=1e-3)
    chapter.show(one)
    (bundle,) = shown
    assert set(bundle) == {"text/html", "text/plain", TABLE}
    parsed = Parsed(bundle["text/html"])
    assert parsed.tags["img"][0]["alt"] == "A <curve>."
    assert parsed.texts["figcaption"] == [bundle["text/plain"]] == [NASTY]
    assert parsed.texts["code"] == [chapter.command("seeds", "note")]
    assert (
        bundle[TABLE]
        == one.payload
        == {
            "name": "noise",
            "rtol": 1e-3,
            "atol": 1e-9,
            "columns": measured().to_dict("list"),
        }
    )


def test_a_slider_shows_every_figure_with_its_alt_and_one_table(chapter, shown):
    frames = {str(n): (drawing((0, n)), f"Batches of {n} & more.") for n in (2, 8, 32)}
    one = exhibit(frames=frames, sliders=("batch",), uses=("sizes",), atol=0.5)
    chapter.show(one)
    box, bundle = shown
    slider, stack = box.children
    assert slider.options == ("2", "8", "32")
    assert slider.description == "batch"
    for child, (label, (_, alt)) in zip(stack.children, frames.items(), strict=True):
        assert child.value == report.image_html(drawing((0, int(label))), alt)
        assert Parsed(child.value).tags["img"][0]["alt"] == alt
    assert len({child.value for child in stack.children}) == 3
    parsed = Parsed(bundle["text/html"])
    assert "img" not in parsed.tags
    assert parsed.texts["figcaption"] == ["It falls."]
    assert parsed.texts["code"] == [chapter.command("sizes")]
    assert bundle[TABLE] == one.payload


@pytest.mark.parametrize(("labels", "sliders"), [("2", ("batch",)), (("2", "3"), ("batch", "size"))])
def test_a_single_figure_needs_no_slider(chapter, shown, labels, sliders):
    chapter.show(exhibit(frames={labels: (drawing(), "One.")}, sliders=sliders))
    (bundle,) = shown
    assert [image["alt"] for image in Parsed(bundle["text/html"]).tags["img"]] == ["One."]
    assert bundle[TABLE] == exhibit().payload


def test_two_sliders_show_pictures_with_their_alts_and_one_table(chapter, shown):
    frames = {(n, k): (drawing((0, int(n + k))), f"Sizes {n} and {k} & more.") for n in "12" for k in "34"}
    one = exhibit(frames=frames, sliders=("n", "k"), form="drawing", uses=("sizes",), rtol=0.25)
    chapter.show(one)
    box, bundle = shown
    *sliders, rows = box.children
    assert [slider.description for slider in sliders] == ["n", "k"]
    for row, n in zip(rows.children, "12", strict=True):
        for child, k in zip(row.children, "34", strict=True):
            (image,) = Parsed(child.value).tags["img"]
            assert image["alt"] == f"Sizes {n} and {k} & more."
            kind, data = image["src"].split(",")
            assert kind == "data:image/webp;base64"
            assert base64.b64decode(data) == plots.webp(drawing((0, int(n + k))))
    assert Parsed(bundle["text/html"]).texts["figcaption"] == ["It falls."]
    assert bundle[TABLE] == one.payload


def test_a_slider_of_one_label_is_left_out(chapter, shown):
    frames = {("1", k): (drawing((0, int(k))), f"Size {k}.") for k in "34"}
    chapter.show(exhibit(frames=frames, sliders=("n", "k")))
    slider, _ = shown[0].children
    assert (slider.description, slider.options) == ("k", ("3", "4"))


def test_a_table_shows_three_digits_and_stores_all(chapter, shown):
    table = pd.DataFrame({"name": [NASTY, "b"], "x": [0.123456, 3e-17], "n": [123456, 7]})
    chapter.show(exhibit(table=table))
    (bundle,) = shown
    assert Parsed(bundle["text/html"]).texts["td"] == [NASTY, "0.123", "123456", "b", "< 1e-12", "7"]
    assert "p" not in Parsed(bundle["text/html"]).tags  # no command
    assert bundle[TABLE]["columns"] == {"name": [NASTY, "b"], "x": [0.123456, 3e-17], "n": [123456, 7]}
    assert bundle["text/plain"] == "It falls."


def test_a_table_can_be_shown_to_readers_in_another_form(chapter, shown):
    chapter.show(exhibit(shown=pd.DataFrame({"size, images": ["none"], "share": [math.nan]}).fillna(0.25)))
    (bundle,) = shown
    assert Parsed(bundle["text/html"]).texts["th"] == ["size, images", "share"]
    assert Parsed(bundle["text/html"]).texts["td"] == ["none", "0.250"]
    assert bundle[TABLE] == exhibit().payload


def test_two_tables_of_one_name_are_refused(chapter, shown):
    chapter.show(exhibit(), exhibit(name="other"))
    with pytest.raises(ValueError, match="table 'noise' is shown twice; accepted: a name each"):
        chapter.show(exhibit(caption="Another."))
    assert len(shown) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"figure": drawing(), "frames": {"a": (drawing(), "A.")}, "alt": "A."}, "has a figure and frames"),
        ({"figure": drawing()}, "without alternative text"),
        ({"frames": {"a": (drawing(), "")}, "sliders": ("n",)}, "without alternative text"),
        ({"frames": {"a": (drawing(), "A.")}}, r"sliders is \(\); accepted: 1 of them"),
        ({"frames": {("a", "b"): (drawing(), "A.")}, "sliders": ("n",)}, "accepted: 2 of them"),
    ],
)
def test_an_exhibit_refuses_pictures_that_do_not_fit_together(changes, message):
    with pytest.raises(ValueError, match=message):
        exhibit(**changes)


def test_a_view_at_one_size_names_it_in_captions_and_claims(chapter, shown):
    view = chapter.at(SimpleNamespace(scale="gpu"))
    view.show(exhibit(), exhibit(name="other", caption="Flat.", figure=drawing(), alt="A line."))
    assert [bundle["text/plain"] for bundle in shown] == ["It falls. (gpu scale)", "Flat. (gpu scale)"]
    verdict = Verdict("It holds", "Eq. 1", 1.0, 0.1, Interval(1.0, 0.95, 1.05))
    view.judge(verdict, Verdict("It is small", "Eq. 2"))
    chapter.judge(verdict)
    assert [one.claim for one in chapter.judged] == ["It holds (gpu scale)", "It is small (gpu scale)", "It holds"]
    assert replace(chapter.judged[0], claim="It holds") == verdict
    with pytest.raises(ValueError, match="twice"):
        chapter.show(exhibit())


def test_verdicts_are_collected_and_shown_with_badges(chapter, shown):
    chapter.judge(
        Verdict(NASTY, "Eq. 1", 1.0, 0.1, Interval(1.0, 0.95, 1.05)),
        Verdict("no", "Eq. 2", 1.0, 0.1, Interval(2.0, 1.9, 2.1)),
        Verdict("who knows", "Eq. 3", 1.0, 0.1, Interval(1.0, 0.0, 2.0)),
        Verdict("small", "Eq. 4", 1.0, 0.1, Interval(-5.0, -6.0, -4.0), below=True),
    )
    chapter.judge(Verdict("elsewhere", "Table 1"))
    assert shown == []
    chapter.verdicts()
    (bundle,) = shown
    statuses = ["holds", "does not hold", "inconclusive", "holds", "cannot be tested here"]
    parsed = Parsed(bundle["text/html"])
    assert parsed.tags["span"] == [{"class": f"verdict {status.replace(' ', '-')}"} for status in statuses]
    assert parsed.texts["span"] == statuses
    assert parsed.texts["td"][0] == NASTY
    assert "b" not in parsed.tags
    assert parsed.texts["th"] == ["claim", "source", "claimed", "measured", "status"]
    assert [entry["status"] for entry in bundle[VERDICTS]] == statuses
    assert bundle[VERDICTS][0] == {
        "claim": NASTY,
        "source": "Eq. 1",
        "claimed": "1 ± 0.1",
        "measured": "1.00 [0.950, 1.05]",
        "status": "holds",
    }


def test_statistics_count_what_a_chapter_shows(chapter, shown, tmp_path):
    chapter.show(exhibit(figure=drawing(), alt="a"))
    chapter.judge(Verdict("elsewhere", "Table 1"))
    chapter.verdicts()
    chapter.environment()
    path = tmp_path / "n.ipynb"
    outputs = [v4.new_output("display_data", bundle) for bundle in shown]
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("show()", outputs=outputs)]), path)
    found = notebook_statistics(path)
    assert (found["figures"], found["tables"]) == (1, 1)
    assert found["verdicts"] == {"cannot be tested here": 1}
    assert found["provenance"]["parameters"] == chapter.parameters


# --- provenance


def test_provenance():
    found = provenance("cpu")
    assert list(found) == ["commit", "device", "threads", "python", *PACKAGES]
    assert re.fullmatch(r"[0-9a-f]{12}( with changes)?|unknown: not a git checkout", found["commit"])
    assert found["device"] == f"CPU, {platform.machine()}"
    assert found["threads"] == torch.get_num_threads()
    assert (found["python"], found["numpy"]) == (platform.python_version(), np.__version__)


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("processor\t: 0\nmodel name\t: Fast CPU @ 2: GHz\n", "Fast CPU @ 2: GHz"),
        ("Hardware: x\n", "armv8"),
        (None, "armv8"),
    ],
)
def test_processor(monkeypatch, cpuinfo, model):
    def read(path, encoding):
        if cpuinfo is None:
            raise FileNotFoundError
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(platform, "processor", lambda: "armv8")
    assert processor() == model


@pytest.mark.parametrize("error", [FileNotFoundError(), subprocess.CalledProcessError(128, "git")])
def test_provenance_outside_a_checkout(monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    assert provenance("cpu")["commit"] == "unknown: not a git checkout"


@pytest.mark.parametrize(("status", "commit"), [("", "abc"), (" M plots.py\n", "abc with changes")])
def test_provenance_tells_of_changes(monkeypatch, status, commit):
    def git(words, **options):
        return subprocess.CompletedProcess(words, 0, status if "status" in words else "abc\n")

    monkeypatch.setattr(subprocess, "run", git)
    assert provenance("cpu")["commit"] == commit


def test_provenance_names_the_graphics_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "card")
    assert provenance("cuda")["device"] == "card"


def test_provenance_names_the_card_that_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"card {device}")
    assert provenance("cuda:1")["device"] == "card cuda:1"


def test_the_environment_of_a_run(chapter, shown):
    chapter.environment()
    (bundle,) = shown
    record = bundle[PROVENANCE]
    assert list(record) == [*provenance("cpu"), "parameters", "seconds"]
    assert record["parameters"] == chapter.parameters
    assert record["threads"] == 1
    assert 0 <= record["seconds"] < 60
    json.dumps(record)
    cells = Parsed(bundle["text/html"]).texts["td"]
    assert cells[::2] == list(record)
    assert cells[1::2] == [str(value) for value in record.values()]


def test_every_helper_draws_on_plain_figures():
    """Figures come from `Figure`, so that a notebook does not show them a second time."""
    assert isinstance(plots.canvas()[0], Figure)
    figure, axes = plots.panels(3)
    assert len(axes) == len(figure.axes) == 3
    axes[0].set_ylim(0, 7)
    assert [panel.get_ylim() for panel in axes] == [(0, 7)] * 3
