"""Baselines by hand and formula, and the whole comparison on few tiny scenes."""

import importlib
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from mtlrepro.studies.data import learnability as study

TINY = {"seeds": 1, "train": 8, "evaluate": 4, "steps": 10, "size": (20, 28)}


def images(colours, classes, n_classes):
    """One image of one row, with grey values ``colours``."""
    image = torch.tensor(colours).expand(1, 3, 1, -1).clone()
    segmentation = torch.tensor(classes)[None, None]
    return study.Images(image, segmentation, torch.ones(1, 1, 1, len(colours)), tuple("abcd"[:n_classes]))


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
    predicted, miou, table = study.best_by_colour(train, images([0.05, 0.2], [0, 1], 2))
    assert predicted.tolist() == [[[0, 1]]]
    assert miou == 100
    assert table == "8 bins, balance 0"


def test_the_median_is_the_best_constant():
    target = torch.tensor([1.0, 2.0, 10.0, 0.0])
    assert study.best_constant(target) == (2.0, 3.0)
    values = torch.rand(101, generator=torch.Generator().manual_seed(0)) + 0.1
    constant, error = study.best_constant(values)
    for other in np.linspace(0.1, 1.1, 41):
        assert error <= study.mean_absolute_error(torch.full_like(values, other), values) + 1e-7
    assert constant == pytest.approx(np.median(values.numpy()))
    with pytest.raises(ValueError, match="target is 0 everywhere"):
        study.best_constant(torch.zeros(3))


def test_the_network_keeps_the_size_of_its_images():
    model = study.SmallUNet(5, centre=3.0, scale=2.0)
    logits, distance = model(torch.rand(2, 3, 21, 30))
    assert logits.shape == (2, 5, 21, 30)
    assert distance.shape == (2, 1, 21, 30)


def test_unknown_targets_leave_the_weights_finite():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(4, 3, 16, 16, generator=generator)
    segmentation = torch.randint(0, 3, (4, 16, 16), generator=generator)
    distance = torch.rand(4, 1, 16, 16, generator=generator) + 1
    segmentation[:, :4], distance[..., :4] = -1, 0
    model = study.train_network(study.Images(image, segmentation, distance, ("a", "b", "c")), seed=0, steps=2)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(("dataset", "unit"), [("rooms", "m"), ("streets", "px")])
def test_a_run_repeats_bit_for_bit(dataset, unit):
    table = study.compare(dataset, **TINY | {"seeds": 2})
    assert table.columns.tolist() == ["seed", "method", "miou", "error", "unit", "setting"]
    assert table["method"].tolist() == ["colour", "constant", "network"] * 2
    assert (table["unit"] == unit).all()
    assert table["miou"].isna().tolist() == [False, True, False] * 2
    assert table["error"].isna().tolist() == [True, False, False] * 2
    assert table["error"][1] != table["error"][4]
    pd.testing.assert_frame_equal(table, study.compare(dataset, **TINY | {"seeds": 2}), rtol=0, atol=0)


def test_the_rows_of_a_run_are_those_of_its_predictions():
    (run,) = study.runs("rooms", **TINY)
    colour, constant, network = run.rows
    assert colour["miou"] == study.miou_of(run.by_colour, run.images)
    assert network["miou"] == study.miou_of(run.by_network, run.images)
    assert network["error"] == study.mean_absolute_error(run.distance, run.images.distance)
    assert constant["error"] == study.best_constant(run.images.distance)[1]


def test_margins_and_verdicts():
    rows = [
        {"seed": seed, "method": method, "miou": miou, "error": error}
        for seed in (0, 1)
        for method, miou, error in (("colour", 10, math.nan), ("constant", math.nan, 2), ("network", 30 + seed, 0.8))
    ]
    table = study.margins(pd.DataFrame(rows))
    assert table["gain"].tolist() == [20, 21]
    assert table["ratio"].tolist() == [0.4, 0.4]
    gain, ratio = study.verdicts(pd.DataFrame(rows), "rooms")
    assert gain.measured.value == -20.5
    assert gain.measured.high == pytest.approx(-20.5 + 12.706 * 0.5, abs=1e-3)
    assert gain.status == "inconclusive"
    assert ratio.status == "holds"


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        ("digits", {}, "dataset is 'digits'; accepted: rooms, streets, nyuv2"),
        ("rooms", {"seeds": 0}, "seeds is 0; accepted: 1 or more"),
        ("rooms", {"steps": 0}, "steps is 0; accepted: 10 or more"),
        ("rooms", {"root": "folder"}, "root is 'folder'; accepted: none for rooms"),
        ("nyuv2", {}, r"size is \(20, 28\); accepted: none for nyuv2"),
        ("nyuv2", {"size": None}, "root is None"),
    ],
)
def test_bad_arguments(dataset, arguments, message):
    with pytest.raises(ValueError, match=message):
        study.compare(dataset, **TINY | arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_device_is_refused():
    with pytest.raises(ValueError, match="finds no CUDA device"):
        study.compare("rooms", **TINY, device="cuda")


def test_records_are_trained_once_and_read_afterwards(monkeypatch, tmp_path):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    options = {**TINY, "size": (32, 32)}
    first = study.recorded("rooms", **{**options, "seeds": 2})
    assert len(list((tmp_path / "results").glob("learnability-rooms-*.json"))) == 2
    monkeypatch.setattr(study, "_run", None)  # training would fail now
    pd.testing.assert_frame_equal(study.recorded("rooms", **{**options, "seeds": 2}), first)
    assert study.recorded("rooms", **options)["seed"].unique().tolist() == [0]
    with pytest.raises(TypeError):
        study.recorded("rooms", **{**options, "steps": 11})


def test_the_books_records_belong_to_this_code():
    """A change of scenes or study raises VERSION or ALGORITHM; then the stored records are trained again."""
    paths = sorted(study.RESULTS.glob("learnability-*.json"))
    assert paths
    for path in paths:
        configuration = json.loads(path.read_text())["configuration"]
        module = importlib.import_module(f"mtlrepro.data.scenes.{configuration['dataset']}.generate")
        assert (configuration["scenes"], configuration["algorithm"]) == (module.VERSION, study.ALGORITHM), path.name
