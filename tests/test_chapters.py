"""The stored chapters against fresh runs: every data table within its tolerance, every verdict the same."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mtlrepro import notebooks

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted(path.name for path in (ROOT / "book").glob("[!.]*.ipynb") if "." not in path.stem)
SMALL = {
    "sgd_noise.ipynb": {
        "seeds": 2,
        "samples": 64,
        "batch_size": 8,
        "batch_sizes": [1, 4, 16],
        "draws": 16,
        "steps": 3,
        "gammas": [0.5, 0.9],
    }
}


def payloads(path: Path, mime: str) -> list:
    cells = json.loads(path.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [output["data"][mime] for output in outputs if mime in output.get("data", {})]


@pytest.fixture(scope="module", params=CHAPTERS)
def rerun(request, tmp_path_factory) -> tuple[Path, Path]:
    """A stored chapter and a fresh run of it with its default parameters."""
    stored = ROOT / "book" / request.param
    return stored, notebooks.run(stored, tmp_path_factory.mktemp("fresh") / request.param)


@pytest.mark.timeout(1200)
def test_data_tables_of_a_fresh_run_agree_with_the_stored_ones(rerun):
    stored, fresh = rerun
    assert notebooks.tables(stored)
    assert notebooks.compare_tables(notebooks.tables(stored), notebooks.tables(fresh)) == []


@pytest.mark.timeout(1200)
def test_verdicts_of_a_fresh_run_agree_with_the_stored_ones(rerun):
    stored, fresh = rerun
    ((before,), (after,)) = (payloads(path, notebooks.VERDICTS) for path in (stored, fresh))
    assert [(row["claim"], row["status"]) for row in before] == [(row["claim"], row["status"]) for row in after]


@pytest.mark.parametrize("name", CHAPTERS)
def test_stored_run_took_under_three_minutes_with_default_parameters(name):
    (record,) = payloads(ROOT / "book" / name, notebooks.PROVENANCE)
    assert record["seconds"] < 180
    defaults = {parameter.name: parameter.default for parameter in notebooks.parameters(ROOT / "book" / name)}
    assert record["parameters"] == defaults


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", CHAPTERS)
def test_nbval(name):
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-cell-timeout=300", "--nbval-kernel-name=python3"]
    command += ["-p", "no:cacheprovider", "-o", "addopts=", "-o", "timeout=600", str(ROOT / "book" / name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    cells = json.loads((ROOT / "book" / name).read_text())["cells"]
    assert f"{sum(cell['cell_type'] == 'code' for cell in cells)} passed" in done.stdout


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHAPTERS)
def test_plain_papermill_with_other_parameters_from_another_folder(name, tmp_path):
    output = tmp_path / name
    parameters = tmp_path / "parameters.json"
    parameters.write_text(json.dumps(SMALL[name]))
    papermill = Path(sys.executable).with_name("papermill")
    command = [papermill, ROOT / "book" / name, output, "-f", parameters, "--no-progress-bar"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500, env={**os.environ})
    assert done.returncode == 0, done.stderr[-3000:]
    (record,) = payloads(output, notebooks.PROVENANCE)
    assert {key: record["parameters"][key] for key in SMALL[name]} == SMALL[name]
    lines = re.findall(r"<code>(mtlrepro run [^<]*)</code>", output.read_text())
    assert lines and all(f"-p {key} " in line for line in lines for key in SMALL[name])
    assert set(notebooks.tables(output)) == set(notebooks.tables(ROOT / "book" / name))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_refuses_a_combination_before_it_computes(name, tmp_path):
    """Each value is in range on its own; the cell after the parameters names what does not fit."""
    values = {**SMALL[name], "batch_size": 48}
    with pytest.raises(notebooks.RunFailed, match=r"code cell 3 .*accepted: an even divisor of samples, which is 64"):
        notebooks.run(ROOT / "book" / name, tmp_path / name, values)
    assert not (tmp_path / name).exists()
    assert (tmp_path / name).with_suffix(".failed.ipynb").exists()
