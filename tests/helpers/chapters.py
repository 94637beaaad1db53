"""The chapters of the book as they are stored."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted(path.name for path in (ROOT / "book").glob("[!.]*.ipynb") if "." not in path.stem)


def payloads(path: Path, mime: str) -> list:
    """What the outputs of a notebook hold of one type."""
    cells = json.loads(path.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [output["data"][mime] for output in outputs if mime in output.get("data", {})]
