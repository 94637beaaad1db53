"""Directives of the book's extension, on a book of two small chapters."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from page_cases import NASTY, Parsed, drawing, exhibit

import mtlrepro
from mtlrepro.analysis.verdicts import Interval, Verdict
from mtlrepro.pages.findings import Finding, answers, findings_rows_html
from mtlrepro.pages.html import figure_html, image_html
from mtlrepro.pages.notebook import FINDINGS, TABLE

EXTENSION = Path(__file__).parents[2] / "book" / "_ext"
VERDICTS = [
    Verdict("It is one", "Eq. 1", 1.0, 0.1, Interval(1.0, 0.95, 1.05), reading="a mean", case="rooms", finding=1),
    Verdict("It is two", "Eq. 2", finding=2),
]
FOUND = answers([Finding(1, NASTY, "one", "algebra"), Finding(2, "Two.", "two", "no data")], VERDICTS)


@pytest.fixture(scope="module")
def bookpages():
    spec = importlib.util.spec_from_file_location("bookpages", EXTENSION / "bookpages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chapter(path, title, *bundles):
    outputs = [v4.new_output("display_data", bundle) for bundle in bundles]
    cells = [v4.new_markdown_cell(f"# {title}"), v4.new_code_cell("show()", outputs=outputs)]
    nbformat.write(v4.new_notebook(cells=cells), path)


FIGURE = figure_html(image_html(drawing(), "A line."), "It falls.", "mtlrepro run a.ipynb")
INDEX = """\
# Front

```{findings-table}
```

```{stored-figure} a noise
```

```{stored-figure} a other
```
"""


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """HTML of a front page, and what was said while it was built."""
    folder = tmp_path_factory.mktemp("book")
    box = {"text/html": "", FINDINGS: FOUND}
    chapter(folder / "a.ipynb", "First & last", box, {"text/html": FIGURE, TABLE: exhibit().payload})
    chapter(folder / "b.ipynb", "Middle", box)
    chapter(folder / "c.ipynb", "Not filled in", {"text/html": "", FINDINGS: []})
    (folder / "index.md").write_text(INDEX)
    files = ", ".join(f"{{file: {name}}}" for name in ("b", "absent", "c", "a"))
    (folder / "_toc.yml").write_text(f"root: index\nparts:\n  - chapters: [{files}]\n")
    (folder / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(EXTENSION)!r})\n"
        "extensions = ['myst_parser', 'sphinx.ext.autodoc', 'bookpages']\nhtml_theme = 'sphinx_book_theme'\n"
        "html_theme_options = {'show_navbar_depth': 1}\n"
    )
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(folder), str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (folder / "out" / "index.html").is_file(), done.stderr
    return (folder / "out" / "index.html").read_text(), done.stderr


def test_findings_stand_in_the_order_of_the_book_with_links_into_its_pages(front):
    page, _ = front
    assert findings_rows_html([("Middle", "b.html", FOUND), ("First & last", "a.html", FOUND)]) in page
    assert f"mtlrepro {mtlrepro.__version__}, commit " in page


def test_a_stored_figure_is_shown_with_its_caption_and_its_chapter(front):
    page, said = front
    assert FIGURE.replace("falls.", 'falls. From <a href="a.html">First &amp; last</a>.') in page
    assert "a.ipynb has no figure of table 'other'" in said


def test_rows_of_findings_are_escaped_and_say_number_reading_and_evidence():
    parsed = Parsed(findings_rows_html([(NASTY, "page.html", FOUND)]))
    assert parsed.texts["th"] == ["claim", "verdict", "measured", "evidence", ""]
    assert parsed.tags["a"] == [{"href": "page.html"}, {"href": "page.html#one"}, {"href": "page.html#two"}]
    assert parsed.texts["a"] == [NASTY, NASTY, "Two."]
    assert parsed.texts["td"] == ["", "", "1.00 [0.950, 1.05]", "algebra", "", "", "", "no data"]
    assert parsed.texts["span"] == ["holds", "It is one (rooms) (a mean)", "cannot be tested here"]
    assert "b" not in parsed.tags


def test_the_release_is_that_of_the_checkout_or_unknown(bookpages, tmp_path):
    assert bookpages.release(tmp_path) == f"mtlrepro {mtlrepro.__version__}, commit unknown"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "a", "--date=2020-01-02T00:00:00Z"]):
        subprocess.run([*git, *arguments], check=True)
    assert re.fullmatch(r"mtlrepro [\d.]+, commit [0-9a-f]{12} of \d{4}-\d\d-\d\d", bookpages.release(tmp_path))
