"""The problem that the poster names: gaps of gradient magnitude, made by a factor on the loss of one task.

PCGrad "manipulates" gradients so that its step is "much different from the original one", and the solution is no longer
optimal for the original objective; MCLGS only weighs. Both are trained beside equal weights on the same scaled losses.
How much a method changes is the change of the optimizer's next update of the shared parameters, in % of its length.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Verdict, mean_interval, over_seeds, range_interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import bracketed, columns
from mtlrepro.studies.mclgs import grids
from mtlrepro.studies.mclgs.scores import ROOMS, better, gains, of_task
from mtlrepro.studies.scores import DELTA, method_title
from mtlrepro.studies.setting import Setting

Key = tuple[float, str]
"""A factor on the loss of `grids.SCALED_TASK`, and a method."""


@dataclass(frozen=True)
class Gaps:
    """Runs on scaled losses.

    Attributes:
        runs: Factor and method to runs, as `fronts.evaluated` gives them.
        changed: Factor and method to the mean over a run of the share in % of the update that the method changes, by
            seed; of equal weights there is none.
    """

    runs: Mapping[Key, pd.DataFrame]
    changed: Mapping[Key, pd.Series]

    @property
    def factors(self) -> list[float]:
        """Factors, the smallest first."""
        return sorted({factor for factor, _ in self.runs})

    def gained(self, factor: float, method: str, other: str = "equal") -> pd.Series:
        """Delta_m of one method less another's at the same factor, in points of % of equal weights at a factor of 1."""
        return gains(self.runs[factor, method], self.runs[factor, other], self.runs[1.0, "equal"], ROOMS)


def load(setting: Setting) -> Gaps:
    """Read the runs, and train what is missing.

    Args:
        setting: What all runs share.
    """
    runs, changed = {}, {}
    for key, configs in grids.scaled(setting).items():
        runs[key] = fronts.evaluated(setting, configs)
        if key[1] != "equal":
            records = setting.records(configs).values()
            changed[key] = pd.Series(
                [100 * float(np.mean(_changes(record["history"]))) for record in records],
                index=[config.seed for config in configs],
            )
    return Gaps(runs, changed)


def _changes(history: list[dict[str, Any]]) -> list[float]:
    return [entry["probe"]["update_change"]["shared"] for entry in history if entry["probe"]]


def rows(found: Gaps) -> pd.DataFrame:
    """Every method at every factor.

    Returns:
        One row a factor and method: `loss times`, `method`; `update changed, %` with the range over seeds, 0 for equal
        weights; improvement of each task and Delta_m against equal weights at a factor of 1, in % with `... low` and
        `... high`, see `over_seeds`.
    """
    baseline = found.runs[1.0, "equal"][ROOMS.names].mean()
    tasks = list(dict.fromkeys(name.split(".")[0] for name in ROOMS.names))
    table: list[dict[str, Any]] = []
    for (factor, method), runs in found.runs.items():
        row: dict[str, Any] = {"loss times": factor, "method": method_title(method)}
        row |= columns("update changed, %", range_interval(found.changed.get((factor, method), [0.0])))
        for task in tasks:
            scores = of_task(ROOMS, task)
            row |= columns(f"Δ of {task}, %", over_seeds(scores.delta_m(runs, baseline[scores.names]), mean_interval))
        table.append(row | columns(f"{DELTA}, %", over_seeds(ROOMS.delta_m(runs, baseline), mean_interval)))
    return pd.DataFrame(table)


def exhibit(found: Gaps) -> Exhibit:
    """Methods with the loss of one task scaled.

    Args:
        found: As `load` gives it.
    """
    largest = found.factors[-1]
    texts = [
        f"{method_title(method)} {bracketed(range_interval(found.changed[1.0, method]))} and "
        f"{bracketed(range_interval(found.changed[largest, method]))} %"
        for method in grids.SCALED_METHODS
        if method != "equal"
    ]
    own = mean_interval(found.gained(largest, "mclgs", "pcgrad"))
    caption = (
        f"Methods with the loss of {grids.SCALED_TASK} scaled. Share of the next update that a method changes, mean "
        f"over the run, at a factor of 1 and of {largest:g}: {'; '.join(texts)}. At a factor of {largest:g} MCLGS less "
        f"PCGrad: {bracketed(own, signed=True)} points of {DELTA}. (Brackets of rows: range of up to three seeds; of "
        "the difference: paired 95 %; improvements over equal weights at a factor of 1.)"
    )
    return Exhibit(name="one_loss_scaled", table=rows(found), caption=caption)


def claims(found: Gaps) -> list[Verdict]:
    """Judge what the poster says about gaps of magnitude.

    Args:
        found: As `load` gives it.
    """
    verdicts = []
    for factor in found.factors[1:]:
        case = f"loss of {grids.SCALED_TASK} times {factor:g}"
        gap = found.changed[1.0, "pcgrad"] - found.changed[factor, "pcgrad"]
        verdicts += [
            Verdict(
                "PCGrad changes more of the update where magnitudes differ more",
                "A problem of PCGrad",
                0.0,
                0.0,
                mean_interval(gap.dropna()),
                below=True,
                reading="changed share at a factor of 1 less that with the gap, points of %, mean over seeds [paired "
                "95 %]",
                case=case,
                finding=6,
            ),
            better(
                "PCGrad is worse than equal weights where magnitudes differ",
                mean_interval(-found.gained(factor, "pcgrad")),
                source="A problem of PCGrad",
                case=case,
                finding=6,
            ),
            better(
                "MCLGS is better than PCGrad where magnitudes differ",
                mean_interval(found.gained(factor, "mclgs", "pcgrad")),
                source="Proposed method",
                case=case,
                finding=6,
            ),
        ]
    return verdicts
