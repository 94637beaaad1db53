import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from run_cases import put
from study_stores import keep, metrics_of

from mtlrepro import files
from mtlrepro.data.catalogue import GENERATED
from mtlrepro.runs import store as run_store
from mtlrepro.runs import workers
from mtlrepro.studies import setting as studies_setting
from mtlrepro.studies.setting import Setting
from mtlrepro.training import scales


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "nyuv2"}, "scale is 'cpu'; accepted with dataset 'nyuv2': paper"),
        ({"dataset": "nyuv2", "scale": "paper"}, "data_root is empty; accepted for nyuv2: .*nyuv2.py prepare"),
        ({"seeds": 4, "comparison_seeds": 3}, "seeds is 4; accepted: up to comparison_seeds, 3"),
        ({"data_root": "somewhere"}, "data_root is 'somewhere'; accepted: none for rooms"),
        ({"dataset": "digits"}, "dataset is 'digits'; accepted: rooms, nyuv2, taskonomy, .*streets"),
        ({"dataset": "streets", "network": "multi_decoder"}, "dataset is 'streets'; accepted with network"),
        ({"tasks": ("depth", "colour")}, "tasks is .*colour"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Setting(**arguments)


@pytest.mark.parametrize("network", scales.NETWORKS)
def test_every_network_has_a_setting_on_each_of_its_data_sets(network):
    for dataset in scales.PAIRS[network]:
        scale, root = ("cpu", "") if dataset in GENERATED else ("paper", "TARGET")
        setting = Setting(scale=scale, dataset=dataset, network=network, data_root=root)
        run = setting.run(seed=3)
        assert (run.dataset, run.model, run.seed) == (dataset, network, 3)
        assert run == scales.config(
            scale,
            dataset=dataset,
            network=network,
            seed=3,
            evaluate_every=max(run.epochs // 4, 1),
            probe_every=max(run.epochs // 4, 1),
        )


def test_a_data_set_has_a_usual_network_and_tasks():
    streets = Setting(dataset="streets")
    assert (streets.network, streets.run().tasks) == ("segnet", ("segmentation", "disparity"))
    assert streets.run("detection").tasks == ("detection", "segmentation")
    assert Setting().run().model == "multi_decoder"
    pair = Setting(tasks=("depth", "normal"))
    assert pair.run().tasks == pair.run("full_sharing").tasks == ("depth", "normal")
    assert pair.run(tasks=("depth",)).tasks == ("depth",)


def test_which_data_sets_are_validated():
    real = {name: Setting(scale="paper", dataset=name, data_root="TARGET") for name in ("nyuv2", "taskonomy")}
    assert [one.validated for one in (Setting(), *real.values())] == [True, False, True]


def test_what_is_trained_goes_to_the_store_that_is_read(monkeypatch, tmp_path):
    seen = {}

    def grid(configs, **options):
        seen.update(options)
        return pd.DataFrame({"status": ["complete"] * len(configs)}), []

    monkeypatch.setattr(studies_setting, "train_grid", grid)
    store = keep(tmp_path)
    setting = Setting(scale="paper", dataset="taskonomy", data_root="TARGET", jobs=4, store=store)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    setting.trained([setting.run()])
    assert seen == {"store": store, "jobs": 4, "data_root": "TARGET", "engine": "local"}
    assert all(one.store is store for one in setting.scales_from())


def test_smoke_runs_are_trained_here_and_kept_with_other_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    small = Setting(scale="smoke", seeds=2)
    assert small.store.folder == tmp_path / "runs"
    assert Setting().store.folder == files.book("results", "runs")
    assert small.scales_from() == [small]
    monkeypatch.setattr(workers, "train_command", None)  # no process is started
    configs = [small.run(seed=seed, epochs=2, n_train=4, evaluate_every=2, probe_every=0) for seed in range(2)]
    assert small.missing(configs) == configs
    runs = small.trained(configs)
    assert runs["status"].tolist() == ["complete"] * 2
    assert small.stored(configs)
    assert not [*(tmp_path / "runs" / "checkpoints").glob("*.pt")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_missing_runs_of_its_scale_are_refused(tmp_path):
    setting = Setting(scale="gpu", store=keep(tmp_path))
    runs = [setting.run(seed=seed) for seed in range(3)]
    keep(tmp_path, runs[0])
    message = r"scale is 'gpu', but 2 of 3 runs are not stored, .*; accepted here: a scale at which"
    with pytest.raises(ValueError, match=message):
        setting.trained(runs)


@pytest.mark.parametrize(
    ("error", "lost"), [("FloatingPointError: epoch 2: a loss is not finite", False), ("OSError: no space left", True)]
)
def test_a_run_that_broke_off_is_a_result_and_one_that_failed_is_not(error, lost, monkeypatch, tmp_path, capsys):
    """What went wrong is a line on stderr, not a warning with a line of source."""
    setting = Setting(store=keep(tmp_path))
    runs = [setting.run(seed=seed) for seed in range(2)]
    put(tmp_path, runs[0], status="failed", error=error)
    frame = pd.DataFrame({"status": ["failed", "complete"]}, index=[run.hash for run in runs])
    problem = f"run {runs[0].hash} failed: {error}"
    monkeypatch.setattr(studies_setting, "train_grid", lambda runs, **options: (frame, [problem]))
    assert setting.broken_off(runs).keys() == (set() if lost else {runs[0].hash})
    if lost:
        with pytest.raises(RuntimeError, match=f"1 of 2 runs failed: {problem}"):
            setting.trained(runs)
    else:
        assert setting.trained(runs) is frame
    assert capsys.readouterr().err == f"grid: {problem}\n"


def test_replays_of_a_run_that_broke_off_are_left_out_with_it(monkeypatch, tmp_path):
    setting = Setting(store=keep(tmp_path))
    runs = [setting.run(seed=seed) for seed in range(2)]
    replays = [
        setting.run(method="replay", method_options={"run": run.hash, "mode": "mean"}, seed=run.seed) for run in runs
    ]
    put(tmp_path, runs[0], status="failed", error="FloatingPointError: epoch 2")
    every = [*runs, *replays]
    frame = pd.DataFrame({"status": ["failed", "complete"] * 2}, index=[run.hash for run in every])
    seen = []

    def grid(configs, **options):
        seen.extend(configs)
        return frame, []

    monkeypatch.setattr(studies_setting, "train_grid", grid)
    assert setting.finite(every) == setting.unbroken(every) == seen == [runs[1], replays[1]]
    assert setting.trained(every) is frame  # what replays it cannot be trained either


def test_runs_that_broke_off_are_counted_by_name_and_replays_of_others_with_them(tmp_path):
    """The run that is replayed is not among those that are asked for."""
    setting = Setting(store=keep(tmp_path))
    source, *others = (setting.run(seed=seed) for seed in range(3))
    replay = setting.run(method="replay", method_options={"run": source.hash, "mode": "mean"})
    put(tmp_path, source, status="failed", error="FloatingPointError: epoch 2")
    assert setting.unbroken([replay]) == []
    assert setting.lost({"plain": [source, *others], "whole": others, "replayed": [replay]}) == {
        "plain": 1,
        "replayed": 1,
    }


def test_a_seed_of_a_baseline_counts_only_if_all_its_runs_are_left(tmp_path):
    setting = Setting(store=keep(tmp_path))
    runs = [setting.run(tasks=(task,), seed=seed) for seed in range(2) for task in ("depth", "normal")]
    lost = runs[1]
    keep(tmp_path, *(run for run in runs if run != lost))
    put(tmp_path, lost, status="failed", error="FloatingPointError: epoch 2")
    assert setting.reference("single tasks", runs) == runs[2:]
    message = (
        rf"^single tasks: of 2 seeds 1 diverged, .* the first is run {lost.hash}, .*{lost.hash}.failed.json: "
        r"FloatingPointError: epoch 2; accepted: at least 2 that did not, so ask for more seeds"
    )
    with pytest.raises(RuntimeError, match=message):
        setting.reference("single tasks", runs, least=2)


def test_records_are_those_of_the_runs_in_their_order(tmp_path):
    setting = Setting(store=keep(tmp_path))
    runs = [setting.run(seed=seed) for seed in (2, 0, 1)]
    keep(tmp_path, *runs[:2])
    records = setting.records(runs[:2])
    assert [record["config"]["seed"] for record in records.values()] == [2, 0]
    with pytest.raises(KeyError, match=runs[2].hash):
        setting.records(runs)


def test_the_largest_complete_scale_is_shown(tmp_path):
    """Of one grid all is stored at gpu scale, of the other a run is missing; no scale below that asked for counts."""
    setting = Setting(seeds=2, comparison_seeds=2, store=keep(tmp_path))
    larger = replace(setting, scale="gpu")

    def grid(network):
        return lambda one: [one.run(network, seed=seed) for seed in range(one.seeds)]

    keep(tmp_path, *grid("multi_column")(larger), *grid("multi_decoder")(larger)[1:])
    assert setting.largest_stored(grid("multi_column")) == larger
    assert setting.largest_stored(grid("multi_decoder")) == setting
    assert replace(setting, scale="smoke").largest_stored(grid("multi_column")).scale == "smoke"
    more = replace(setting, seeds=3, comparison_seeds=4).largest_stored(grid("multi_column"))
    assert (more.scale, more.passed_over) == ("cpu", "gpu scale is stored with 2 seeds, not shown")
    assert setting.largest_stored(grid("multi_decoder")).passed_over == ""  # with one seed there is no interval
    nyuv2 = Setting(scale="paper", dataset="nyuv2", data_root="TARGET", store=setting.store)
    assert nyuv2.largest_stored(grid("multi_column")).scale == "paper"


def test_a_record_is_read_once_however_often_it_is_asked_for(monkeypatch, tmp_path):
    read = []
    monkeypatch.setattr(run_store.records, "read", lambda path: read.append(path.name) or json.loads(path.read_bytes()))
    setting = Setting(store=keep(tmp_path))
    runs = [setting.run(seed=seed) for seed in range(3)]
    for run in runs:
        keep(tmp_path, run, metrics=metrics_of(run, 2.0))
    for _ in range(2):
        setting.largest_stored(lambda one: [one.run(seed=seed) for seed in range(3)])
        setting.trained(runs)
        setting.records(runs)
        setting.broken_off(runs)
    assert sorted(read) == sorted(f"{run.hash}.json" for run in runs)
