"""Fronts of fixed weights: a grid of them, the point tuned on the validation split, and methods held against both.

A method that adapts its weights is worth its trouble if it goes beyond what fixed weights reach. Xin et al. (NeurIPS
2022) find none that does; 36 weights for three tasks are the grid of Kirchdorfer et al. (arXiv 2408.07985).

A point is scored by the tasks' improvements over equal weights: for each task the mean relative improvement over its
metrics, in %; their mean over tasks is Delta_m. With three tasks most points of a front are better than every other one
at something, and so is nearly any method. So we ask *how far* a point is beyond a set: by the additive epsilon
indicator (Zitzler et al. 2003), the least improvement on all tasks alike with which some point of the set would be as
good on each of them; and compare it with how far the points of the front are beyond each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtlrepro import tasks
from mtlrepro.analysis.verdicts import Interval, mean_interval, range_interval
from mtlrepro.pages.figures import legend, styles
from mtlrepro.runs.tables import flat
from mtlrepro.studies.scores import DELTA, Scores
from mtlrepro.studies.setting import Setting
from mtlrepro.training.config import RunConfig

PARTS = 10
"""Steps of a weight from 0 to 1."""
LEVEL = 5.0
"""Share in % of the front's own points that may be as far beyond the others as a method that counts as beyond."""
VALIDATION = "validation "
"""Begins the column of a metric on the validation split."""
FAR = tuple(f"{name}{end}" for name in ("beyond", "as far") for end in ("", " low", " high"))
SUMMARY = ("method", "seeds", "delta", "gain", "low", "high", *FAR)
"""Columns of `summary`, those about the front last."""


# --- grids --------------------------------------------------------------------------------------------


def simplex(tasks: int, parts: int = PARTS) -> list[tuple[float, ...]]:
    """Weights that sum to 1, none of them 0, in steps of 1 / `parts`: 36 for three tasks and ten parts, nine for two.

    Args:
        tasks: Number of tasks.
        parts: Steps from 0 to 1.

    Raises:
        ValueError: There are fewer parts than tasks.
    """
    if parts < tasks:
        raise ValueError(f"parts is {parts}; accepted for {tasks} tasks: {tasks} or more")
    counts = product(range(1, parts), repeat=tasks)
    return [tuple(count / parts for count in one) for one in counts if sum(one) == parts]


def grid(
    setting: Setting,
    seeds: Iterable[int],
    network: str = "",
    parts: int = PARTS,
    **changes: Any,  # noqa: ANN401
) -> list[RunConfig]:
    """Every point of the simplex as fixed weights, with metrics of the test and of the validation split.

    Args:
        setting: What all runs share; its tasks are weighted in their order.
        seeds: Seeds, of which all points of the first come first.
        network: Name of the network; empty: that of the setting.
        parts: See `simplex`.
        **changes: Fields of all runs.
    """
    points = simplex(len(setting.run(network).tasks), parts)
    return [point(setting, weights, seed, network, **changes) for seed in seeds for weights in points]


def point(
    setting: Setting,
    weights: Iterable[float],
    seed: int,
    network: str = "",
    **changes: Any,  # noqa: ANN401
) -> RunConfig:
    """One point of the front."""
    options = {"weights": list(weights)}
    return setting.run(network, method="fixed", method_options=options, seed=seed, evaluate_on="both", **changes)


# --- reading ------------------------------------------------------------------------------------------


def evaluated(setting: Setting, configs: Iterable[RunConfig]) -> pd.DataFrame:
    """Read stored runs and train missing ones, with metrics of both splits; runs that diverged are left out.

    Args:
        setting: What all runs share; `Setting.lost` counts what is left out.
        configs: Runs; those without a validation split have the test split alone.

    Returns:
        One row a run that did not diverge, in their order: `run`, its hash; `method`, its name; `weights`, those of its
        options, else empty; `seed`; `hours` that it took; and each metric as `TASK.METRIC` and `validation
        TASK.METRIC`.
    """
    configs = list(configs)
    left = setting.finite(configs)
    rows = []
    for config, record in zip(left, setting.records(left).values(), strict=True):
        weights = tuple(config.method_options.get("weights", ()))
        held_out = flat(record["validation_metrics"]) if "validation_metrics" in record else {}
        rows.append(
            {
                "run": config.hash,
                "method": config.method,
                "weights": weights,
                "seed": config.seed,
                "hours": record["provenance"]["seconds"] / 3600,
                **flat(record["metrics"]),
                **{f"{VALIDATION}{name}": value for name, value in held_out.items()},
            }
        )
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=_columns(configs), dtype=float)


