import json
import sys
import tempfile
import uuid
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from notebook_cases import names_in, published, table

from mtlrepro import files
from mtlrepro.pages.notebook import PROVENANCE, TABLE, VERDICTS, NotebookError, notebook_text, read_notebook
from mtlrepro.pages.stored import normalise, normalise_file, notebook_statistics


def test_normalise_drops_what_differs_between_runs_and_keeps_the_rest():
    cell = v4.new_code_cell("1", id="one", execution_count=4)
    cell.metadata = {"tags": ["hide-input"], "papermill": {"duration": 1}, "execution": {"iopub.status.busy": "now"}}
    cell.outputs = [
        v4.new_output("stream", name="stdout", text="a"),
        v4.new_output("stream", name="stdout", text="b\n"),
        v4.new_output("stream", name="stderr", text="c"),
        v4.new_output("execute_result", {"text/plain": "1"}, execution_count=4),
    ]
    injected = v4.new_code_cell("seed = 1", id="random", metadata={"tags": ["injected-parameters"]})
    metadata = {
        "kernelspec": {"name": "mine", "display_name": "Mine", "language": "python"},
        "language_info": {"name": "python", "version": "3.11.7"},
        "papermill": {"start_time": "now"},
        "jupytext": {"formats": "ipynb"},
    }
    text = v4.new_markdown_cell("text", id="two", metadata={"tags": []})
    original = v4.new_notebook(cells=[cell, injected, text], metadata=metadata)
    before = json.dumps(original)
    stored = normalise(original)

    assert json.dumps(original) == before
    assert stored.metadata == {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "jupytext": {"formats": "ipynb"},
    }
    assert [c.id for c in stored.cells] == ["one", "injected-parameters", "two"]
    assert stored.cells[0].metadata == {"tags": ["hide-input"]}
    assert stored.cells[2].metadata == {}
    assert stored.cells[0].execution_count == 4
    assert [(o.get("name"), o.get("text")) for o in stored.cells[0].outputs] == [
        ("stdout", "ab\n"),
        ("stderr", "c"),
        (None, None),
    ]
    assert normalise(stored) == stored


@pytest.mark.parametrize(
    ("text", "neutral"),
    [
        (f"{sys.prefix}/lib/x.py:3: UserWarning", "<environment>/lib/x.py:3: UserWarning"),
        (f"'{Path(files.__file__)}'", "'<project>/mtlrepro/files.py'"),
        ("see /users/someone/data and /users/someone", "see ~/data and ~"),
        (f"{tempfile.gettempdir()}/ipykernel_4711/99.py:1: UserWarning", "<cell>:1: UserWarning"),
        ("/mnt/users/someone and /users/someone-else", "/mnt/users/someone and /users/someone-else"),
    ],
)
def test_normalise_gives_places_neutral_names(monkeypatch, text, neutral):
    monkeypatch.setenv("HOME", "/users/someone")
    outputs = [
        v4.new_output("stream", text=text),
        v4.new_output("error", ename="E", evalue=text, traceback=[text]),
        v4.new_output("display_data", {"text/plain": text}),
    ]
    stored = normalise(v4.new_notebook(cells=[v4.new_code_cell("1", outputs=outputs)]))
    stream, error, data = stored.cells[0].outputs
    assert [stream.text, error.evalue, error.traceback, data.data["text/plain"]] == [
        neutral,
        neutral,
        [neutral],
        neutral,
    ]
    assert normalise(stored) == stored


