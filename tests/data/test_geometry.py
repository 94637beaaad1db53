"""Cameras and normals from depth, against planes and a sphere written down by hand."""

import numpy as np
import pytest
from room_samples import room

from mtlrepro.data.geometry import Pinhole, from_8_bits, normals_from_depth, to_8_bits, unit

CAMERA = Pinhole(60.0, 62.0, 39.5, 30.0)


def angle(a, b):
    return np.degrees(np.arccos(np.clip((a * b).sum(0), -1, 1)))


def test_rays_by_hand():
    rays = Pinhole(2.0, 4.0, 1.0, 0.0).rays(2, 3)
    np.testing.assert_allclose(rays[0], [[-0.5, 0, 0.5]] * 2)
    np.testing.assert_allclose(rays[1], [[0] * 3, [0.25] * 3])
    np.testing.assert_allclose(rays[2], 1)


def test_a_resized_camera_sees_the_same_borders():
    """The image's borders lie half a pixel outside of the first and last pixels' centres."""
    small = CAMERA.resized((60, 80), (30, 20))
    for camera, height, width in ((CAMERA, 60, 80), (small, 30, 20)):
        left, right = ((column - camera.cx) / camera.fx for column in (-0.5, width - 0.5))
        top, bottom = ((row - camera.cy) / camera.fy for row in (-0.5, height - 0.5))
        np.testing.assert_allclose([left, right, top, bottom], [-40 / 60, 40 / 60, -30.5 / 62, 29.5 / 62])


def test_metadata_round_trip():
    assert Pinhole.of({"camera": CAMERA.meta()}) == CAMERA


@pytest.mark.parametrize("normal", [(0, 0, -1), (0, -1, 0), (0.6, 0, -0.8), (-0.4, 0.3, -0.866)])
def test_a_plane_has_its_normal_everywhere(normal):
    normal = np.array(normal, float) / np.linalg.norm(normal)
    facing = -np.einsum("k,khw->hw", normal, CAMERA.rays(60, 80).astype(float))
    depth = np.where(facing > 0.05, 1.5 / np.where(facing > 0.05, facing, 1), 0).astype(np.float32)
    found = normals_from_depth(depth, CAMERA)
    known = found.any(0)
    assert known.mean() > 0.35
    assert not (known & (depth == 0)).any()
    assert angle(found, normal[:, None, None])[known].max() < 0.1


def test_normals_of_a_room_agree_but_at_its_corners_and_face_the_camera():
    sample = room(CAMERA, 60, 80, 3)
    found, true = normals_from_depth(sample["depth"][0].numpy(), CAMERA), sample["normal"].numpy()
    known = found.any(0)
    assert not (known & (sample["depth"][0].numpy() == 0)).any()
    assert known.mean() > 0.95
    error = angle(found, true)[known]
    assert np.quantile(error, 0.7) < 0.1
    assert ((found * CAMERA.rays(60, 80)).sum(0)[known] < 0).all()


def test_normals_of_a_sphere():
    rays = CAMERA.rays(60, 80).astype(float)
    centre, radius = np.array([0.1, -0.1, 3.0]), 1.0
    a, b, c = (rays**2).sum(0), np.einsum("k,khw->hw", centre, rays), centre @ centre - radius**2
    hit = b**2 - a * c > 0
    depth = np.where(hit, (b - np.sqrt(np.where(hit, b**2 - a * c, 0))) / a, 0)
    true = np.where(hit, (rays * depth - centre[:, None, None]) / radius, 0)
    found = normals_from_depth(depth.astype(np.float32), CAMERA)
    frontal = found.any(0) & ((true * rays / np.linalg.norm(rays, axis=0)).sum(0) < -0.5)
    assert frontal.sum() > 500
    assert angle(found, true)[frontal].max() < 3


def test_normals_through_the_steps_of_kinect():
    """Inverse depth in whole units of its disparity, 1 / 351.3 per metre, on a wall 3 m away."""
    camera = Pinhole(518.9, 519.5, 39.5, 29.5)
    normal = np.array([0.5, 0.2, -0.84]) / np.linalg.norm([0.5, 0.2, -0.84])
    inverse = -np.einsum("k,khw->hw", normal, camera.rays(60, 80).astype(float)) / 3 / -normal[2]
    depth = (351.3 / np.rint(inverse * 351.3)).astype(np.float32)
    wide, narrow = (
        np.median(angle(normals_from_depth(depth, camera, radius=radius), normal[:, None, None])[8:-8, 8:-8])
        for radius in (None, 2)
    )
    assert wide < 1
    assert narrow > 10  # why the window is not small


def test_a_step_in_depth_does_not_bend_the_normals():
    depth = np.full((20, 20), 2.0, np.float32)
    depth[:, 10:] = 3.0
    found = normals_from_depth(depth, Pinhole(80.0, 80.0, 9.5, 9.5))
    np.testing.assert_allclose(found, np.broadcast_to([[[0]], [[0]], [[-1]]], found.shape), atol=1e-5)


def test_too_few_neighbours_give_none():
    depth = np.zeros((9, 9), np.float32)
    depth[4, 3:6] = 1  # one line
    depth[0, 0] = 1
    assert not normals_from_depth(depth, CAMERA, radius=1).any()


def test_unit():
    vectors = np.array([[3.0, 0.0, 0.98], [4.0, 0.0, 0.0]])
    np.testing.assert_allclose(unit(vectors), [[0.6, 0, 1], [0.8, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(unit(vectors, tolerance=0.1), [[0, 0, 1], [0, 0, 0]], rtol=1e-6)


def test_eight_bits():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(to_8_bits(from_8_bits(pixels)), pixels)
    np.testing.assert_allclose(from_8_bits(np.array([[[0, 255, 51]]], np.uint8)).ravel(), [-1, 1, -0.6], atol=1e-6)
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, (3, 8, 9)).astype(np.float32)
    assert np.abs(from_8_bits(to_8_bits(values)) - values).max() <= 1 / 255 + 1e-6
