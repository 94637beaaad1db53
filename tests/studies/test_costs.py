from dataclasses import replace

import numpy as np
import pytest
from run_cases import put
from study_stores import keep

from mtlrepro.studies import costs
from mtlrepro.studies.setting import Setting

EIGHT = ("depth", "normal", "curvature", "reshading", "edges2d", "edges3d", "keypoints2d", "keypoints3d")


@pytest.fixture
def setting(tmp_path):
    return Setting(seeds=2, comparison_seeds=3, store=keep(tmp_path))


def runs(setting, *methods, network="full_sharing", seeds=3):
    return [setting.run(network, method=method, seed=seed) for method in methods for seed in range(seeds)]


def timed(setting, configs, seconds):
    """Store those runs as ones that took so many seconds each."""
    for config, value in zip(configs, seconds, strict=True):
        keep(setting.store.folder, config, provenance={"seconds": value})


def test_a_shared_run_counts_once(setting):
    grids = {(3, "one"): runs(setting, "equal", "lsb"), (4, "two"): runs(setting, "equal", "gls", seeds=2)}
    table = costs.table(grids, setting)
    assert table[["part", "grid", "runs"]].to_numpy().tolist() == [[3, "one", 6], [4, "two", 2]]


def test_a_grid_without_new_runs_has_no_row(setting):
    configs = runs(setting, "equal")
    assert costs.table({(3, "one"): configs, (4, "two"): configs[:2]}, setting)["grid"].tolist() == ["one"]


def test_costs_are_measured_on_stored_runs_else_by_the_benchmark_else_unknown(setting):
    first, second = (runs(setting, "equal", network=name) for name in ("full_sharing", "multi_decoder"))
    third = [replace(setting, scale="gpu").run("multi_column")]
    timed(setting, first[:2], [120, 180])
    table = costs.table({(3, "one"): first, (3, "two"): second, (4, "three"): third}, setting)
    benchmark = costs.minutes(second[0], costs.speeds())
    assert table["minutes"].tolist() == pytest.approx([2, benchmark, np.nan], nan_ok=True)
    assert table["source"].tolist() == ["stored runs", costs.BENCHMARK, costs.NOT_MEASURED]
    assert table["stored"].tolist() == [2, 0, 0]
    assert table["hours"].tolist() == pytest.approx([0.1, benchmark / 20, np.nan], nan_ok=True)
    text = costs.written(table)
    assert text["runs"].tolist() == ["3", "3", "1", "7"]
    assert text["minutes a run"].tolist() == ["2.0", f"{benchmark:.1f}", "?", ""]
    assert text["hours"].tolist() == ["0.10", f"{benchmark / 20:.2f}", "?", f"{0.1 + benchmark / 20:.1f}"]


def test_of_runs_that_differ_in_their_seeds_the_quickest_counts(setting):
    """The means of the two methods' quickest runs, 1 and 3 minutes; that the first seed keeps pictures is no matter."""
    configs = runs(setting, "equal", "lsb")
    kept = {"epochs": [setting.epochs], "images": [0]}
    configs = [run.replace(pictures=kept) if run.seed == 0 else run for run in configs]
    timed(setting, configs, [600, 60, 90, 180, 200, 190])
    assert costs.table({(3, "one"): configs}, setting)["minutes"].tolist() == pytest.approx([2])


def test_runs_that_broke_off_are_stored(setting):
    configs = runs(setting, "equal")
    errors = ["FloatingPointError: epoch 2: a loss is not finite", "OSError: no space left on device"]
    for config, error in zip(configs, errors, strict=False):
        put(setting.store.folder, config, status="failed", error=error)
    assert costs.table({(3, "one"): configs}, setting)["stored"].tolist() == [1]


def test_more_tasks_than_the_benchmark_has_are_not_guessed(setting):
    table = costs.table({(4, "eight"): [setting.run(tasks=EIGHT, seed=seed) for seed in range(2)]}, setting)
    assert table["source"].tolist() == [costs.NOT_MEASURED]
    assert costs.finding(table) == (
        "0.0 hours for 2 runs, one after another, without 1 of 1 grids, whose cost is not known."
    )


def test_what_is_stored_at_larger_scales_is_counted(setting):
    larger = replace(setting, scale="gpu")
    timed(setting, runs(larger, "equal"), [60] * 3)
    shown = costs.exhibit(setting, lambda one: {(3, "one"): runs(one, "equal", "lsb")}, "costs")
    assert shown.table[["stored at cpu", "stored at gpu"]].to_numpy().tolist() == [["0", "3"]] * 2
    assert shown.table["grid"].tolist() == ["one", "all"]
    assert shown.caption.startswith("All grids on one core: ")
    gpu = costs.exhibit(larger, lambda one: {(3, "one"): runs(one, "equal", "lsb")}, "costs")
    assert gpu.caption == (
        "All grids on one GPU: 0.1 hours for 6 runs, one after another. "
        "A run that several grids share counts in the first."
    )
