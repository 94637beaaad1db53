from itertools import product

import numpy as np
import pytest
import torch
from sample_cases import check

from mtlrepro.data import motorcycle
from mtlrepro.data.real.cityscapes import prepare as cityscapes
from mtlrepro.data.stereo import match_error
from mtlrepro.data.store import Store


def batched(sample, *keys):
    return (sample[key][None] for key in keys)


def test_the_pair_is_a_valid_sample_of_the_published_ranges():
    pair = motorcycle.pair()
    check(pair)
    assert pair["image"].shape == (3, 500, 741)
    known = pair["disparity"] > 0
    assert known.float().mean() == pytest.approx(0.927, abs=5e-4)
    assert pair["disparity"][known].aminmax() == pytest.approx((7.19, 59.91), abs=5e-3)
    assert pair["depth"][known].aminmax() == pytest.approx((2.11, 5.02), abs=5e-3)
    assert ((pair["depth"] > 0) == known).all()


def test_depth_is_that_of_the_shifted_principal_points():
    pair = motorcycle.pair()
    shifted = pair["depth"] * (pair["disparity"] + motorcycle.OFFSET)
    known = pair["disparity"] > 0
    expected = torch.full_like(shifted, motorcycle.CAMERA.fx * motorcycle.BASELINE)
    torch.testing.assert_close(shifted[known], expected[known])


def test_left_is_right_at_x_minus_d():
    image, right, disparity = batched(motorcycle.pair(), "image", "right", "disparity")
    assert match_error(image, right, disparity) * 255 < 9
    assert match_error(image, right, -disparity) * 255 > 40


def test_occluded_pixels_do_not_match_and_the_others_do():
    image, right, disparity, occlusion = batched(motorcycle.pair(), "image", "right", "disparity", "occlusion")
    hidden = disparity.where(occlusion, 0)
    assert 0.05 < (hidden > 0).float().mean() < 0.15
    assert match_error(image, right, hidden) > 8 * match_error(image, right, disparity.where(~occlusion, 0))


def test_normals_face_the_camera():
    pair = motorcycle.pair()
    facing = (pair["normal"] * torch.from_numpy(motorcycle.CAMERA.rays(500, 741))).sum(0)
    known = pair["normal"].norm(dim=0) > 0
    assert (known.sum() / (pair["depth"] > 0).sum()) > 0.95
    assert (facing[known] < 0).all()


def crops(height=96, width=128):
    """Windows of the pair side by side, both views at the same place, so that disparity stays as it is."""
    corners = product(range(0, 500 - height + 1, height), range(0, 741 - width + 1, width))
    windows = [(..., slice(top, top + height), slice(left, left + width)) for top, left in corners]
    return [{key: value[window] for key, value in motorcycle.pair().items()} for window in windows]


def test_the_real_pair_through_the_files_of_cityscapes(tmp_path):
    pieces = crops()
    camera = {"focal": motorcycle.CAMERA.fx, "baseline": motorcycle.BASELINE}
    cityscapes.export(tmp_path / "source", pieces, "val", **camera)
    cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    store = Store(tmp_path / "target/val")
    expected = torch.stack([crop["disparity"] for crop in pieces]).numpy()
    assert np.abs(store["disparity"] - expected).max() <= 1 / 512
    assert ((store["disparity"] > 0) == (expected > 0)).all()
    for key in ("image", "right"):
        assert np.array_equal(store[key], (torch.stack([crop[key] for crop in pieces]) * 255).round().numpy())
    assert (store["segmentation"] == -1).all()
    findings = cityscapes.verify(tmp_path / "target", progress=False)
    # The pair has no labels, and only that is found.
    assert ["pixels" in what for what in findings.loc[~findings["ok"], "what"]] == [True]
