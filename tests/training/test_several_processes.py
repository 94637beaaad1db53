"""Two processes under torchrun train as one does on the joined batch, on a network without batch normalisation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchrun_cases import RUNS
from training_cases import SMOKE

from mtlrepro.config import RunConfig
from mtlrepro.losses import Terms
from mtlrepro.trainer import Trainer
from mtlrepro.training import train

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)


@pytest.fixture(scope="module")
def together(cache, tmp_path_factory):
    store = tmp_path_factory.mktemp("together")
    result = torchrun(str(HERE / "torchrun_cases.py"), str(store))
    assert result.returncode == 0, result.stderr
    return store


@pytest.mark.parametrize("name", RUNS)
def test_numbers_are_those_of_one_process(together, tmp_path, name):
    run = RUNS[name]
    alone = train(run, store=tmp_path)
    found = json.loads((together / f"{run.hash}.json").read_text())
    assert (found["provenance"]["processes"], alone["provenance"]["processes"]) == (2, 1)
    for a, b in zip(found["history"], alone["history"], strict=True):
        for key in ("losses", "weights", "loss_scales", "lr"):
            torch.testing.assert_close(a[key], b[key], rtol=1e-5, atol=0)
    norms = [record["history"][-1]["probe"]["norms"] for record in (found, alone)] if run.epochs == 2 else [{}, {}]
    torch.testing.assert_close(*norms, rtol=1e-3, atol=0)
    for task, metrics in alone["metrics"].items():
        torch.testing.assert_close(found["metrics"][task], metrics, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", ["equal", "pooled"])
def test_the_parts_of_batches_have_unequal_counts(cache, name):
    """So that the mean of the parts' means, without the counts of the whole batch, would be another number."""
    trainer = Trainer(RUNS[name], torch.device("cpu"))
    batch = next(iter(trainer.train_loader))
    task = trainer.tasks[-1]
    terms = task.loss(trainer.model(batch)[task.name], batch)
    halves = [Terms(terms.values[rows], terms.weights[rows]) for rows in (slice(3), slice(3, 6))]
    naive, whole = sum(half.mean() for half in halves) / 2, terms.mean()
    joined = sum(half.mean(terms.weights.sum() / 2) for half in halves) / 2
    torch.testing.assert_close(joined, whole)
    assert name == "equal" or abs(naive / whole - 1) > 1e-3


def test_the_command_with_batch_normalisation(cache, tmp_path):
    run = RunConfig(**SMOKE | {"epochs": 1})
    (tmp_path / "c.json").write_text(run.to_json())
    result = torchrun("-m", "mtlrepro", "train", str(tmp_path / "c.json"), "--store", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == str(tmp_path / f"{run.hash}.json")  # printed once
    assert result.stdout.count("depth:") == 1
    record = json.loads((tmp_path / f"{run.hash}.json").read_text())
    assert record["provenance"]["processes"] == 2


def test_a_failure_ends_all_processes(cache, tmp_path):
    run = RunConfig(**SMOKE | {"batch_size": 3, "epochs": 1})
    (tmp_path / "c.json").write_text(run.to_json())
    result = torchrun("-m", "mtlrepro", "train", str(tmp_path / "c.json"), "--store", str(tmp_path))
    assert result.returncode != 0
    assert "a divisor of batch_size 3" in result.stderr
    assert json.loads((tmp_path / f"{run.hash}.failed.json").read_text())["status"] == "failed"
