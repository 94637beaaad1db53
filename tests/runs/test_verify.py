"""Stored runs trained again: what passes, what does not, and how it is said."""

import copy

import pytest
import torch
from run_cases import configs, put

from mtlrepro.cli import main
from mtlrepro.runs import verify as module
from mtlrepro.runs.store import Store
from mtlrepro.runs.verify import verify_records
from mtlrepro.training import records
from mtlrepro.training.config import ALGORITHM

HISTORY = [
    {"epoch": epoch, "losses": {"depth": 1.0 / epoch, "normal": 0.5}, "weights": None, "seconds": 3.0}
    for epoch in (1, 2, 3)
]


@pytest.fixture
def retrained(store, monkeypatch):
    """Store a run; the test changes the result, what its first epochs now give."""
    (config,) = configs(4, epochs=3)
    put(store, config, history=HISTORY, provenance=module.origin("cpu"))
    fresh = copy.deepcopy(HISTORY[:2])
    asked = []

    def first_epochs(config, epochs, *, data_root, progress, store):
        asked.append((config.hash, epochs))
        return fresh

    monkeypatch.setattr(module, "first_epochs", first_epochs)
    yield fresh
    assert asked == [(config.hash, 2)]


def elsewhere(store, **changes):
    (record,) = Store(store).records.values()
    put(store, *configs(4, epochs=3), history=HISTORY, provenance=record["provenance"] | changes)


@pytest.mark.parametrize("history", [HISTORY[:1], [{}], HISTORY[::-1]])
def test_a_record_without_all_its_epochs_does_not_pass_and_is_no_complete_run(store, monkeypatch, history):
    monkeypatch.setattr(module, "first_epochs", lambda *_, **__: pytest.fail("it was trained"))
    (config,) = configs(4, epochs=3)
    put(store, config, history=history)
    _, check = verify_records(Store(store), seed=5)
    assert check.passed is False
    assert "field 'history' has the epochs" in check.message and check.message.endswith("accepted: 1 to 3")
    with pytest.raises(ValueError, match=r"is damaged or foreign: field 'history' has the epochs .*; remove it"):
        records.completed(store, config)


def test_same_numbers(store, retrained):
    retrained[0]["seconds"] = 7.0
    sample, check = verify_records(Store(store), seed=5)
    assert sample == module.Check(None, "1 of 1 complete runs, drawn with seed 5")
    assert check.passed
    assert check.message.endswith(", seed 4: the first 2 epochs agree bit for bit")


@pytest.mark.parametrize(
    ("epoch", "key", "value", "said"),
    [
        (
            1,
            "losses",
            {"depth": 0.5 + 2**-50, "normal": 0.5},
            "epoch 2: losses stored {'depth': 0.5, 'normal': 0.5}, now",
        ),
        (0, "weights", {"depth": 1.0}, "epoch 1: weights stored None, now {'depth': 1.0}"),
    ],
)
def test_on_the_same_machine_one_bit_is_too_much(store, retrained, epoch, key, value, said):
    retrained[epoch][key] = value
    _, check = verify_records(Store(store))
    assert check.passed is False
    assert f"same machine and versions, but {said}" in check.message


def test_threads_of_the_process_that_checks_do_not_matter(store, retrained):
    retrained[0]["losses"]["depth"] = 1.001
    torch.set_num_threads(2)
    try:
        _, check = verify_records(Store(store))
    finally:
        torch.set_num_threads(1)
    assert check.passed is False
    assert "same machine and versions" in check.message


@pytest.mark.parametrize(("loss", "passed"), [(1.019, True), (0.981, True), (1.021, False), (0.979, False)])
@pytest.mark.parametrize("key", module.MACHINE)
def test_elsewhere_losses_of_the_first_epoch_may_differ_by_two_percent(store, retrained, key, loss, passed):
    elsewhere(store, **{key: "another"})
    retrained[0]["losses"]["depth"] = loss
    retrained[1]["losses"]["depth"] = 9.0
    _, check = verify_records(Store(store))
    assert check.passed is passed
    assert f"differ by up to {abs(loss - 1):.1%} (depth)" in check.message
    assert f"accepted: 2%, for {key} another there, {module.origin('cpu')[key]} here" in check.message


