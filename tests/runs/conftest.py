"""Grids of runs that a stand-in trains in milliseconds."""

import json
import sys
from pathlib import Path

import pytest

from mtlrepro.runs import snakemake, workers

STAND_IN = Path(__file__).parents[1] / "helpers" / "stand_in.py"


@pytest.fixture
def store(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def stand_in(monkeypatch):
    """Let the stand-in train; call the result to make it misbehave."""

    def command(source, store, data_root):
        words = [sys.executable, str(STAND_IN), str(source), "--store", str(store)]
        return words if data_root is None else [*words, "--data-root", str(data_root)]

    for module in (workers, snakemake):
        monkeypatch.setattr(module, "train_command", command)
    return lambda **behaviour: monkeypatch.setenv("STAND_IN", json.dumps(behaviour))
