"""Holes filled by colorization, against closed forms and the equations written as loops."""

import numpy as np
import pytest

from mtlrepro.data.real.levin import LUMA, fill


def grey_image(grey):
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, -1)


def test_known_values_stay_and_nothing_known_stays_empty():
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 5, (20, 30)).astype(np.float32)
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    known = rng.random((20, 30)) < 0.6
    filled = fill(values, known, image)
    assert filled.dtype == np.float32
    assert np.array_equal(filled[known], values[known])
    assert np.array_equal(fill(values, np.ones_like(known), image), values)
    assert not fill(values, np.zeros_like(known), image).any()


def test_a_filled_value_lies_between_known_ones():
    rng = np.random.default_rng(1)
    values = rng.uniform(1, 5, (20, 30))
    known = rng.random((20, 30)) < 0.2
    filled = fill(values, known, rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    assert filled.min() >= values[known].min() - 1e-5
    assert filled.max() <= values[known].max() + 1e-5


def test_a_linear_ramp_on_constant_grey_is_its_own_extension():
    """All weights are 1/8, so the fill is harmonic, and a ramp is harmonic inside the image."""
    y, x = np.mgrid[:15, :20]
    ramp = 1 + 0.1 * y + 0.03 * x
    known = np.ones((15, 20), bool)
    known[4:11, 5:16] = False
    np.testing.assert_allclose(
        fill(np.where(known, ramp, 0), known, grey_image(np.full((15, 20), 90))), ramp, rtol=1e-6
    )


def test_one_hole_on_constant_grey_is_the_mean_of_its_neighbours():
    values = np.arange(9.0).reshape(3, 3) ** 2
    known = np.ones((3, 3), bool)
    known[1, 1] = False
    filled = fill(values, known, grey_image(np.full((3, 3), 7)))
    assert filled[1, 1] == pytest.approx((values.sum() - 16) / 8)


def test_values_do_not_cross_an_edge_of_the_image():
    """Two halves, 3 m and 1 m, that also differ in grey: a hole across the border gets each half's value."""
    grey = np.full((21, 30), 40)
    grey[:, 15:] = 200
    depth = np.where(grey == 40, 3.0, 1.0)
    known = np.ones(depth.shape, bool)
    known[6:15, 9:21] = False
    np.testing.assert_allclose(fill(depth, known, grey_image(grey)), depth, atol=0.01)
    blind = fill(depth, known, grey_image(np.full_like(grey, 40)))
    assert np.abs(blind - depth).max() > 0.5


def test_the_equations_pixel_by_pixel():
    rng = np.random.default_rng(2)
    height, width = 7, 9
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    values = rng.uniform(1, 5, (height, width))
    known = rng.random((height, width)) < 0.5
    grey = (image @ LUMA) / 255
    system, right = np.eye(height * width), np.where(known, values, 0).ravel()
    for y in range(height):
        for x in range(width):
            if known[y, x]:
                continue
            around = [
                (v, u)
                for v in range(max(y - 1, 0), min(y + 2, height))
                for u in range(max(x - 1, 0), min(x + 2, width))
                if (v, u) != (y, x)
            ]
            squared = np.array([(grey[s] - grey[y, x]) ** 2 for s in around])
            variance = np.var([grey[y, x], *(grey[s] for s in around)])
            scale = max(0.6 * variance, squared.min() / np.log(100), 2e-6)
            weights = np.exp(-squared / scale)
            for (v, u), weight in zip(around, weights / weights.sum(), strict=True):
                system[y * width + x, v * width + u] -= weight
    expected = np.linalg.solve(system, right).reshape(height, width)
    np.testing.assert_allclose(fill(values, known, image), expected, rtol=1e-5)
    reversed_axes = (np.asfortranarray(values), np.asfortranarray(known), np.asfortranarray(image))
    np.testing.assert_allclose(fill(*reversed_axes), expected, rtol=1e-5)


def test_channels_are_filled_alike():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
    values, known = rng.normal(size=(3, 8, 9)), rng.random((8, 9)) < 0.4
    together = fill(values, known, image)
    for channel, alone in zip(values, together, strict=True):
        np.testing.assert_allclose(fill(channel, known, image), alone, rtol=1e-5, atol=1e-6)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r"sizes \(4, 5\), \(4, 5\) and \(5, 4\); accepted: one size"):
        fill(np.ones((4, 5)), np.ones((4, 5), bool), np.zeros((5, 4, 3), np.uint8))
