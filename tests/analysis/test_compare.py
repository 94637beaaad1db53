"""Improvement, ranks, Friedman, Nemenyi, hypervolume: by hand, by invariance, and Demšar's published example."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mtlrepro.analysis.compare import critical_difference, delta_m, hypervolume, improvement, ranks, with_spread_of
from mtlrepro.analysis.verdicts import mean_interval

PER_METRIC, PER_TASK = "per metric, lower is better", "per task, higher is better"
HIGHER = {"mIoU": True, "Pix Acc": True, "Abs Err": False}
TASKS = {"mIoU": "segmentation", "Pix Acc": "segmentation", "Abs Err": "depth"}
BASELINE = {"mIoU": 40.0, "Pix Acc": 50.0, "Abs Err": 0.5}


def table(*rows, metrics=("mIoU", "Pix Acc", "Abs Err")):
    return pd.DataFrame(rows, columns=list(metrics), index=[f"method {i}" for i in range(len(rows))], dtype=float)


def random_table(methods=6, metrics=3, seed=0):
    values = np.random.default_rng(seed).uniform(0.5, 2, (methods, metrics))
    return table(*values, metrics=list(HIGHER)[:metrics])


def delta(values, convention, baseline=BASELINE, higher=HIGHER, tasks=TASKS):
    return delta_m(values, baseline, higher, tasks, convention=convention)


# --- Delta_m ------------------------------------------------------------------------------------------


def test_delta_m_by_hand_in_both_conventions():
    """Gains of 10 and -20 % in segmentation and 40 % in depth: means of three metrics and of two tasks."""
    found = table([44, 40, 0.3])
    np.testing.assert_allclose(improvement(found, BASELINE, HIGHER), [[10, -20, 40]])
    assert math.isclose(delta(found, PER_METRIC)["method 0"], -(10 - 20 + 40) / 3)
    assert math.isclose(delta(found, PER_TASK)["method 0"], ((10 - 20) / 2 + 40) / 2)


def test_conventions_can_disagree_in_sign():
    """Each metric of segmentation 3 % worse, depth 4 % better: a drop over metrics, a gain over tasks."""
    found = table([40 * 0.97, 50 * 0.97, 0.5 * 0.96])
    assert delta(found, PER_METRIC)["method 0"] > 0
    assert delta(found, PER_TASK)["method 0"] > 0


def test_conventions_are_negatives_with_one_metric_a_task():
    values = random_table()
    tasks = {metric: metric for metric in HIGHER}
    np.testing.assert_allclose(delta(values, PER_TASK, tasks=tasks), -delta(values, PER_METRIC, tasks=tasks))


@pytest.mark.parametrize("convention", [PER_METRIC, PER_TASK])
def test_delta_m_of_the_baseline_is_zero_and_units_and_order_do_not_matter(convention):
    values = random_table()
    assert delta(table(list(BASELINE.values())), convention)["method 0"] == 0
    expected = delta(values, convention)
    scale = pd.Series({"mIoU": 0.01, "Pix Acc": 3.0, "Abs Err": 1000.0})
    np.testing.assert_allclose(delta(values * scale, convention, baseline=pd.Series(BASELINE) * scale), expected)
    shuffled = values[["Abs Err", "mIoU", "Pix Acc"]].iloc[::-1]
    pd.testing.assert_series_equal(delta(shuffled, convention).loc[expected.index], expected)


def test_a_direction_turns_the_sign():
    values = random_table()
    turned = {metric: not higher for metric, higher in HIGHER.items()}
    np.testing.assert_allclose(delta(values, PER_TASK, higher=turned), -delta(values, PER_TASK))


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_baseline_must_be_a_positive_finite_number(bad):
    with pytest.raises(ValueError, match=f"baseline of Pix Acc is {bad}; accepted: positive finite"):
        delta(random_table(), PER_METRIC, baseline={**BASELINE, "Pix Acc": bad})


def test_a_missing_metric_is_named():
    values = random_table()
    for name, argument in (("baseline", BASELINE), ("higher_is_better", HIGHER), ("tasks", TASKS)):
        less = {metric: value for metric, value in argument.items() if metric != "Abs Err"}
        keyword = {"higher_is_better": "higher"}.get(name, name)
        with pytest.raises(ValueError, match=f"{name} lacks Abs Err"):
            delta(values, PER_TASK, **{keyword: less})
    with pytest.raises(ValueError, match="table lacks Abs Err"):
        delta(values.drop(columns="Abs Err"), PER_TASK)


def test_a_missing_value_and_an_unknown_convention_are_refused():
    with pytest.raises(ValueError, match="'Pix Acc' of 'method 1' is nan"):
        delta(table([1, 2, 3], [1, math.nan, 3]), PER_METRIC)
    with pytest.raises(ValueError, match="convention is 'mean'; accepted: 'per metric, lower is better'"):
        delta(random_table(), "mean")


# --- ranks --------------------------------------------------------------------------------------------


def test_ranks_by_hand_with_both_rules_for_ties():
    values = table([3, 1, 1], [2, 1, 2], [2, 1, 3], [1, 5, 4])
    np.testing.assert_array_equal(ranks(values, HIGHER).T, [[1, 2.5, 2.5, 4], [3, 3, 3, 1], [1, 2, 3, 4]])
    np.testing.assert_array_equal(ranks(values, HIGHER, "min").T, [[1, 2, 2, 4], [2, 2, 2, 1], [1, 2, 3, 4]])


def test_averaged_ranks_sum_to_the_same_and_increasing_functions_leave_ranks_alone():
    values = random_table(9).round(1)
    found = ranks(values, HIGHER)
    assert found.sum().tolist() == [45, 45, 45]
    assert (ranks(values, HIGHER, "min") <= found).all(axis=None)
    pd.testing.assert_frame_equal(ranks(np.exp(3 * values), HIGHER), found)
    reversed_ = ranks(-values, HIGHER)
    pd.testing.assert_frame_equal(10 - reversed_, found)


def test_ranks_name_what_they_refuse():
    with pytest.raises(ValueError, match="ties is 'dense'; accepted: 'average', 'min'"):
        ranks(random_table(), HIGHER, "dense")
    with pytest.raises(ValueError, match="higher_is_better lacks Abs Err"):
        ranks(random_table(), {"mIoU": True, "Pix Acc": True})
    with pytest.raises(ValueError, match="'Abs Err' of 'method 0' is inf"):
        ranks(table([1, 2, math.inf]), HIGHER)


# --- Nemenyi -----------------------------------------------------------------------------

# Demšar 2006, Table 5(a): critical values of Nemenyi's test for 2 to 10 methods.
NEMENYI = {
    0.05: [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164],
    0.10: [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920],
}


@pytest.mark.parametrize("alpha", NEMENYI)
def test_critical_values_are_those_of_demsar(alpha):
    """Printed to three digits; those for 3 and 7 methods differ by up to 0.001."""
    found = [critical_difference(k, 1, alpha) / math.sqrt(k * (k + 1) / 6) for k in range(2, 11)]
    np.testing.assert_allclose(found, NEMENYI[alpha], atol=0.0011)


def test_critical_difference_of_demsar_and_of_two_methods():
    """k = 4, N = 14: 1.25 and 1.12 (Section 3.2.4); for two methods the range is that of a normal difference."""
    assert math.isclose(critical_difference(4, 14), 1.25, abs_tol=0.005)
    assert math.isclose(critical_difference(4, 14, 0.10), 1.12, abs_tol=0.005)
    for alpha in (0.01, 0.2):
        assert math.isclose(critical_difference(2, 9, alpha), stats.norm.isf(alpha / 2) / 3, rel_tol=1e-6)
    assert math.isclose(critical_difference(5, 40), critical_difference(5, 10) / 2)


@pytest.mark.parametrize("arguments", [(1, 5), (3, 0), (3, 5, 0.0), (3, 5, 1.0)])
def test_critical_difference_refuses(arguments):
    with pytest.raises(ValueError, match="accepted"):
        critical_difference(*arguments)


# --- hypervolume ---


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([(2, 3)], 6),
        ([(1, 3), (2, 2), (4, 1)], 1 * 3 + 1 * 2 + 2 * 1),
        ([(4, 1), (1, 3), (2, 2), (1, 1), (2, 2)], 7),  # in any order; what is dominated or doubled adds nothing
        ([(2, 3), (5, -1), (-1, 5), (0, 9)], 6),  # not above the reference on both axes
        ([(-1, -1)], 0),
    ],
)
def test_hypervolume_by_hand(points, area):
    assert hypervolume(points, (0, 0)) == pytest.approx(area)
    assert hypervolume(np.add(points, (10, -5)), (10, -5)) == pytest.approx(area)
    assert hypervolume(np.array(points)[:, ::-1], (0, 0)) == pytest.approx(area)


def test_hypervolume_is_the_share_of_dominated_cells():
    points = np.random.default_rng(0).integers(1, 20, (8, 2))
    corners = np.argwhere(np.ones((20, 20)))
    dominated = (corners[:, None] < points).all(-1).any(-1)
    assert hypervolume(points, (0, 0)) == dominated.sum()


@pytest.mark.parametrize(
    ("points", "reference", "message"),
    [
        ([(1, 2, 3)], (0, 0), r"points is \(1, 3\), reference is \(2,\); accepted: \(n, 2\) and \(2,\)"),
        ([(1, 2)], (0, 0, 0), r"reference is \(3,\)"),
        ([(1, np.nan)], (0, 0), "points or reference is not finite"),
    ],
)
def test_hypervolume_refuses(points, reference, message):
    with pytest.raises(ValueError, match=message):
        hypervolume(points, reference)


# --- the spread of the baseline


def test_moved_runs_keep_the_mean_and_take_on_the_spread_of_the_baseline():
    """A baseline of 9, 10, 11 and runs of 20, 20, 20: a term 20 / 10 moves by 20 (10 - b) / 100, up and down."""
    seeds = [3, 4, 5]
    baseline = pd.DataFrame({"a.x": [9.0, 10.0, 11.0]}, seeds)
    moved = with_spread_of(baseline, pd.DataFrame({"a.x": [20.0] * 3}, seeds[::-1]))
    assert moved["a.x"].to_dict() == {3: 22, 4: 20, 5: 18}
    gained = delta_m(moved, {"a.x": 10}, {"a.x": True}, {"a.x": "a"}, convention="per task, higher is better")
    assert gained.to_dict() == pytest.approx({3: 120, 4: 100, 5: 80})


def test_runs_that_go_with_their_baseline_have_no_spread():
    baseline = pd.DataFrame({"a.x": [9.0, 10.0, 11.0]})
    np.testing.assert_allclose(with_spread_of(baseline, 2 * baseline), 20)


def test_seeds_of_the_baseline_are_those_of_the_runs():
    with pytest.raises(ValueError, match=r"seeds are \[0, 1\]; accepted: those of the baseline, \[0, 1, 2\]"):
        with_spread_of(pd.DataFrame({"x": [1.0, 2.0, 3.0]}), pd.DataFrame({"x": [1.0, 2.0]}))


@pytest.mark.parametrize("together", [0.0, 0.7])
def test_intervals_of_delta_m_cover_its_true_value_with_the_spread_of_the_baseline(together):
    """Five seeds, two metrics of one task, deviations of 2.5 % in the baseline and 1 % in the method."""
    rng, covered, short, trials = np.random.default_rng(0), 0, 0, 600
    metrics, task = {"a.x": True, "a.y": False}, {"a.x": "a", "a.y": "a"}
    truth = 100 * ((11 / 10 - 1) + (1 - 9 / 10)) / 2
    for _ in range(trials):
        own, alone = rng.standard_normal((2, 5, 2))
        alone = together * own + np.sqrt(1 - together**2) * alone
        baseline = pd.DataFrame(10 * (1 + 0.025 * alone), columns=[*metrics])
        runs = pd.DataFrame([11, 9] * (1 + 0.01 * own), columns=[*metrics])
        for moved in (with_spread_of(baseline, runs), runs):
            found = mean_interval(
                delta_m(moved, baseline.mean(), metrics, task, convention="per task, higher is better")
            )
            inside = found.low <= truth <= found.high
            covered, short = (covered, short + inside) if moved is runs else (covered + inside, short)
    assert covered / trials == pytest.approx(0.95, abs=0.025)
    assert short / trials < 0.8  # with the baseline held fixed, the interval is too short
