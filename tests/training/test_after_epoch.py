"""What is called after each epoch: with what, when, and what it cannot change."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_cases import config

from mtlrepro.training import checkpoints, records
from mtlrepro.training.run import train

ROOT = Path(__file__).parents[2]


def test_it_gets_each_entry_once_its_checkpoint_is_written(tmp_path):
    run, seen, states = config(evaluate_every=3), [], []

    def note(entry):
        assert checkpoints.load(tmp_path / "checkpoints", run.hash, states.append)
        assert states.pop()["history"][-1] == entry
        seen.append(entry)

    assert train(run, store=tmp_path, after_epoch=note)["history"] == seen
    assert [entry["epoch"] for entry in seen] == [1, 2, 3]
    assert train(run, store=tmp_path, after_epoch=note)["history"] == seen  # read, so that nothing is called


def test_it_changes_no_number(tmp_path):
    """Neither by what it does to its entry nor by random numbers that it draws, as dropout draws too."""
    run = config(model_options={"dropout": 0.3}, method="lsb")

    def meddle(entry):
        torch.rand(5)
        torch.manual_seed(0)
        entry["losses"].clear()
        entry.clear()

    plain, other = train(run, store=tmp_path / "a"), train(run, store=tmp_path / "b", after_epoch=meddle)
    assert records.numbers(plain) == records.numbers(other)


@pytest.mark.parametrize("epoch", [1, 3])
def test_what_it_raises_keeps_the_epoch(tmp_path, epoch):
    run = config()
    expected = records.numbers(train(run, store=tmp_path / "unbroken"))

    def fail(entry):
        if entry["epoch"] == epoch:
            raise OSError("the disk of the logger is full")

    with pytest.raises(OSError, match="the disk of the logger is full"):
        train(run, store=tmp_path, after_epoch=fail)
    failed = json.loads((tmp_path / f"{run.hash}.failed.json").read_text())
    assert failed["error"] == "OSError: the disk of the logger is full" and len(failed["history"]) == epoch
    seen = []
    assert records.numbers(train(run, store=tmp_path, after_epoch=seen.append)) == expected
    assert [entry["epoch"] for entry in seen] == list(range(epoch + 1, 4))
    assert not (tmp_path / f"{run.hash}.failed.json").exists()


def test_the_example_of_the_howto(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "book" / "howto.md").read_text(), re.DOTALL)
    (example,) = (block for block in blocks if "after_epoch" in block)
    assert len(example.splitlines()) <= 12
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*.json"))
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines == [
        f"{entry['epoch']},{task},{loss}" for entry in record["history"] for task, loss in entry["losses"].items()
    ]
