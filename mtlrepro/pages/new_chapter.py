"""The smallest chapter, as the beginning of a new one: a notebook, the study behind it, and that study's test."""

# mypy: allow-untyped-calls
# (nbformat is a typed package whose functions carry no types)

import keyword
import re
import shutil
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mtlrepro import files
from mtlrepro.pages.running import run_notebook

STUDY = '''"""What the chapter NAME measures; an example, to be replaced."""

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Verdict, geometric_interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.pages.figures import canvas, log_x, strip
from mtlrepro.pages.findings import Finding

DRAWS = {"smoke": 200, "cpu": 20_000}
"""Batches that are drawn for each batch size, by scale."""
BATCH_SIZES = (1, 4, 16, 64)
FINDINGS = (
    Finding(
        1,
        "The variance of a mean falls as one over the batch size",
        "variance-of-a-mean",
        "our draws, with the seeds of the parameters",
    ),
)
"""The claims of the box *What the paper claims*, by their numbers."""


def batch_means(size: int, draws: int, seed: int) -> np.ndarray:
    """Draw batches of independent numbers of variance 1 and take the mean of each, `[draws]`."""
    generator = np.random.default_rng(seed)
    means: np.ndarray = generator.standard_normal((draws, size)).mean(1)
    return means


def measure(scale: str, seeds: int) -> pd.DataFrame:
    """Measure how the mean of a batch varies between batches.

    Args:
        scale: Of `DRAWS`.
        seeds: Number of repetitions.

    Returns:
        One row a seed and batch size: `seed`, `batch size`, `variance`.
    """
    rows = []
    for seed in range(seeds):
        for size in BATCH_SIZES:
            variance = float(batch_means(size, DRAWS[scale], seed).var(ddof=1))
            rows.append({"seed": seed, "batch size": size, "variance": variance})
    return pd.DataFrame(rows)


def intuition() -> Exhibit:
    """Show the means of a few batches of each size."""
    drawn = {size: batch_means(size, 20, seed=0) for size in BATCH_SIZES}
    table = pd.DataFrame([(size, mean) for size, means in drawn.items() for mean in means], columns=["size", "mean"])
    figure, axes = canvas(height=2.4)
    strip(axes, table, "mean", by="size")
    axes.set(xlabel="mean of a batch", ylabel="batch size")
    return Exhibit(
        name="intuition",
        table=table,
        figure=figure,
        caption="The larger the batch, the closer its mean is to zero, the mean of all numbers. (A dot a batch)",
        alt="Four lines of dots around zero; the lines of larger batches are narrower.",
    )


def variance_by_batch_size(measured: pd.DataFrame) -> Exhibit:
    """Show the variance of the mean against the batch size, beside the claimed one."""
    figure, axes = canvas()
    axes.plot(measured["batch size"], measured["variance"], "o", label="measured, a dot a seed")
    axes.plot(BATCH_SIZES, [1 / size for size in BATCH_SIZES], label="claimed")
    axes.set(xlabel="batch size", ylabel="variance of the mean", yscale="log")
    log_x(axes, BATCH_SIZES)
    axes.legend()
    return Exhibit(
        name="variance",
        table=measured,
        figure=figure,
        caption="Variance of a batch's mean against the batch size: it falls as claimed, as one over the batch size."
        f" ({measured['seed'].nunique()} seeds)",
        alt="Dots fall along a straight line on logarithmic axes of batch size and variance.",
        uses=("scale", "seeds"),
    )


def verdicts(measured: pd.DataFrame) -> list[Verdict]:
    """Judge the claim at each batch size."""
    return [
        Verdict(
            "The variance of a mean is one over the batch size",
            "Eq. 1",
            claimed=1.0,
            tolerance=0.1,
            measured=geometric_interval(rows["variance"] * size),
            reading="variance times batch size, geometric mean over seeds",
            case=f"batches of {size}",
            finding=1,
        )
        for size, rows in measured.groupby("batch size")
    ]
'''

TEST = '''"""The study of the chapter NAME."""

import pytest

from mtlrepro.pages.findings import answers
from mtlrepro.studies.NAME import study


@pytest.fixture(scope="module")
def measured():
    return study.measure("smoke", seeds=3)


def test_variance_falls_as_one_over_the_batch_size(measured):
    product = measured["variance"] * measured["batch size"]
    assert ((product > 0.7) & (product < 1.4)).all()


def test_exhibit_holds_every_number_that_is_drawn(measured):
    exhibit = study.variance_by_batch_size(measured)
    dots, line = exhibit.figure.axes[0].lines
    assert list(dots.get_ydata()) == exhibit.table["variance"].tolist()
    assert list(line.get_ydata()) == [1, 1 / 4, 1 / 16, 1 / 64]


def test_larger_batches_have_narrower_means():
    spreads = study.intuition().table.groupby("size")["mean"].std()
    assert spreads.is_monotonic_decreasing


def test_the_claim_is_not_refuted_at_any_batch_size(measured):
    verdicts = study.verdicts(measured)
    assert [verdict.case for verdict in verdicts] == [f"batches of {size}" for size in study.BATCH_SIZES]
    assert {verdict.status for verdict in verdicts} <= {"holds", "inconclusive"}
    (answer,) = answers(study.FINDINGS, verdicts)
    assert sum(answer["statuses"].values()) == 1
'''

