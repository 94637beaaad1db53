"""Small notebooks for tests."""

from pathlib import Path

import nbformat
from nbformat import v4

from mtlrepro.pages.stored import normalise

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


def table(name: str = "errors", rtol: float = 0.0, atol: float = 0.0, **columns: object) -> dict[str, object]:
    return {"name": name, "rtol": rtol, "atol": atol, "columns": columns or {"x": [1, 2.5, None, True, "text"]}}
