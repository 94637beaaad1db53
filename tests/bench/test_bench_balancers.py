"""The benchmark of the balancers runs and reports what it says."""

import pytest
import torch

from mtlrepro.bench.balancers import Workload, balancers, variants
from mtlrepro.bench.timing import peak_memory


def test_table_has_a_row_per_variant_with_ratios_to_the_floor():
    table = balancers(
        trunks=["mobilenet_v2"],
        tasks=[2],
        sizes=[32],
        rounds=2,
        only=["pcgrad", "equal", "pcgrad representation"],
    )
    assert list(table["arm"]) == ["plain", "floor", "equal", "pcgrad", "pcgrad representation"]
    table = table.set_index("arm")
    assert table.loc["floor", "/floor"] == 1
    assert table.loc["plain", "/plain"] == 1
    assert (table["/floor low"] <= table["/floor high"]).all()


def test_a_name_that_is_no_variant_is_refused():
    with pytest.raises(ValueError, match="only has pcgrad2; accepted: plain, floor, "):
        balancers(trunks=["mobilenet_v2"], tasks=[2], sizes=[32], rounds=1, only=["pcgrad2"])


def test_memory_stays_within_the_gradients():
    """No T x P copy: at T = 3 the peak over the plain step is two rows, the other tasks' gradients."""
    work = Workload("mobilenet_v2", 3, 32, "cpu", batch=2)
    row = sum(p.numel() * 4 for p in work.shared)
    peak = {}
    for name, run in (("plain", work.plain), ("mgda", work.method("mgda")), ("mtsgd", work.method("mtsgd"))):
        run()
        work.network.zero_grad()
        peak[name] = peak_memory(run, "cpu")
        work.network.zero_grad()
    for name in ("mgda", "mtsgd"):
        assert (peak[name] - peak["plain"]) / row < 2.6


def test_every_variant_leaves_gradients():
    work = Workload("mobilenet_v2", 2, 32, "cpu", batch=2)
    for name, run in variants(work).items():
        run()
        assert work.shared[0].grad is not None, name
        work.network.zero_grad()


def test_peak_memory_counts_bytes():
    assert peak_memory(lambda: torch.ones(1000), "cpu") == pytest.approx(4000, abs=200)