PARAMETERS = """scale: str = "cpu"  # size of the runs {smoke, cpu}
seeds: int = 5  # repetitions [2..100]"""
SETUP = """import inspect

from mtlrepro.pages.chapter import Chapter
from mtlrepro.studies.NAME import study

chapter = Chapter("book/NAME.ipynb")"""
HIDDEN = ("hide-input",)
# Tags and source of each cell: those of text have None, code has tags or none.
CELLS: list[tuple[tuple[str, ...] | None, str]] = [
    (None, "# NAME\n\nThe problem and the paper's idea, in two sentences."),
    (("parameters", "hide-input"), PARAMETERS),
    (HIDDEN, SETUP),
    (HIDDEN, "chapter.show(study.intuition())"),
    (
        None,
        """```{admonition} What the paper claims
:class: note
1. The mean of a batch has a variance that falls as one over the batch size.
```""",
    ),
    (("hide-input", "nbval-ignore-output"), "chapter.findings(*study.FINDINGS)"),
    (
        None,
        "## Parameters\n\nThe values of this run are in the folded cell at the top of the page. A rerun with other"
        " values takes one line, printed under every figure.",
    ),
    (
        None,
        r"""## 1. Variance of a mean

Does the mean $\bar x$ of $B$ independent numbers of variance $\sigma^2$ vary as claimed?

$$\operatorname{Var}(\bar x) = \sigma^2 / B \tag{1}$$

{py:func}`~mtlrepro.studies.NAME.study.measure` takes the variance of the means of many batches:""",
    ),
    ((), "print(inspect.getsource(study.batch_means))"),
    ((), "measured = study.measure(scale, seeds)\nchapter.judge(*study.verdicts(measured))"),
    (HIDDEN, "chapter.show(study.variance_by_batch_size(measured))"),
    (None, "Two or three sentences on how to read the figure, without a number: captions compute those."),
    (None, "## Verdicts"),
    (HIDDEN, "chapter.verdicts()"),
    (
        None,
        "## Limits\n\nWhat is a {term}`reconstruction`, what was revised after a first look, and what was not tested.",
    ),
    (None, "## Rerun, costs and environment\n\nThe last rows of the table say how long this run took."),
    (HIDDEN, "chapter.rerun_line()"),
    (HIDDEN, "chapter.environment()"),
]


def new_chapter(name: str) -> list[Path]:
    """Write a notebook, a study and a test into this project, add the chapter to the table of contents, and run it.

    Whatever ends it before the notebook has run, nothing is left behind.

    Args:
        name: A new name in lower case; of the notebook, and of the folders of the study and of its test.

    Returns:
        The files that were written or changed, in the order in which they are to be edited.

    Raises:
        FileNotFoundError: This package is installed without the book.
        ValueError: The name is taken, or no lower-case identifier.
    """
    notebook, contents = files.book(f"{name}.ipynb"), files.book("_toc.yml")
    study, tests = (files.PROJECT / folder / name for folder in ("mtlrepro/studies", "tests/studies"))
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ValueError(f"name is {name!r}; accepted: an identifier of lower-case letters, digits and _")
    for path in (notebook, notebook.with_suffix(".md"), study, study.with_suffix(".py"), tests):
        if path.exists():
            raise ValueError(f"name is {name!r}; accepted: a new one, and there is {path.relative_to(files.PROJECT)}")
    written = {
        study / "study.py": STUDY,
        study / "__init__.py": '"""What belongs to the chapter NAME."""\n',
        tests / "test_study.py": TEST,
        notebook: _notebook(name),
    }
    before = contents.read_bytes()
    try:
        for path, text in written.items():
            files.write(path, text.replace("NAME", name))
        files.write(contents, _with_chapter(before.decode(), name))
        run_notebook(notebook, notebook)
    except BaseException:  # also when it is interrupted: a second call must find the name free
        files.write(contents, before)
        notebook.unlink(missing_ok=True)
        for folder in (study, tests):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return [notebook, *list(written)[:3], contents]


def _notebook(name: str) -> str:
    """Text of the notebook, not yet run."""
    cells = []
    for number, (tags, source) in enumerate(CELLS):
        cell = new_markdown_cell(source) if tags is None else new_code_cell(source)
        cell.id = f"{name}-{number}"
        if tags:
            cell.metadata.tags = list(tags)
        cells.append(cell)
    return f"{nbformat.writes(new_notebook(cells=cells))}\n"


def _with_chapter(contents: str, name: str) -> str:
    """Table of contents with one more chapter, behind the last one."""
    head, caption, tail = contents.partition("  - caption: Chapters\n")
    chapters, end, rest = tail.partition("  - caption:")
    return f"{head}{caption}{chapters}      - file: {name}\n{end}{rest}"
