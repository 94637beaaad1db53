"""What the preparation of all real data sets checks."""

import pytest

from mtlrepro.data.real.bdd100k import prepare as bdd100k
from mtlrepro.data.real.cityscapes import prepare as cityscapes
from mtlrepro.data.real.nyuv2 import prepare as nyuv2
from mtlrepro.data.real.taskonomy import prepare as taskonomy


@pytest.mark.parametrize(
    "size", [(16.5, 32), (True, True), (0, 10), (-4, 8), (10**6, 10**7), (16, 4097), (16,), 16, "16x32"], ids=str
)
@pytest.mark.parametrize("data_set", [bdd100k, cityscapes, nyuv2, taskonomy], ids=["bdd100k", "city", "nyuv2", "task"])
def test_sizes_are_checked_before_any_work(data_set, size, tmp_path):
    with pytest.raises(ValueError, match=r"size is .*; accepted: \(height, width\), whole numbers from 1 to 4096"):
        data_set.prepare(tmp_path / "source", tmp_path / "target", size=size, progress=False)
    assert not list(tmp_path.iterdir())
