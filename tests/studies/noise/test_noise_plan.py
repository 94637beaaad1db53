"""The plan of the chapter on gradient noise."""

import pytest
import torch

from mtlrepro import files
from mtlrepro.pages.plan import Plan, plan_of, settle

NOTEBOOK = files.book("sgd_noise.ipynb")


@pytest.mark.parametrize("values", [{}, {"scale": "smoke"}])
def test_it_trains_nothing_that_is_stored(values):
    assert plan_of(NOTEBOOK, settle(NOTEBOOK, values)[0]) == Plan()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 48}, "batch_size is 48; accepted: an even divisor of samples, which is 1024"),
        ({"scale": "smoke", "batch_size": 64}, "batch_size is 64; accepted: an even divisor of samples, which is 64"),
        ({"gammas": [0.5]}, "accepted: two or more"),
    ],
)
def test_values_that_do_not_go_together_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        plan_of(NOTEBOOK, settle(NOTEBOOK, values)[0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_absent_is_an_obstacle():
    found = plan_of(NOTEBOOK, settle(NOTEBOOK, {"device": "cuda"})[0])
    assert found.obstacle.startswith("device is 'cuda', but PyTorch finds no CUDA device")
