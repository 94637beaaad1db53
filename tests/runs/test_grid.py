"""Grids on one machine: what is trained, how many at a time, and what happens when something goes wrong."""

import threading
import time
from types import SimpleNamespace

import pandas as pd
import pytest
from run_cases import configs, log, put, trained

from mtlrepro import runs
from mtlrepro.runs import grids, workers
from mtlrepro.training import scales
from mtlrepro.training.config import RunConfig


def test_stored_runs_are_read_and_missing_ones_trained(store, stand_in):
    one, two, three = configs(2, 0, 1)
    put(store, two)
    table = runs.grid([one, two, three], store=store, progress=False)
    assert trained(store) == [one.hash, three.hash]
    assert table.index.tolist() == [one.hash, two.hash, three.hash]
    assert table["seed"].tolist() == [2, 0, 1]
    assert table["depth.main"].tolist() == [2.25, 0.25, 1.25]
    assert table["seconds"].tolist() == [1.0, 1.0, 1.0]
    assert table["status"].tolist() == ["complete"] * 3
    assert table.columns[0] == "seed"
    assert table.columns[-1] == "status"
    pd.testing.assert_frame_equal(runs.grid([one, two, three], store=store), table)
    assert len(trained(store)) == 2


def test_columns_are_the_fields_that_differ(store, stand_in):
    wanted = [
        *configs(0, method="cagrad", method_options={"c": 0.2}, tasks=("depth",)),
        *configs(0, method="lsb", model_options={"decoder_widths": [8] * 6}),
        *configs(1, method="lsb"),
    ]
    table = runs.grid(wanted, store=store, progress=False)
    fields = ["tasks", "model_options.decoder_widths", "method", "method_options.c", "seed"]
    assert table.columns.tolist()[:5] == fields
    assert table["tasks"].tolist() == [("depth",)] + [("segmentation", "depth", "normal")] * 2
    assert table["model_options.decoder_widths"].tolist() == [None, (8,) * 6, None]
    assert table["method_options.c"].tolist()[0] == 0.2
    assert table["normal.main"].isna().tolist() == [True, False, False]


def test_a_run_that_occurs_twice_is_trained_once(store, stand_in):
    one, two = configs(0, 1)
    table = runs.grid([one, two, one, RunConfig.from_json(two.to_json())], store=store, jobs=2, progress=False)
    assert sorted(trained(store)) == sorted([one.hash, two.hash])
    assert table.index.tolist() == [one.hash, two.hash]


@pytest.mark.parametrize(("jobs", "device"), [(1, "cpu"), (2, "cpu"), (3, "cuda")])
def test_so_many_at_a_time(store, stand_in, jobs, device):
    stand_in(seconds=0.2)
    runs.grid(configs(*range(4), device=device), store=store, jobs=jobs, progress=False)
    running = peak = 0
    for word, *_ in log(store):
        running += 1 if word == "begin" else -1
        peak = max(peak, running)
    assert peak == jobs


def test_each_process_has_the_threads_of_its_run_and_the_data(store, stand_in):
    wanted = [*configs(0, threads=1), *configs(0, threads=3)]
    runs.grid(wanted, store=store, progress=False, data_root="some/where")
    records = runs.Store(store).records
    assert [records[config.hash]["provenance"]["threads"] for config in wanted] == ["1", "3"]
    assert [words[2:] for words in log(store) if words[0] == "begin"] == [("--data-root", "some/where")] * 2


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_others_replay_is_trained_first(store, stand_in, jobs):
    """Wherever it stands in the grid, and also where a replay is replayed itself."""
    stand_in(seconds=0.05)
    (source,) = configs(0, method="dwa")
    first = source.replace(method="replay", method_options={"run": source.hash, "mode": "mean"})
    second = source.replace(method="warmup", method_options={"run": first.hash})
    table = runs.grid([second, first, *configs(1), source], store=store, jobs=jobs, progress=False)
    assert table["status"].tolist() == ["complete"] * 4
    lines = [(what, name) for what, name, *_ in log(store)]
    for earlier, later in ((source, first), (first, second)):
        assert lines.index(("end", earlier.hash)) < lines.index(("begin", later.hash))


def test_a_failing_run_does_not_stop_the_others(store, stand_in):
    stand_in(fail=[1], kill=[2], silent=[3])
    wanted = configs(*range(5))
    with pytest.warns(UserWarning) as said:
        table = runs.grid(wanted, store=store, jobs=2, progress=False)
    assert table["status"].tolist() == ["complete", "failed", "failed", "failed", "complete"]
    assert table["depth.main"].isna().tolist() == [False, True, True, True, False]
    assert sorted(str(entry.message) for entry in said) == sorted(
        [
            f"run {wanted[1].hash} failed: epoch 1, step 3: the loss of depth is not finite, seed 1",
            f"run {wanted[2].hash} failed: killed by SIGKILL, after: epoch 1 of seed 2",
            f"run {wanted[3].hash} failed: epoch 1 of seed 3",
        ]
    )
    assert all(entry.filename == __file__ for entry in said)

    stand_in()
    assert (runs.grid(wanted, store=store, progress=False)["status"] == "complete").all()
    assert len(trained(store)) == 8


