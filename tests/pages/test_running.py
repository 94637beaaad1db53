import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from notebook_cases import names_in, printed, save

from mtlrepro.pages.notebook import NotebookError
from mtlrepro.pages.running import RunFailed, run_notebook, settle_for
from mtlrepro.pages.stored import normalise_file
from mtlrepro.studies.noise import plan as noise_plan


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
        ({"seed": 5}, "n.ipynb", "output .*n.ipynb: is the notebook itself, and seed not as it declares; accepted: an"),
    ],
)
def test_what_is_refused_starts_no_kernel(tmp_path, monkeypatch, values, output, message):
    started = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *a, **k: started.append(a))
    path = save(tmp_path / "n.ipynb", "1")
    with pytest.raises(NotebookError, match=message) as refusal:
        run_notebook(path, tmp_path / output, values)
    assert not isinstance(refusal.value, RunFailed)
    assert not started
    assert names_in(tmp_path) == {"n.ipynb"}


def test_what_the_plan_refuses_starts_no_kernel(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *a, **k: started.append(a))
    path = save(tmp_path / "n.ipynb", "1")
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.mtlrepro = {"plan": "mtlrepro.studies.noise.plan"}
    nbformat.write(notebook, path)
    with pytest.raises(NotebookError, match=r"n\.ipynb: the seed is odd; accepted: an even one") as refusal:
        monkeypatch.setattr(noise_plan, "plan", odd)
        run_notebook(path, tmp_path / "out.ipynb", {"seed": 5})
    assert not isinstance(refusal.value, RunFailed)
    assert not started
    assert names_in(tmp_path) == {"n.ipynb"}


def test_another_notebook_is_not_overwritten_and_an_earlier_result_is(tmp_path):
    path, result = save(tmp_path / "n.ipynb", "# One"), tmp_path / "mine.ipynb"
    save(result, "# Another")
    with pytest.raises(NotebookError, match=r"mine\.ipynb: holds 'Another'; accepted: a new name, or that of an"):
        settle_for(path, result, {})
    save(result, "# One")
    assert settle_for(path, result, {"seed": 5})["seed"] == 5
    assert settle_for(path, path, {"seed": 3})["seed"] == 3  # as it declares


def odd(seed, **values):
    raise ValueError("the seed is odd; accepted: an even one")


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [Screen, io.StringIO])
def test_progress_of_training_is_shown_while_it_runs_and_not_stored(tmp_path, kind):
    """On a screen as a bar, in a file as a line a run."""
    source = """\
import sys
from mtlrepro.runs.workers import Bar
_ = sys.stderr.write("grid: 2 of 2 runs are missing\\n")
with Bar(2, progress=True) as bar:
    bar.update()
    bar.update(failed=1)
_ = sys.stderr.write("something else\\n")"""
    path, log = save(tmp_path / "n.ipynb", source), kind()
    result = run_notebook(path, tmp_path / "out.ipynb", log=log)
    if kind is Screen:
        assert "2/2" in log.getvalue()
    else:
        assert log.getvalue() == (
            "grid: 2 of 2 runs are missing\ngrid: 1 of 2 runs have ended\ngrid: 2 of 2 runs have ended, 1 failed\n"
            "something else\n"
        )
    streams = [output for cell in nbformat.read(result, as_version=4).cells for output in cell.get("outputs", [])]
    assert [stream.text for stream in streams] == ["something else\n"]


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
    result = run_notebook(
        "with {braces}/n.ipynb", "with {braces}/out.ipynb", values, progress=lambda *cell: cells.append(cell)
    )

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
    run_notebook(path, path)
    first = path.read_bytes()
    assert b"IPY_MODEL_0000" in first
    assert b'"<cell>:6: UserWarning: from a cell\\n"' in first

    run_notebook(path, tmp_path / "other.ipynb", {"seed": 8})
    assert "8\n" in printed(tmp_path / "other.ipynb")
    run_notebook(tmp_path / "other.ipynb", tmp_path / "other.ipynb")
    assert (tmp_path / "other.ipynb").read_bytes() == first


def fails(tmp_path: Path, *sources: str, timeout: int | None = None) -> tuple[str, nbformat.NotebookNode]:
    """Run a notebook that fails; return the message and the failed notebook, the earlier result untouched."""
    path, output = save(tmp_path / "n.ipynb", *sources), tmp_path / "out.ipynb"
    output.write_text("an earlier result")
    with pytest.raises(RunFailed) as failure:
        run_notebook(path, output, timeout=timeout)
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
