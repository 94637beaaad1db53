"""Image-like targets against scikit-image, SciPy and values worked out by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.color import rgb2gray
from skimage.feature import hessian_matrix_det

from mtlrepro.data.scenes import maps
from mtlrepro.data.scenes.rooms import generate as rooms


def pictures(n=2, size=(64, 80), seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((n, 3, *size))).float()


def step(low, high, size=(64, 64)):
    values = torch.full((1, 1, *size), float(low))
    values[..., size[1] // 2 :] = high
    return values


def test_luminance_is_that_of_scikit_image():
    image = pictures()
    expected = rgb2gray(image.numpy(), channel_axis=1)
    np.testing.assert_allclose(maps.grey(image)[:, 0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.4, 1.5, 3.0])
def test_gaussian_is_that_of_scipy(sigma):
    taps = maps.gaussian(sigma)
    whole = np.array([*reversed(taps[1:]), *taps])
    expected = ndimage.gaussian_filter1d((np.arange(41) == 20).astype(float), sigma)
    reach = len(taps) - 1
    np.testing.assert_allclose(whole, expected[20 - reach : 21 + reach], atol=1e-12)
    assert whole.sum() == pytest.approx(1)


def test_edges2d_against_scipy():
    image = pictures(size=(128, 96))
    taps = maps.gaussian(0.75)
    for found, rgb in zip(maps.edges2d(image)[:, 0].numpy(), image.numpy(), strict=True):
        smooth = ndimage.gaussian_filter(rgb2gray(rgb, channel_axis=0), 0.75, mode="nearest")
        x, y = (ndimage.sobel(smooth, axis, mode="nearest") / 4 for axis in (1, 0))
        expected = np.minimum(np.hypot(x, y) / sum(taps[:2]), 1)
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("height", [64, 128])
def test_edges2d_of_a_step_from_black_to_white_is_one_at_any_size(height):
    edges = maps.edges2d(step(0, 1, (height, height)).expand(-1, 3, -1, -1))
    assert edges.amax().item() == pytest.approx(1, abs=1e-6)
    assert edges[0, 0, height // 2, height // 2].item() == pytest.approx(1, abs=1e-6)
    assert (edges[..., : height // 4] == 0).all()


def test_edges3d_of_a_step_in_depth():
    """The root jumps from 1.5 to 2 between 2.25 m and 4 m: 0.5 on both sides of the step, 0 elsewhere."""
    edges = maps.edges3d(step(2.25, 4.0))
    assert torch.allclose(edges[..., 31:33], torch.tensor(0.5), atol=1e-6)
    assert (edges[..., :31] == 0).all() and (edges[..., 33:] == 0).all()
    assert (maps.edges3d(step(1.0, 9.0))[..., 31:33] == 1).all()


def test_keypoints2d_is_the_largest_determinant_of_scikit_image():
    """scikit-image's answer lies one pixel up and left of its place; the border, continued differently, is left out."""
    generator = np.random.default_rng(0)
    grey = np.rint(255 * ndimage.gaussian_filter(generator.random((512, 160)), 4)).astype(np.float32)
    grey = np.rint(255 * (grey - grey.min()) / (grey.max() - grey.min())) / 255
    image = torch.from_numpy(grey).float().expand(1, 3, -1, -1)
    lobes = [1, 5, 7, 11, 13, 17, 21, 23, 27, 31]  # the odd numbers nearest to 1, 4.2, 7.4, ..., 30
    best = np.max([hessian_matrix_det(grey, sigma=lobe, approximate=True) for lobe in lobes], 0)
    expected = np.clip(best / maps.KEYPOINT_SCALE, 0, 1)
    found = maps.keypoints2d(image)[0, 0, 65:-63, 65:-63].numpy()
    expected = expected[64:-64, 64:-64]
    assert expected.max() > 0.05
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_keypoints2d_answer_to_a_blob_and_not_to_an_edge():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    blob = torch.exp(-((x - 20) ** 2 + (y - 30) ** 2) / 18).expand(1, 3, -1, -1)
    found = maps.keypoints2d(blob)
    assert found[0, 0].flatten().argmax() == 30 * 64 + 20
    assert (maps.keypoints2d(step(0, 1).expand(-1, 3, -1, -1)) < 1e-6).all()


def test_keypoints3d_are_zero_on_a_plane_and_at_depth_borders():
    flat = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    assert (maps.keypoints3d(torch.full((1, 1, 64, 64), 2.0), flat) < 1e-6).all()
    ridge = flat.clone()
    ridge[..., 32:] = torch.tensor([-1.0, 0.0, 0.0]).view(3, 1, 1)
    found = maps.keypoints3d(torch.full((1, 1, 64, 64), 2.0), ridge)
    # Windows of 5 pixels (r = 2): 2 or 3 of 5 normals differ, |mean|^2 = (4 + 9)/25.
    assert found[0, 0, 32, 31:33].tolist() == pytest.approx([12 / 25, 12 / 25], abs=1e-5)
    assert (maps.keypoints3d(step(2.0, 3.0), ridge)[..., 31:33] == 0).all()


def test_reshading_by_formula():
    """Of a wall at z: cos / |x|^2 with the lamp at the camera is z / |x|^3, in units of 1 / (2 m)^2, then the root."""
    depth = torch.full((1, 1, 5, 7), 3.0)
    normal = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 5, 7)
    found = maps.reshading(depth, normal, torch.tensor([2.0]))
    x, y = (torch.arange(7) - 3) / 2, (torch.arange(5)[:, None] - 2) / 2
    length = 3.0 * (x * x + y * y + 1).sqrt()
    torch.testing.assert_close(found[0, 0], (4 * 3.0 / length**3).clamp(max=1).sqrt())
    depth[..., 0, 0] = 0
    assert maps.reshading(depth, normal, torch.tensor([2.0]))[0, 0, 0, 0] == 0


def test_ranges_on_rooms():
    batch = rooms.generate(range(4), split="train", size=(48, 64))
    for key in ("edges2d", "edges3d", "keypoints2d", "keypoints3d", "reshading"):
        assert batch[key].amin() >= 0, key
        assert batch[key].amax() <= 1, key
        assert batch[key].std() > 0.005, key