def test_a_process_that_says_nothing_still_has_a_message(store, monkeypatch):
    monkeypatch.setattr(workers, "train_command", lambda *arguments: ["false"])
    with pytest.warns(UserWarning, match="failed: ended with status 1 and without a record"):
        runs.grid(configs(0), store=store, progress=False)


def test_progress_is_plain_text_on_stderr(store, stand_in, capsys):
    stand_in(fail=[1])
    with pytest.warns(UserWarning, match="not finite"):
        runs.grid(configs(0, 1, 2), store=store)
    out, err = capsys.readouterr()
    assert out == ""
    *_, last = [line for line in err.splitlines() if line.endswith("failed") or "have ended" in line]
    assert last == "grid: 3 of 3 runs have ended, 1 failed"
    with pytest.warns(UserWarning, match="not finite"):
        runs.grid(configs(1), store=store, progress=False)
    runs.grid(configs(0, 2), store=store)
    assert capsys.readouterr() == ("", "")


def test_an_interrupt_ends_the_processes_and_leaves_checkpoints(store, stand_in, monkeypatch):
    stand_in(seconds=3)  # so long that both have a checkpoint before either ends, also on a busy machine
    started = []
    start = workers._start

    def sleep_until_there_are_checkpoints(seconds):
        if len(list(store.glob("checkpoints/*-1.pt"))) == 2:
            raise KeyboardInterrupt
        time.sleep(seconds)

    monkeypatch.setattr(workers, "_start", lambda *arguments: started.append(start(*arguments)) or started[-1])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        clock = SimpleNamespace(sleep=sleep_until_there_are_checkpoints, monotonic=time.monotonic)
        patch.setattr(workers, "time", clock)
        runs.grid(configs(0, 1, 2), store=store, jobs=2, progress=False)
    assert [process.poll() is None for process in started] == [False, False]
    assert len(list(store.glob("checkpoints/*-1.pt"))) == 2
    assert not list(store.glob("*.json"))
    stand_in()
    assert (runs.grid(configs(0, 1, 2), store=store, jobs=2, progress=False)["status"] == "complete").all()


def test_a_process_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.1)
    deaf = workers.subprocess.Popen(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"], stdout=-1)
    assert deaf.stdout.readline() == b"ready\n"
    workers.stop([deaf])
    assert deaf.returncode == -9
    deaf.stdout.close()


def test_two_grids_at_once_share_the_runs(store, stand_in):
    stand_in(seconds=0.1)
    wanted = configs(*range(6))
    tables = {}

    def train(name, order):
        tables[name] = grids.train_grid(order, store=store, jobs=2, progress=False)

    threads = [threading.Thread(target=train, args=item) for item in (("one", wanted), ("two", wanted[::-1]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(trained(store)) == sorted(config.hash for config in wanted)
    assert [problems for _, problems in tables.values()] == [[], []]
    pd.testing.assert_frame_equal(tables["one"][0], tables["two"][0].loc[tables["one"][0].index])
    assert (tables["one"][0]["status"] == "complete").all()


def test_a_run_that_another_process_is_training_is_put_off(store, stand_in):
    first, second = configs(0, 1)
    (store / "checkpoints").mkdir(parents=True)
    lock = workers.FileLock(store / "checkpoints" / f"{first.hash}.lock", thread_local=False)
    lock.acquire()
    timer = threading.Timer(1.0, lock.release)
    timer.start()
    runs.grid([first, second], store=store, progress=False)
    timer.join()
    assert trained(store) == [second.hash, first.hash]


def test_unusable_files_are_named(store, stand_in):
    store.mkdir()
    (store / "notes.json").write_text("[]")
    with pytest.warns(UserWarning, match=r"notes\.json: not used, damaged or foreign: no JSON object"):
        table = runs.grid(configs(0), store=store, progress=False)
    assert table["status"].tolist() == ["complete"]


def test_a_dry_run_trains_nothing(store, stand_in):
    one, two = configs(0, 1)
    put(store, one)
    table, problems = grids.train_grid([one, two], store=store, dry_run=True)
    assert table["status"].tolist() == ["complete", "missing"]
    assert not problems
    assert not trained(store)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"configs": []}, "configs is empty; accepted: one configuration or more"),
        ({"jobs": 0}, "jobs is 0; accepted: 1 or more"),
        ({"engine": "ray"}, "engine is 'ray'; accepted: local, inline, snakemake"),
    ],
)
def test_refused_arguments(store, arguments, message):
    with pytest.raises(ValueError, match=message):
        runs.grid(**{"configs": configs(0), "store": store, **arguments})
    assert not store.exists()


def test_inline_runs_start_no_process_and_leave_no_checkpoints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(workers, "train_command", None)
    wanted = [scales.config("smoke", epochs=1, seed=seed, tasks=("depth",)) for seed in range(2)]
    lost = scales.config("smoke", epochs=1, tasks=("depth",), lr=1e30, method="lsb", seed=0, n_train=8)
    with pytest.warns(UserWarning, match=f"run {lost.hash} failed"):
        table = runs.grid([*wanted, lost], store=tmp_path, engine="inline")
    assert table["status"].tolist() == ["complete", "complete", "failed"]
    assert not [*(tmp_path / "checkpoints").glob("*.pt")]
    assert capsys.readouterr().err.lstrip("\r").startswith("grid: ")
