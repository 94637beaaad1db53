"""What the sources of all chapters have in common."""

import re
from pathlib import Path

import pytest

from mtlrepro import files
from mtlrepro.pages.notebook import TABLE, payloads, read_notebook, tagged_cells

CHAPTERS = sorted(path for path in files.book().glob("[!.]*.ipynb") if "." not in path.stem)
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
WIDTH = 88
"""Characters of a code line that a page shows without scrolling."""


def code_lines(path: Path) -> list[str]:
    cells = [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]
    return [line for cell in cells for line in cell.source.splitlines()]


@each_chapter
def test_parameters_stand_in_one_tagged_cell(path):
    assert len(tagged_cells(read_notebook(path), "parameters")) == 1


@each_chapter
def test_code_lines_fit_on_the_page(path):
    assert [line for line in code_lines(path) if len(line) > WIDTH] == []


@each_chapter
def test_a_chapter_does_not_hand_over_its_parameters(path):
    assert not any("globals()" in line for line in code_lines(path))


@each_chapter
def test_captions_state_a_finding_before_the_size_of_the_runs(path):
    notebook = read_notebook(path)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    captions = [output.data["text/plain"] for output in outputs if TABLE in output.get("data", {})]
    assert len(captions) == len(list(payloads(notebook, TABLE))) > 0
    assert [caption for caption in captions if re.match(r"\w+ scale\b", caption)] == []
