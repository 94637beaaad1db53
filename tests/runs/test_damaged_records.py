"""A file that has the name of a run's record but is none: `train` and `grid` refuse it in the same words."""

import json

import pytest
from run_cases import configs, put

from mtlrepro.cli import main
from mtlrepro.training.config import ALGORITHM

ONE, OTHER = configs(0, 1)


def another_seed(store):
    put(store, OTHER).rename(store / f"{ONE.hash}.json")


def another_algorithm(store):
    put(store, ONE, algorithm=ALGORITHM - 1)


def content(text):
    def write(store):
        store.mkdir()
        (store / f"{ONE.hash}.json").write_text(text)

    return write


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (content('{"status": "failed"}'), "field 'config' is None; accepted: dict"),
        (content("{}"), "field 'config' is None; accepted: dict"),
        (content("[]"), "no JSON object"),
        (content('{"config": '), "no JSON: Expecting value: line 1 column 12 (char 11)"),
        (content("[" * 100_000), "no JSON: brackets are nested too deep"),
        (another_seed, f"status 'complete' and hash '{OTHER.hash}' belong in {OTHER.hash}.json"),
        (another_algorithm, f"algorithm is {ALGORITHM - 1}; accepted: {ALGORITHM}"),
    ],
)
def test_train_and_grid_refuse_it_alike(store, tmp_path, capsys, stand_in, damage, reason):
    damage(store)
    path = store / f"{ONE.hash}.json"
    before = path.read_bytes()
    file = tmp_path / "config.json"
    file.write_text(json.dumps(ONE.to_dict()))
    start = f"{path} is damaged or foreign: {reason}"
    remedy = "; remove it to train the run again"

    assert main(["train", str(file), "--store", str(store)]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"mtlrepro train: {start}")
    assert err.endswith(f"{remedy}\n")

    assert main(["grid", str(file), "--store", str(store)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"run {ONE.hash} failed: {start}")
    assert said.endswith(remedy)
    assert path.read_bytes() == before
