"""The benchmark of the networks runs and reports what it says."""

import pytest
import torch

from mtlrepro.bench.models import models


def test_a_row_for_each_pass_and_network():
    names = ["full_sharing", "segnet", "detection"]
    table = models(size=(32, 64), rounds=2, only=names)
    assert table["network"].tolist() == names * 3
    assert table["pass"].tolist() == ["forward"] * 3 + ["forward+backward"] * 3 + ["losses"] * 3
    assert (table["images/s"] * table["seconds"]).tolist() == pytest.approx([2.0] * 9)
    assert table.groupby("pass")["ratio"].first().tolist() == [1.0] * 3
    forward, both, losses = (rows.reset_index() for _, rows in table.groupby("pass"))
    assert both["share"].tolist() == [1.0] * 3
    assert losses["share"].tolist() == pytest.approx((losses["seconds"] / both["seconds"]).tolist())
    assert (both["peak MB"] > forward["peak MB"]).all()
    assert (both["peak MB"] * 1e6 > 4 * both["parameters"]).all()  # at least the gradients


def test_refused():
    with pytest.raises(ValueError, match=r"only has \['unet'\]; accepted: full_sharing"):
        models(only=["unet"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="device is 'cuda', but PyTorch finds no CUDA device"):
        models("cuda")
