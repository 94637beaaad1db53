"""What the sources of all chapters have in common."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from docutils.nodes import make_id
from prose import prose, terms

from mtlrepro import files
from mtlrepro.pages.notebook import FINDINGS, TABLE, payloads, read_notebook, tagged_cells

PAGES = sorted(path for path in files.book().glob("[!.]*.ipynb") if "." not in path.stem)
PARTS = yaml.safe_load(files.book("_toc.yml").read_text())["parts"]
CHAPTERS = [
    files.book(f"{entry['file']}.ipynb")
    for part in PARTS
    if part["caption"] == "Chapters"
    for entry in part["chapters"]
]
"""Pages that judge claims, in the order of the book."""
WIDTH = 88
"""Characters of a code line that a page shows without scrolling."""
LARGEST = 1_500_000
"""Bytes of a notebook; what is larger lies beside it."""
FOLDED = {"show", "judge", "findings", "verdicts", "rerun_line", "environment"}
"""Methods of a chapter whose calls are plumbing."""
ALLOWED = re.compile(
    r"""\b(?:
        Eqs?\.\s\d+(?:[–-]\d+)?(?:\s(?:and|to)\s\d+)?            # places in the papers
        |(?:Sections?|Tables?|Figures?|Figs?\.)\s(?:S-)?\d+(?:\.\d+)?(?:(?:,\s|\sand\s|\sto\s|–)(?:S-)?\d+)*
        |(?:19|20)\d\d                                           # years
        |NYUv2|BDD100K|MobileNetV[23]|PNASNet-5|ResNet-?\d+\w*    # names
        |[23]-?D\b|\d+-bit
        |95\s%                                                   # of intervals
        |about\s\d+\sGB                                          # sizes of downloads
    )""",
    re.VERBOSE,
)
"""Where prose may hold digits: everything that was measured is computed."""


def each(paths):
    """Parametrise a test by notebooks."""
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def cells_of(path: Path, kind: str) -> list:
    return [cell for cell in read_notebook(path).cells if cell.cell_type == kind]


def code_lines(path: Path) -> list[str]:
    return [line for cell in cells_of(path, "code") for line in cell.source.splitlines()]


def headings(path: Path) -> list[str]:
    sources = [cell.source for cell in cells_of(path, "markdown")]
    return [heading for source in sources for heading in re.findall(r"^##+ (.+)$", source, re.MULTILINE)]


@each(PAGES)
def test_parameters_stand_in_one_tagged_cell(path):
    assert len(tagged_cells(read_notebook(path), "parameters")) == 1


@each(PAGES)
def test_code_lines_fit_on_the_page(path):
    assert [line for line in code_lines(path) if len(line) > WIDTH] == []


@each(PAGES)
def test_a_chapter_does_not_hand_over_its_parameters(path):
    assert not any("globals()" in line for line in code_lines(path))


@each(PAGES)
def test_a_notebook_is_small(path):
    assert path.stat().st_size <= LARGEST


@each(PAGES)
def test_captions_state_a_finding_before_the_size_of_the_runs(path):
    notebook = read_notebook(path)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    captions = [output.data["text/plain"] for output in outputs if TABLE in output.get("data", {})]
    assert len(captions) == len(list(payloads(notebook, TABLE))) > 0
    assert [caption for caption in captions if re.match(r"\w+ scale\b", caption)] == []


@each(PAGES)
def test_prose_holds_no_number_that_could_have_been_measured(path):
    found = []
    for cell in cells_of(path, "markdown"):
        words = ALLOWED.sub(" ", prose(cell.source))
        found += [words[max(match.start() - 30, 0) : match.end() + 10] for match in re.finditer(r"\d+", words)]
    assert found == []


def is_plumbing(source: str) -> bool:
    """Whether every statement of a cell is a call of one of the methods `FOLDED`."""
    calls = [statement.value if isinstance(statement, ast.Expr) else None for statement in ast.parse(source).body]
    named = [call.func for call in calls if isinstance(call, ast.Call)]
    methods = [function.attr for function in named if isinstance(function, ast.Attribute)]
    return 0 < len(calls) == len(methods) and set(methods) <= FOLDED


@pytest.mark.parametrize(
    ("source", "plumbing"),
    [
        ("chapter.show(study.figure(table))", True),
        ("view.judge(*study.claims(table))\nchapter.verdicts()", True),
        ("table = study.measure(seeds)\nchapter.show(study.figure(table))", False),
        ("study.measure(seeds)", False),
        ("print(table)", False),
        ("", False),
    ],
)
def test_plumbing_is_told_from_science(source, plumbing):
    assert is_plumbing(source) == plumbing


@each(PAGES)
def test_cells_that_only_show_are_folded(path):
    shown = [cell for cell in cells_of(path, "code") if is_plumbing(cell.source)]
    assert [cell.source for cell in shown if not {"hide-input", "hide-cell"} & {*cell.metadata.get("tags", [])}] == []


@each(CHAPTERS)
def test_a_chapter_has_the_form_of_the_book(path):
    """Title and picture, claims and what was found, parameters, sections, verdicts, limits, rerun and environment."""
    cells = read_notebook(path).cells
    claims = [i for i, cell in enumerate(cells) if re.match(r"```\{admonition\} What .* claims", cell.source)]
    assert len(claims) == 1, "one cell with the box of claims, and nothing else"
    box = cells[claims[0] + 1]
    assert re.fullmatch(r"chapter\.findings\(.*\)", box.source)
    assert {"hide-input", "nbval-ignore-output"} <= set(box.metadata.tags)
    before = cells[: claims[0]]
    assert before[0].source.startswith("# ")
    assert any("chapter.show(" in cell.source for cell in before), "a picture above the claims"
    names = headings(path)
    assert names[0] == "Parameters"
    verdicts = next(i for i, name in enumerate(names) if re.fullmatch(r"(\d+\. )?Verdicts", name))
    assert verdicts >= 2, "a section before the verdicts"
    assert any("limits" in name.lower() for name in names[verdicts:])
    calls = [cell.source for cell in cells if cell.cell_type == "code"]
    assert calls.index("chapter.verdicts()") < calls.index("chapter.rerun_line()") < len(calls) - 1
    assert calls[-1] == "chapter.environment()"


@each(CHAPTERS)
def test_every_claim_is_answered_and_its_section_exists(path):
    notebook = read_notebook(path)
    (box,) = [cell.source for cell in notebook.cells if re.match(r"```\{admonition\} What .* claims", cell.source)]
    (found,) = payloads(notebook, FINDINGS)
    assert [answer["number"] for answer in found] == [int(number) for number in re.findall(r"^(\d+)\. ", box, re.M)]
    labels = re.findall(r"^\(([\w-]+)\)=$", "\n".join(cell.source for cell in notebook.cells), re.MULTILINE)
    anchors = {make_id(heading) for heading in headings(path)} | {make_id(label) for label in labels}
    assert {answer["section"] for answer in found} <= anchors


def test_labels_are_unique_in_the_book():
    """A label of two pages makes the build of the book fail, since links to it could mean either."""
    texts = ["\n".join(cell.source for cell in cells_of(path, "markdown")) for path in PAGES]
    texts += [path.read_text() for path in sorted(files.book().glob("*.md"))]
    labels = [
        label for text in texts for label in re.findall(r"^(?:\(|:(?:name|label): )([\w-]+)(?:\)=)?$", text, re.M)
    ]
    assert labels
    assert [label for label, number in Counter(labels).items() if number > 1] == []


def glossary() -> dict[str, re.Pattern[str]]:
    """Term in lower case to how prose writes it: also with a plural s."""
    text = files.book("glossary.md").read_text()
    blocks = "".join(re.findall(r"```\{glossary\}\n(.*?)```", text, re.DOTALL))
    names = re.findall(r"^(\S.*)$", blocks, re.MULTILINE)
    # A name with capitals inside, such as mAP, is no word in other letters.
    flags = {name: re.IGNORECASE if name.islower() else re.NOFLAG for name in names}
    return {name.lower(): re.compile(rf"(?<![\w-]){re.escape(name)}s?(?![\w-])", flags[name]) for name in names}


@each(PAGES)
def test_terms_of_the_glossary_are_linked(path):
    """A chapter links each term that its text uses, where it comes first or anywhere."""
    source = "\n".join(cell.source for cell in cells_of(path, "markdown"))
    used = {name for name, pattern in glossary().items() if pattern.search(prose(source, headings=False))}
    assert sorted(used - terms(source)) == []
    assert terms(source) <= glossary().keys()


@pytest.mark.parametrize(
    ("markdown", "words"),
    [
        ("## 3. The real formats", "The real formats"),
        ("## c. Momentum", "Momentum"),
        ("1. One $x = 2$ and `3` {cite}`a2020`", "One and"),
        ("$$x\n= 2$$ end", "end"),
        ("```bash\nrun 4\n```\nend", "end"),
        ("```{admonition} Title 5\n:class: note\ntext 6\n```", "text 6"),
        ("{term}`Depth <depth>` and {term}`mIoU`", "Depth and mIoU"),
        ("[seven](page7.md#part-8) {py:func}`~a.b9`", "seven"),
        ("(label-1)=\nend", "end"),
    ],
)
def test_prose_is_what_is_read_as_words(markdown, words):
    assert prose(markdown).split() == words.split()


def test_terms_are_found_by_their_name_in_the_glossary():
    assert terms("{term}`Depth <depth>` and {term}`mIoU`, not {cite}`x`") == {"depth", "miou"}
