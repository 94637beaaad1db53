"""The benchmark of the loaders on a few images."""

import pytest
import torch
from small_scenes import Noise

from mtlrepro.bench.loading import SmallNetwork, loading
from mtlrepro.data.datasets import Dataset
from mtlrepro.data.scenes import cache as scenes
from mtlrepro.data.store import Store


def test_every_loader_without_and_with_transforms_and_a_step(monkeypatch, tmp_path):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    generator = Noise(("image", "depth"))
    dataset = Dataset(Store(scenes.generate("rooms", n=40, size=(16, 16), generator=generator, progress=False)))
    table = loading(dataset, workers=0, rounds=1).set_index("arm")
    arms = [f"{kind}{transforms}" for transforms in ("", ", transforms") for kind in ("memory", "disk")]
    assert list(table.index) == ["step alone", *(arm + step for arm in arms for step in ("", ", step"))]
    assert table["images_per_second"].tolist() == pytest.approx((40 / table["seconds"]).tolist())
    steps = table.loc[[f"{arm}, step" for arm in arms]]
    expected = (1 - table["seconds"]["step alone"] / steps["seconds"]).clip(lower=0)
    assert steps["waiting"].tolist() == pytest.approx(expected.tolist())
    assert table.loc[["step alone", *arms], "waiting"].isna().all()


def test_the_network_keeps_the_size():
    assert SmallNetwork()(torch.zeros(2, 3, 16, 24)).shape == (2, 1, 16, 24)
