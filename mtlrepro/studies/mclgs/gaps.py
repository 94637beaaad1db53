"""The problem that the poster names: gaps of gradient magnitude, made by a factor on the loss of one task.

PCGrad "manipulates" gradients so that its step is "much different from the original one", and the solution is no longer
optimal for the original objective; MCLGS only weighs. Both are trained beside equal weights on the same scaled losses.
How much a method changes is the change of the optimizer's next update of the shared parameters, in % of its length.
The original objective is the mean of the scaled losses: its value in training over the last epoch says how far a run
came, which metrics of the test split, where all tasks count alike, do not. Runs that diverged are left out and counted,
and a claim about a method and factor of which one did is not judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mtlrepro.analysis.verdicts import Interval, Verdict, mean_interval, over_seeds, range_interval
from mtlrepro.pages.exhibit import Exhibit
from mtlrepro.studies import fronts
from mtlrepro.studies.comparison import bracketed, columns, paired
from mtlrepro.studies.mclgs import grids
from mtlrepro.studies.mclgs.grids import SCALED_TASK
from mtlrepro.studies.mclgs.scores import ROOMS, better, gains, of_task
from mtlrepro.studies.scores import DELTA, method_title
from mtlrepro.studies.setting import Setting, diverged

Key = tuple[float, str]
"""A factor on the loss of `SCALED_TASK`, and a method."""


@dataclass(frozen=True)
class Gaps:
    """Runs on scaled losses.

    Attributes:
        runs: Factor and method to runs, as `fronts.evaluated` gives them.
        changed: Factor and method to the mean over a run's probes of the share in % of the update that the method
            changes, by seed; of equal weights there is none.
        gaps: Factor and method to the geometric mean over a run's probes of the largest norm of a task's gradient over
            the smallest, by seed.
        objective: Factor and method to the mean of the scaled training losses in the last epoch, by seed.
        lost: Factor and method to how many of its runs diverged and are left out, if any did.
    """

    runs: Mapping[Key, pd.DataFrame]
    changed: Mapping[Key, pd.Series]
    gaps: Mapping[Key, pd.Series]
    objective: Mapping[Key, pd.Series]
    lost: Mapping[Key, int]

    @property
    def factors(self) -> list[float]:
        """Factors, the smallest first."""
        return sorted({factor for factor, _ in (*self.runs, *self.lost)})

    def gained(self, factor: float, method: str, other: str = "equal") -> pd.Series:
        """Delta_m of one method less another's at the same factor, in points of % of equal weights at a factor of 1."""
        return gains(self.runs[factor, method], self.runs[factor, other], self.runs[1.0, "equal"], ROOMS)

    def above_equal(self, factor: float, method: str) -> pd.Series:
        """Objective of a method above that of equal weights at the same factor, in % of the latter, by seed."""
        return (100 * (self.objective[factor, method] / self.objective[factor, "equal"] - 1)).dropna()

    def judged(self, differences: pd.Series, *keys: Key) -> Interval | None:
        """Mean of the differences of pairs with its interval; None if a run of one of some keys diverged."""
        return None if self.lost.keys() & keys else paired(differences)


def load(setting: Setting) -> Gaps:
    """Read the runs, and train what is missing.

    Args:
        setting: What all runs share.

    Raises:
        RuntimeError: All runs of equal weights without a gap, the baseline, diverged, see `Setting.reference`.
    """
    runs, changed, gaps, objective = {}, {}, {}, {}
    by_key = grids.scaled(setting)
    setting.reference("equal weights", by_key[1.0, "equal"])
    for key, configs in by_key.items():
        runs[key] = fronts.evaluated(setting, configs)
        left = setting.unbroken(configs)
        histories = {run.seed: setting.records([run])[run.hash]["history"] for run in left}
        gaps[key] = _by_seed({seed: gap(history) for seed, history in histories.items()})
        factors = {SCALED_TASK: key[0]}
        objective[key] = _by_seed({seed: _objective(history, factors) for seed, history in histories.items()})
        if key[1] != "equal":
            changed[key] = _by_seed({seed: _changed(history) for seed, history in histories.items()})
    return Gaps(runs, changed, gaps, objective, setting.lost(by_key))


def _by_seed(values: Mapping[int, float]) -> pd.Series:
    return pd.Series(values, dtype=float)


def gap(history: list[dict[str, Any]]) -> float:
    """Geometric mean over a run's probes of the largest norm of a task's gradient over the smallest."""
    norms = [[*probe["norms"].values()] for probe in _probes(history)]
    return float(np.exp(np.mean([np.log(max(own) / min(own)) for own in norms])))


def _changed(history: list[dict[str, Any]]) -> float:
    """Mean over a run's probes of the share in % of the update that the method changes."""
    return 100 * float(np.mean([probe["update_change"]["shared"] for probe in _probes(history)]))


def _probes(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry["probe"] for entry in history if entry["probe"]]


