"""Two processes under torchrun train as one does on the joined batch, on a network without batch normalisation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchrun_cases import COMMAND, FAILING, RUNS, partly_labelled

from mtlrepro.distributed import join
from mtlrepro.losses import Terms
from mtlrepro.training import gradients
from mtlrepro.training.observations import step_weights
from mtlrepro.training.run import train
from mtlrepro.training.step import Trainer

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def together(cache, tmp_path_factory):
    """Folder with the records of all cases, and what torchrun did."""
    store = tmp_path_factory.mktemp("together")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [*torchrun, str(HERE.parent / "helpers" / "torchrun_cases.py"), str(store)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert result.returncode == 1, result.stderr  # torchrun's own, as the last case fails
    return store, result


@pytest.mark.parametrize("name", RUNS)
def test_numbers_are_those_of_one_process(together, tmp_path, name):
    run = RUNS[name]
    alone = train(run, store=tmp_path)
    store, result = together
    assert (store / f"{run.hash}.json").exists(), result.stderr
    found = json.loads((store / f"{run.hash}.json").read_text())
    assert (found["provenance"]["processes"], alone["provenance"]["processes"]) == (2, 1)
    for a, b in zip(found["history"], alone["history"], strict=True):
        for key in ("losses", "weights", "loss_scales", "lr"):
            torch.testing.assert_close(a[key], b[key], rtol=1e-5, atol=0)
        assert a.get("absent") == b.get("absent") == (None if name != "alternating" else dict.fromkeys(run.tasks, 0.5))
    norms = [record["history"][-1]["probe"]["norms"] for record in (found, alone)] if run.epochs == 2 else [{}, {}]
    torch.testing.assert_close(*norms, rtol=1e-3, atol=0)
    if run.gradients:
        measured = [gradients.read(folder, run.hash)[2].cosines for folder in (store, tmp_path)]
        for name in ("batches", "samples"):
            torch.testing.assert_close(*(getattr(each, name) for each in measured), rtol=1e-3, atol=1e-5)
    for task, metrics in alone["metrics"].items():
        torch.testing.assert_close(found["metrics"][task], metrics, rtol=1e-3, atol=1e-2)


def test_what_is_observed_is_that_of_one_process(together, tmp_path):
    run = RUNS["cagrad"]
    alone = train(run, store=tmp_path)
    found = json.loads((together[0] / f"{run.hash}.json").read_text())
    for a, b in zip(found["history"], alone["history"], strict=True):
        torch.testing.assert_close(a["observed"], b["observed"], rtol=1e-3, atol=1e-5)
    changes = [record["history"][-1]["probe"]["update_change"] for record in (found, alone)]
    torch.testing.assert_close(*changes, rtol=1e-3, atol=0)
    assert found["per_class"]["segmentation"].keys() == alone["per_class"]["segmentation"].keys()
    np.testing.assert_allclose(step_weights(together[0], run.hash), step_weights(tmp_path, run.hash), rtol=1e-4)


def test_a_task_that_one_process_lacks_is_present(together):
    """The process without labels adds a zero gradient, and means are weighted by labelled images."""
    store, result = together
    alone = partly_labelled()
    for rank in range(2):
        path = store / f"partly_labelled-{rank}.json"
        assert path.exists(), result.stderr
        found = json.loads(path.read_text())
        for key in ("losses", "weights", "parameters"):
            torch.testing.assert_close(found[key], alone[key], rtol=1e-5, atol=1e-7)


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


def test_the_command_trains_with_batch_normalisation_and_prints_once(together):
    store, result = together
    record = json.loads((store / f"{COMMAND.hash}.json").read_text())
    assert record["provenance"]["processes"] == 2
    assert result.stdout.splitlines()[0] == str(store / f"{COMMAND.hash}.json")
    assert result.stdout.count("depth:") == 1


def test_a_failure_ends_all_processes(together):
    store, result = together
    assert "batch_size is 5; accepted with 2 processes: its multiples" in result.stderr
    assert json.loads((store / f"{FAILING.hash}.failed.json").read_text())["status"] == "failed"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_process_without_its_own_device_says_so(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="device is 'cuda', for process 0 of this machine; it has 0 CUDA devices"):
        join("cuda")
