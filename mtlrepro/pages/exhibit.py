"""Exhibit: one thing that a chapter shows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

Form = Literal["svg", "drawing", "photograph"]
"""How a picture is kept: as SVG, whose text can be selected; as the pixels of a drawing of many lines; or, with some
loss, as those of a picture of many colours."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One thing that a chapter shows: the numbers behind it, what they say, and the picture if there is one.

    Without a picture the table itself is shown.

    Attributes:
        name: Name of the table, unique in the chapter.
        table: Every number that is drawn or shown.
        caption: The finding, as plain text in full sentences, without the size of the runs.
        figure: The picture, where there is one.
        frames: In place of `figure`, several pictures of which one is seen at a time: the label on a slider, or the
            pair of labels on two sliders, to a picture and its alternative text.
        alt: What `figure` looks like, for readers who cannot see it.
        sliders: What each slider of `frames` varies.
        start: Label, or pair of labels, of the frame at which the sliders start, and which pages without scripts show;
            the first frame if not given.
        shown: The table as readers see it, where that is not `table` itself.
        uses: Parameters of the chapter that the line below a picture repeats.
        form: How pictures are kept.
        rtol: Relative tolerance within which the table of a rerun must agree.
        atol: Absolute tolerance.

    Raises:
        ValueError: The table holds a value that is missing or not finite, both `figure` and `frames` are given, a
            picture has no alternative text, the number of sliders is not that of the labels of a frame, or no frame has
            the labels of `start`.
    """

    name: str
    table: pd.DataFrame
    caption: str
    figure: Figure | None = None
    frames: Mapping[str, tuple[Figure, str]] | Mapping[tuple[str, str], tuple[Figure, str]] | None = None
    alt: str = ""
    sliders: tuple[str, ...] = ()
    start: str | tuple[str, str] | None = None
    shown: pd.DataFrame | None = None
    uses: tuple[str, ...] = ()
    form: Form = "svg"
    rtol: float = 1e-6
    atol: float = 1e-9

    def __post_init__(self) -> None:
        if self.figure is not None and self.frames is not None:
            raise ValueError(f"exhibit {self.name!r} has a figure and frames; accepted: one of them, or none")
        if (self.figure is not None and not self.alt) or not all(alt for _, alt in self._frames.values()):
            raise ValueError(f"exhibit {self.name!r} has a picture without alternative text; accepted: text for each")
        for labels in self._frames:
            if len(labels) != len(self.sliders):
                raise ValueError(f"exhibit {self.name!r}: sliders is {self.sliders}; accepted: {len(labels)} of them")
        if self.start is not None and _labels(self.start) not in self._frames:
            accepted = ", ".join(map(repr, self.frames or {})) or "None, without frames"
            raise ValueError(f"exhibit {self.name!r}: start is {self.start!r}; accepted: {accepted}")
        for column in self.table:
            values = self.table[column]
            if values.isna().any() or np.isinf(pd.to_numeric(values, errors="coerce")).any():
                raise ValueError(f"table {self.name!r}, column {column!r}, holds a value that is missing or not finite")

    @property
    def _frames(self) -> dict[tuple[str, ...], tuple[Figure, str]]:
        frames: Mapping[Any, tuple[Figure, str]] = self.frames or {}
        return {_labels(labels): frame for labels, frame in frames.items()}

    @property
    def _varied(self) -> list[int]:
        """Positions of the sliders that have several labels."""
        return [i for i in range(len(self.sliders)) if len({labels[i] for labels in self._frames}) > 1]

    @property
    def pictures(self) -> tuple[tuple[str, ...], dict[tuple[str, ...], tuple[Figure, str]]]:
        """What the sliders vary, and label of each slider to picture; a slider of a single label is left out."""
        if self.figure is not None:
            return (), {(): (self.figure, self.alt)}
        frames = {tuple(labels[i] for i in self._varied): frame for labels, frame in self._frames.items()}
        return tuple(self.sliders[i] for i in self._varied), frames

    @property
    def first(self) -> tuple[str, ...]:
        """Labels, as in `pictures`, of the picture that is shown first; empty without sliders."""
        labels = next(iter(self._frames), ()) if self.start is None else _labels(self.start)
        return tuple(labels[i] for i in self._varied)

    @property
    def payload(self) -> dict[str, Any]:
        """The table in the form that notebooks store: name, tolerances and columns.

        Fractions have the digits that their tolerance leaves, so that where numbers differ by rounding alone, as on
        another machine, the same is stored.
        """
        columns = {
            str(name): [_rounded(value, self.rtol, self.atol) for value in self.table[name].tolist()]
            for name in self.table
        }
        return {"name": self.name, "rtol": self.rtol, "atol": self.atol, "columns": columns}


def _labels(labels: str | tuple[str, str]) -> tuple[str, ...]:
    return (labels,) if isinstance(labels, str) else labels


def _rounded(value: object, rtol: float, atol: float) -> object:
    """Value to the first decimal below its tolerance, so that rounding two of them does not part them."""
    if not isinstance(value, float):
        return value
    tolerance = atol + rtol * abs(value)
    # Without the sign of a zero.
    return round(value, 1 - math.floor(math.log10(tolerance))) + 0.0 if tolerance else value
