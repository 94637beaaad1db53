"""A run that is stopped at any moment, or whose files are damaged, ends with the numbers of one that was not."""

import io
import os
import random
import shutil
import signal
import time
import warnings

import pytest
import torch
from training_cases import FORK, SMOKE, config, interrupted, stop_after

from mtlrepro.training import checkpoints
from mtlrepro.training.config import RunConfig
from mtlrepro.training.records import numbers
from mtlrepro.training.run import train
from mtlrepro.training.step import Trainer

LONG = {"epochs": 8, "model_options": {"dropout": 0.3}, "schedule": "steps", "milestones": [3, 6], "factor": 0.5}


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "lsb", "optimizer": "adamw", "scales": [1.0, 1.2]},
        {"method": "pcgrad", "optimizer": "sgd", "probe_every": 3},
        {"method": "uncertainty", "optimizer": "adam", "average_last": 5},
    ],
)
def test_killed_at_random_moments_and_resumed(tmp_path, fields):
    run = config(**LONG, **fields)
    started = time.monotonic()
    expected = numbers(train(run, store=tmp_path / "unbroken"))
    patience = time.monotonic() - started
    chance = random.Random(run.hash)
    store = tmp_path / "broken"
    killed = resumed = 0
    for attempt in range(100):
        if attempt >= 12 and killed and resumed:
            break
        child = FORK.Process(target=train, args=(run,), kwargs={"store": store})
        resumed += any((store / "checkpoints").glob("*.pt"))
        child.start()
        child.join(chance.uniform(0, patience))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            killed += 1
            patience *= 1.1  # machines differ, and the first run of a process is slow
        else:
            patience *= 0.7
            shutil.rmtree(store)  # a finished run has nothing left to kill
        assert child.exitcode in (0, -signal.SIGKILL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a killed process leaves no damaged file
        assert numbers(train(run, store=store)) == expected
    assert killed > 0 and resumed > 0
    assert not list((store / "checkpoints").glob("*.pt")) and not list((store / "checkpoints").glob(".*.partial*"))


def test_with_batch_normalisation(tmp_path, monkeypatch):
    run = RunConfig(**SMOKE, method="dwa")
    expected = numbers(train(run, store=tmp_path / "unbroken"))
    interrupted(monkeypatch, run, tmp_path / "broken", 1)
    assert numbers(train(run, store=tmp_path / "broken")) == expected


def test_ctrl_c_leaves_the_last_checkpoint_and_no_failure(tmp_path, monkeypatch):
    run = config()
    expected = numbers(train(run, store=tmp_path / "unbroken"))
    interrupted(monkeypatch, run, tmp_path, 2)
    assert {p.name for p in (tmp_path / "checkpoints").glob("*.pt")} == {f"{run.hash}-1.pt", f"{run.hash}-2.pt"}
    assert not list(tmp_path.glob("*.json"))
    with monkeypatch.context() as patch:
        steps = stop_after(patch, 99)
        assert numbers(train(run, store=tmp_path)) == expected
    assert len(steps) == 3  # one epoch of three batches was left


def damage_bytes(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "empty": lambda path: path.write_bytes(b""),
    "a byte": damage_bytes,
    "text": lambda path: path.write_text("not a checkpoint"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, monkeypatch, damage):
    run = config(method="lsb")
    expected = numbers(train(run, store=tmp_path / "unbroken"))
    interrupted(monkeypatch, run, tmp_path, 2)
    DAMAGES[damage](tmp_path / "checkpoints" / f"{run.hash}-2.pt")
    with monkeypatch.context() as patch:
        steps = stop_after(patch, 99)
        with pytest.warns(UserWarning, match=rf"{run.hash}-2\.pt is damaged .*; going on from the one before it"):
            record = train(run, store=tmp_path)
    assert numbers(record) == expected
    assert len(steps) == 6


def change(path, **values):
    """Change a part of a checkpoint, and leave it whole."""
    state = torch.load(path, weights_only=True)
    torch.save(state | values, path)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"config": config(seed=1).to_json()}, "it is of another configuration"),
        ({"config": None}, "it is of another configuration"),
        ({"trainer": {}}, r"it does not fit this version of the code \('model'\)"),
    ],
)
@pytest.mark.parametrize("changed", [(2,), (1, 2)])
def test_a_whole_checkpoint_that_does_not_fit_is_set_aside(tmp_path, monkeypatch, values, reason, changed):
    run = config(method="lsb")
    expected = numbers(train(run, store=tmp_path / "unbroken"))
    interrupted(monkeypatch, run, tmp_path, 2)
    folder = tmp_path / "checkpoints"
    for epoch in changed:
        change(folder / f"{run.hash}-{epoch}.pt", **values)
    with monkeypatch.context() as patch:
        steps = stop_after(patch, 99)
        with pytest.warns(UserWarning, match=rf"{run.hash}-\d\.pt is not used: {reason}; set aside as ") as caught:
            record = train(run, store=tmp_path)
    assert numbers(record) == expected
    assert (len(caught), len(steps)) == (len(changed), 3 * (3 - 2 + len(changed)))
    assert {path.name for path in folder.glob("*.pt*")} == {f"{run.hash}-{epoch}.pt.aside" for epoch in changed}


