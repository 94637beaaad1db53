"""Where the numbers of a run come from."""

import platform
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from mtlrepro.training import provenance as module
from mtlrepro.training.provenance import PACKAGES, processor, provenance


@pytest.fixture(autouse=True)
def asked_anew():
    """Git is asked once by each process; here by each test."""
    module._commit.cache_clear()
    yield
    module._commit.cache_clear()


def test_provenance():
    found = provenance("cpu")
    assert list(found) == ["commit", "device", "threads", "python", *PACKAGES]
    assert re.fullmatch(r"[0-9a-f]{12}( with changes)?|unknown: not a git checkout", found["commit"])
    assert found["device"] == f"CPU, {platform.machine()}"
    assert found["threads"] == torch.get_num_threads()
    assert (found["python"], found["numpy"]) == (platform.python_version(), np.__version__)


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("processor\t: 0\nmodel name\t: Fast CPU @ 2: GHz\n", "Fast CPU @ 2: GHz"),
        (
            "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\n\nmodel\t: 1\n",
            "AMD EPYC (family 25, model 17, stepping 1)",
        ),
        ("Hardware: x\n", "armv8"),
        (None, "armv8"),
    ],
)
def test_processor(monkeypatch, cpuinfo, model):
    def read(path, encoding):
        if cpuinfo is None:
            raise FileNotFoundError
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(platform, "processor", lambda: "armv8")
    assert processor() == model


def test_git_is_asked_once(monkeypatch):
    """The code of a process is that of its start, whatever is changed or committed since."""
    first = provenance("cpu")
    monkeypatch.delattr(subprocess, "run")
    assert provenance("cpu") == first


@pytest.mark.parametrize("error", [FileNotFoundError(), subprocess.CalledProcessError(128, "git")])
def test_provenance_outside_a_checkout(monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    assert provenance("cpu")["commit"] == "unknown: not a git checkout"


def test_a_checkout_of_another_user_tells_its_commit(tmp_path, monkeypatch):
    """Git takes every folder for another user's when it is told to."""
    command = ["git", "-C", str(tmp_path)]
    subprocess.run([*command, "init", "-q"], check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*command, *author, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    commit = subprocess.run([*command, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
    monkeypatch.setattr(module, "PROJECT", tmp_path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert provenance("cpu")["commit"] == commit.stdout.strip()


def test_where_git_refuses_the_remedy_is_named_once(monkeypatch):
    def refuse(words, **options):
        raise subprocess.CalledProcessError(
            128, words, stderr="fatal: detected dubious ownership in repository at '/x'"
        )

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.warns(UserWarning, match=r"run: git config --global --add safe\.directory ") as caught:
        found = {provenance("cpu")["commit"] for _ in range(2)}
    assert found == {"unknown: git refuses a checkout of another user"}
    assert len(caught) == 1


@pytest.mark.parametrize(("status", "commit"), [("", "abc"), (" M plots.py\n", "abc with changes")])
def test_provenance_tells_of_changes(monkeypatch, status, commit):
    def git(words, **options):
        return subprocess.CompletedProcess(words, 0, status if "status" in words else "abc\n")

    monkeypatch.setattr(subprocess, "run", git)
    assert provenance("cpu")["commit"] == commit


def test_provenance_names_the_graphics_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "card")
    assert provenance("cuda")["device"] == "card"


def test_provenance_names_the_card_that_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"card {device}")
    assert provenance("cuda:1")["device"] == "card cuda:1"