@pytest.mark.parametrize(("first", "passed"), [(2, True), (3, False)])
def test_each_process_that_trained_the_first_epochs_counts(store, retrained, first, passed):
    """The record's own entries are those of the last process, which may have been another one."""
    own = module.origin("cpu")
    legs = [own | {"first_epoch": 1}, own | {"first_epoch": first, "processes": 2}]
    elsewhere(store, processes=2, legs=legs)
    retrained[0]["losses"]["depth"] = 1.001
    _, check = verify_records(Store(store))
    assert check.passed is passed
    assert ("for processes 2 there, 1 here" if passed else "same machine and versions") in check.message


def test_another_commit_is_not_another_machine(store, retrained):
    elsewhere(store, commit="another", date="2020-01-01T00:00:00Z", pandas="1")
    retrained[0]["losses"]["depth"] = 1.001
    _, check = verify_records(Store(store))
    assert check.passed is False


@pytest.mark.parametrize(
    "error", [ValueError("no"), FloatingPointError("no"), OSError("no"), torch.OutOfMemoryError("no")]
)
def test_a_run_that_cannot_be_trained_again_does_not_pass(store, monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(module, "first_epochs", fail)
    put(store, *configs(0))
    _, check = verify_records(Store(store))
    assert check.passed is False
    assert check.message.endswith("seed 0: cannot be trained again: no")


def test_samples(store, monkeypatch):
    monkeypatch.setattr(module, "first_epochs", lambda config, *args, **options: HISTORY[:1])
    wanted = configs(*range(20), epochs=1)
    for config in wanted:
        put(store, config, history=HISTORY[:1])
    drawn = [[check.message for check in verify_records(Store(store), sample=4, seed=seed)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(set(messages)) for messages in drawn] == [5, 5, 5]
    assert len(list(verify_records(Store(store), sample=30))) == 21
    assert len({next(verify_records(Store(store), sample=1)).message for _ in range(5)}) > 1


def test_runs_whose_device_or_data_are_absent_are_not_drawn(store, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    asked = []

    def first_epochs(config, epochs, *, data_root, progress, store):
        asked.append((config, data_root))
        return HISTORY[:1]

    monkeypatch.setattr(module, "first_epochs", first_epochs)
    (real,) = configs(0, dataset="nyuv2", n_train=None, n_test=None, size=None, epochs=1)
    for config in [*configs(1, device="cuda"), real]:
        put(store, config, history=HISTORY[:1])
    (sample,) = verify_records(Store(store), seed=0)
    assert sample.passed is False
    assert sample.message == "0 of 2 complete runs, drawn with seed 0; 2 need a GPU or data which are not here"
    assert [check.passed for check in verify_records(Store(store), data_root="data")] == [None, True]
    assert asked == [(real, "data")]
    (scenes,) = configs(2, epochs=1)
    put(store, scenes, history=HISTORY[:1])
    assert [check.passed for check in verify_records(Store(store), data_root="data")] == [None, True, True]
    assert sorted(asked[1:], key=str) == sorted([(real, "data"), (scenes, None)], key=str)


def test_the_command_names_what_does_not_pass(store, monkeypatch, capsys):
    monkeypatch.setattr(module, "first_epochs", lambda config, *args, **options: HISTORY[:1])
    good, stale = configs(0, 1, epochs=1)
    put(store, good, history=HISTORY[:1])
    arguments = ["verify-results", "--store", str(store), "--sample", "1", "--seed", "3"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == (
        "1 of 1 complete runs, drawn with seed 3\n"
        f"passed: run {good.hash}, seed 0: the first 1 epochs agree bit for bit\n"
    )
    path = put(store, stale, algorithm=ALGORITHM - 1)
    assert main(arguments) == 1
    assert (
        f"failed: {store}: not used, stale, of another algorithm than {ALGORITHM}: {path.name}\n"
        in capsys.readouterr().out
    )
    path.write_text("{")
    assert main(arguments) == 1
    assert f"failed: {path}: not used, damaged or foreign: no JSON" in capsys.readouterr().out


def test_an_empty_store_does_not_pass(store, capsys):
    store.mkdir()
    assert main(["verify-results", "--store", str(store), "--seed", "0"]) == 1
    assert capsys.readouterr().out == "failed: 0 of 0 complete runs, drawn with seed 0\n"
