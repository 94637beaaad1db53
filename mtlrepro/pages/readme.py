"""The table of what was found in the README, written from the boxes of the stored chapters."""

from collections.abc import Mapping
from typing import Any

from mtlrepro import files
from mtlrepro.pages.findings import counted, limit_text
from mtlrepro.pages.notebook import FINDINGS, payloads, read_notebook

PAPERS = {"sgd_noise": "MaxGNR", "loss_scale_balancing": "LSB", "mtsgd": "MTSGD", "mclgs": "MCLGS"}
"""Chapter on a paper to the short name of its method."""
START, END = "<!-- what was found: `make readme` writes these lines -->", "<!-- end of what was found -->"


def findings_markdown() -> str:
    """Make a Markdown table of the claims of all papers, their verdicts and one measured number each."""
    lines = ["| paper | claim | verdict | measured |", "|---|---|---|---|"]
    for chapter, paper in PAPERS.items():
        (answers,) = payloads(read_notebook(files.book(f"{chapter}.ipynb")), FINDINGS)
        lines += [f"| {paper} | {_cells(one, f'book/{chapter}.ipynb')} |" for one in answers]
    return "\n".join(lines)


def _cells(answer: Mapping[str, Any], notebook: str) -> str:
    verdict = ", ".join(counted(answer["statuses"]).values())
    quoted = f"{answer['quoted']}: {answer['measured']}" if answer["measured"] else ""
    limits = [f"; limit: {limit_text(one)}, {one['status']}" for one in answer["limits"]]
    cells = (f"[{answer['claim']}]({notebook})", verdict, quoted + "".join(limits))
    return " | ".join(cell.replace("|", r"\|") for cell in cells)


def updated(readme: str) -> str:
    """Put the table as it is now between the two marks of a README.

    Raises:
        ValueError: A mark is missing.
    """
    head, start, rest = readme.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end):
        raise ValueError(f"the README lacks a mark; accepted: a line {START} and, below it, a line {END}")
    return f"{head}{START}\n{findings_markdown()}\n{END}{tail}"


def update() -> None:
    """Write the table into this project's README."""
    path = files.PROJECT / "README.md"
    files.write(path, updated(path.read_text(encoding="utf-8")))
