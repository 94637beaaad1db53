"""What is read from a store, and what is named and left alone."""

import json
import re
import shutil

import numpy as np
import pytest
from run_cases import configs, put

from mtlrepro import files
from mtlrepro.runs.store import Store
from mtlrepro.training import records
from mtlrepro.training.config import ALGORITHM

FAILED = {"status": "failed", "error": "the loss is not finite"}


def test_a_missing_folder_is_an_empty_store(store):
    (config,) = configs(0)
    opened = Store(store)
    assert opened.records == opened.failed == {}
    assert opened.problems() == []
    assert config not in opened and opened.record(config) is None and opened.failure(config) is None
    assert not store.exists()


def test_complete_and_failed_runs(store):
    one, two, three = configs(0, 1, 2)
    for config in (one, two):
        put(store, config)
    for config in (two, three):
        put(store, config, **FAILED)
    opened = Store(store)
    assert opened.records.keys() == {one.hash, two.hash}
    assert opened.failed.keys() == {three.hash}, "a run completed since is not failed"
    assert opened.records[one.hash]["config"] == one.to_dict()
    assert opened.problems() == []
    assert [config in opened for config in (one, two, three)] == [True, True, False]
    assert opened.record(one) == opened.records[one.hash]
    assert opened.record(three) is None
    assert [opened.failure(config) is None for config in (one, two, three)] == [True, True, False]
    assert opened.failure(three)["error"] == FAILED["error"]


def test_a_file_is_read_once(store, monkeypatch):
    one, two, three = configs(0, 1, 2)
    for config in (one, two):
        put(store, config)
    read, paths = records.read, []
    monkeypatch.setattr(records, "read", lambda path: paths.append(path.stem) or read(path))
    opened = Store(store)
    assert paths == []
    assert one in opened and opened.record(one) is opened.record(one) and three not in opened
    assert paths == [one.hash]
    for _ in range(2):
        assert opened.records.keys() == {one.hash, two.hash}
        assert opened.failed == opened.stale == opened.damaged == {}
    assert sorted(paths) == sorted([one.hash, two.hash])


def test_what_is_written_later_is_seen(store):
    one, two = configs(0, 1)
    opened = Store(store)
    assert one not in opened
    put(store, one, **FAILED)
    put(store, two).write_text("{")
    assert opened.failed.keys() == {one.hash}
    assert [path.stem for path in opened.damaged] == [two.hash]
    for config in (one, two):
        put(store, config)
    assert opened.records.keys() == {one.hash, two.hash}
    assert one in opened and opened.failed == opened.damaged == {}
    (store / f"{one.hash}.json").unlink()
    assert one not in opened and opened.failure(one)["error"] == FAILED["error"]


def test_predictions_stand_beside_a_record(store):
    (config,) = configs(0)
    with pytest.raises(FileNotFoundError, match=f"{config.hash}.npz is absent"):
        Store(store).predictions(config)
    with files.replacing(store / f"{config.hash}.npz") as partial:
        np.savez(partial, **{"3/segmentation": np.ones((1, 2, 2), np.int8)})
    assert Store(store).predictions(config)[3]["segmentation"].shape == (1, 2, 2)


def test_records_are_merged_by_copying_files(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    one, two, three = configs(0, 1, 2)
    for folder, config in ((first, one), (first, two), (second, two), (second, three)):
        put(folder, config)
    for path in second.iterdir():
        shutil.copy(path, first)
    assert Store(first).records.keys() == {one.hash, two.hash, three.hash}


def test_stale_records_are_named_and_not_used(store):
    kept, old, older = configs(0, 1, 2)
    put(store, kept)
    put(store, old, algorithm=ALGORITHM - 1, hash="a" * 12)
    put(store, older, algorithm=ALGORITHM - 1, hash="b" * 12, config={"a field": "of another time"}, **FAILED)
    opened = Store(store)
    assert opened.records.keys() == {kept.hash} and not opened.failed
    names = f"{'a' * 12}.json, {'b' * 12}.failed.json"
    assert opened.problems() == [f"{store}: not used, stale, of another algorithm than {ALGORITHM}: {names}"]
    put(store, kept, algorithm=ALGORITHM - 1)
    assert kept not in opened


def _change(**values):
    return lambda content: json.dumps(content | values)


def _without(name):
    return lambda content: json.dumps({key: value for key, value in content.items() if key != name})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: json.dumps(content)[:-20], "no JSON: "),
        (lambda content: "", "no JSON: "),
        (lambda content: "[" * 100_000, "no JSON: "),
        (lambda content: "[1, 2]", "no JSON object"),
        (lambda content: '{"rows": []}', "field 'config' is None; accepted: dict"),
        (_without("provenance"), "field 'provenance' is None; accepted: dict"),
        (_without("metrics"), "field 'metrics' is None; accepted: dict"),
        (_change(history={}), "field 'history' is {}; accepted: list"),
        (_change(config="x" * 100), f"field 'config' is '{'x' * 36}...; accepted: dict"),
        (_change(status="done", error=""), "field 'status' is 'done'; accepted: 'complete', 'failed'"),
        (_change(**FAILED), r"status 'failed' and hash '\w{12}' belong in \w{12}.failed.json"),
        (_change(hash="0" * 12), "status 'complete' and hash '0{12}' belong in 0{12}.json"),
        (lambda content: json.dumps(content | {"config": content["config"] | {"seed": 9}}), "its configuration has"),
        (_change(config={"seed": -1}), "seed is -1; accepted: a whole number"),
        (_change(config={"colour": "red"}), "field 'colour' is unknown; accepted: "),
    ],
)
def test_damaged_and_foreign_files_are_named_and_not_used(store, damage, reason):
    kept, damaged = configs(0, 1)
    put(store, kept)
    path = put(store, damaged)
    path.write_text(damage(json.loads(path.read_text())))
    opened = Store(store)
    assert opened.records.keys() == {kept.hash}
    assert damaged not in opened
    (problem,) = opened.problems()
    assert re.search(f"{path.name}: not used, damaged or foreign: {reason}", problem)
    assert path.exists()


def test_bytes_that_are_no_text_and_folders_are_named(store):
    store.mkdir()
    (store / "a.json").write_bytes(b"\xff\xfe\xfa\x00")
    (store / "b.json").mkdir()
    (store / "checkpoints").mkdir()
    assert [path.name for path in Store(store).damaged] == ["a.json", "b.json"]


def test_files_that_are_being_written_are_not_read(store):
    path = put(store, *configs(0))
    path.rename(path.with_name(f".{path.name}.123.partial"))
    (store / f".{path.name}").write_text("{")
    assert Store(store).problems() == []
