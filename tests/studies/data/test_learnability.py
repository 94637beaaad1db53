"""Baselines by hand and formula, and the whole comparison on few tiny scenes."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from mtlrepro import files
from mtlrepro.data import datasets
from mtlrepro.runs.store import Store
from mtlrepro.studies.data import learnability as study

TINY = {"seeds": 1, "images": 40, "epochs": 4}


def images(colours, classes, n_classes):
    """One image of one row, with grey values `colours`."""
    image = torch.tensor(colours).expand(1, 3, 1, -1).clone()
    segmentation = torch.tensor(classes)[None, None]
    return study.Images(image, segmentation, torch.ones(1, 1, 1, len(colours)), n_classes)


def test_colours_fall_into_equal_bins():
    image = torch.tensor([0.0, 0.49, 0.5, 1.0]).expand(1, 3, 1, 4)
    assert study.colour_bins(image, 2).tolist() == [[[0, 0, 7, 7]]]
    image = torch.tensor([1.0, 0.0, 0.5]).view(1, 3, 1, 1)
    assert study.colour_bins(image, 4).item() == 3 * 16 + 0 * 4 + 2


def test_colour_table_with_and_without_balance():
    counts = torch.tensor([[6, 3, 0], [0, 0, 0], [90, 0, 1]])
    assert study.colour_table(counts, 0.0).tolist() == [0, 0, 0]
    assert study.colour_table(counts, 1.0).tolist() == [1, 0, 2]


def test_colour_counts_leave_out_unknown_pixels():
    counts = study.colour_counts(images([0.1, 0.1, 0.1, 0.9], [0, 1, -1, 1], 2), 2)
    assert counts[[0, 7]].tolist() == [[1, 1], [0, 1]]
    assert counts.sum() == 3


def test_the_table_that_does_best_on_evaluation_counts():
    train = images([0.05] * 6 + [0.2] * 3, [0] * 6 + [1] * 3, 2)
    assert study.best_by_colour(train, images([0.05, 0.2], [0, 1], 2)) == (100, "8 bins, balance 0")


def test_the_median_is_the_best_constant():
    target = torch.tensor([1.0, 2.0, 10.0, 0.0])
    assert study.best_constant(target) == (2.0, 3.0)
    values = torch.rand(101, generator=torch.Generator().manual_seed(0)) + 0.1
    constant, error = study.best_constant(values)
    for other in np.linspace(0.1, 1.1, 41):
        assert error <= float((values - other).abs().mean()) + 1e-7
    assert constant == pytest.approx(np.median(values.numpy()))
    with pytest.raises(ValueError, match="target is 0 everywhere"):
        study.best_constant(torch.zeros(3))


@pytest.mark.parametrize(
    ("dataset", "task", "metric"), [("rooms", "depth", "abs_err"), ("streets", "disparity", "aepe")]
)
def test_runs_are_trained_once_and_read_afterwards(dataset, task, metric, monkeypatch, tmp_path):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    table = study.learned(dataset, **TINY)
    assert table.columns.tolist() == ["scenes", "seed", "colour", "network", "gain", "constant", "error", "ratio"]
    (path,) = (tmp_path / "runs").glob("*.json")
    metrics = json.loads(path.read_text())["metrics"]
    assert table["network"].tolist() == [metrics["segmentation"]["miou"]]
    assert table["error"].tolist() == [metrics[task][metric]]
    assert table["gain"].tolist() == (table["network"] - table["colour"]).tolist()
    assert table["ratio"].tolist() == (table["error"] / table["constant"]).tolist()
    written = path.stat().st_mtime_ns
    pd.testing.assert_frame_equal(study.learned(dataset, **TINY), table, rtol=0, atol=0)
    assert path.stat().st_mtime_ns == written


def test_baselines_are_those_of_the_scenes_that_are_evaluated(monkeypatch, tmp_path):
    """The scenes made for the baselines are the trainer's, up to the half floats in which those are stored."""
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    made = study.scenes("rooms", "test", 4)
    read = datasets.load("rooms", "test", n=4, size=(48, 64)).batch(range(4))
    assert torch.equal(made.segmentation, read["segmentation"])
    torch.testing.assert_close(made.distance, read["depth"], rtol=2**-11, atol=0)


def test_verdicts():
    table = pd.DataFrame({"scenes": "rooms", "seed": [0, 1], "gain": [20.0, 21.0], "ratio": [0.4, 0.4]})
    gain, ratio = study.verdicts(table)
    assert gain.measured.value == -20.5
    assert gain.measured.high == pytest.approx(-20.5 + 12.706 * 0.5, abs=1e-3)
    assert gain.status == "inconclusive"
    assert ratio.status == "holds"
    assert ratio.measured.value == pytest.approx(0.4)


@pytest.mark.parametrize("dataset", study.DISTANCES)
def test_the_runs_of_the_chapter_are_stored(dataset):
    runs = study.configs(dataset, seeds=3, images=2000, epochs=16)
    assert all(run.n_train // run.batch_size * run.epochs == 4000 for run in runs)
    store = Store(files.book("results", "runs"))
    assert [run.hash for run in runs if run not in store] == []
