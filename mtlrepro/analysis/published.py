"""Numbers as printed in papers: CSV files in `book/published`, one printed number a line.

Columns: `paper` (key in the bibliography of the paper that prints the number), `place` (table, poster or file),
`row` and `column` (labels, one for a method or metric in all papers, qualified where papers differ about it),
`value`, `uncertainty` (what follows a printed ±) and `unit` (`1` for none). Nothing recomputed is stored;
`datasets` also has counts of published files, and `taskonomy` what was measured on such.
"""

import pandas as pd

from mtlrepro import files

HIGHER_IS_BETTER = {
    "mIoU": True,
    "Pix Acc": True,
    "Abs Err": False,
    "Rel Err": False,
    "Mean": False,
    "Median": False,
    "<11.25": True,
    "<22.5": True,
    "<30": True,
}
"""Direction of each metric of the NYUv2 and Cityscapes benchmarks; the last five are angles of the normals."""

TASKS = dict(zip(HIGHER_IS_BETTER, ["segmentation"] * 2 + ["depth"] * 2 + ["normal"] * 5, strict=True))
"""Task of each of these metrics."""


def read(name: str) -> pd.DataFrame:
    """Printed numbers of one source, in the order of its tables.

    Args:
        name: Name of the file, without `.csv`.

    Returns:
        Columns as in this module's docstring; `value` and `uncertainty` are float64, NaN where none is printed.

    Raises:
        ValueError: There is no such file.
        FileNotFoundError: The package is installed without the book.
    """
    folder = files.book("published")
    names = sorted(path.stem for path in folder.glob("*.csv"))
    if name not in names:
        raise ValueError(f"name is {name!r}; accepted: {', '.join(names)}")
    text = dict.fromkeys(("paper", "place", "row", "column", "unit"), "str")
    return pd.read_csv(folder / f"{name}.csv", dtype={**text, "value": "float64", "uncertainty": "float64"})


def pivot(numbers: pd.DataFrame, values: str = "value") -> pd.DataFrame:
    """Table of methods x metrics, both in the order in which they first occur.

    Args:
        numbers: Lines of :func:`read`, with each pair of `row` and `column` once; choose a `place` where a
            source has several tables.
        values: `value` or `uncertainty`.

    Returns:
        float64, NaN where nothing is printed.

    Raises:
        ValueError: A pair occurs twice.
    """
    cells = numbers[["row", "column"]]
    if cells.duplicated().any():
        row, column = cells[cells.duplicated()].iloc[0]
        places = ", ".join(numbers["place"].unique())
        raise ValueError(f"numbers has {row!r}, {column!r} twice; accepted: each cell once, so choose one of: {places}")
    table = numbers.pivot(index="row", columns="column", values=values)
    return table.reindex(index=numbers["row"].unique(), columns=numbers["column"].unique())
