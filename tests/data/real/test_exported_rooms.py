"""The scenes that the book shows, written in the formats of NYU Depth v2 and Taskonomy and read back by the readers."""

import numpy as np
import pytest
import torch

from mtlrepro.data.classes import NYUV2
from mtlrepro.data.datasets import load
from mtlrepro.data.real.nyuv2 import prepare as nyuv2
from mtlrepro.data.real.taskonomy import prepare as taskonomy
from mtlrepro.data.scenes.rooms import generate as rooms

SIZE = (48, 64)
COUNTS = {"train": 10, "test": 6}


@pytest.fixture(scope="module")
def scenes():
    """Samples of both splits."""
    made = {split: rooms.generate(range(n), split=split, size=SIZE) for split, n in COUNTS.items()}
    return {
        split: [{key: values[i] for key, values in made[split].items()} for i in range(n)]
        for split, n in COUNTS.items()
    }


def degrees(found, true):
    known = true.any(0)
    assert torch.equal(found.any(0), known)
    a, b = (torch.nn.functional.normalize(normal[:, known].double(), dim=0) for normal in (found, true))
    return torch.rad2deg(2 * torch.asin((a - b).norm(dim=0) / 2))


def assert_well(findings):
    assert findings["ok"].all(), findings[~findings["ok"]].to_string()


@pytest.mark.parametrize(("normals", "error"), [("ladicky", 0.42), ("eigen", 0.42)])
def test_nyuv2_official(scenes, tmp_path, normals, error):
    """Image, classes and depth exact (the rooms' images have 8 bits); normals within their 8 bits a component."""
    nyuv2.export(tmp_path / "source", scenes["train"], scenes["test"])
    nyuv2.prepare(tmp_path / "source", tmp_path / "out", normals=normals, progress=False)
    assert_well(nyuv2.verify(tmp_path / "out", subset=True, progress=False))
    for split, samples in scenes.items():
        dataset = load("nyuv2", split, root=tmp_path / "out")
        assert dataset.class_names == NYUV2
        for index, sample in enumerate(samples):
            found = dataset[index]
            assert set(found) == {"image", "segmentation", "depth", "normal", "index"}
            for key in ("image", "segmentation", "depth"):
                assert torch.equal(found[key], sample[key]), key
            assert degrees(found["normal"], sample["normal"]).max() < error


def test_nyuv2_mtan_pack(scenes, tmp_path):
    """All but normals exact; these within the 0.03 degrees of half floats."""
    nyuv2.export_mtan(tmp_path / "source", scenes["train"], scenes["test"])
    nyuv2.prepare(tmp_path / "source", tmp_path / "out", progress=False)
    assert_well(nyuv2.verify(tmp_path / "out", subset=True, progress=False))
    for index, sample in enumerate(scenes["test"]):
        found = load("nyuv2", "test", root=tmp_path / "out")[index]
        for key in ("image", "segmentation", "depth"):
            assert torch.equal(found[key], sample[key]), key
        assert degrees(found["normal"], sample["normal"]).max() < 0.04


def test_nyuv2_filled(scenes, tmp_path):
    """Nothing measured changes and no hole is left, where the rooms have holes of every kind."""
    nyuv2.export(tmp_path / "source", scenes["train"], scenes["test"])
    nyuv2.prepare(tmp_path / "source", tmp_path / "out", depth="filled", normals="eigen", progress=False)
    for index, sample in enumerate(scenes["train"]):
        found, known = load("nyuv2", "train", root=tmp_path / "out")[index], sample["depth"] > 0
        assert torch.equal(found["depth"][known], sample["depth"][known])
        assert found["depth"].min() >= sample["depth"][known].min() - 1e-4
        assert found["depth"].max() <= sample["depth"].max() + 1e-4
        assert torch.allclose(found["normal"].norm(dim=0), torch.ones(()), atol=2e-3)


@pytest.mark.parametrize("layout", ("domains", "tars"))
def test_taskonomy(scenes, tmp_path, layout):
    """Ten maps within half a step of each encoding, and of half floats."""
    for split, samples in scenes.items():
        taskonomy.export(tmp_path / "source", samples, split, layout=layout)
    taskonomy.prepare(tmp_path / "source", tmp_path / "out", every=1, subset=True, progress=False)
    assert_well(taskonomy.verify(tmp_path / "out", subset=True, progress=False))
    steps = {
        "image": 0,
        "segmentation": 0,
        "valid": 0,
        "depth": 1 / 512,
        "reshading": 1 / 255,
        "curvature": 1 / 127 / 0.03,
    }
    steps |= dict.fromkeys(("edges2d", "edges3d", "keypoints2d", "keypoints3d"), 1 / 65535)
    for split, samples in scenes.items():
        dataset = load("taskonomy", split, root=tmp_path / "out")
        for index, sample in enumerate(samples[::2] + samples[1::2]):  # one building, then the other
            found = dataset[index]
            assert set(found) == {*rooms.KEYS, "index"}
            for key, step in steps.items():
                true = sample[key].double()
                half = true.abs() * 2**-11 if step and key != "depth" else 0
                assert ((found[key].double() - true).abs() <= step / 2 + half + 1e-6).all(), key
            assert degrees(found["normal"], sample["normal"]).max() < 0.42


def test_resized_as_the_protocols_do(scenes, tmp_path):
    """Targets are picked, not blended: every value of the small maps occurs in the large ones."""
    taskonomy.export(tmp_path / "source", scenes["test"], "test")
    taskonomy.prepare(tmp_path / "source", tmp_path / "out", size=(32, 40), every=1, subset=True, progress=False)
    taskonomy.prepare(tmp_path / "source", tmp_path / "large", every=1, subset=True, progress=False)
    small, large = (load("taskonomy", "test", root=tmp_path / name).batch([0, 1]) for name in ("out", "large"))
    for key in set(rooms.KEYS) - {"image"}:
        assert np.isin(small[key].numpy(), large[key].numpy()).all(), key
