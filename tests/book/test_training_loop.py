"""The page on training loops of one's own: its three programs run as they are printed."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mtlrepro import balancers

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book" / "training_loop.md").read_text()
COMPLETE, LIGHTNING, TORCHRUN = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ACCUMULATING = ["equal", "lsb", "dwa", "lagged_gls", "uncertainty"]  # and `fixed`, which takes weights
TWO_PROCESSES = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def changed(code, before, after):
    assert code.count(before) == 1
    return code.replace(before, after)


@pytest.fixture
def loop(tmp_path, monkeypatch, capsys):
    """A function that runs a variant of the complete example in a folder; the means that each epoch printed."""

    def run(code=COMPLETE, folder="here"):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        exec(compile(code, "training_loop.md", "exec"), {})
        return [ast.literal_eval(line.partition(" ")[2]) for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.fixture
def program(tmp_path):
    """A function that runs a program as a file of its own, under a module if one is named; what it printed."""

    def run(code, *module):
        (tmp_path / "loop.py").write_text(code)
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *module, "loop.py"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_the_programs_fit_on_the_page():
    assert [line for code in (COMPLETE, LIGHTNING, TORCHRUN) for line in code.splitlines() if len(line) > 88] == []


def test_the_complete_example_learns_both_tasks(loop):
    epochs = loop()
    assert len(epochs) == 5
    assert all(epochs[-1][task] < 0.2 * epochs[0][task] for task in ("sum", "norm"))


def test_the_complete_example_goes_on_where_it_was_stopped(loop):
    expected = loop(folder="unbroken")
    stopped = loop(changed(COMPLETE, "range(balancer.epochs, 5)", "range(balancer.epochs, 2)"))
    assert stopped + loop() == expected


@pytest.mark.parametrize("name", ACCUMULATING)
def test_the_complete_example_serves_every_method_that_accumulates(loop, name):
    epochs = loop(changed(COMPLETE, '"lsb"', f'"{name}"'))
    assert epochs[-1]["sum"] < 0.2 * epochs[0]["sum"]


def test_a_gradient_scaler_changes_no_step_of_the_complete_example(loop):
    """Without rounding to half precision, as its factor is a power of two."""
    plain = changed(COMPLETE, "torch.autocast(device, precision)", "torch.autocast(device, enabled=False)")
    scaled = changed(plain, "enabled=precision == torch.float16", "init_scale=256.0")
    assert loop(scaled, "scaled") == loop(plain, "plain")


def test_the_complete_example_learns_in_float16(loop):
    epochs = loop(changed(COMPLETE, 'torch.float16 if device == "cuda" else torch.bfloat16', "torch.float16"))
    assert all(epochs[-1][task] < 0.2 * epochs[0][task] for task in ("sum", "norm"))


def test_the_lightning_example_trains(program):
    """The balancer has counted every step and epoch, has weights, and is in Lightning's checkpoint."""
    *_, counts, weights, stored = program(
        LIGHTNING
        + "balancer = trainer.lightning_module.balancer\n"
        + "saved = torch.load(trainer.checkpoint_callback.best_model_path)['state_dict']\n"
        + "print(balancer.steps, balancer.epochs)\n"
        + "print(balancer.weights.tolist())\n"
        + "print(saved['balancer._weights'].tolist())\n"
    )
    assert counts == "40 5"
    assert weights == stored != "[0.5, 0.5]"


def test_the_torchrun_example_takes_the_same_steps_in_two_processes(program, tmp_path):
    """Each process writes to a file of its own, since what they print at one time may mix."""
    program(TORCHRUN, *TWO_PROCESSES, "--log-dir", "logs", "--redirects", "3")
    lines = [path.read_text().strip() for path in sorted(tmp_path.glob("logs/**/stdout.log"))]
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert re.match(r"\[[\d.]+, [\d.]+\] [\d.]+$", lines[0])


@pytest.mark.parametrize("name", balancers.METHODS)
def test_activation_checkpointing_changes_no_gradient(name):
    results = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        first, second = nn.Linear(4, 6).double(), nn.Linear(6, 6).double()
        heads = [nn.Linear(6, 1).double() for _ in range(3)]
        z = first(torch.randn(5, 4, dtype=torch.float64)).tanh()
        if checkpointed:
            z = torch.utils.checkpoint.checkpoint(lambda z, layer=second: layer(z).tanh(), z, use_reentrant=False)
        else:
            z = second(z).tanh()
        shared = [*first.parameters(), *second.parameters()]
        balancers.create(name, 3).backward([head(z).square().mean() for head in heads], shared)
        results.append([parameter.grad for parameter in shared])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