def with_widgets() -> nbformat.NotebookNode:
    """Always the same widgets, under other random ids in another random order."""
    names = ("box", "slider", "link", "red", "blue", "red style", "blue style", "alone", "left", "right")
    ids = {name: uuid.uuid4().hex for name in names} | {"named": "named-by-hand"}
    model = {name: f"IPY_MODEL_{id_}" for name, id_ in ids.items()}
    states = {
        "named": {"value": 2},
        "alone": {"next": model["alone"]},
        "left": {"next": model["right"]},
        "right": {"next": model["left"]},
        "box": {"children": [model["slider"]], "self": model["box"]},
        "slider": {"value": 1},
        "link": {"source": [model["box"], "index"], "target": [model["slider"], "value"]},
        "red": {"style": model["red style"]},
        "blue": {"style": model["blue style"]},
        "red style": {"colour": "red", "owner": model["red"]},
        "blue style": {"colour": "blue", "owner": model["blue"]},
    }
    state = dict(sorted((ids[name], {"model_name": "Model", "state": state}) for name, state in states.items()))
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": ids["box"], "version_major": 2}}
    cell = v4.new_code_cell("box", id="c", outputs=[v4.new_output("display_data", view)])
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": state, "version_major": 2}}
    return v4.new_notebook(cells=[cell], metadata={"widgets": widgets})


def test_widget_ids_are_numbers_in_order_of_appearance():
    stored = normalise(with_widgets())
    view = stored.cells[0].outputs[0].data["application/vnd.jupyter.widget-view+json"]
    state = stored.metadata.widgets["application/vnd.jupyter.widget-state+json"].state
    assert view.model_id == f"{1:032x}"
    assert set(state) == {"named-by-hand", *(f"{number:032x}" for number in range(1, 11))}
    assert state[view.model_id].state.children == [f"IPY_MODEL_{2:032x}"]
    assert state[f"{2:032x}"].state.value == 1
    assert normalise(stored) == stored
    assert all(normalise(with_widgets()) == stored for _ in range(20))


def with_hidden_widgets(ids: list[str]) -> nbformat.NotebookNode:
    """Two texts that no output shows, in two styles and equal layouts, and two links that nothing tells apart."""
    red, blue, *hidden = ids
    first, second, first_layout, second_layout, link, copy, source = hidden
    states = {
        red: {"colour": "red"},
        blue: {"colour": "blue"},
        first: {"layout": first_layout, "style": red},
        second: {"layout": second_layout, "style": blue},
        first_layout: {"display": "flex"},
        second_layout: {"display": "flex"},
        link: {"source": source},
        copy: {"source": source},
        source: {"value": 1},
    }
    state = {id_: {"model_name": "Model", "state": states[id_]} for id_ in sorted(ids)}
    views = [{"application/vnd.jupyter.widget-view+json": {"model_id": id_}} for id_ in (red, blue)]
    cell = v4.new_code_cell("red, blue", id="c", outputs=[v4.new_output("display_data", view) for view in views])
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": state, "version_major": 2}}
    return v4.new_notebook(cells=[cell], metadata={"widgets": widgets})


def test_equal_widgets_that_differ_by_what_refers_to_them_are_numbered_alike():
    stored = normalise(with_hidden_widgets([uuid.uuid4().hex for _ in range(9)]))
    assert normalise(stored) == stored
    for _ in range(20):
        assert normalise(with_hidden_widgets([uuid.uuid4().hex for _ in range(9)])) == stored


def test_layouts_keep_what_is_set():
    """A style that is not set is the model's default, which the browser fills in."""
    states = {
        "layout": {"model_name": "LayoutModel", "state": {"width": "8em", "height": None}},
        "slider": {"model_name": "SliderModel", "state": {"value": None}},
    }
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": states, "version_major": 2}}
    stored = normalise(v4.new_notebook(metadata={"widgets": widgets}))
    state = stored.metadata.widgets["application/vnd.jupyter.widget-state+json"].state
    assert state["layout"].state == {"width": "8em"}
    assert state["slider"].state == {"value": None}


