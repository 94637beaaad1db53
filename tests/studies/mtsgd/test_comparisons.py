import numpy as np
import pytest
from slice_cases import SHAPES, TASKS, compare

from mtlrepro.studies.mtsgd.comparisons import KERNELS, groups, pooled


def test_parts_hold_the_convolutions_of_the_network_in_its_order():
    slices = compare(batches=1)
    found = {
        part: [list(SHAPES)[i].split(".", 2)[-1] for i in np.flatnonzero(mask)] for part, mask in groups(slices).items()
    }
    assert list(found) == [KERNELS, "stem", "stage 1", "stage 2", "pooling"]
    assert found.pop(KERNELS) == [name for part in found.values() for name in part]
    assert found["stem"] == ["stages.0.0.weight"] and found["stage 1"] == ["stages.0.4.conv1.weight"]
    assert found["stage 2"] == ["stages.1.conv2.weight"] and found["pooling"] == ["branches.0.1.weight"]


def test_pooled_comparisons_add_counts_and_squares():
    one, two = compare(seed=1), compare(seed=2, ratio=3.0, batches=3)
    both = pooled([one, two])
    np.testing.assert_array_equal(both.batches, 5)
    for name in ("ratios", "kept", "balanced", "plain"):
        np.testing.assert_allclose(getattr(both, name), getattr(one, name) + getattr(two, name))
    np.testing.assert_array_equal(both.sizes, one.sizes)  # of the layers, the same in both
    shares = [found.conflicts(TASKS, "filter") for found in (one, two)]
    assert both.conflicts(TASKS, "filter") == pytest.approx((2 * shares[0] + 3 * shares[1]) / 5)
