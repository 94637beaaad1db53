r"""Comparisons of methods over tables of methods x metrics: improvement, ranks, Nemenyi, hypervolume.

Symbols: method :math:`m` scores :math:`M_{m,i}` on metric :math:`i = 1, \dots, K`; the baseline :math:`b` is
single-task learning; :math:`l_i = 1` where higher is better, otherwise 0. In Demšar's symbols, :math:`k` methods are
ranked in :math:`N` blocks (data sets or metrics), and :math:`R_j` is the average rank of method :math:`j`.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

Convention = Literal["per metric, lower is better", "per task, higher is better"]
Ties = Literal["average", "min"]


def improvement(
    table: pd.DataFrame, baseline: Mapping[str, float] | pd.Series, higher_is_better: Mapping[str, bool]
) -> pd.DataFrame:
    r"""Relative improvement on each metric in per cent, :math:`100\,(-1)^{1-l_i} (M_{m,i} - M_{b,i}) / M_{b,i}`.

    Args:
        table: `[methods, metrics]`.
        baseline: One value a metric, for exactly the metrics of `table`.
        higher_is_better: Direction of each metric; may name further ones.

    Returns:
        `[methods, metrics]`, positive where the method is better than the baseline.

    Raises:
        ValueError: A metric is missing in one of the arguments, a value is not finite, or a baseline is not a
            positive finite number: relative changes need a scale with a zero.
    """
    for other, name in ((baseline, "baseline"), (higher_is_better, "higher_is_better")):
        _require_keys(table, other, name)
    extra = sorted(map(str, set(baseline.keys()) - set(table.columns)))
    if extra:
        raise ValueError(f"table lacks {', '.join(extra)}; accepted: every metric of the baseline")
    reference = np.array([baseline[metric] for metric in table.columns], dtype=np.float64)
    for metric, value in zip(table.columns, reference, strict=True):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"baseline of {metric} is {value}; accepted: positive finite numbers")
    sign = np.array([1.0 if higher_is_better[metric] else -1.0 for metric in table.columns])
    change = 100 * sign * (_finite(table).to_numpy() / reference - 1)
    return pd.DataFrame(change, index=table.index, columns=table.columns)


def delta_m(
    table: pd.DataFrame,
    baseline: Mapping[str, float] | pd.Series,
    higher_is_better: Mapping[str, bool],
    tasks: Mapping[str, str],
    *,
    convention: Convention,
) -> pd.Series:
    r"""Delta_m, the mean relative difference to single-task learning in per cent, in one of its two conventions.

    `per metric, lower is better`: the mean *drop* over all metrics,
    :math:`\frac{100}{K} \sum_i (-1)^{l_i} (M_{m,i} - M_{b,i}) / M_{b,i}` (CAGrad, Liu et al. 2021; Nash-MTL, Navon et
    al. 2022; FAMO, Liu et al. 2023). Tasks count by their number of metrics: on NYUv2, surface normals own 5 of 9.

    `per task, higher is better`: the mean *improvement*, first over the metrics :math:`i \in S_t` of each task, then
    over tasks, :math:`\frac{100}{T} \sum_t \frac{1}{|S_t|} \sum_{i \in S_t} (-1)^{1-l_i} (M_{m,i} - M_{b,i}) / M_{b,i}`
    (:math:`\Delta_p` of DB-MTL, Lin et al. 2023, and of LibMTL; the MCLGS poster averages over tasks likewise, but
    does not say how it treats metrics within a task).

    With one metric a task (Maninis et al. 2019) each is the negative of the other; otherwise they can disagree in
    sign and in order.

    Args:
        table: `[methods, metrics]`.
        baseline: Single-task values, for exactly the metrics of `table`.
        higher_is_better: Direction of each metric; may name further ones.
        tasks: Task of each metric; may name further ones. Not used by the first convention.
        convention: Which of the two.

    Returns:
        `[methods]`, per cent.

    Raises:
        ValueError: See :func:`improvement`; or a metric has no task, or `convention` is unknown.
    """
    if convention not in get_args(Convention):
        raise ValueError(f"convention is {convention!r}; accepted: {', '.join(map(repr, get_args(Convention)))}")
    _require_keys(table, tasks, "tasks")
    change = improvement(table, baseline, higher_is_better)
    if convention == "per metric, lower is better":
        return -change.mean(axis=1)
    return change.T.groupby([tasks[metric] for metric in change.columns]).mean().mean()


def with_spread_of(baseline: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    r"""Move the runs of a method so that the spread of Delta_m over them has that of the baseline's runs too.

    Delta_m of the means :math:`\bar M` and :math:`\bar b` over seeds is a sum of terms :math:`\bar M_i / \bar b_i`. To
    first order (the delta method), an error of both changes such a term by
    :math:`(M_i - \bar M_i) / \bar b_i - \bar M_i (b_i - \bar b_i) / \bar b_i^2`, which is what
    :math:`M_i - \bar M_i (b_i - \bar b_i) / \bar b_i` in the place of :math:`M_i` does with :math:`\bar b` held fixed.
    So :func:`delta_m` of the moved runs against :math:`\bar b` has the same mean, and Student's interval of it counts
    both spreads, and how they go together in runs of one seed.

    Args:
        baseline: `[seeds, metrics]`, runs of single-task learning.
        table: `[seeds, metrics]`, runs of one method with the same seeds.

    Returns:
        `[seeds, metrics]`, with the means of `table`.

    Raises:
        ValueError: The seeds differ.
    """
    if set(baseline.index) != set(table.index) or len(baseline) != len(table):
        raise ValueError(f"seeds are {[*table.index]}; accepted: those of the baseline, {[*baseline.index]}")
    own = baseline.loc[table.index, table.columns]
    return table - table.mean() * (own - own.mean()) / own.mean()


def ranks(table: pd.DataFrame, higher_is_better: Mapping[str, bool], ties: Ties = "average") -> pd.DataFrame:
    """Ranks of the methods on each metric, 1 is best; `.mean(axis=1)` gives the average ranks.

    Args:
        table: `[methods, metrics]`.
        higher_is_better: Direction of each metric; may name further ones.
        ties: Rank of equal values: the `average` of their places (Demšar 2006; LSB's Table S-3), so that each
            metric hands out the same sum, or the smallest place (`min`), as in sports.

    Raises:
        ValueError: A metric has no direction, a value is not finite, or `ties` is unknown.
    """
    if ties not in get_args(Ties):
        raise ValueError(f"ties is {ties!r}; accepted: {', '.join(map(repr, get_args(Ties)))}")
    _require_keys(table, higher_is_better, "higher_is_better")
    sign = np.array([-1.0 if higher_is_better[metric] else 1.0 for metric in table.columns])
    return (_finite(table) * sign).apply(lambda column: stats.rankdata(column, method=ties)).astype(np.float64)


def critical_difference(n_methods: int, n_blocks: int, alpha: float = 0.05) -> float:
    r"""Least difference of two average ranks that Nemenyi's test calls significant (Demšar 2006, Section 3.2.2).

    :math:`CD = q_\alpha \sqrt{k(k+1) / (6N)}`, where :math:`q_\alpha` is the upper quantile of the studentized range of
    :math:`k` values with infinite degrees of freedom, divided by :math:`\sqrt 2`. It holds for all pairs at once.

    Args:
        n_methods: Number of methods k, 2 or more.
        n_blocks: Number of blocks N, 1 or more; independent ones, which the metrics of one run are not.
        alpha: Probability of any false difference, in (0, 1).

    Raises:
        ValueError: An argument is out of range.
    """
    if n_methods < 2 or n_blocks < 1:
        raise ValueError(f"n_methods is {n_methods}, n_blocks is {n_blocks}; accepted: 2 or more and 1 or more")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; accepted: 0 < alpha < 1")
    q = float(stats.studentized_range.ppf(1 - alpha, n_methods, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(n_methods * (n_methods + 1) / (6 * n_blocks)))


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Area that points dominate, larger is better on both axes, above a reference point (Zitzler and Thiele 1998).

    Points that are not above the reference on both axes dominate nothing.

    Args:
        points: `[n, 2]`.
        reference: `[2]`.

    Returns:
        The area, in the product of both units.

    Raises:
        ValueError: Points are not pairs, or a number is not finite.
    """
    values, corner = np.asarray(points, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if values.ndim != 2 or values.shape[1:] != (2,) or corner.shape != (2,):
        raise ValueError(f"points is {values.shape}, reference is {corner.shape}; accepted: (n, 2) and (2,)")
    if not (np.isfinite(values).all() and np.isfinite(corner).all()):
        raise ValueError("points or reference is not finite; accepted: finite numbers")
    sizes = np.maximum(values - corner, 0)
    widths, heights = sizes[np.argsort(-sizes[:, 0])].T
    reached = np.maximum.accumulate(heights)
    return float((reached * -np.diff(widths, append=0)).sum())


def _require_keys(table: pd.DataFrame, mapping: Mapping[str, object] | pd.Series, name: str) -> None:
    missing = [str(metric) for metric in table.columns if metric not in mapping]
    if missing:
        raise ValueError(f"{name} lacks {', '.join(missing)}; accepted: every metric of the table")


def _finite(table: pd.DataFrame) -> pd.DataFrame:
    """The table in float64, or an error that names the first cell without a finite number."""
    numbers = table.astype(np.float64)
    values = numbers.to_numpy()
    for row, column in np.argwhere(~np.isfinite(values))[:1]:
        where = f"{table.columns[column]!r} of {table.index[row]!r}"
        raise ValueError(f"{where} is {values[row, column]}; accepted: finite numbers, so drop the row or column")
    return numbers