def _columns(configs: Iterable[RunConfig]) -> list[str]:
    """Columns of `evaluated`."""
    found = ["run", "method", "weights", "seed", "hours"]
    for config in configs:
        for task in tasks.create(config.tasks, protocol=config.protocol):
            names = [f"{task.name}.{metric}" for metric in task.metrics().higher_is_better]
            found += [*names, *(f"{VALIDATION}{name}" for name in names)]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Front:
    """Fixed weights that were tried.

    Attributes:
        runs: As `evaluated` gives it, of the seeds of which every point is stored or diverged; points that diverged in
            one of them are left out of all.
        equal: Likewise, runs with equal weights: by the means of their metrics improvements are taken.
        scores: Metrics, and the convention of Delta_m.
        tasks: Tasks, in the order of the weights.
        lacking: Runs of the grid that are not stored, of seeds that are left out.
        diverged: Points that are left out since one of their runs diverged.
    """

    runs: pd.DataFrame
    equal: pd.DataFrame
    scores: Scores
    tasks: tuple[str, ...]
    lacking: int = 0
    diverged: int = 0

    @property
    def seeds(self) -> list[int]:
        """Seeds of which every point is stored."""
        return sorted(self.runs["seed"].unique())

    def delta_m(self, runs: pd.DataFrame, *, validation: bool = False) -> pd.Series:
        """Delta_m of each run against the mean of equal weights on the same split, in %.

        Args:
            runs: As `evaluated` gives it.
            validation: Whether it is that on the validation split.
        """
        return self.scores.delta_m(*self._split(runs, validation=validation))

    def improvements(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Mean relative improvement over the metrics of each task on the test split, in %: `[runs, tasks]`."""
        values, baseline = self._split(runs, validation=False)
        by_task = {}
        for task in self.tasks:
            own = {name: measure for name, measure in self.scores.metrics.items() if name.split(".")[0] == task}
            by_task[task] = Scores(own).delta_m(values, baseline[list(own)])
        return pd.DataFrame(by_task)

    def _split(self, runs: pd.DataFrame, *, validation: bool) -> tuple[pd.DataFrame, pd.Series]:
        start = VALIDATION if validation else ""
        columns = {f"{start}{name}": name for name in self.scores.names}
        values, baseline = (table[list(columns)].rename(columns=columns) for table in (runs, self.equal))
        return values, baseline.mean()

    @property
    def tuned(self) -> tuple[float, ...]:
        """Weights with the best mean Delta_m over these seeds on the validation split."""
        means = self.delta_m(self.runs, validation=True).groupby(self.runs["weights"]).mean()
        best: tuple[float, ...] = list(means.index)[int((self.scores.sign * means).argmax())]
        return best

    def weights_in_words(self, weights: Iterable[float]) -> str:
        """Write weights beside their tasks: `segmentation 0.3, disparity 0.7`."""
        return ", ".join(f"{task} {share:g}" for task, share in zip(self.tasks, weights, strict=True))

    def missing(self) -> str:
        """Which seeds the front has, and what of it diverged or is not stored, in a sentence."""
        rest = f"; further points that are left out, as they diverged: {self.diverged}" if self.diverged else ""
        rest += f"; runs of further seeds that are not stored: {self.lacking}" if self.lacking else ""
        return f"Fixed weights: {self.runs['weights'].nunique()} points, {seeds_in_words(self.seeds)}{rest}."


def load(setting: Setting, configs: Sequence[RunConfig], equal: Sequence[RunConfig], scores: Scores) -> Front:
    """Read a front as far as it is stored: the seeds that have all points. If none has, the first seed is trained.

    Args:
        setting: What all runs share.
        configs: As `grid` gives it.
        equal: Runs with equal weights, with metrics of both splits; missing ones are trained.
        scores: Metrics, and the convention of Delta_m.

    Raises:
        RuntimeError: All runs with equal weights, or all points, diverged; see `Setting.reference`.
    """
    by_seed: dict[int, list[RunConfig]] = {}
    for config in configs:
        by_seed.setdefault(config.seed, []).append(config)
    whole = [seed for seed, own in by_seed.items() if setting.stored(setting.unbroken(own))] or [next(iter(by_seed))]
    rest = [run for seed, own in by_seed.items() if seed not in whole for run in own]
    tried = [run for seed in whole for run in by_seed[seed]]
    runs = evaluated(setting, tried)
    kept = runs[runs.groupby("weights")["seed"].transform("count") == len(whole)].reset_index(drop=True)
    if kept.empty:
        setting.reference("fixed weights", tried, least=len(whole))
    lacking = sum(run not in setting.store for run in setting.unbroken(rest))
    lost = len(by_seed[whole[0]]) - kept["weights"].nunique()
    baseline = evaluated(setting, setting.reference("equal weights", equal))
    return Front(kept, baseline, scores, configs[0].tasks, lacking, lost)


def seeds_in_words(seeds: Sequence[int]) -> str:
    """Write which seeds there are: `seed 0`, or `seeds 0, 1`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


# --- methods against the front ------------------------------------------------------------------------


def beyond(improvements: np.ndarray, points: np.ndarray) -> float:
    """How far one point is beyond a set, in %: the additive epsilon indicator of the set against the point.

    Args:
        improvements: `[tasks]`, larger is better.
        points: `[points, tasks]`.

    Returns:
        The least number that, added to all tasks of some point of the set, makes that point at least as good on each
        task; negative or 0 where one is so already, and the point is dominated.
    """
    return float((improvements - points).max(axis=1).min())


def own_distances(points: np.ndarray) -> np.ndarray:
    """How far each point of a front is beyond the others, see `beyond`."""
    return np.array([beyond(one, np.delete(points, i, axis=0)) for i, one in enumerate(points)])


def against(front: Front, methods: Mapping[str, pd.DataFrame], tuned: pd.DataFrame) -> pd.DataFrame:
    """Hold methods against the front and against its tuned point, seed by seed.

    Args:
        front: The front.
        methods: Title to its runs, as `evaluated` gives them.
        tuned: Runs of the tuned point.

    Returns:
        One row a method and seed: `method`, `seed`; `delta` and `tuned`, its Delta_m and that of the tuned point of
        the same seed, in %; and, where the front has the seed, `beyond` in %, and `as far`, the share in % of the
        front's points that are at least as far beyond the others; otherwise NaN.
    """
    reference = front.delta_m(tuned).groupby(tuned["seed"]).mean()
    fronts = {seed: front.improvements(own).to_numpy() for seed, own in front.runs.groupby("seed")}
    chance = {seed: own_distances(points) for seed, points in fronts.items()}
    rows = []
    for title, runs in methods.items():
        improvements = front.improvements(runs).to_numpy()
        for seed, delta, own in zip(runs["seed"], front.delta_m(runs), improvements, strict=True):
            distance, share = np.nan, np.nan
            if seed in fronts:
                distance = beyond(own, fronts[seed])
                share = 100 * float((chance[seed] >= distance - 1e-9).mean())
            rows.append((title, seed, delta, reference.get(seed, np.nan), distance, share))
    return pd.DataFrame(rows, columns=["method", "seed", "delta", "tuned", "beyond", "as far"])


def summary(held: pd.DataFrame, sign: int = 1) -> pd.DataFrame:
    """Condense `against` to one row a method.

    Args:
        held: As `against` gives it.
        sign: 1 if a higher Delta_m is better, else -1.

    Returns:
        `method`, `seeds`; `delta`, mean Delta_m in %; `gain`, that less the tuned point's in runs of the same seed,
        positive where the method is better, with `low` and `high` of the paired 95 % interval; `beyond` and `as far`,
        means over the seeds of the front, with the range as `... low` and `... high`. Methods without two pairs, and
        those without a seed of the front, are left out.
    """
    rows = []
    for method, own in held.groupby("method", sort=False):
        pairs = (sign * (own["delta"] - own["tuned"])).dropna()
        if len(pairs) < 2 or own["beyond"].isna().all():
            continue
        gain = mean_interval(pairs)
        row: dict[str, object] = {
            "method": method,
            "seeds": len(own),
            "delta": float(own["delta"].mean()),
            "gain": gain.value,
            "low": gain.low,
            "high": gain.high,
        }
        for name in ("beyond", "as far"):
            found = range_interval(own[name].dropna())
            row |= {name: found.value, f"{name} low": found.low, f"{name} high": found.high}
        rows.append(row)
    return pd.DataFrame(rows, columns=SUMMARY)


def shown(front: Front, table: pd.DataFrame) -> pd.DataFrame:
    """Give a `summary` the titles that readers see, without ranges where the front has one seed.

    Args:
        front: The front.
        table: As `summary` gives it.
    """
    titles = {"delta": f"{DELTA} against equal, %", "gain": "less tuned weights, %"}
    for name, title in {"beyond": "beyond the front, %", "as far": "points as far, %"}.items():
        bounds = (f"{name} low", f"{name} high")
        if len(front.seeds) == 1:
            table = table.drop(columns=list(bounds), errors="ignore")
        titles |= {name: title, **{bound: bound.replace(name, title) for bound in bounds}}
    return table.rename(columns=titles)


def search(front: Front, methods: Mapping[str, pd.DataFrame]) -> str:
    """Size of the search of the tuned point and of each method, in a sentence.

    Args:
        front: The front.
        methods: Title to all runs among which its reported ones were chosen, as `evaluated` gives them.
    """
    parts = [
        f"{title} {len(own)} ({own['hours'].sum():.1f})"
        for title, own in {"tuned fixed weights": front.runs, **methods}.items()
    ]
    return f"Runs among which the shown ones were chosen, and their hours on one core: {', '.join(parts)}."


def gains(table: pd.DataFrame) -> dict[str, Interval]:
    """Method to its gain over the tuned point, of a `summary`."""
    return {
        str(row["method"]): Interval(float(row["gain"]), float(row["low"]), float(row["high"]))
        for row in table.to_dict("records")
    }


# --- figure -------------------------------------------------------------------------------------------


def triangle(front: Front, marks: Mapping[str, Sequence[float]]) -> Figure:
    """Draw Delta_m over the simplex of three weights, and where some weights lie on it.

    Args:
        front: The front, of three tasks; the colour is the mean over its seeds on the test split.
        marks: Label to weights, in the order of the front's tasks, of any sum.

    Raises:
        ValueError: There are not three tasks.
    """
    if len(front.tasks) != 3:
        raise ValueError(f"tasks is {front.tasks}; accepted: three")
    drawing = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = drawing.subplots()
    means = front.delta_m(front.runs).groupby(front.runs["weights"]).mean()
    places = np.array([_place(weights) for weights in means.index])
    shown = axes.scatter(places[:, 0], places[:, 1], s=180, c=means.to_numpy(), cmap="viridis")
    drawing.colorbar(shown, ax=axes, label=f"{DELTA} against equal weights, %")
    looks = styles(list(marks))
    for label, weights in marks.items():
        colour, marker = looks[label]
        x, y = _place(weights)
        axes.plot(x, y, marker, color=colour, markersize=9, markeredgecolor="white", label=label, linestyle="none")
    for task, corner in zip(front.tasks, np.eye(3), strict=True):
        x, y = _place(corner)
        axes.annotate(f"all on {task}", (x, y), ha="center", va="bottom" if y else "top", fontsize=9)
    axes.plot(*np.array([_place(corner) for corner in (*np.eye(3), np.eye(3)[0])]).T, color="0.7", linewidth=1)
    axes.set_aspect("equal")
    axes.set_axis_off()
    legend(drawing, axes, min(len(marks), 4))
    return drawing


def _place(weights: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Place of three weights in a triangle whose corners are the single tasks."""
    _, second, third = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    return float(second + third / 2), float(third * np.sqrt(3) / 2)
