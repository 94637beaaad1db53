"""The poster's tables as printed: whether their last column follows from the others, and what three seeds can tell.

The poster prints Delta_m of each method as a mean over three seeds with its standard error. Which seeds belong together
is not told, so differences are those of independent samples: Welch's interval with Satterthwaite's degrees of freedom,
95 %. The spread of single tasks, whose row says 0, is not printed and in no interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mtlrepro.analysis import published
from mtlrepro.analysis.significance import holm
from mtlrepro.analysis.verdicts import Interval, Verdict
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies.comparison import ALPHA, bracketed, columns
from mtlrepro.studies.scores import DELTA

SEEDS = 3
"""Random seeds over which the poster's means are."""
HALF_DIGIT = 0.005
"""By how much a printed number may be rounded."""
PRINTED = {
    "equal": "MTL Baseline",
    "mgda": "MGDA",
    "pcgrad": "PCGrad",
    "graddrop": "GradDrop",
    "cagrad": "CAGrad",
    "mclgs": "MCLGS (ours)",
    "cagrad+mclgs": "CAGrad + MCLGS (ours)",
}
"""Method to its row."""
SINGLE = "STL Baseline"
SHOWN = "The poster's seeds show that"
STUDENT = "Student's 95 % without the spread of single tasks"
INTERVALS = f"Welch's 95 %, of single tasks {STUDENT}"
"""What the brackets of verdicts are."""
DELTA_M = "Delta_m"


@dataclass(frozen=True)
class Poster:
    """One of the poster's tables.

    Attributes:
        title: What its data are called.
        tasks: Task to its column.
        finding: Number of the claim about it in the box *What the poster claims*.
    """

    title: str
    tasks: Mapping[str, str]
    finding: int

    @property
    def place(self) -> str:
        """What `book/published/mclgs.csv` calls it."""
        return f"poster, table of {self.title}"

    def numbers(self, values: str = "value") -> pd.DataFrame:
        """Its rows and columns, float64; see `published.pivot`.

        Args:
            values: `value`, or `uncertainty` for the standard errors, which only `Delta_m` has.
        """
        printed = published.read("mclgs")
        return published.pivot(printed[printed["place"] == self.place], values)

    def printed(self, method: str, column: str = DELTA_M, values: str = "value") -> float:
        """One printed number.

        Args:
            method: A method by name, which the table has.
            column: A column of the table.
            values: See `numbers`.
        """
        return float(self.numbers(values).to_dict()[column][PRINTED[method]])


NYUV2 = Poster("NYUv2", {"segmentation": "Delta_seg", "depth": "Delta_depth", "normal": "Delta_normal"}, 1)
BDD100K = Poster("BDD100K", {"detection": "Delta_od", "segmentation": "Delta_seg"}, 3)
POSTERS = (NYUV2, BDD100K)


def recomputed() -> pd.DataFrame:
    """Compute Delta_m of every row of both tables from its other columns.

    Returns:
        One row a method and table: `table`, `method`, `printed, %`, `mean of the columns, %`, and `difference`, that
        of the latter less the former, which rounding explains up to twice `HALF_DIGIT`.
    """
    rows = []
    for poster in POSTERS:
        table = poster.numbers()
        means = table[list(poster.tasks.values())].mean(axis=1)
        rows += [
            (
                poster.title,
                method,
                table.loc[method, DELTA_M],
                means[method],
                means[method] - table.loc[method, DELTA_M],
            )
            for method in table.index.drop(SINGLE)
        ]
    return pd.DataFrame(rows, columns=["table", "method", "printed, %", "mean of the columns, %", "difference"])


def differences(poster: Poster) -> pd.DataFrame:
    """Differences of Delta_m between any two multi-task methods of one table.

    Args:
        poster: The table.

    Returns:
        One row a pair, the one with the higher mean first: `method`, `against`, `difference` in points of % with `low`
        and `high` of Welch's 95 % interval, two-sided `p`, and `corrected p` by Holm's method over all rows.
    """
    names = [row for row in PRINTED.values() if row in poster.numbers().index]
    means, errors = poster.numbers()[DELTA_M], poster.numbers("uncertainty")[DELTA_M]
    ordered = sorted(names, key=lambda name: -float(means[name]))
    rows: list[dict[str, Any]] = []
    for i, one in enumerate(ordered):
        for other in ordered[i + 1 :]:
            gap, p = welch(means[one] - means[other], errors[one], errors[other])
            rows.append({"method": one, "against": other, **columns("difference", gap), "p": p})
    table = pd.DataFrame(rows).rename(columns={"difference low": "low", "difference high": "high"})
    return table.assign(**{"corrected p": holm(table["p"])})


