"""The benchmark of the generators on small images."""

import pytest
import torch

from mtlrepro import bench_data


def test_rooms_with_and_without_maps_and_streets(monkeypatch):
    monkeypatch.setitem(bench_data.BATCHES, "cpu", (1, 2, 3))
    made = []

    def generate(indices, *, split, size, device, keys=None):
        assert torch.get_num_threads() == 1
        made.append((list(indices), split, size, device, keys))

    monkeypatch.setattr(bench_data.rooms, "generate", generate)
    monkeypatch.setattr(bench_data.streets, "generate", generate)
    table = bench_data.data(size=(16, 24), rounds=1)
    assert table["arm"].tolist() == [
        "rooms, 1 at once",
        "rooms, 2 at once",
        "rooms, 3 at once",
        "rooms without maps, 3 at once",
        "streets, 1 at once",
        "streets, 2 at once",
    ]
    assert table["images"].tolist() == [1, 2, 3, 3, 1, 2]
    assert table["images_per_second"].tolist() == pytest.approx((table["images"] / table["seconds"]).tolist())
    assert [len(indices) for indices, *_ in made] == table["images"].tolist() * 2
    assert {(split, size, device) for _, split, size, device, _ in made} == {("train", (16, 24), "cpu")}
    assert [keys for *_, keys in made].count(bench_data.RAYS) == 2


def test_a_real_run(monkeypatch):
    monkeypatch.setitem(bench_data.BATCHES, "cpu", (1, 2, 3))
    table = bench_data.data(size=(16, 32), rounds=1)
    assert (table["seconds"] > 0).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_absent():
    with pytest.raises(ValueError, match="no CUDA device"):
        bench_data.data("cuda")
