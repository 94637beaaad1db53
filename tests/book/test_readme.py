"""The README's Python blocks run as they stand, and the commands it names exist."""

import re
from pathlib import Path

import pytest
import yaml

import mtlrepro
from mtlrepro import files
from mtlrepro.pages import readme
from mtlrepro.pages.parameters import assign
from mtlrepro.runs.store import Store
from mtlrepro.runs.summary import describe_store, section
from mtlrepro.training.config import RunConfig

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_blocks_run(code):
    exec(compile(code, "README.md", "exec"), {})


def test_the_training_step_of_the_howto_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "book" / "howto.md").read_text(), re.DOTALL)
    (step,) = (block for block in blocks if "balancer.backward" in block and "tasks.create" in block)
    found: dict = {}
    exec(compile(step, "howto.md", "exec"), found)
    assert list(found["metric"].compute()) == list(found["metric"].higher_is_better)


def test_the_run_of_the_howto_has_the_name_that_is_shown():
    text = (ROOT / "book" / "howto.md").read_text()
    (config,) = re.findall(r"```json\n(\{\n  \"n_train\".*?)```", text, re.DOTALL)
    (name,) = re.findall(r"```text\nruns/(\w+)\.json", text)
    assert RunConfig.from_json(config).hash == name


def test_the_results_of_the_howto_are_the_stored_ones():
    printed = describe_store(Store(files.book("results", "runs")), section("first"))
    assert f"```text\n{printed}\n```" in (ROOT / "book" / "howto.md").read_text()


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`?make (book|test|check|html|help)", README))
    assert targets == {"book", "test", "check", "html", "help"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_folders_and_links_exist():
    table = README[README.index("## What is where") :]
    folders = re.findall(r"^\| `([\w/]+)`", table, re.MULTILINE)
    parts = re.findall(r"`mtlrepro/(\w+)`(.*?) \|", table)
    modules = [name for first, rest in parts for name in [first, *re.findall(r"`(\w+)`", rest)]]
    assert len(folders) == 7 and len(modules) == 8
    for name in [*folders, *(f"mtlrepro/{name}" for name in modules), *re.findall(r"\]\(([\w/.]+)\)", table)]:
        assert (ROOT / name).exists(), name


def test_rerun_line_is_accepted():
    (line,) = re.findall(r"mtlrepro run (\S+) (.*) -o", README)
    pairs = re.findall(r"-p (\S+) (\S+)", line[1])
    assert assign(ROOT / line[0], pairs) == {"batch_size": 64, "seeds": 10}


@pytest.mark.parametrize("page", ["README.md", "book/index.md"])
def test_the_entry_to_cite_is_that_of_the_citation_file(page):
    text = (ROOT / page).read_text()
    (entry,) = re.findall(r"```bibtex\n(.*?)```", text, re.DOTALL)
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    fields = dict(re.findall(r"(\w+) = \{+(.*?)\}+,?$", entry, re.MULTILINE))
    expected = {"author": cited["authors"][0]["name"]} | {key: cited[key] for key in ("title", "version", "license")}
    assert fields == expected
    assert fields["version"] == mtlrepro.__version__
    assert "git clone REPOSITORY mtlrepro && cd mtlrepro" in text


def test_picture_exists_and_is_small():
    (picture,) = re.findall(r"!\[.+\]\((.+)\)", README)
    assert 0 < (ROOT / picture).stat().st_size < 300_000


def test_the_readme_shows_what_the_stored_chapters_found():
    """To write it anew: make readme."""
    assert readme.updated(README) == README


def test_a_limit_of_which_nothing_was_measured_has_no_empty_number():
    limits = [{"quoted": "B", "measured": number, "status": "holds"} for number in ("1 [0, 2]", "")]
    answer = {"claim": "A", "statuses": {"holds": 1}, "quoted": "", "measured": "", "limits": limits}
    assert readme._cells(answer, "a.ipynb").endswith("; limit: B: 1 [0, 2], holds; limit: B, holds")
    assert ": ," not in README


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match=r"^the README lacks a mark; accepted: "):
        readme.updated("# Title\n")