def _objective(history: list[dict[str, Any]], factors: Mapping[str, float]) -> float:
    """Mean over tasks of the last epoch's losses times their factors, which are 1 unless given."""
    return float(np.mean([loss * factors.get(task, 1.0) for task, loss in history[-1]["losses"].items()]))


def rows(found: Gaps) -> pd.DataFrame:
    """Every method at every factor.

    Returns:
        One row a factor and method that has two seeds in common with equal weights: `loss times`, `method`; `gradients,
        largest over smallest`, and `update changed, %`, 0 for equal weights, with the range over seeds; `objective
        above equal, %`, by how much the method's is above that of equal weights at the same factor; improvement of each
        task and Delta_m against equal weights at a factor of 1, in %; each with `... low` and `... high`, see
        `over_seeds`.
    """
    baseline = found.runs[1.0, "equal"][ROOMS.names].mean()
    tasks = list(dict.fromkeys(name.split(".")[0] for name in ROOMS.names))
    table: list[dict[str, Any]] = []
    for (factor, method), runs in found.runs.items():
        above = found.above_equal(factor, method)
        if len(above) < 2:
            continue
        row: dict[str, Any] = {"loss times": factor, "method": method_title(method)}
        row |= columns("gradients, largest over smallest", range_interval(found.gaps[factor, method]))
        row |= columns("update changed, %", range_interval(found.changed.get((factor, method), [0.0])))
        row |= columns("objective above equal, %", over_seeds(above, mean_interval))
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
    methods = [method for method in grids.SCALED_METHODS if method != "equal"]
    changed = [_at_both(found.changed, method, largest) for method in methods]
    above = [bracketed(paired(found.above_equal(largest, method)), signed=True) for method in methods]
    titles = [method_title(method) for method in methods]
    own = paired(found.gained(largest, "mclgs", "pcgrad"))
    lost = {f"{method_title(method)} at a factor of {factor:g}": n for (factor, method), n in found.lost.items()}
    caption = (
        f"Methods with the loss of {SCALED_TASK} scaled. At a factor of 1 and of {largest:g} the largest gradient of a "
        f"task is {_at_both(found.gaps, 'equal', largest)} times as long as the smallest. Share in % of the next "
        f"update that a method changes, mean over the probes of a run: {_listed(titles, changed)}. At a factor of "
        f"{largest:g} the training objective ends above that of equal weights by, in %: {_listed(titles, above)}; "
        f"in {DELTA} MCLGS less PCGrad: {bracketed(own, signed=True)} points.{diverged(lost)} "
        "(Brackets: range over seeds, of up to "
        "three; of the objective and the difference: paired 95 %; improvements over equal weights at a factor of 1.)"
    )
    table = rows(found)
    tasks = [name for name in table.columns if str(name).startswith("Δ of ")]
    return Exhibit(name="one_loss_scaled", table=table, shown=table.drop(columns=tasks), caption=caption)


def _at_both(values: Mapping[Key, pd.Series], method: str, largest: float) -> str:
    """Text of a quantity of a method without a gap and with the largest."""
    found = [values[factor, method] for factor in (1.0, largest)]
    return " and ".join(bracketed(range_interval(own) if len(own) else None) for own in found)


def _listed(titles: Sequence[str], texts: Sequence[str]) -> str:
    return ", ".join(f"{title} {text}" for title, text in zip(titles, texts, strict=True))


def claims(found: Gaps) -> list[Verdict]:
    """Judge what the poster says about gaps of magnitude.

    Args:
        found: As `load` gives it.
    """
    verdicts = []
    for factor in found.factors[1:]:
        case = f"loss of {SCALED_TASK} times {factor:g}"
        equal, pcgrad, mclgs = ((factor, method) for method in grids.SCALED_METHODS)
        gap = (found.changed[1.0, "pcgrad"] - found.changed[pcgrad]).dropna()
        verdicts += [
            Verdict(
                "PCGrad changes more of the update where magnitudes differ more",
                "A problem of PCGrad",
                0.0,
                0.0,
                found.judged(gap, (1.0, "pcgrad"), pcgrad),
                below=True,
                reading="changed share at a factor of 1 less that with the gap, points of %, mean over seeds [paired "
                "95 %]",
                case=case,
                finding=6,
            ),
            Verdict(
                "PCGrad ends at a larger training objective than equal weights where magnitudes differ",
                "A problem of PCGrad",
                0.0,
                0.0,
                found.judged(-found.above_equal(*pcgrad), pcgrad, equal),
                below=True,
                reading="by how much PCGrad's mean of the scaled losses is below that of equal weights in the last "
                "epoch, %, mean over seeds [paired 95 %]",
                case=case,
                finding=6,
            ),
            better(
                "MCLGS is better than PCGrad where magnitudes differ",
                found.judged(found.gained(factor, "mclgs", "pcgrad"), mclgs, pcgrad),
                source="our question",
                case=case,
                kind="ours",
            ),
        ]
    return verdicts
