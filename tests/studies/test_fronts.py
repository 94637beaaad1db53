"""Fronts made by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_stores import keep, lose, metrics_of

from mtlrepro.runs.store import Store
from mtlrepro.studies import fronts
from mtlrepro.studies.fronts import Front, beyond, own_distances
from mtlrepro.studies.scores import Scores
from mtlrepro.studies.setting import Setting

SCORES = Scores.of(["depth.delta1", "depth.rmse", "segmentation.miou"])
TASKS = ("segmentation", "depth")


def runs_of(points, validation=None, seeds=(0, 1), method="fixed"):
    """Runs by weights, (mIoU, delta_1): RMSE is 1 / delta_1, and on validation all are as said there or the same."""
    rows = []
    for weights, (miou, delta) in points.items():
        for seed in seeds:
            row = {"run": f"{weights}{seed}", "method": method, "weights": weights, "seed": seed, "hours": 0.5}
            held_out = (validation or points)[weights]
            for start, (x, y) in (("", (miou, delta)), (fronts.VALIDATION, held_out)):
                row |= {f"{start}segmentation.miou": x, f"{start}depth.delta1": y, f"{start}depth.rmse": 1 / y}
            rows.append(row)
    return pd.DataFrame(rows)


EQUAL = runs_of({(): (50.0, 50.0)}, method="equal")
POINTS = {(0.25, 0.75): (40.0, 60.0), (0.5, 0.5): (55.0, 52.0), (0.75, 0.25): (60.0, 40.0)}


def front_of(points=None, **changes):
    return Front(runs_of(points or POINTS, **changes), EQUAL, SCORES, TASKS)


def test_simplex_of_three_tasks_is_the_published_grid():
    points = fronts.simplex(3)
    assert (len(points), len(fronts.simplex(2)), len(fronts.simplex(3, 4))) == (36, 9, 3)
    assert points[0] == (0.1, 0.1, 0.8)
    assert all(sum(weights) == pytest.approx(1) and min(weights) > 0 for weights in points)
    assert len(set(points)) == 36
    with pytest.raises(ValueError, match="parts is 2; accepted for 3 tasks: 3 or more"):
        fronts.simplex(3, 2)


def test_improvements_are_by_task_against_equal_weights_on_the_same_split():
    front = front_of()
    found = front.improvements(front.runs[front.runs["seed"] == 0])
    assert found.columns.tolist() == list(TASKS)
    assert found["segmentation"].tolist() == pytest.approx([-20, 10, 20])
    rmse = [100 * (1 - 50 / y) for y in (60, 52, 40)]  # 1/50 less 1/y, relative to 1/50
    assert found["depth"].tolist() == pytest.approx([(a + b) / 2 for a, b in zip((20, 4, -20), rmse, strict=True)])
    assert front.delta_m(front.runs[front.runs["seed"] == 0]).tolist() == pytest.approx(found.mean(axis=1).tolist())


def test_the_tuned_point_is_chosen_on_validation_alone():
    """On the test split the middle is best; on validation the first point is."""
    held_out = {(0.25, 0.75): (60.0, 60.0), (0.5, 0.5): (55.0, 52.0), (0.75, 0.25): (40.0, 40.0)}
    front = front_of(validation=held_out)
    assert front_of().tuned == (0.5, 0.5)
    assert front.tuned == (0.25, 0.75)
    test = front.delta_m(front.runs).groupby(front.runs["weights"]).mean()
    assert test.idxmax() == (0.5, 0.5)


def test_the_tuned_point_obeys_the_direction_of_the_convention():
    """By a drop that lower is better, the point with the lowest is chosen."""
    drop = replace(SCORES, convention="per metric, lower is better")
    assert replace(front_of(), scores=drop).tuned == (0.5, 0.5)


def test_beyond_by_hand():
    points = np.array([[0.0, 10.0], [10.0, 0.0], [6.0, 6.0]])
    assert beyond(np.array([7.0, 8.0]), points) == 2  # (6, 6) needs 1 and 2
    assert beyond(np.array([5.0, 5.0]), points) == -1  # dominated by (6, 6), by 1
    assert beyond(np.array([6.0, 6.0]), points) == 0
    assert own_distances(points).tolist() == [4, 4, 6]


@given(st.lists(st.tuples(*[st.integers(-9, 9)] * 3), min_size=1, max_size=8), st.tuples(*[st.integers(-9, 9)] * 3))
def test_beyond_is_the_least_that_makes_a_point_as_good(points, own):
    points, own = np.array(points, dtype=float), np.array(own, dtype=float)
    distance = beyond(own, points)
    assert (points + distance >= own).all(axis=1).any()
    assert not (points + distance - 0.5 >= own).all(axis=1).any()


def test_methods_are_held_against_the_front_of_their_seed():
    """Seed 1 of the front is better by 10 on all tasks: what is beyond seed 0 is dominated there."""
    later = {weights: (x + 10, y + 10) for weights, (x, y) in POINTS.items()}
    runs = pd.concat([runs_of(POINTS, seeds=(0,)), runs_of(later, seeds=(1,))], ignore_index=True)
    front = Front(runs, EQUAL, SCORES, TASKS)
    method = runs_of({(): (56.0, 53.0)}, seeds=(0, 1, 2))
    tuned = runs_of({(0.5, 0.5): (55.0, 52.0)}, seeds=(0, 1, 2))
    held = fronts.against(front, {"LSB": method}, tuned)
    assert held["seed"].tolist() == [0, 1, 2]
    assert (held["delta"] > held["tuned"]).all()
    assert held["beyond"].iloc[0] > 0 > held["beyond"].iloc[1]
    assert held["beyond"].iloc[0] == pytest.approx(2)  # mIoU 56 against 55, of 50
    assert held["as far"].iloc[:2].tolist() == [100, 100]
    assert held.loc[2, ["beyond", "as far"]].isna().all()
    row = fronts.summary(held).iloc[0]
    assert row["seeds"] == 3
    assert row["low"] == pytest.approx(row["gain"]) == pytest.approx(row["high"])
    assert (row["beyond low"], row["beyond high"]) == pytest.approx(tuple(sorted(held["beyond"].iloc[:2])))
    assert fronts.gains(fronts.summary(held))["LSB"].value == pytest.approx(row["gain"])
    lower = fronts.summary(held, sign=-1).iloc[0]
    assert lower["gain"] == pytest.approx(-row["gain"])


def test_a_method_far_out_is_beyond_all_points():
    held = fronts.against(front_of(), {"far": runs_of({(): (90.0, 90.0)})}, runs_of({(0.5, 0.5): (55.0, 52.0)}))
    assert held["as far"].tolist() == [0, 0]


def test_readers_see_ranges_only_where_the_front_has_seeds():
    tuned = runs_of({(0.5, 0.5): (55.0, 52.0)})
    for seeds, bounds in (((0, 1), (" low", " high")), ((0,), ())):
        front = front_of(seeds=seeds)
        table = fronts.summary(fronts.against(front, {"LSB": runs_of({(): (56.0, 53.0)})}, tuned))
        shown = fronts.shown(front, table)
        titles = ("beyond the front, %", "points as far, %")
        distances = [f"{name}{bound}" for name in titles for bound in ("", *bounds)]
        assert list(shown)[2:] == ["Δm against equal, %", "less tuned weights, %", "low", "high", *distances]
        assert shown["beyond the front, %"].tolist() == pytest.approx([2])  # mIoU 56 against 55, of 50
    assert front.weights_in_words((0.25, 0.75)) == "segmentation 0.25, depth 0.75"


def test_size_of_the_search_is_counted_in_runs_and_hours():
    text = fronts.search(front_of(), {"LSB": runs_of({(): (50.0, 50.0)})})
    assert text.endswith("one core: tuned fixed weights 6 (3.0), LSB 2 (1.0).")


def stored_front(folder, setting, seeds, left_out=()):
    for run in [*fronts.grid(setting, seeds, parts=4), *equal_runs(setting)]:
        if run not in left_out:
            value = 1.0 + sum(weight * weight for weight in run.method_options.get("weights", ()))
            keep(folder, run, metrics=metrics_of(run, value), validation_metrics=metrics_of(run, 2 * value))


def equal_runs(setting):
    return [setting.run(method="equal", seed=seed, evaluate_on="both") for seed in (0, 1)]


def test_a_front_is_read_as_far_as_its_seeds_are_whole(tmp_path):
    setting = Setting(scale="smoke", store=Store(tmp_path))
    configs = fronts.grid(setting, (0, 1), parts=4)
    stored_front(tmp_path, setting, (0, 1), left_out=[configs[-1]])
    scores = Scores.of(["depth.delta1", "segmentation.miou"])
    front = fronts.load(setting, configs, equal_runs(setting), scores)
    assert front.seeds == [0]
    assert front.lacking == 1
    assert front.tasks == setting.run().tasks
    assert front.missing() == "Fixed weights: 3 points, seed 0; runs of further seeds that are not stored: 1."
    whole = fronts.load(setting, configs[:3], equal_runs(setting), scores)
    assert whole.missing() == "Fixed weights: 3 points, seed 0."
    assert (front.runs["validation depth.delta1"] == 2 * front.runs["depth.delta1"]).all()


def test_runs_that_diverged_are_left_out_and_not_trained_again(tmp_path):
    setting = Setting(scale="smoke", store=Store(tmp_path))
    one, other = equal_runs(setting)
    keep(tmp_path, one, metrics=metrics_of(one, 2.0), validation_metrics=metrics_of(one, 2.0))
    lose(tmp_path, other)
    found = fronts.evaluated(setting, [one, other])
    assert found["run"].tolist() == [one.hash]
    assert fronts.evaluated(setting, [other]).empty
    assert set(fronts.evaluated(setting, [other])) == set(found)
    assert other not in setting.store


def test_a_point_of_a_front_that_diverged_is_out_of_all_seeds_and_counted(tmp_path):
    setting = Setting(scale="smoke", store=Store(tmp_path))
    configs = fronts.grid(setting, (0, 1), parts=4)
    stored_front(tmp_path, setting, (0, 1), left_out=[configs[-1]])
    lose(tmp_path, configs[-1])
    scores = Scores.of(["depth.delta1", "segmentation.miou"])
    front = fronts.load(setting, configs, equal_runs(setting), scores)
    assert front.seeds == [0, 1] and front.lacking == 0
    assert front.missing() == (
        "Fixed weights: 2 points, seeds 0, 1; further points that are left out, as they diverged: 1."
    )
    assert front.tuned in {tuple(run.method_options["weights"]) for run in configs[:2]}


def test_methods_without_two_pairs_are_not_in_the_summary():
    front, tuned = front_of(), runs_of({(0.5, 0.5): (55.0, 52.0)})
    whole = runs_of({(): (56.0, 53.0)})
    methods = {"whole": whole, "one run": whole[:1], "none": whole[:0]}
    assert fronts.summary(fronts.against(front, methods, tuned))["method"].tolist() == ["whole"]
    nothing = fronts.summary(fronts.against(front, methods, tuned[:0]))
    assert nothing.empty and fronts.shown(front_of(seeds=(0,)), nothing).empty and fronts.gains(nothing) == {}


def test_the_triangle_has_a_corner_for_each_task():
    three = Scores.of(["depth.delta1", "segmentation.miou", "normal.within_30"])
    points = {weights: (50.0, 50.0 + i) for i, weights in enumerate(fronts.simplex(3, 4))}
    both = [table.assign(**{"normal.within_30": 50.0}) for table in (runs_of(points), EQUAL)]
    front = Front(*both, three, ("segmentation", "depth", "normal"))
    drawing = fronts.triangle(front, {"LSB": [2.0, 0.0, 0.0], "equal": [1, 1, 1]})
    axes = drawing.axes[0]
    marks = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines}
    assert marks["LSB"] == pytest.approx((0, 0))
    assert marks["equal"] == pytest.approx((0.5, 3**0.5 / 6))
    assert {text.get_text() for text in axes.texts} == {"all on segmentation", "all on depth", "all on normal"}
    with pytest.raises(ValueError, match="accepted: three"):
        fronts.triangle(front_of(), {})