def welch(difference: float, error: float, other_error: float, seeds: int = SEEDS) -> tuple[Interval, float]:
    """Interval and two-sided p-value of a difference of two means of independent samples.

    Args:
        difference: Of the means.
        error: Standard error of the first mean.
        other_error: Of the second; not both are 0.
        seeds: Size of each sample.
    """
    squares = np.array([error, other_error]) ** 2
    freedom = (seeds - 1) * squares.sum() ** 2 / (squares**2).sum()
    total = float(np.sqrt(squares.sum()))
    half = float(stats.t.ppf(0.975, freedom)) * total
    p = float(2 * stats.t.sf(abs(difference) / total, freedom))
    return Interval(float(difference), float(difference) - half, float(difference) + half), p


def over_single(poster: Poster, method: str) -> Interval:
    """By how much a method is better than single tasks, whose own spread is not printed: Student's interval, in points.

    Args:
        poster: The table.
        method: A method by name.
    """
    value, error = (poster.printed(method, values=values) for values in ("value", "uncertainty"))
    half = float(stats.t.ppf(0.975, SEEDS - 1)) * error
    return Interval(value, value - half, value + half)


def gain(poster: Poster, method: str, other: str) -> Interval:
    """By how much one method of a table is better than another one in Delta_m, in points of %.

    Args:
        poster: The table.
        method: A method by name.
        other: Likewise.
    """
    error, other_error = (poster.printed(name, values="uncertainty") for name in (method, other))
    return welch(poster.printed(method) - poster.printed(other), error, other_error)[0]


# --- exhibits and verdicts ----------------------------------------------------------------------------


def recomputed_exhibit() -> Exhibit:
    """Delta_m of the poster's rows from their columns."""
    table = recomputed()
    explained = int((table["difference"].abs() <= 2 * HALF_DIGIT + 1e-9).sum())
    caption = (
        f"The poster's {DELTA} computed from its own columns: {explained} of {len(table)} rows agree within rounding, "
        f"so that its {DELTA} is the mean over tasks, of which a gain is positive."
    )
    return Exhibit(name="poster_recomputed", table=table, caption=caption)


def differences_exhibit() -> Exhibit:
    """What the poster's three seeds tell about the differences between its methods."""
    tables = {poster.title: differences(poster) for poster in POSTERS}
    parts = []
    for title, table in tables.items():
        clear, corrected = int((table["low"] > 0).sum()), int((table["corrected p"] < ALPHA).sum())
        parts.append(f"{title}: {clear} of {len(table)} pairs, after Holm's correction {corrected}")
    table = pd.concat([found.assign(table=title) for title, found in tables.items()], ignore_index=True)
    own = {
        title: bracketed(gain(poster, "mclgs", "pcgrad"), 2, signed=True)
        for title, poster in zip(tables, POSTERS, strict=True)
    }
    caption = (
        f"Differences of {DELTA} between the poster's methods that its standard errors tell from none. "
        f"{'; '.join(parts)}. MCLGS less PCGrad: {', '.join(f'{title} {text}' for title, text in own.items())} points. "
        f"(Welch's 95 % intervals of {SEEDS} seeds a method; the poster does not tell which seeds belong together, and "
        "the spread of single tasks is not printed and in no interval.)"
    )
    return Exhibit(
        name="poster_differences",
        table=table[["table", *table.columns.drop("table")]],
        caption=caption,
    )


def claims() -> list[Verdict]:
    """Judge the poster's tables by its own numbers."""
    found = []
    largest = float(recomputed()["difference"].abs().max())
    found.append(
        Verdict(
            "The poster's Delta_m follows from its columns",
            "both tables",
            0.0,
            round(2 * HALF_DIGIT, 6),
            Interval(largest, largest, largest),
            reading="largest difference to the mean over tasks, points of %; rounding explains the tolerance",
            kind="ours",
        )
    )
    for poster in POSTERS:
        names = [name for name, row in PRINTED.items() if row in poster.numbers().index]
        names.sort(key=poster.printed, reverse=True)
        for method, claim, finding in (
            ("mclgs", f"{SHOWN} MCLGS is better than single tasks and than every method without it", poster.finding),
            ("cagrad+mclgs", f"{SHOWN} CAGrad + MCLGS is better than single tasks and than every other method", 2),
        ):
            if method not in names:
                continue
            others = [other for other in names if other not in (method, "cagrad+mclgs")]
            gains = {PRINTED[other].removesuffix(" (ours)"): gain(poster, method, other) for other in others}
            for case, gained in {**gains, "single tasks": over_single(poster, method)}.items():
                lost = Interval(-gained.value, -gained.high, -gained.low)
                reading = f"the other's printed {DELTA} less its own, points [{INTERVALS}, not corrected]"
                found.append(_below(claim, poster, lost, reading, case, finding))
    fall = over_single(BDD100K, "mgda")
    found.append(
        _below(f"{SHOWN} MGDA is below single tasks", BDD100K, fall, f"printed {DELTA}, points [{STUDENT}]", "", 7)
    )
    return found


def _below(claim: str, poster: Poster, measured: Interval, reading: str, case: str, finding: int) -> Verdict:
    return Verdict(claim, poster.place, 0.0, 0.0, measured, below=True, reading=reading, case=case, finding=finding)
