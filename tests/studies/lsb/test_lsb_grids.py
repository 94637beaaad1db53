import pandas as pd
import pytest
import torch
from run_cases import Held

from mtlrepro.studies.lsb import grids as lsb_grids
from mtlrepro.studies.lsb.grids import EIGHT, FOUR, TASKS, Setting


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "nyuv2"}, "scale is 'cpu'; accepted with dataset 'nyuv2': paper"),
        ({"dataset": "nyuv2", "scale": "paper"}, "data_root is empty; accepted for nyuv2: .*nyuv2.py prepare"),
        ({"seeds": 4, "comparison_seeds": 3}, "seeds is 4; accepted: up to comparison_seeds, 3"),
        ({"data_root": "somewhere"}, "data_root is 'somewhere'; accepted: none for rooms"),
        ({"dataset": "digits"}, "dataset is 'digits'; accepted with network 'multi_decoder': rooms, nyuv2, taskonomy"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Setting(**arguments)


def test_a_real_data_set_and_jobs_reach_the_grid(monkeypatch):
    seen = {}
    monkeypatch.setattr(lsb_grids, "grid", lambda runs, **options: seen.update(options) or pd.DataFrame({"status": []}))
    setting = Setting("paper", "taskonomy", data_root="TARGET", jobs=4)
    setting.trained([])
    assert seen == {"store": lsb_grids.RESULTS, "jobs": 4, "data_root": "TARGET"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_missing_runs_of_its_scale_are_refused(monkeypatch):
    setting = Setting("gpu", seeds=2)
    runs = lsb_grids.tuning(setting)
    monkeypatch.setattr(lsb_grids, "is_stored", lambda store, run: run.hash == runs[0].hash)
    message = r"scale is 'gpu', but 35 of 36 runs are not stored, .*; accepted here: a scale at which"
    with pytest.raises(ValueError, match=message):
        setting.trained(runs)


def test_a_run_that_broke_off_is_a_result_and_one_that_failed_is_not(monkeypatch):
    runs = lsb_grids.priorities(Setting(seeds=2))[:2]
    frame = pd.DataFrame({"status": ["failed", "complete"]}, index=[run.hash for run in runs])
    monkeypatch.setattr(lsb_grids, "grid", lambda runs, **options: frame)
    monkeypatch.setattr(lsb_grids, "is_stored", lambda store, run: True)
    for error, lost in (("FloatingPointError: epoch 2: a loss is not finite", 0), ("OSError: no space left", 1)):
        monkeypatch.setattr(
            lsb_grids, "Store", lambda store, error=error: Held(failed={runs[0].hash: {"error": error}})
        )
        if lost:
            with pytest.raises(RuntimeError, match="1 of 2 runs failed"):
                Setting().trained(runs)
        else:
            assert Setting().trained(runs) is frame


def test_tasks_go_with_the_data_sets_of_the_supplement():
    offered = {
        name: [len(tasks) for tasks in (TASKS, FOUR, EIGHT) if setting.offers(tasks)]
        for name, setting in {
            "rooms": Setting(),
            "nyuv2": Setting("paper", "nyuv2", data_root="TARGET"),
            "taskonomy": Setting("paper", "taskonomy", data_root="TARGET"),
        }.items()
    }
    assert offered == {"rooms": [3, 4, 8], "nyuv2": [3], "taskonomy": [4, 8]}
    assert len(EIGHT) == len(set(EIGHT)) == 8


def test_pictures_are_kept_by_the_first_seed_alone():
    setting = Setting(seeds=2, comparison_seeds=2)
    runs = [*lsb_grids.comparison(setting), *lsb_grids.trends(setting, EIGHT), *lsb_grids.trends(setting, FOUR)]
    for run in runs:
        assert bool(run.pictures) == (run.seed == 0 and run.tasks != FOUR)
    assert {tuple(run.pictures["epochs"]) for run in runs if run.pictures} == {(20,), (2, 5, 20)}


def test_tuned_runs_keep_pictures_only_at_the_rate_of_the_scale():
    setting = Setting(seeds=1, comparison_seeds=1)
    rates = dict.fromkeys(lsb_grids.METHODS, 1e-3) | {"lsb": 3e-3}
    untuned, tuned = (lsb_grids.comparison(setting, networks=["full_sharing"], rates=one) for one in (None, rates))
    assert untuned[:-1] == tuned[:-1]
    assert (tuned[-1].method, tuned[-1].lr, tuned[-1].pictures) == ("lsb", 3e-3, {})


@pytest.mark.parametrize(("epochs", "drawn"), [(200, (2, 10, 200)), (20, (2, 5, 20)), (30, (2, 7, 30)), (2, (2, 2, 2))])
def test_epochs_of_the_error_maps(epochs, drawn):
    assert lsb_grids.map_epochs(epochs) == drawn


def test_priorities_are_shares_of_two_tasks():
    runs = lsb_grids.priorities(Setting(seeds=2))
    assert len(runs) == len({run.hash for run in runs}) == 3 * 2 * 5 * 2
    for run in runs:
        ((_, shares),) = run.method_options.items()
        assert sum(shares) == pytest.approx(1)
        assert len(run.tasks) == 2


def test_grids_train_what_they_are_for():
    setting = Setting()
    assert {run.evaluate_on for run in lsb_grids.tuning(setting)} == {"val"}
    assert {run.model for run in lsb_grids.tuning(setting)} == {"multi_decoder"}
    assert {run.model for run in lsb_grids.priorities(setting)} == {"full_sharing"}
    assert {run.model for run in lsb_grids.all_trends(setting)} == {"full_sharing"}
    others = [*lsb_grids.comparison(setting), *lsb_grids.priorities(setting), *lsb_grids.all_trends(setting)]
    assert {run.evaluate_on for run in others} == {"test"}
    assert {run.evaluate_every for run in others} == {5}


def test_the_papers_own_schedule_has_its_end_value():
    """1,000 epochs at the paper's rate end at beta 20, so a second reading would train the same runs twice."""
    assert "paper's end value" in lsb_grids.variants(20)
    assert [name for name in lsb_grids.variants(1000) if "end value" in name] == []
    assert len(lsb_grids.variants(1000)) == len(lsb_grids.variants(20)) - 2


def test_the_ablation_shares_its_plain_methods_with_the_comparison():
    setting = Setting()
    compared = {run.hash for run in lsb_grids.comparison(setting)}
    grids = lsb_grids.ablation(setting)
    assert {name for name, runs in grids.items() if {run.hash for run in runs} <= compared} == {"LSB", "GLS", "equal"}
    (end,) = {run.method_options["rate"] for run in grids["paper's end value"]}
    # beta(t) = rate * (t - 2), so in the last of 20 epochs it is 18 times the rate.
    assert 18 * end == pytest.approx(20, rel=1e-4)


def test_all_trends_are_those_of_the_tasks_of_a_data_set():
    setting = Setting(seeds=2)
    expected = [run for tasks in (TASKS, FOUR, EIGHT) for run in lsb_grids.trends(setting, tasks)]
    assert lsb_grids.all_trends(setting) == expected
    taskonomy = lsb_grids.all_trends(Setting("paper", "taskonomy", data_root="TARGET"))
    assert {run.tasks for run in taskonomy} == {FOUR, EIGHT}
