"""What an epoch costs, and the readings that the chapter takes."""

import pytest
from study_stores import keep_evaluated, lose

from mtlrepro.runs.store import Store
from mtlrepro.studies.mclgs import cost, grids, plan, readings
from mtlrepro.studies.setting import Setting


@pytest.fixture
def setting(tmp_path):
    """Epochs of two seconds, of MCLGS six in the first half and five of others, twice that with the second seed.

    Every run had to wait in one of its epochs, and of PCGrad the second was trained on another processor.
    """
    setting = Setting(scale="smoke", seeds=2, comparison_seeds=2, store=Store(tmp_path))
    for method, runs in grids.methods(setting).items():
        for run in runs:
            base = 2.0 if method in ("equal", "mclgs") else 5.0
            first = 6.0 if method == "mclgs" else base
            halves = [first] * (run.epochs // 2) + [base] * (run.epochs // 2)
            history = [{"epoch": i, "seconds": own * (1 + run.seed)} for i, own in enumerate(halves, 1)]
            history[1]["seconds"] *= 10
            history[-1]["seconds"] *= 7
            where = {"processor": "B" if method == "pcgrad" and run.seed else "A"}
            keep_evaluated(tmp_path, run, history=history, provenance=where)
    return setting


def kept(folder, run, seconds, **provenance):
    history = [{"epoch": i, "seconds": one} for i, one in enumerate(seconds, 1)]
    keep_evaluated(folder, run, history=history, provenance={"processor": "A", **provenance})


def test_runs_count_by_their_quickest_epoch_in_pairs_of_one_seed_and_processor(setting):
    pairs = cost.times_equal(cost.epochs(setting))
    assert set(pairs["method"]) == {cost.DURING, cost.AFTER, "MGDA", "PCGrad", "GradDrop", "CAGrad", "CAGrad + MCLGS"}
    assert pairs[pairs["method"] == "PCGrad"]["seed"].tolist() == [0]
    shown = cost.exhibit(setting)
    assert "takes 3.00 [3.00, 3.00] times as long while the curriculum lasts" in shown.caption
    assert "and 1.00 [1.00, 1.00] times once p is 0" in shown.caption and "of MCLGS 2 of 2 seeds" in shown.caption
    rows = shown.table.set_index("method")
    assert rows["times equal"].to_dict() == pytest.approx(
        {cost.DURING: 3, cost.AFTER: 1} | dict.fromkeys(set(pairs["method"]) - {cost.DURING, cost.AFTER}, 2.5)
    )
    assert rows.loc["PCGrad", "pairs"] == 1 and rows.loc["MGDA", "pairs"] == 2
    assert [one.status for one in cost.claims(setting)] == ["holds"]


@pytest.mark.parametrize(
    ("factor", "status"), [(1.3, "does not hold"), (1.12, "does not hold"), (1.08, "holds"), (0.8, "holds")]
)
def test_an_epoch_after_the_curriculum_that_takes_longer_is_told(setting, tmp_path, factor, status):
    """What is quicker than equal weights costs no more either."""
    for run in grids.methods(setting)["mclgs"]:
        half = run.epochs // 2
        kept(tmp_path, run, [(1 + run.seed) * one for one in [6.0] * half + [2 * factor] * half])
    assert [one.status for one in cost.claims(setting)] == [status]


def test_a_machine_that_gets_quicker_is_not_taken_for_the_end_of_the_curriculum(setting, tmp_path):
    for method in ("equal", "mclgs"):
        for run in grids.methods(setting)[method]:
            half = run.epochs // 2
            kept(tmp_path, run, [9.0 if method == "mclgs" else 6.0] * half + [2.0] * half)
    shown = cost.exhibit(setting)
    assert "takes 1.50 [1.50, 1.50] times as long" in shown.caption and "and 1.00 [1.00, 1.00] times" in shown.caption


def test_epochs_of_a_run_that_moved_count_for_the_processor_that_trained_them(setting, tmp_path):
    half = grids.methods(setting)["equal"][0].epochs // 2
    legs = [{"first_epoch": 1, "device": "D"}, {"first_epoch": half + 1, "processor": "A", "device": "D"}]
    for run in grids.methods(setting)["equal"]:
        kept(tmp_path, run, [1.0] * half + [2.0] * half, device="D", legs=[{**legs[0], "processor": "C"}, legs[1]])
    for run in grids.methods(setting)["mclgs"]:
        kept(tmp_path, run, [60.0] * half + [2.0] * half, device="D", legs=[{**legs[0], "processor": "B"}, legs[1]])
    shown = cost.exhibit(setting)
    assert "takes ? times as long while" in shown.caption and "and 1.00 [1.00, 1.00] times once" in shown.caption


def test_runs_without_a_pair_tell_nothing(setting, tmp_path):
    """On another processor, or on another device of the same name."""
    for where in ({"processor": "C"}, {"processor": "A", "device": "a card"}):
        for run in grids.methods(setting)["equal"]:
            kept(tmp_path, run, [1.0] * run.epochs, **where)
        shown = cost.exhibit(setting)
        assert "takes ? times as long while the curriculum lasts, and ? times once p is 0" in shown.caption
        assert shown.table.empty
        assert [one.status for one in cost.claims(setting)] == ["cannot be tested here"]


def test_a_method_that_diverged_has_no_cost(setting, tmp_path):
    lose(tmp_path, *grids.methods(setting)["mclgs"], grids.methods(setting)["pcgrad"][0])
    shown = cost.exhibit(setting)
    assert "An epoch of MCLGS takes ? times as long" in shown.caption
    assert "Runs that diverged are left out: 1 of PCGrad, 2 of MCLGS. (Quickest" in shown.caption
    assert "PCGrad" not in set(shown.table["method"])  # what is left of it has no pair
    assert [one.status for one in cost.claims(setting)] == ["cannot be tested here"]


@pytest.mark.parametrize("method", ["equal", "mclgs"])
def test_a_cost_of_which_a_run_diverged_is_not_judged(setting, tmp_path, method):
    lose(tmp_path, grids.methods(setting)[method][0])
    assert [one.status for one in cost.claims(setting)] == ["cannot be tested here"]
    lose(tmp_path, *grids.methods(setting)[method])
    assert "takes ? times as long" in cost.exhibit(setting).caption


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
    assert list(tables["left_open"]) == [*readings.COLUMNS, "also tried"]
    for table in tables.values():
        assert (table.map(str.strip).map(len) > 0).all(axis=None)
        assert not table.duplicated(["place", "as printed"]).any()
    tried = tables["left_open"]["also tried"].iloc[0]
    assert tried == "a0 = 1; a0 = 4; a quarter of the run; the whole run"
