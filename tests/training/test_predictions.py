"""Predictions that are kept beside a record."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from training_cases import config, killed

from mtlrepro.data import datasets
from mtlrepro.training import predictions
from mtlrepro.training.run import settings, train
from mtlrepro.training.step import Trainer

ASKED = {"epochs": [1, 3], "images": [0, 4]}


def test_pictures_are_the_predictions_of_the_trained_network(tmp_path):
    run = config(pictures=ASKED)
    record = train(run, store=tmp_path)
    assert {path.name for path in tmp_path.glob("*.*")} == {f"{run.hash}.json", f"{run.hash}.npz"}
    found = predictions.read(tmp_path, run.hash)
    assert list(found) == [1, 3] and list(found[3]) == list(run.tasks)
    with settings(run, torch.device("cpu")):
        trainer = Trainer(run, torch.device("cpu"))
        for _ in range(3):
            trainer.epoch()
        trainer.model.eval()
        batch = datasets.load("rooms", "test", n=6, size=(32, 40)).batch([0, 4])
        with torch.no_grad():
            expected = trainer.model(batch["image"].contiguous(memory_format=torch.channels_last))
    np.testing.assert_array_equal(found[3]["segmentation"], expected["segmentation"].argmax(1))
    np.testing.assert_allclose(found[3]["depth"], expected["depth"], rtol=1e-3)
    unit = F.normalize(expected["normal"], dim=1)
    np.testing.assert_allclose(found[3]["normal"], unit, atol=0.5 / predictions.UNIT + 1e-6)
    assert not np.array_equal(found[1]["depth"], found[3]["depth"])
    assert json.loads((tmp_path / f"{run.hash}.json").read_text()) == record


def test_pictures_change_no_number(tmp_path):
    with_pictures, without = (train(config(pictures=asked), store=tmp_path) for asked in (ASKED, {}))
    assert with_pictures["metrics"] == without["metrics"]
    assert [entry["losses"] for entry in with_pictures["history"]] == [e["losses"] for e in without["history"]]


def test_a_killed_run_keeps_its_pictures(tmp_path):
    run = config(pictures={"epochs": [1, 6], "images": [1]}, epochs=6)
    train(run, store=tmp_path / "unbroken")
    killed(run, tmp_path / "broken", 3)
    assert not list((tmp_path / "broken").glob("*.npz"))
    train(run, store=tmp_path / "broken")
    one, other = (predictions.read(tmp_path / store, run.hash) for store in ("unbroken", "broken"))
    assert list(one) == list(other) == [1, 6]
    for epoch, maps in one.items():
        for task, values in maps.items():
            np.testing.assert_array_equal(values, other[epoch][task])


def test_absent_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"abc\.npz is absent; remove abc\.json beside it"):
        predictions.read(tmp_path, "abc")
    (tmp_path / "abc.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"abc\.npz is damaged"):
        predictions.read(tmp_path, "abc")
    np.savez(tmp_path / "abc.npz", **{"1/depth": np.array([None])})
    with pytest.raises(ValueError, match=r"abc\.npz is damaged .*allow_pickle"):
        predictions.read(tmp_path, "abc")


def test_settings_can_be_chosen_on_the_validation_split(tmp_path):
    record = train(config(evaluate_on="val", epochs=1), store=tmp_path)
    test = train(config(epochs=1), store=tmp_path)
    assert record["metrics_from"] == {"split": "val", "epochs": [1]}
    assert record["history"][0]["losses"] == test["history"][0]["losses"] and record["metrics"] != test["metrics"]