def test_a_state_that_fits_in_part_leaves_nothing_behind(tmp_path, monkeypatch):
    """The network's part fits, the optimizer's does not: all of it begins anew."""
    run = config(method="lsb", model_options={"dropout": 0.3})
    expected = numbers(train(run, store=tmp_path / "unbroken"))
    interrupted(monkeypatch, run, tmp_path, 1)
    (path,) = (tmp_path / "checkpoints").glob("*.pt")
    trainer = torch.load(path, weights_only=True)["trainer"]
    change(path, trainer=trainer | {"optimizer": {"state": {}, "param_groups": []}})
    with pytest.warns(UserWarning, match="does not fit this version of the code"):
        assert numbers(train(run, store=tmp_path)) == expected


def test_a_record_describes_every_process_that_trained(tmp_path, monkeypatch):
    run = config()
    dates = iter(range(9))
    monkeypatch.setattr("mtlrepro.training.run.date", lambda: str(next(dates)))
    monkeypatch.setattr("mtlrepro.training.run.origin", lambda device: {"processes": 1})
    whole = train(run, store=tmp_path / "unbroken")["provenance"]
    assert whole["date"] == "2" and "legs" not in whole
    interrupted(monkeypatch, run, tmp_path, 1)
    monkeypatch.setattr("mtlrepro.training.run.origin", lambda device: {"processes": 2})
    found = train(run, store=tmp_path)["provenance"]
    assert (found["date"], found["processes"]) == ("5", 2)
    assert found["legs"] == [
        {"first_epoch": 1, "date": "3", "processes": 1},
        {"first_epoch": 2, "date": "5", "processes": 2},
    ]


def test_what_a_killed_process_left_is_cleaned_by_the_next(tmp_path):
    run, other = config(), config(seed=1)
    (tmp_path / "checkpoints").mkdir()
    mine = [
        tmp_path / f".{run.hash}.99.partial.json",
        tmp_path / f".{run.hash}.weights.99.partial.npz",
        tmp_path / "checkpoints" / f".{run.hash}-2.99.partial.pt",
    ]
    others = tmp_path / f".{other.hash}.99.partial.json"
    for path in [*mine, others]:
        path.write_text("half")
    train(run, store=tmp_path)
    assert others.exists() and not any(path.exists() for path in mine)


def test_without_a_whole_checkpoint_it_starts_again(tmp_path, monkeypatch):
    run = config()
    expected = numbers(train(run, store=tmp_path / "unbroken"))
    interrupted(monkeypatch, run, tmp_path, 2)
    for epoch in (1, 2):
        damage_bytes(tmp_path / "checkpoints" / f"{run.hash}-{epoch}.pt")
    with pytest.warns(UserWarning) as caught:
        assert numbers(train(run, store=tmp_path)) == expected
    assert [str(w.message).split(" is ")[0][-4:] for w in caught] == ["2.pt", "1.pt"]


def taken(folder, run):
    """State of the checkpoint that is taken, if there is one."""
    states = []
    assert checkpoints.load(folder, run, states.append) == bool(states)
    return states[0] if states else None


def test_damaged_checkpoints_of_later_epochs_do_not_push_out_new_ones(tmp_path):
    for epoch in (4, 5):
        checkpoints.path_of(tmp_path, "run", epoch).write_text("damaged")
    checkpoints.save(tmp_path, "run", 1, {"epoch": 1})
    assert taken(tmp_path, "run") == {"epoch": 1}
    checkpoints.save(tmp_path, "run", 2, {"epoch": 2})
    assert {path.name for path in tmp_path.iterdir()} == {"run-1.pt", "run-2.pt"}


def test_a_complete_run_is_read_without_writing(tmp_path):
    """So it is from a folder that cannot be written to."""
    record = train(config(epochs=1), store=tmp_path / "first")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / f"{record['hash']}.json").write_bytes(
        (tmp_path / "first" / f"{record['hash']}.json").read_bytes()
    )
    assert train(config(epochs=1), store=tmp_path / "store") == record
    assert [path.name for path in (tmp_path / "store").iterdir()] == [f"{record['hash']}.json"]


def test_two_trainings_of_one_configuration_train_once(tmp_path, monkeypatch):
    log = tmp_path / "log"
    epoch = Trainer.epoch

    def noted(self, *args):
        with log.open("a") as file:
            file.write("epoch\n")
        return epoch(self, *args)

    monkeypatch.setattr(Trainer, "epoch", noted)
    records = FORK.SimpleQueue()
    children = [FORK.Process(target=lambda: records.put(train(config(), store=tmp_path / "store"))) for _ in range(3)]
    for child in children:
        child.start()
    found = [records.get() for _ in children]
    for child in children:
        child.join()
    assert found[0] == found[1] == found[2]
    assert log.read_text() == "epoch\n" * 3


def test_checkpoints_are_kept_by_number_and_read_with_weights_only(tmp_path):
    for epoch in range(8, 12):
        checkpoints.save(tmp_path, "run", epoch, {"epoch": epoch, "x": torch.ones(2)})
    checkpoints.save(tmp_path, "run2", 99, {"epoch": 99})
    assert {p.name for p in tmp_path.iterdir()} == {"run-10.pt", "run-11.pt", "run2-99.pt"}
    assert taken(tmp_path, "run")["epoch"] == 11
    content = io.BytesIO((tmp_path / "run-11.pt").read_bytes())
    assert torch.load(content, weights_only=True)["x"].tolist() == [1, 1]
    checkpoints.remove(tmp_path, "run")
    assert taken(tmp_path, "run") is None
    assert taken(tmp_path, "run2") == {"epoch": 99}
