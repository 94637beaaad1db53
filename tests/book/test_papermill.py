"""Chapters that anyone runs with papermill: with other parameters, with refused ones, and on real data."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import papermill
import pytest
from chapters import CHAPTERS, ROOT, payloads

from mtlrepro.data.real.bdd100k import prepare as bdd100k
from mtlrepro.data.real.cityscapes import prepare as cityscapes
from mtlrepro.data.real.nyuv2 import prepare as nyuv2
from mtlrepro.data.real.taskonomy import prepare as taskonomy
from mtlrepro.data.scenes.rooms import generate as rooms
from mtlrepro.data.scenes.streets import generate as streets
from mtlrepro.pages.notebook import PROVENANCE, TABLE, VERDICTS, NotebookError, read_notebook
from mtlrepro.pages.plan import plan_of, settle
from mtlrepro.pages.running import RunFailed, run_notebook
from mtlrepro.pages.tables import read_tables

SMALL: dict[str, dict] = {
    "runs.ipynb": {"level": 0.1},
    "toys.ipynb": {"steps": 10},
}
# A chapter of which nothing is said here has a parameter for the size of its runs.
SMALL |= {name: {"scale": "smoke"} for name in CHAPTERS if name not in SMALL}
REFUSED = {
    # name: (values that are in range one by one, what is said to all of them)
    "sgd_noise.ipynb": ({"batch_size": 48}, r"accepted: an even divisor of samples, which is 1024"),
    "datasets.ipynb": (
        {"dataset": "nyuv2"},
        r"data_root is empty; accepted for nyuv2: .* data_scripts/nyuv2.py prepare",
    ),
    "loss_scale_balancing.ipynb": (
        {"dataset": "nyuv2", "scale": "paper"},
        r"data_root is empty; accepted for nyuv2: .* data_scripts/nyuv2.py prepare",
    ),
    "mclgs.ipynb": (
        {"dataset": "nyuv2", "scale": "paper"},
        r"data_root is empty; accepted for nyuv2: .* data_scripts/nyuv2.py prepare",
    ),
    "mtsgd.ipynb": (
        {"dataset": "cityscapes", "scale": "paper"},
        r"data_root is empty; accepted for cityscapes: .* data_scripts/cityscapes.py prepare",
    ),
    "runs.ipynb": (
        {"grid": "tests/book/never_trained.json"},  # a grid of the book is complete one day
        r"lacks \d+ of \d+ runs; to train them, run: mtlrepro grid",
    ),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHAPTERS)
def test_plain_papermill_with_other_parameters_from_another_folder(name, tmp_path, monkeypatch):
    output = tmp_path / name
    parameters = tmp_path / "parameters.json"
    parameters.write_text(json.dumps(SMALL[name]))
    command = [
        Path(sys.executable).with_name("papermill"),
        ROOT / "book" / name,
        output,
        "-f",
        parameters,
        "--no-progress-bar",
    ]
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path / "cache"))  # smoke runs are trained anew
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=550, env={**os.environ})
    assert done.returncode == 0, done.stderr[-3000:]
    (record,) = payloads(output, PROVENANCE)
    assert {key: record["parameters"][key] for key in SMALL[name]} == SMALL[name]
    lines = re.findall(r"<code>(mtlrepro run [^<]*)</code>", output.read_text())
    assert lines and all(f"-p {key} " in line for line in lines for key in SMALL[name])
    assert set(read_tables(output)) == set(read_tables(ROOT / "book" / name))
    bundles = [output.get("data", {}) for cell in read_notebook(output).cells for output in cell.get("outputs", [])]
    captions = [bundle["text/plain"] for bundle in bundles if TABLE in bundle or VERDICTS in bundle]
    small = SMALL[name].get("scale") == "smoke"
    plan = plan_of(output, settle(output, SMALL[name])[0])
    assert plan.missing == 0  # what was planned was trained
    if plan.store and Path(plan.store).is_relative_to(tmp_path):
        # And nothing else was. A run that broke off has its answer and is planned no more.
        whole = [path for path in Path(plan.store).glob("*.json") if not path.stem.endswith(".failed")]
        assert len(whole) == sum(part.runs for part in plan.parts)
    assert captions and all(caption.startswith("Smoke: no evidence. ") == small for caption in captions)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", REFUSED)
def test_chapter_refuses_a_combination_before_a_kernel_starts(name, tmp_path, monkeypatch):
    """Each value is in range on its own; the chapter's plan names what does not fit."""
    values, message = REFUSED[name]
    monkeypatch.setattr(papermill, "execute_notebook", None)
    with pytest.raises(NotebookError, match=message) as refusal:
        run_notebook(ROOT / "book" / name, tmp_path / name, values)
    assert not isinstance(refusal.value, RunFailed)
    assert not [*tmp_path.iterdir()]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", REFUSED)
def test_plain_papermill_is_told_the_same(name, tmp_path):
    values, message = REFUSED[name]
    with pytest.raises(papermill.PapermillExecutionError, match=message) as failure:
        papermill.execute_notebook(ROOT / "book" / name, tmp_path / name, values, progress_bar=False)
    cells = json.loads((ROOT / "book" / name).read_text())["cells"]
    assert failure.value.cell_index <= 1 + max(
        index for index, cell in enumerate(cells) if "= Chapter(" in "".join(cell["source"])
    )


REAL = ("nyuv2", "cityscapes", "taskonomy", "bdd100k")


def prepared(name: str, folder: Path) -> Path:
    """A few scenes written in a real format and prepared, as a download would be."""
    made = rooms if name in ("nyuv2", "taskonomy") else streets
    batch = made.generate(range(4), split="train", size=(48, 96))
    scenes = [{key: values[i] for key, values in batch.items()} for i in range(4)]
    source, target = folder / "source", folder / "target"
    if name == "nyuv2":
        nyuv2.export(source, scenes, scenes)
        nyuv2.prepare(source, target, normals="ladicky", progress=False)
    elif name == "cityscapes":
        cityscapes.export(source, scenes, focal=100.0, baseline=0.2)
        cityscapes.prepare(source, target, progress=False)
    elif name == "taskonomy":
        taskonomy.export(source, scenes)
        taskonomy.prepare(source, target, every=1, subset=True, progress=False)
    else:
        bdd100k.export(source, scenes, tasks=("detection", "segmentation"))
        bdd100k.prepare(source, target, tasks=("detection", "segmentation"), progress=False)
    return target


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", REAL)
def test_data_chapter_shows_a_prepared_real_set(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path / "cache"))
    root = prepared(name, tmp_path)
    output = tmp_path / "datasets.ipynb"
    chosen = {"dataset": name, "data_root": str(root)}
    run_notebook(ROOT / "book" / "datasets.ipynb", output, SMALL["datasets.ipynb"] | chosen)
    tables = read_tables(output)
    keys = tables["inventory"].columns["key"]
    assert keys[0] == "image"
    assert len(keys) > 1
    assert {"gallery", "encodings", "learned"} <= set(tables)
