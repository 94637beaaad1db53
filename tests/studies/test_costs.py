from dataclasses import replace

import numpy as np
import pytest
from study_stores import keep

from mtlrepro.studies import costs
from mtlrepro.studies.experiments import shown
from mtlrepro.studies.setting import Setting

EIGHT = ("depth", "normal", "curvature", "reshading", "edges2d", "edges3d", "keypoints2d", "keypoints3d")


@pytest.fixture
def setting(tmp_path):
    return Setting(seeds=2, comparison_seeds=3, store=keep(tmp_path))


def runs(setting, *methods, network="full_sharing", seeds=3, **changes):
    return [setting.run(network, method=one, seed=seed, **changes) for one in methods for seed in range(seeds)]


def timed(setting, configs, seconds):
    """Store those runs as ones that took so many seconds each."""
    for config, value in zip(configs, seconds, strict=True):
        keep(setting.store.folder, config, provenance={"seconds": value})


def table(setting, **grids):
    return costs.table(shown(setting, grids))


def test_a_shared_run_counts_in_the_first_experiment_and_one_without_new_runs_has_no_row(setting):
    found = table(
        setting,
        one=lambda at: runs(at, "equal", "lsb"),
        two=lambda at: runs(at, "equal", "gls", seeds=2),
        three=lambda at: runs(at, "equal"),
    )
    assert found[["runs of", "runs"]].to_numpy().tolist() == [["one", 6], ["two", 2]]


def test_costs_are_measured_on_stored_runs_else_by_the_benchmark_else_unknown(setting):
    timed(setting, runs(setting, "equal", network="full_sharing")[:2], [120, 180])
    found = table(
        setting,
        one=lambda at: runs(at, "equal", network="full_sharing"),
        two=lambda at: runs(at, "equal", network="multi_decoder"),
        three=lambda at: runs(at, "equal", network="full_sharing", tasks=EIGHT),
    )
    benchmark = costs.minutes(setting.run("multi_decoder"), costs.speeds())
    assert found["minutes"].tolist() == pytest.approx([2, benchmark, np.nan], nan_ok=True)
    assert found["source"].tolist() == ["stored runs", costs.BENCHMARK, costs.NOT_MEASURED]
    assert found["stored"].tolist() == [2, 0, 0]
    assert found["hours"].tolist() == pytest.approx([0.1, benchmark / 20, np.nan], nan_ok=True)
    text = costs.written(found)
    assert text["runs"].tolist() == ["3", "3", "3", "9"]
    assert text["minutes a run"].tolist() == ["2.0", f"{benchmark:.1f}", "?", ""]
    assert text["hours"].tolist() == ["0.10", f"{benchmark / 20:.2f}", "?", ""]
    assert costs.finding(found) == (
        f"{0.1 + benchmark / 20:.1f} core-hours for 9 runs, one after another, without 1 of 3 grids, whose cost is "
        "not known."
    )


def test_each_experiment_is_counted_at_the_scale_at_which_it_is_shown(setting):
    larger = replace(setting, scale="gpu")
    timed(larger, runs(larger, "equal"), [60] * 3)
    timed(setting, runs(setting, "lsb"), [1200] * 3)
    grids = {"one": lambda at: runs(at, "equal"), "two": lambda at: runs(at, "lsb")}
    exhibit = costs.exhibit(setting, grids, "costs")
    assert exhibit.table["scale"].tolist() == ["gpu", "cpu", ""]
    assert exhibit.table["hours of a"].tolist() == ["GPU", "core", ""]
    assert exhibit.caption == (
        "All runs that this page reads: 0.1 GPU-hours and 1.0 core-hours for 6 runs, one after another. "
        "A run that several parts share counts in the first."
    )


def test_stored_runs_of_the_size_tell_how_long_one_takes(setting):
    """The quickest of a method, the median over methods for one that is not stored, nothing of another size."""
    timed(setting, runs(setting, "equal", seeds=2), [300.0, 200.0])
    timed(setting, runs(setting, "gradnorm", seeds=1), [600.0])
    timed(setting, runs(setting, "lsb", seeds=1, tasks=("depth",)), [7.0])
    wanted = [setting.run("full_sharing", method=method, seed=5) for method in ("equal", "gradnorm", "lsb")]
    assert costs.seconds(wanted, [setting.store])["seconds"].tolist() == [200.0, 600.0, 400.0]
