"""The page on how the book is built: its tree, its order of imports and its four guides, each by its example."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.timeout(900)  # some examples train, or run a notebook
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book" / "how_it_is_built.md").read_text()
GUIDES = {part.partition("\n")[0]: part for part in PAGE.split("\n## Add ")[1:]}


def blocks(guide, language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDES[guide], re.DOTALL)


def apply(diff, root):
    """Apply the hunks of a diff without line numbers: each changes the first place where its old lines stand."""
    for file in diff.split("--- a/")[1:]:
        name, *hunks = re.split(r"^(?:\+\+\+ .*\n)?@@\n|^\+\+\+ .*\n", file, flags=re.MULTILINE)
        path = root / name.strip()
        text = path.read_text()
        for hunk in filter(None, hunks):
            lines = hunk.splitlines()
            old, new = (
                "".join(f"{line[1:]}\n" for line in lines if line[0] in kept) for kept in ((" ", "-"), (" ", "+"))
            )
            assert old in text, f"{path} no longer holds:\n{old}"
            text = text.replace(old, new, 1)
        path.write_text(text)


@pytest.fixture
def copy(tmp_path):
    """A copy of the project in which Python imports its package and keeps its own cache; a function that runs code."""
    shutil.copytree(ROOT / "mtlrepro", tmp_path / "mtlrepro", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests" / "helpers", tmp_path / "tests" / "helpers")
    (tmp_path / "book").mkdir()
    (tmp_path / "tests" / "book").mkdir()
    for name in ("pyproject.toml", "book/_toc.yml", "book/glossary.md", "tests/book/test_sources.py"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "MTLREPRO_CACHE": str(tmp_path / "cache")}

    def python(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return tmp_path, python


def test_every_folder_of_the_package_has_its_line():
    named = set(re.findall(r"^\| `(mtlrepro/[\w/]+)` \|", PAGE, re.MULTILINE))
    parts = {path.parent for path in ROOT.glob("mtlrepro/*/**/*.py")}
    shown = {path.relative_to(ROOT).as_posix() for path in parts if len(path.relative_to(ROOT).parts) == 2}
    assert shown <= named
    assert all((ROOT / name).is_dir() for name in re.findall(r"^\| `([\w/]+)` \|", PAGE, re.MULTILINE))


def test_the_order_of_imports_is_the_tested_one():
    order = runpy.run_path(str(ROOT / "tests" / "test_architecture.py"))["ORDER"]
    (shown,) = re.findall(r"## Order of imports.*?```text\n(.*?)```", PAGE, re.DOTALL)
    assert [set(line.split(", ")) for line in shown.splitlines()] == list(order[:-1])


@pytest.mark.parametrize("guide", GUIDES)
def test_guides_name_files_that_exist(guide):
    names = re.findall(r"`((?:mtlrepro|tests|book|data_scripts)/[\w/.]+)`", GUIDES[guide])
    assert names
    assert [name for name in names if "NAME" not in name and not (ROOT / name).exists()] == []


def test_a_balancer():
    (code,) = blocks("a balancer", "python")
    found: dict = {}
    exec(compile(code, "how_it_is_built.md", "exec"), found)
    shared = torch.nn.Parameter(torch.ones(2))
    weights = found["balancer"].backward([shared.sum() * k for k in (1, 2, 3)], [shared]).tolist()
    assert weights == pytest.approx([6 / 11, 3 / 11, 2 / 11])
    assert shared.grad[0].item() == pytest.approx(18 / 11)


TRAIN = """
from mtlrepro.training.run import train
from mtlrepro.training.scales import config

run = config("smoke", dataset="{dataset}", tasks=("{task}",))
print(sorted(train(run, store="runs")["metrics"]["{task}"]))
"""


@pytest.mark.parametrize(
    ("guide", "dataset", "task", "metric"),
    [("a task", "rooms", "brightness", "lsb_loss"), ("a data set", "walls", "depth", "rmse")],
)
def test_a_task_and_a_data_set_are_trained(copy, guide, dataset, task, metric):
    root, python = copy
    for code in blocks(guide, "python"):
        (root / re.match(r"# (\S+)\n", code)[1]).write_text(code)
    for diff in blocks(guide, "diff"):
        apply(diff, root)
    done = python("-c", TRAIN.format(dataset=dataset, task=task))
    assert done.returncode == 0, done.stderr
    assert metric in done.stdout


def test_a_chapter(copy):
    root, python = copy
    done = python("-m", "mtlrepro", "new-chapter", "waves")
    assert done.returncode == 0, done.stderr
    written = [Path(line).relative_to(root).as_posix() for line in done.stdout.splitlines()]
    tests = "tests/studies/waves/test_study.py"
    study = ["mtlrepro/studies/waves/study.py", "mtlrepro/studies/waves/__init__.py"]
    assert written == ["book/waves.ipynb", *study, tests, "book/_toc.yml"]
    assert "mclgs\n      - file: waves\n" in (root / "book" / "_toc.yml").read_text()
    for arguments in (
        ("mtlrepro", "run", "book/waves.ipynb", "-p", "scale", "smoke", "-o", "small.ipynb"),
        ("mtlrepro", "normalise", "--check", "book/waves.ipynb"),
        ("pytest", "-q", tests),
        ("pytest", "-q", "tests/book/test_sources.py", "-k", "waves"),
        ("ruff", "check", *study, tests, "book/waves.ipynb"),
        ("ruff", "format", "--check", *study, tests),
    ):
        done = python("-m", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    for name, accepted in (("waves", "a new one"), ("2waves", "an identifier"), ("class", "an identifier")):
        done = python("-m", "mtlrepro", "new-chapter", name)
        assert done.returncode == 2
        assert f"name is {name!r}; accepted: {accepted}" in done.stderr
