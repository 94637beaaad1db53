import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat import v4

from mtlrepro.pages import notebooks
from mtlrepro.pages.notebooks import (
    PROVENANCE,
    TABLE,
    VERDICTS,
    NotebookError,
    Parameter,
    RunFailed,
    Table,
    compare_tables,
    normalise,
    normalise_file,
    parameters,
    run,
    statistics,
    tables,
)

DECLARED = """\
# comments on their own line are free
seed: int = 3  # where the noise starts [0..]
rate: float = 1e-2  # step size [1e-6..1]
sizes: list[int] = [8, 16]  # images in a mini-batch [1..512]
device: str = "cpu"  # where tensors live {cpu, cuda}
methods: list[str] = [  # (a comment inside does not count)
    "equal",
]  # what is compared
quick: bool = False  # skip the slow part
"""


def save(path: Path, *sources: str, declared: str = DECLARED) -> Path:
    """A notebook with a parameters cell, then the given code cells (`#` starts a markdown cell)."""
    first = v4.new_code_cell(declared, id="declared", metadata={"tags": ["parameters"]})
    cells = [
        v4.new_markdown_cell(source, id=f"c{i}") if source.startswith("# ") else v4.new_code_cell(source, id=f"c{i}")
        for i, source in enumerate(sources)
    ]
    notebook = normalise(v4.new_notebook(cells=[first, *cells]))
    nbformat.write(notebook, path)
    return path


def published(path: Path, *outputs: tuple[str, object]) -> Path:
    """A notebook, never run, whose last cell holds the given (MIME type, payload) outputs."""
    notebook = nbformat.read(save(path, "# A title #\n\ntext", "show()"), as_version=4)
    notebook.cells[-1].outputs = [v4.new_output("display_data", {mime: payload}) for mime, payload in outputs]
    nbformat.write(notebook, path)
    return path


