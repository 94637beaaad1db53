"""What is read from a store, and what is named and left alone."""

import json
import shutil

import pytest
from run_cases import configs, put

from mtlrepro import runs
from mtlrepro.runs.store import is_stored, read
from mtlrepro.training.config import ALGORITHM

FAILED = {"status": "failed", "error": "the loss is not finite"}


def test_a_missing_folder_is_an_empty_store(store):
    assert runs.load(store) == {}
    assert not store.exists()


def test_complete_and_failed_runs(store):
    one, two, three = configs(0, 1, 2)
    for config in (one, two):
        put(store, config)
    for config in (two, three):
        put(store, config, **FAILED)
    contents = read(store)
    assert contents.records.keys() == {one.hash, two.hash}
    assert contents.failed.keys() == {three.hash}, "a run completed since is not failed"
    assert contents.records[one.hash]["config"] == one.to_dict()
    assert contents.problems() == []
    assert [is_stored(store, config.hash) for config in (one, two, three)] == [True, True, False]


def test_records_are_merged_by_copying_files(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    one, two, three = configs(0, 1, 2)
    for folder, config in ((first, one), (first, two), (second, two), (second, three)):
        put(folder, config)
    for path in second.iterdir():
        shutil.copy(path, first)
    assert runs.load(first).keys() == {one.hash, two.hash, three.hash}


def test_stale_records_are_named_and_not_used(store):
    kept, old, older = configs(0, 1, 2)
    put(store, kept)
    put(store, old, algorithm=ALGORITHM - 1, hash="a" * 12)
    put(store, older, algorithm=ALGORITHM - 1, hash="b" * 12, config={"a field": "of another time"}, **FAILED)
    with pytest.warns(
        UserWarning, match=f"runs: not used, stale, of another algorithm than {ALGORITHM}: {'a' * 12}.json, "
    ):
        assert runs.load(store).keys() == {kept.hash}
    assert not is_stored(store, "a" * 12)


def _change(**values):
    return lambda content: json.dumps(content | values)


def _without(name):
    return lambda content: json.dumps({key: value for key, value in content.items() if key != name})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: json.dumps(content)[:-20], r"no JSON \("),
        (lambda content: "", r"no JSON \("),
        (lambda content: "[" * 100_000, r"no JSON \("),
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
    with pytest.warns(UserWarning, match=f"{path.name}: not used, damaged or foreign: {reason}"):
        assert runs.load(store).keys() == {kept.hash}
    assert path.exists()


def test_bytes_that_are_no_text_and_folders_are_named(store):
    store.mkdir()
    (store / "a.json").write_bytes(b"\xff\xfe\xfa\x00")
    (store / "b.json").mkdir()
    (store / "checkpoints").mkdir()
    assert [path.name for path in read(store).damaged] == ["a.json", "b.json"]


def test_files_that_are_being_written_are_not_read(store):
    path = put(store, *configs(0))
    path.rename(path.with_name(f".{path.name}.123.partial"))
    (store / f".{path.name}").write_text("{")
    assert read(store).problems() == []
