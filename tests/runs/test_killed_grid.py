"""A grid of real runs on the command line, killed at random moments: its records are those of an unbroken one."""

import json
import os
import random
import signal
import subprocess
import sys

import pytest

from mtlrepro import runs
from mtlrepro.runs.verify import verify_records
from mtlrepro.training import scales
from mtlrepro.training.records import numbers
from mtlrepro.training.run import train

BASE = scales.config("smoke", epochs=3).to_dict()


def start(arguments):
    """Start a grid in a group of processes of its own."""
    command = [sys.executable, "-m", "mtlrepro", "grid", *map(str, arguments)]
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True, start_new_session=True)


@pytest.mark.timeout(600)
def test_three_methods_and_two_seeds(tmp_path, monkeypatch):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    file, store, unbroken = tmp_path / "grid.json", tmp_path / "store", tmp_path / "unbroken"
    base = {name: value for name, value in BASE.items() if name not in ("method", "seed")}
    file.write_text(json.dumps({"base": base, "vary": {"method": ["equal", "lsb", "mtsgd"], "seed": [0, 1]}}))
    wanted = runs.read_grid(file)
    arguments = [file, "--store", store, "--jobs", 2]
    moments, killed = random.Random(), 0
    for number, wait in ((signal.SIGTERM, moments.uniform(5, 12)), (signal.SIGKILL, moments.uniform(5, 12))):
        grid = start(arguments)
        try:
            status = grid.wait(wait)
        except subprocess.TimeoutExpired:
            (os.kill if number == signal.SIGTERM else os.killpg)(grid.pid, number)
            killed += 1
            status = grid.wait()
            assert status in ((130, 0) if number == signal.SIGTERM else (-number,)), f"killed after {wait} s"
        grid.communicate()
        assert runs.Store(store).records.keys() <= {config.hash for config in wanted}, "no file is damaged"

    assert killed, "the grid was through before it was killed"
    grid = start(arguments)
    out, err = grid.communicate()
    assert grid.returncode == 0, err
    assert [line.split()[1] + line.split()[-1] for line in out.splitlines()[2:]] == ["0-1complete"] * 3
    records = runs.Store(store).records
    for config in wanted:
        assert numbers(records[config.hash]) == numbers(train(config, store=unbroken, progress=False))
    assert not list((store / "checkpoints").glob("*.pt"))

    *_, check = verify_records(runs.Store(store), sample=1, progress=False)
    assert check.passed, check.message
    assert "the first 2 epochs agree bit for bit" in check.message