def printed(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(o.text for c in cells for o in c.get("outputs", []) if o.output_type == "stream")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- parameters


def test_parameters(tmp_path):
    assert parameters(save(tmp_path / "n.ipynb")) == [
        Parameter("seed", "int", 3, "where the noise starts", bounds=(0, None)),
        Parameter("rate", "float", 0.01, "step size", bounds=(1e-6, 1)),
        Parameter("sizes", "list[int]", [8, 16], "images in a mini-batch", bounds=(1, 512)),
        Parameter("device", "str", "cpu", "where tensors live", choices=("cpu", "cuda")),
        Parameter("methods", "list[str]", ["equal"], "what is compared"),
        Parameter("quick", "bool", False, "skip the slow part"),
    ]


@pytest.mark.parametrize(
    ("cell", "line", "problem"),
    [
        ("a: int = 1  # fine\nb = 2  # no type", 2, "found `b = 2  # no type`"),
        ("import os", 1, "found `import os`"),
        ("a: int  # no default", 1, "found `a: int"),
        ("a: int = 1", 1, "'a' has no help"),
        ("a: int = 1  # [0..]", 1, "'a' has no help"),
        ("a: int = 1; b: int = 2  # one help for two", 1, "'b' has no help"),
        ("a: int = 1  # once\na: int = 2  # twice", 2, "'a' is declared twice"),
        ("a: int = 1.5  # help", 1, "found 1.5, accepted: a whole number"),
        ("a: int = True  # help", 1, "found True, accepted: a whole number"),
        ("a: float = 1e999  # help", 1, "found inf, accepted: a finite number"),
        ("a: list[int] = (1, 2)  # help", 1, r"found \(1, 2\), accepted: whole numbers"),
        ("a: int = 0  # help [1..]", 1, r"found 0, accepted: a whole number in \[1..\]"),
        ("a: list[int] = [1, 9]  # help [..8]", 1, r"found \[1, 9\]"),
        ("a: str = 'c'  # help {a, b}", 1, "found 'c', accepted: one of {a, b}"),
        ("a: int = 1 + 1  # help", 1, "not a literal"),
        ("a: dict = {}  # help", 1, "unknown type 'dict'"),
        ("a: int = 1  # help [1-9]", 1, "is no constraint of int"),
        ("a: int = 1  # help [..]", 1, "is no constraint of int"),
        ("a: int = 1  # help [9..1]", 1, "is no constraint of int"),
        ("a: int = 1  # help [0.5..]", 1, "is no constraint of int"),
        ("a: int = 1  # help {}", 1, "is no constraint of int"),
        ("a: str = 'x'  # help [1..2]", 1, "is no constraint of str"),
        ("a: int = 1  # help 1..9]", 1, "is no constraint"),
        ("a: int = 1  # fine\na: int = = 2", 2, "invalid syntax"),
    ],
)
def test_a_cell_outside_the_grammar_is_refused(tmp_path, cell, line, problem):
    path = save(tmp_path / "n.ipynb", declared=cell)
    with pytest.raises(NotebookError, match=f"n.ipynb, parameters cell, line {line}: .*{problem}.*accepted: one `name"):
        parameters(path)


def test_exactly_one_parameters_cell(tmp_path):
    path = save(tmp_path / "n.ipynb")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(v4.new_code_cell("a: int = 1  # help", metadata={"tags": ["parameters"]}))
    nbformat.write(notebook, path)
    with pytest.raises(NotebookError, match="2 code cells tagged `parameters`, accepted: exactly one"):
        parameters(path)


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("int", "-7", -7),
        ("float", "1e-4", 1e-4),
        ("float", "2", 2.0),
        ("bool", "true", True),
        ("bool", "false", False),
        ("str", "a b", "a b"),
        ("str", "", ""),
        ("list[int]", "1,2,3", [1, 2, 3]),
        ("list[int]", "[1, 2, 3]", [1, 2, 3]),
        ("list[int]", "[]", []),
        ("list[float]", "[1, 2e-3]", [1.0, 0.002]),
        ("list[str]", "a, b", ["a", "b"]),
        ("list[str]", "['a', \"\", '1']", ["a", "", "1"]),
    ],
)
def test_parse(type_, text, value):
    parsed = Parameter("p", type_, "", "help").parse(text)
    assert parsed == value
    assert repr(parsed) == repr(value)


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        *[("int", text) for text in ("3.5", "1e3", "1_000", " 1", "", "true", "٣")],
        *[("float", text) for text in ("nan", "inf", "-inf", "1e999", "1,5", "e5", ".", "")],
        *[("bool", text) for text in ("True", "1", "yes", "")],
        *[("list[int]", text) for text in ("1,,2", "1,2,", "1.5", "[1", "1 2")],
        ("list[float]", "1,nan"),
    ],
)
def test_parse_is_strict(type_, text):
    parameter = Parameter("p", type_, "", "help")
    with pytest.raises(NotebookError) as refusal:
        parameter.parse(text)
    assert str(refusal.value).startswith("parameter 'p': found ")
    assert str(refusal.value).endswith(f"accepted: {parameter.accepted}")


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        (Parameter("p", "int", 1, "help", bounds=(1, 3)), ("1", "3"), ("0", "4")),
        (Parameter("p", "float", 1.0, "help", bounds=(None, 1)), ("-9", "1"), ("1.01",)),
        (Parameter("p", "list[int]", [], "help", bounds=(1, None)), ("1,9",), ("1,0",)),
        (Parameter("p", "str", "a", "help", choices=("a", "b")), ("a", "b"), ("c", "A")),
        (Parameter("p", "list[str]", [], "help", choices=("a", "b")), ("a,b,a", ""), ("a,c",)),
    ],
)
def test_constraints(parameter, good, bad):
    for text in good:
        parameter.parse(text)
    for text in bad:
        with pytest.raises(NotebookError, match=r"parameter 'p': found .*, accepted: "):
            parameter.parse(text)


# --- running


@pytest.mark.parametrize(
    ("values", "output", "message"),
    [
        ({"sead": 1}, "out.ipynb", "no parameter 'sead' .did you mean 'seed'.., accepted: seed, rate, sizes, "),
        ({"seed": -1}, "out.ipynb", r"parameter 'seed': found -1, accepted: a whole number in \[0..\]"),
        ({"seed": "1"}, "out.ipynb", "parameter 'seed': found '1'"),
        ({"sizes": 8}, "out.ipynb", "parameter 'sizes': found 8"),
        ({"rate": float("nan")}, "out.ipynb", "parameter 'rate': found nan"),
        ({}, "out.json", "out.json: accepted is a name ending in .ipynb"),
        ({}, "nowhere/out.ipynb", "in an existing folder"),
    ],
)
def test_what_is_refused_starts_no_kernel(tmp_path, monkeypatch, values, output, message):
    started = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *a, **k: started.append(a))
    path = save(tmp_path / "n.ipynb", "1")
    with pytest.raises(NotebookError, match=message) as refusal:
        run(path, tmp_path / output, values)
    assert not isinstance(refusal.value, RunFailed)
    assert not started
    assert names_in(tmp_path) == {"n.ipynb"}


