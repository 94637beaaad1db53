"""The benchmark of scenes and loaders on a few images."""

import pytest
import torch

from mtlrepro.bench import data
from mtlrepro.cli import BENCHMARKS
from mtlrepro.data.scenes.rooms import generate as rooms
from mtlrepro.data.scenes.streets import generate as streets


def test_every_key_is_timed(monkeypatch, tmp_path):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    monkeypatch.setattr(data, "SIZE", (32, 48))
    monkeypatch.setattr(data, "LOADED", 8)
    threads = torch.get_num_threads()
    table = data.data(images=2, rounds=1)
    assert torch.get_num_threads() == threads
    assert list(table["part"].unique()) == ["rooms", "streets", "loading"]
    for name, module in (("rooms", rooms), ("streets", streets)):
        part = table[table["part"] == name].set_index("arm")
        named = {arm.removeprefix("image, ") for arm in part.index} - {"all keys"}
        assert named == {key for key in module.KEYS if not key.endswith("_right")}
        assert part["images_per_second"].tolist() == pytest.approx((2 / part["seconds"]).tolist())
        assert part["ratio"]["all keys"] == 1
    assert (table[table["part"] == "loading"]["images_per_second"] > 0).all()


def test_it_is_a_command():
    assert BENCHMARKS["data"] == "mtlrepro.bench.data"


def test_arguments():
    with pytest.raises(ValueError, match="images is 0; accepted: 1 or more"):
        data.data(images=0)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            data.data("cuda")
