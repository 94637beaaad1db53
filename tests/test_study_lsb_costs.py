import numpy as np
import pytest

from mtlrepro.runs.store import Contents
from mtlrepro.studies import costs, lsb_costs, lsb_grids
from mtlrepro.studies.lsb_grids import Setting

SETTING = Setting("cpu", seeds=2, comparison_seeds=3)


def stored(runs, seconds):
    return {run.hash: {"provenance": {"seconds": value}} for run, value in zip(runs, seconds, strict=True)}


def test_a_shared_run_counts_once():
    first = lsb_grids.comparison(SETTING, ["equal", "lsb"], ["full_sharing"])
    again = lsb_grids.trends(SETTING, lsb_grids.TASKS, ["equal", "gls"])
    table = lsb_costs.table({(3, "one"): first, (4, "two"): again}, Contents())
    assert table[["part", "grid", "runs"]].to_numpy().tolist() == [[3, "one", 6], [4, "two", 2]]


def test_a_grid_without_new_runs_has_no_row():
    runs = lsb_grids.comparison(SETTING, ["equal"], ["full_sharing"])
    table = lsb_costs.table({(3, "one"): runs, (4, "two"): runs[:2]}, Contents())
    assert table["grid"].tolist() == ["one"]


def test_costs_are_measured_on_stored_runs_else_by_the_benchmark_else_unknown():
    first = lsb_grids.comparison(SETTING, ["equal"], ["full_sharing"])
    second = lsb_grids.comparison(SETTING, ["equal"], ["multi_decoder"])
    third = [Setting("gpu").run("multi_column")]
    grids = {(3, "one"): first, (3, "two"): second, (4, "three"): third}
    table = lsb_costs.table(grids, Contents(records=stored(first[:2], [60, 180])))
    benchmark = costs.minutes(second[0], costs.speeds())
    assert table["minutes"].tolist() == pytest.approx([2, benchmark, np.nan], nan_ok=True)
    assert table["source"].tolist() == ["stored runs", "benchmark", "not measured"]
    assert table["stored"].tolist() == [2, 0, 0]
    assert table["hours"].tolist() == pytest.approx([0.1, benchmark / 20, np.nan], nan_ok=True)
    text = lsb_costs.shown(table)
    assert text["runs"].tolist() == ["3", "3", "1", "7"]
    assert text["minutes a run"].tolist() == ["2.0", f"{benchmark:.1f}", "?", ""]
    assert text["hours"].tolist() == ["0.10", f"{benchmark / 20:.2f}", "?", f"{0.1 + benchmark / 20:.1f}"]


def test_the_grids_are_those_of_the_chapter():
    grids = lsb_costs.grids(SETTING, dict.fromkeys(lsb_grids.METHODS, SETTING.run().lr))
    sizes = {name: len(runs) for (_, name), runs in grids.items()}
    assert sizes["comparison, multi_column"] == sizes["tuned, multi_column"] == 6 * 3
    assert sizes["learning rates, multi_decoder"] == 6 * 3 * 2
    assert sizes["priorities of two tasks"] == 3 * 2 * 5 * 2
    names = set(lsb_costs.table(grids, Contents())["grid"])
    assert not [name for name in names if name.startswith("tuned")]  # Every method keeps its rate: nothing to train
    assert "tuned, multi_column" in set(lsb_costs.table(lsb_costs.grids(SETTING), Contents())["grid"])


def test_a_data_set_has_the_grids_of_its_tasks():
    nyuv2, taskonomy = (lsb_costs.grids(Setting("paper", name, data_root="TARGET")) for name in ("nyuv2", "taskonomy"))
    assert {part for part, _ in nyuv2} == {3, 6, 7}
    assert not [name for _, name in nyuv2 if name.startswith(("tuned", "learning"))]
    assert {part for part, _ in taskonomy} == {4}