def test_normalise_file(tmp_path):
    path = tmp_path / "n.ipynb"
    old = v4.new_notebook(cells=[v4.new_code_cell("'ü'"), v4.new_markdown_cell("text")])
    for cell in old.cells:
        del cell["id"]
    path.write_text(json.dumps(old | {"nbformat_minor": 4}))

    before = path.read_bytes()
    assert not normalise_file(path, check=True)
    assert path.read_bytes() == before
    assert not normalise_file(path)
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert "'ü'" in text
    assert [cell.id for cell in nbformat.read(path, as_version=4).cells] == ["cell-0", "cell-1"]
    assert normalise_file(path, check=True)
    assert normalise_file(path)
    assert path.read_text(encoding="utf-8") == text
    assert names_in(tmp_path) == {"n.ipynb"}


def test_numbers_of_a_list_are_on_one_line_and_nothing_else_changes(tmp_path):
    """Texts keep their lines, also one that looks like an indented list of numbers."""
    columns = {"x": [1, -2.5, None, True, 1e-09], "y": [], "z": ["a", "1"], "pairs": [[1, 2], [3, 4]]}
    source = "[\n 1,\n 2\n]\n[ 3 ]"
    cell = v4.new_code_cell(source, outputs=[v4.new_output("display_data", {TABLE: {"columns": columns}})])
    notebook = v4.new_notebook(cells=[cell])
    text = notebook_text(notebook)
    assert json.loads(text) == json.loads(nbformat.writes(notebook))
    assert '"x": [1, -2.5, null, true, 1e-09]' in text and "[1, 2]" in text
    assert len(text.splitlines()) == len(nbformat.writes(notebook).splitlines()) - 6 - 2 * 3
    (tmp_path / "n.ipynb").write_text(text)
    normalise_file(tmp_path / "n.ipynb")
    assert normalise_file(tmp_path / "n.ipynb", check=True)
    assert read_notebook(tmp_path / "n.ipynb").cells[0].source == source


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such notebook"),
        ("{", "not a readable notebook"),
        ("[]", "not a notebook of format 4"),
        ('{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}', "not a notebook of format 4"),
        ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}', "not a notebook of format 4"),
        ('{"cells": []}', "not a notebook of format 4: there is no 'nbformat_minor'"),
    ],
)
def test_what_is_not_a_notebook_is_refused(tmp_path, content, message):
    path = tmp_path / "n.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(NotebookError, match=f"n.ipynb: {message}"):
        normalise_file(path)


def test_shared_cell_ids_are_refused(tmp_path):
    path = tmp_path / "n.ipynb"
    notebook = v4.new_notebook(cells=[v4.new_code_cell("1", id="same")])
    notebook.cells *= 2
    path.write_text(json.dumps(notebook))
    with pytest.raises(NotebookError, match="cells share the ids same"):
        normalise_file(path)


def test_statistics(tmp_path):
    path = published(
        tmp_path / "n.ipynb",
        ("text/html", "<figure><img></figure>"),
        ("text/html", "<table></table>"),
        ("text/html", "<p></p><figure class='wide'></figure>"),
        (TABLE, table()),
        (VERDICTS, [{"status": "holds"}, {"status": "inconclusive"}]),
        (VERDICTS, [{"status": "holds"}]),
        (PROVENANCE, {"device": "cpu"}),
    )
    assert notebook_statistics(path) == {
        "title": "A title",
        "code_cells": 2,
        "figures": 2,
        "tables": 1,
        "parameters": ["seed", "rate", "sizes", "device", "methods", "quick"],
        "bytes": path.stat().st_size,
        "verdicts": {"holds": 2, "inconclusive": 1},
        "provenance": {"device": "cpu"},
    }


def test_statistics_of_a_bare_notebook(tmp_path):
    path = tmp_path / "bare.ipynb"
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(""), v4.new_code_cell("1")]), path)
    assert notebook_statistics(path) == {
        "title": "bare",
        "code_cells": 1,
        "figures": 0,
        "tables": 0,
        "parameters": [],
        "bytes": path.stat().st_size,
        "verdicts": {},
        "provenance": None,
    }