def test_run(tmp_path, monkeypatch):
    """Typed values arrive; own folder, running interpreter, progress; no trace of an earlier failure."""
    folder = tmp_path / "with {braces}"
    folder.mkdir()
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    (kernels / "kernel.json").write_text('{"argv": ["false"], "display_name": "not this one", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.chdir(tmp_path)
    (folder / "out.failed.ipynb").touch()
    save(
        folder / "n.ipynb",
        "import sys, json, pathlib\nprint(json.dumps([seed, rate, sizes, device, methods, quick]))",
        "# text",
        "print(pathlib.Path.cwd().name, sys.prefix)",
    )
    cells = []
    values = {"seed": 5, "rate": 1, "methods": ['quote " \\', "ü"], "quick": True}
    result = run("with {braces}/n.ipynb", "with {braces}/out.ipynb", values, progress=lambda *cell: cells.append(cell))

    assert result == folder / "out.ipynb"
    assert names_in(folder) == {"n.ipynb", "out.ipynb"}
    first, second = printed(result).splitlines()
    assert json.loads(first) == [5, 1.0, [8, 16], "cpu", ['quote " \\', "ü"], True]
    assert second == "with {braces} <environment>"
    assert [cell[:2] for cell in cells] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert cells[2][2] == "import sys, json, pathlib"
    assert normalise_file(result, check=True)


WIDGETS = """\
import ipywidgets as w
pages = w.Stack([w.HTML("one"), w.HTML("two")])
choice = w.Dropdown(options=["one", "two"])
w.jslink((choice, "index"), (pages, "selected_index"))
hidden = [w.IntSlider(layout=w.Layout(width=width)) for width in ("1px", "2px")]
import warnings; warnings.warn("from a cell")
print(seed)
w.VBox([choice, pages])
"""


def test_runs_in_place_are_identical_and_forget_earlier_values(tmp_path):
    path = save(tmp_path / "n.ipynb", WIDGETS)
    run(path, path)
    first = path.read_bytes()
    assert b"IPY_MODEL_0000" in first
    assert b'"<cell>:6: UserWarning: from a cell\\n"' in first

    run(path, tmp_path / "other.ipynb", {"seed": 8})
    assert "8\n" in printed(tmp_path / "other.ipynb")
    run(tmp_path / "other.ipynb", tmp_path / "other.ipynb")
    assert (tmp_path / "other.ipynb").read_bytes() == first


def fails(tmp_path: Path, *sources: str, timeout: int | None = None) -> tuple[str, nbformat.NotebookNode]:
    """Run a notebook that fails; return the message and the failed notebook, the earlier result untouched."""
    path, output = save(tmp_path / "n.ipynb", *sources), tmp_path / "out.ipynb"
    output.write_text("an earlier result")
    with pytest.raises(RunFailed) as failure:
        run(path, output, timeout=timeout)
    assert output.read_text() == "an earlier result"
    assert names_in(tmp_path) == {"n.ipynb", "out.ipynb", "out.failed.ipynb"}
    message = str(failure.value)
    assert message.endswith(f"kept as {tmp_path / 'out.failed.ipynb'}")
    assert "\n" not in message
    return message, nbformat.read(tmp_path / "out.failed.ipynb", as_version=4)


def test_a_failing_cell_keeps_its_traceback_and_the_earlier_result(tmp_path):
    message, notebook = fails(tmp_path, "# text", "print('before')", "seed / 0\nprint('never')", "1")
    assert "n.ipynb: code cell 3 of 4 (`seed / 0`) failed: ZeroDivisionError: division by zero." in message
    assert "before\n" in printed(tmp_path / "out.failed.ipynb")
    [error] = [o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"]
    assert "ZeroDivisionError" in "".join(error.traceback)


def test_leaving_early_is_a_failure(tmp_path):
    message, _ = fails(tmp_path, "import sys\nsys.exit(0)", "print('never')")
    assert "code cell 2 of 3 (`import sys`) failed: SystemExit: 0" in message


@pytest.mark.parametrize("death", ["os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_a_dead_kernel_is_a_failure(tmp_path, death):
    message, notebook = fails(tmp_path, "print('before')", f"import os; {death}", "print('never')")
    assert f"code cell 3 of 4 (`import os; {death}`) failed: the kernel died" in message
    assert "before\n" in printed(tmp_path / "out.failed.ipynb")
    assert notebook.cells[2].outputs[-1].evalue.startswith("the kernel died")
    assert not notebook.cells[3].outputs


def test_a_time_out_is_a_failure(tmp_path):
    message, notebook = fails(tmp_path, "print('before')", "import time; time.sleep(60)", timeout=1)
    assert "code cell 3 of 3 (`import time; time.sleep(60)`) failed: timed out: still running after 1 s" in message
    assert "before\n" in printed(tmp_path / "out.failed.ipynb")
    assert notebook.cells[2].outputs[-1].evalue == "timed out: still running after 1 s"


def test_interrupt_leaves_nothing_behind(tmp_path):
    save(tmp_path / "n.ipynb", "import os; print(os.getpid())", "import time; time.sleep(60)")
    command = [sys.executable, "-m", "mtlrepro", "run", "n.ipynb"]

    def listen() -> None:  # even where this process was started deaf to interrupts, as in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=listen) as process:
        assert process.stderr is not None
        while "cell 3/3" not in process.stderr.readline():
            assert process.poll() is None
        [partial] = names_in(tmp_path) - {"n.ipynb"}
        kernel = int(printed(tmp_path / partial))
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "mtlrepro run: interrupted\n"
    assert process.returncode == 130
    assert names_in(tmp_path) == {"n.ipynb"}
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)


def test_plain_papermill_runs_our_notebooks(tmp_path):
    save(tmp_path / "n.ipynb", "print(seed, device)")
    command = [sys.executable, "-m", "papermill", "n.ipynb", "out.ipynb", "-p", "seed", "8", "-p", "device", "cuda"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert printed(tmp_path / "out.ipynb") == "8 cuda\n"
    assert not normalise_file(tmp_path / "out.ipynb")
    stored = (tmp_path / "out.ipynb").read_text()
    assert "papermill" not in stored
    assert str(tmp_path) not in stored


# --- stored form


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
        (f"'{Path(notebooks.__file__)}'", "'<project>/mtlrepro/pages/notebooks.py'"),
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such notebook"),
        ("{", "not a readable notebook"),
        ("[]", "not a notebook of format 4"),
        ('{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}', "not a notebook of format 4"),
        ('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}', "not a notebook of format 4"),
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


# --- results


def table(name: str = "errors", rtol: float = 0.0, atol: float = 0.0, **columns: object) -> dict[str, object]:
    return {"name": name, "rtol": rtol, "atol": atol, "columns": columns or {"x": [1, 2.5, None, True, "text"]}}


def test_tables(tmp_path):
    path = published(tmp_path / "n.ipynb", (TABLE, table()), ("text/plain", "no"), (TABLE, table("b", 0.1, y=[1])))
    assert tables(path) == {
        "errors": Table("errors", 0.0, 0.0, {"x": [1, 2.5, None, True, "text"]}),
        "b": Table("b", 0.1, 0.0, {"y": [1]}),
    }


@pytest.mark.parametrize(
    "payload",
    [
        {"name": "x"},
        table(name=3),
        table(rtol=-1),
        table(atol="0.1"),
        table(x=[1], y=[1, 2]),
        table(x=[float("nan")]),
        table(x=[[1]]),
    ],
)
def test_malformed_tables_are_refused(tmp_path, payload):
    path = published(tmp_path / "n.ipynb", (TABLE, payload))
    with pytest.raises(NotebookError, match=r"n.ipynb: malformed table .*accepted: name, rtol"):
        tables(path)


def test_table_names_are_unique(tmp_path):
    path = published(tmp_path / "n.ipynb", (TABLE, table()), (TABLE, table()))
    with pytest.raises(NotebookError, match="two tables are named 'errors'"):
        tables(path)


@pytest.mark.parametrize(
    ("stored", "fresh", "difference"),
    [
        ([100.0], [101.0], None),
        ([100.0], [101.2], "table 't', column 'x', row 0: stored 100.0, fresh 101.2, accepted within 1.1"),
        ([0], [0.1], None),
        ([0], [-0.11], "table 't', column 'x', row 0: stored 0, fresh -0.11, accepted within 0.1"),
        ([1, "a"], [1, "b"], "table 't', column 'x', row 1: stored 'a', fresh 'b'"),
        ([None], [None], None),
        ([None], [0], "table 't', column 'x', row 0: stored None, fresh 0"),
        ([1], [True], "table 't', column 'x', row 0: stored 1, fresh True"),
        ([True], [False], "table 't', column 'x', row 0: stored True, fresh False"),
        ([1, 2], [1], "table 't', column 'x': 2 rows stored, 1 fresh"),
    ],
)
def test_compare_values(stored, fresh, difference):
    differences = compare_tables(
        {"t": Table("t", 0.01, 0.1, {"x": stored})},
        {"t": Table("t", 9.0, 9.0, {"x": fresh})},  # the fresh one's own tolerances do not count
    )
    assert differences == ([] if difference is None else [difference])


def test_compare_tables_and_columns():
    a, b = Table("a", 0, 0, {"x": [1]}), Table("b", 0, 0, {"y": [1]})
    assert compare_tables({"a": a, "b": b}, {"b": b, "a": a}) == []
    assert compare_tables({"a": a}, {"b": b}) == [
        "table 'a': only in the stored one",
        "table 'b': only in the fresh one",
    ]
    assert compare_tables({"a": a}, {"a": b}) == ["table 'a': columns stored [x], fresh [y]"]


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
    assert statistics(path) == {
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
    assert statistics(path) == {
        "title": "bare",
        "code_cells": 1,
        "figures": 0,
        "tables": 0,
        "parameters": [],
        "bytes": path.stat().st_size,
        "verdicts": {},
        "provenance": None,
    }
