"""pyproject.toml, constraints.txt, environment.yml, Makefile, npm's files and CITATION.cff say the same thing."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from pybtex.database import parse_file

import mtlrepro

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONSTRAINTS = [
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")
]
PINS = dict(line.split("==") for line in CONSTRAINTS)
PYTHONS = ("3.11", "3.12", "3.13")
# torch pins these itself, for each platform its own
LEFT_TO_TORCH = ("cuda-", "nvidia-", "triton")


def direct_requirements():
    lines = PROJECT["dependencies"] + [line for extra in EXTRAS for line in EXTRAS[extra]]
    return [Requirement(line) for line in lines]


def installed_closure():
    """Names of all installed distributions that the project's requirements pull in on the supported Pythons."""
    names, todo = set(), [(requirement, "") for requirement in direct_requirements()]
    seen = set()
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        environments = [{"extra": extra, "python_version": python} for python in PYTHONS]
        marker = requirement.marker
        if name.startswith(LEFT_TO_TORCH) or (marker and not any(map(marker.evaluate, environments))):
            continue
        names.add(name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                try:
                    todo += [(Requirement(line), wanted) for line in requires(name) or []]
                except PackageNotFoundError:
                    continue
    return names


def test_constraints_are_exact_sorted_and_unique():
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][\w.]*", line) for line in CONSTRAINTS)
    names = [line.split("==")[0] for line in CONSTRAINTS]
    assert names == sorted(set(names))


@pytest.mark.parametrize("requirement", direct_requirements(), ids=lambda requirement: requirement.name)
def test_each_direct_requirement_is_pinned_within_its_range(requirement):
    name = canonicalize_name(requirement.name)
    assert name in PINS, f"add {name}== to constraints.txt"
    assert requirement.specifier.contains(PINS[name])


def test_whatever_the_requirements_pull_in_is_pinned():
    assert installed_closure() - PINS.keys() == set()


def test_constraints_pin_nothing_that_torch_pins():
    assert [name for name in PINS if name.startswith(LEFT_TO_TORCH)] == []


def test_installed_versions_are_the_pinned_ones():
    wrong = {}
    for name, pin in PINS.items():
        try:
            installed = distribution(name).version
        except PackageNotFoundError:
            continue  # of an optional extra, or of another Python
        if Version(installed).public != pin:
            wrong[name] = f"{installed}, pinned {pin}"
    assert wrong == {}, "make has not installed this environment; try: rm .venv/.installed"


def test_pins_accept_the_supported_pythons():
    supported = SpecifierSet(PROJECT["requires-python"])
    assert supported.contains(PYTHONS[0])
    assert not supported.contains("3.10")
    for name in PINS:
        try:
            range_ = distribution(name).metadata["Requires-Python"]
        except PackageNotFoundError:
            continue
        for python in PYTHONS:
            assert SpecifierSet(range_ or "").contains(f"{python}.0"), f"{name} does not support Python {python}"


def test_environment_yml_installs_the_project_with_the_same_constraints():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == [f"python={PYTHONS[0]}", "pip"]
    assert pip == {"pip": ["-c constraints.txt", f"-e .[{','.join(EXTRAS)}]"]}


def test_makefile_installs_with_the_same_constraints():
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^PIP := .* -c constraints\.txt$", makefile, re.MULTILINE)
    assert makefile.count("pip install") == 1, "install through $(PIP)"
    (extras,) = re.findall(r"\$\(PIP\) -e '\.\[(.*)\]'", makefile)
    assert set(extras.split(",")) == {"book", "test", "oracle", "cluster", "timm"} <= EXTRAS.keys()
    (minimum,) = re.findall(r"sys\.version_info < \((\d+), (\d+)\)", makefile)
    assert ".".join(minimum) == PYTHONS[0]
    assert re.search(r"^\$\(INSTALLED\): pyproject\.toml constraints\.txt", makefile, re.MULTILINE)


def test_npm_installs_exact_versions_from_any_registry():
    package = json.loads((ROOT / "package.json").read_text())
    lock = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert package["dependencies"] == lock[""]["dependencies"]
    for name, version in package["dependencies"].items():
        assert lock[f"node_modules/{name}"]["version"] == version
    del lock[""]
    assert all(entry["integrity"] for entry in lock.values())
    assert [name for name, entry in lock.items() if "resolved" in entry] == []


def test_a_wheel_holds_every_file_of_the_package(tmp_path):
    """The marker `py.typed` too, with which type checkers of other projects read this one's annotations."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "mtlrepro", source / "mtlrepro", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]):
        shutil.copyfile(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*command, "--wheel-dir", tmp_path, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("mtlrepro/")}
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mtlrepro").rglob("*") if path.is_file()}
    assert held == {name for name in files if "__pycache__" not in name}
    assert "mtlrepro/py.typed" in held


# --- CITATION.cff -------------------------------------------------------------------------------------

TYPES = {"article", "conference-paper"}
REFERENCE_KEYS = {"type", "title", "authors", "year", "doi", "identifiers", "collection-title", "journal"} | {
    "volume",
    "issue",
    "start",
    "end",
    "notes",
}


@pytest.fixture(scope="module")
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_citation_is_valid_and_names_this_version(citation):
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["version"] == mtlrepro.__version__
    assert citation["license"] == PROJECT["license"]
    for entry in [citation, *citation["references"]]:
        assert isinstance(entry["title"], str)
        assert entry["authors"]
        for author in entry["authors"]:
            assert author.keys() in ({"name"}, {"family-names", "given-names"})
        assert re.fullmatch(r"10\.\d{4,}/\S+", entry.get("doi", "10.1000/1"))
    for reference in citation["references"]:
        assert reference.keys() <= REFERENCE_KEYS
        assert reference["type"] in TYPES
        assert isinstance(reference["year"], int)


def test_citation_lists_the_four_papers_as_the_bibliography_does(citation):
    entries = parse_file(ROOT / "book" / "references.bib").entries.values()
    papers = {}
    for entry in entries:
        if entry.fields.get("keywords") == "paper":
            authors = [" ".join(author.last_names) for author in entry.persons.get("author", [])]
            identifier = entry.fields.get("doi") or entry.fields.get("eprint")
            title = re.sub(r"[{}]", "", entry.fields["title"])
            papers[title] = (authors, int(entry.fields["year"]), identifier)
    assert len(papers) == 4

    cited = {}
    for reference in citation["references"]:
        authors = [author["family-names"] for author in reference["authors"] if "family-names" in author]
        arxiv = [entry["value"].removeprefix("arXiv:") for entry in reference.get("identifiers", [])]
        cited[reference["title"]] = (authors, reference["year"], reference.get("doi") or (arxiv or [None])[0])
    assert cited == papers
