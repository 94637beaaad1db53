"""What nbval compares of a notebook in the book's folder: all but the pictures, numbers within their tolerance."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from mtlrepro.pages.notebook import TABLE, VERDICTS

CONFTEST = Path(__file__).parents[2] / "book" / "conftest.py"
SHOWN = '<figure><img src="data:image/svg+xml;base64,AAAA" alt="A line."><figcaption>It falls.</figcaption></figure>'


def compared(folder, fresh, stored):
    """Let nbval compare a notebook of one cell, which displays `fresh`, with the output `stored`."""
    shutil.copy(CONFTEST, folder)
    cell = v4.new_code_cell(
        f"from IPython.display import display\ndisplay({fresh!r}, raw=True)",
        outputs=[v4.new_output("display_data", stored)],
        execution_count=1,
    )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel}), folder / "n.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "n.ipynb", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize(
    ("stored", "passes"),
    [(SHOWN, True), (SHOWN.replace("AAAA", "BBBB"), True), (SHOWN.replace("falls", "rises"), False)],
)
def test_pictures_may_differ_and_nothing_else(tmp_path, stored, passes):
    done = compared(tmp_path, {"text/html": SHOWN}, {"text/html": stored})
    assert (done.returncode == 0) == passes, done.stdout
    assert ("Cell outputs differ" in done.stdout) != passes


@pytest.mark.parametrize(
    ("value", "caption", "passes"),
    [
        (2.0, "It falls by 2.00 m.", True),
        (2.01, "It falls by 2.01 m.", True),
        (2.3, "It falls by 2.00 m.", False),
        (2.0, "It rises by 2.00 m.", False),
    ],
)
def test_numbers_are_compared_within_the_tolerance_of_their_table(tmp_path, value, caption, passes):
    def shown(value, caption):
        table = {"name": "t", "rtol": 0.0, "atol": 0.1, "columns": {"x": [1.0, value]}}
        return {"text/plain": caption, TABLE: table}

    done = compared(tmp_path, shown(2.0, "It falls by 2.00 m."), shown(value, caption))
    assert (done.returncode == 0) == passes, done.stdout


@pytest.mark.parametrize(("value", "status", "passes"), [("0.5", "holds", True), ("0.5", "inconclusive", False)])
def test_verdicts_are_compared_by_what_they_say(tmp_path, value, status, passes):
    def shown(value, status):
        return {"text/plain": "Verdicts.", VERDICTS: [{"claim": "It falls", "status": status, "measured": value}]}

    done = compared(tmp_path, shown("0.4", "holds"), shown(value, status))
    assert (done.returncode == 0) == passes, done.stdout


def test_what_is_stored_and_does_not_come_out_again_is_a_difference(tmp_path):
    done = compared(tmp_path, {"text/plain": "Verdicts."}, {"text/plain": "Verdicts.", VERDICTS: [{"status": "holds"}]})
    assert done.returncode and "Cell outputs differ" in done.stdout
