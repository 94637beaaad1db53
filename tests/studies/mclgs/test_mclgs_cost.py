"""What an epoch costs, and the readings that the chapter takes."""

import pytest
from study_stores import keep_evaluated, lose

from mtlrepro.runs.store import Store
from mtlrepro.studies.mclgs import cost, grids, plan, readings
from mtlrepro.studies.setting import Setting


@pytest.fixture
def setting(tmp_path):
    """Epochs of two seconds, of MCLGS six in the first half; one run of each had to wait in one of its epochs."""
    setting = Setting(scale="smoke", seeds=2, comparison_seeds=2, store=Store(tmp_path))
    for method, runs in grids.methods(setting).items():
        for run in runs:
            base = 2.0 if method in ("equal", "mclgs") else 5.0
            first = 6.0 if method == "mclgs" else base
            halves = [first] * (run.epochs // 2) + [base] * (run.epochs // 2)
            history = [{"epoch": i, "seconds": own * (1 + run.seed)} for i, own in enumerate(halves, 1)]
            history[1]["seconds"] *= 10
            keep_evaluated(tmp_path, run, history=history)
    return setting


def test_an_epoch_counts_by_its_median_and_a_method_by_its_quickest_run(setting):
    found = cost.seconds(setting)
    assert found[cost.DURING] == 6 and found[cost.AFTER] == found["equal"] == 2
    assert found["PCGrad"] == 5
    shown = cost.exhibit(setting)
    assert "takes 3.00 times as long" in shown.caption and "and 1.00 times once p is 0" in shown.caption
    assert shown.table["times equal"].tolist() == pytest.approx([1, 2.5, 2.5, 2.5, 2.5, 3, 1, 2.5])
    assert [one.status for one in cost.claims(setting)] == ["holds"]


def test_a_method_that_diverged_has_no_cost(setting, tmp_path):
    lose(tmp_path, *grids.methods(setting)["mclgs"], grids.methods(setting)["pcgrad"][0])
    shown = cost.exhibit(setting)
    assert "MCLGS takes ? times as long as equal weights while its curriculum lasts, and ? times" in shown.caption
    assert "Runs that diverged are left out: 1 of PCGrad, 2 of MCLGS. (Quickest" in shown.caption
    assert cost.seconds(setting)["PCGrad"] == 10  # the first of its seeds was the quicker one
    assert [one.status for one in cost.claims(setting)] == ["cannot be tested here"]


def test_costs_are_those_of_the_plan(setting):
    """Some are stored; the others are not measured at this size, or by their method alone.

    Rates of streets are searched at one rate at `smoke`, with the runs of the table.
    """
    rows = cost.runs_exhibit(setting).table
    names = [name for name in plan.experiments(setting) if name != plan.STREET_RATES]
    assert rows["runs of"].tolist() == [*names, "all"]
    stored = dict(zip(rows["runs of"], rows["stored"], strict=True))
    assert stored["2, methods"] == "14"


def test_every_reading_says_what_is_printed_what_follows_and_what_is_taken():
    tables = {one.name: one.table for one in readings.exhibits()}
    assert list(tables) == ["slips", "left_open"]
    assert list(tables["slips"]) == list(readings.COLUMNS)
    assert list(tables["left_open"]) == [*readings.COLUMNS, "to be tried"]
    for table in tables.values():
        assert (table.map(str.strip).map(len) > 0).all(axis=None)
        assert not table.duplicated(["place", "as printed"]).any()
    tried = tables["left_open"]["to be tried"].iloc[0]
    assert tried == "a0 = 1; a0 = 4; a quarter of the run; the whole run"
