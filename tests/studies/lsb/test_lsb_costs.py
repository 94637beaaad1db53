from dataclasses import replace

import numpy as np
import pytest
from run_cases import Held

from mtlrepro.studies import costs
from mtlrepro.studies.lsb import comparison
from mtlrepro.studies.lsb import costs as lsb_costs
from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.lsb.grids import Setting

SETTING = Setting("cpu", seeds=2, comparison_seeds=3)


def stored(runs, seconds):
    return {run.hash: {"provenance": {"seconds": value}} for run, value in zip(runs, seconds, strict=True)}


def test_a_shared_run_counts_once():
    first = lsb_grids.comparison(SETTING, ["equal", "lsb"], ["full_sharing"])
    again = lsb_grids.trends(SETTING, lsb_grids.TASKS, ["equal", "gls"])
    table = lsb_costs.table({(3, "one"): first, (4, "two"): again}, Held())
    assert table[["part", "grid", "runs"]].to_numpy().tolist() == [[3, "one", 6], [4, "two", 2]]


def test_a_grid_without_new_runs_has_no_row():
    runs = lsb_grids.comparison(SETTING, ["equal"], ["full_sharing"])
    table = lsb_costs.table({(3, "one"): runs, (4, "two"): runs[:2]}, Held())
    assert table["grid"].tolist() == ["one"]


def test_costs_are_measured_on_stored_runs_else_by_the_benchmark_else_unknown():
    first = lsb_grids.comparison(SETTING, ["equal"], ["full_sharing"])
    second = lsb_grids.comparison(SETTING, ["equal"], ["multi_decoder"])
    third = [Setting("gpu").run("multi_column")]
    grids = {(3, "one"): first, (3, "two"): second, (4, "three"): third}
    table = lsb_costs.table(grids, Held(records=stored(first[:2], [120, 180])))
    benchmark = costs.minutes(second[0], costs.speeds())
    assert table["minutes"].tolist() == pytest.approx([2, benchmark, np.nan], nan_ok=True)
    assert table["source"].tolist() == ["stored runs", lsb_costs.BENCHMARK, "not measured"]
    assert table["stored"].tolist() == [2, 0, 0]
    assert table["hours"].tolist() == pytest.approx([0.1, benchmark / 20, np.nan], nan_ok=True)
    text = lsb_costs.shown(table)
    assert text["runs"].tolist() == ["3", "3", "1", "7"]
    assert text["minutes a run"].tolist() == ["2.0", f"{benchmark:.1f}", "?", ""]
    assert text["hours"].tolist() == ["0.10", f"{benchmark / 20:.2f}", "?", f"{0.1 + benchmark / 20:.1f}"]


def test_of_runs_that_differ_in_their_seeds_the_quickest_counts():
    """The means of the two methods' quickest runs, 1 and 3 minutes; that the first seed keeps pictures is no matter."""
    runs = lsb_grids.comparison(SETTING, ["equal", "lsb"], ["full_sharing"])
    table = lsb_costs.table({(3, "one"): runs}, Held(records=stored(runs, [600, 60, 90, 180, 200, 190])))
    assert table["minutes"].tolist() == pytest.approx([2])


def test_runs_that_broke_off_are_stored():
    runs = lsb_grids.comparison(SETTING, ["equal"], ["full_sharing"])
    errors = ["FloatingPointError: epoch 2: a loss is not finite", "OSError: no space left on device"]
    failed = {run.hash: {"error": error} for run, error in zip(runs, errors, strict=False)}
    assert lsb_costs.table({(3, "one"): runs}, Held(failed=failed))["stored"].tolist() == [1]


def test_what_is_stored_at_larger_scales_is_counted(monkeypatch):
    """The rate that was chosen at gpu scale counts at cpu scale, where none was."""
    larger = replace(SETTING, scale="gpu")
    rates = dict.fromkeys(lsb_grids.METHODS, 1e-3) | {"dwa": 3e-4}
    tuned = lsb_grids.comparison(larger, networks=["full_sharing"], rates=rates)
    have = [*lsb_grids.tuning(larger), *tuned]
    monkeypatch.setattr(lsb_grids, "is_stored", lambda store, run: run.hash in {run.hash for run in have})
    monkeypatch.setattr(comparison, "chosen_rates", {larger: rates}.get)
    table = lsb_costs.overview(SETTING, Held(records=stored(have, [60] * len(have)))).set_index("grid")
    assert table.loc["learning rates, multi_decoder", ["stored at cpu", "stored at gpu"]].tolist() == [0, 36]
    assert table.loc["comparison, full_sharing", ["runs", "stored at gpu"]].tolist() == [18, 15]
    assert table.loc["tuned, full_sharing", ["runs", "stored at cpu", "stored at gpu"]].tolist() == [3, 0, 3]
    last = lsb_costs.shown(table.reset_index()).iloc[-1]
    assert (last["grid"], last["stored at cpu"], last["stored at gpu"]) == ("all", "0", str(36 + 18))


def test_more_tasks_than_the_benchmark_has_are_not_guessed():
    runs = lsb_grids.trends(SETTING, lsb_grids.EIGHT, ["equal"])
    table = lsb_costs.table({(4, "eight"): runs}, Held())
    assert table["source"].tolist() == ["not measured"]
    assert lsb_costs.finding(table) == (
        "0.0 hours for 2 runs, one after another, without 1 of 1 grids, whose cost is not known."
    )


def test_without_a_validation_split_no_rate_is_chosen(monkeypatch):
    monkeypatch.setattr(lsb_grids, "is_stored", lambda store, run: True)
    assert lsb_costs.rates(Setting("paper", "nyuv2", data_root="TARGET")) is None


def test_the_grids_are_those_of_the_chapter():
    grids = lsb_costs.grids(SETTING, dict.fromkeys(lsb_grids.METHODS, SETTING.run().lr))
    sizes = {name: len(runs) for (_, name), runs in grids.items()}
    assert sizes["comparison, multi_column"] == sizes["tuned, multi_column"] == 6 * 3
    assert sizes["learning rates, multi_decoder"] == 6 * 3 * 2
    assert sizes["priorities of two tasks"] == 3 * 2 * 5 * 2
    names = set(lsb_costs.table(grids, Held())["grid"])
    assert not [name for name in names if name.startswith("tuned")]  # Every method keeps its rate: nothing to train
    assert "tuned, multi_column" in set(lsb_costs.table(lsb_costs.grids(SETTING), Held())["grid"])


def test_a_data_set_has_the_grids_of_its_tasks():
    nyuv2, taskonomy = (lsb_costs.grids(Setting("paper", name, data_root="TARGET")) for name in ("nyuv2", "taskonomy"))
    assert {part for part, _ in nyuv2} == {3, 6, 7}
    assert not [name for _, name in nyuv2 if name.startswith(("tuned", "learning"))]
    assert {part for part, _ in taskonomy} == {4}
