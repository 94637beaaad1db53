"""The plan of the chapter on the data sets."""

import pytest
import torch

from mtlrepro import files
from mtlrepro.pages.plan import plan_of, settle

NOTEBOOK = files.book("datasets.ipynb")


def plan(**values):
    return plan_of(NOTEBOOK, settle(NOTEBOOK, values)[0])


def test_runs_of_the_defaults_are_stored_and_those_of_smoke_are_trained_into_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    assert [(part.name, part.runs, part.missing) for part in plan().parts] == [("4, rooms", 3, 0), ("4, streets", 3, 0)]
    small = plan(scale="smoke")
    assert [(part.runs, part.missing, part.scale) for part in small.parts] == [(2, 2, "smoke")] * 2
    assert small.store == str(tmp_path / "runs")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dataset": "nyuv2"}, "data_root is empty; accepted for nyuv2"),
        ({"data_root": str(files.PROJECT)}, "accepted: none for rooms, which are generated"),
        ({"dataset": "nyuv2", "data_root": "nowhere"}, "parameter 'data_root': found 'nowhere', accepted: an existing"),
        (
            {"dataset": "nyuv2", "data_root": str(files.PROJECT)},
            "data_root is .*train holds no prepared split; make it with",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        plan(**values)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_absent_is_an_obstacle():
    assert plan(device="cuda").obstacle.startswith("device is 'cuda', but PyTorch finds no CUDA device")
