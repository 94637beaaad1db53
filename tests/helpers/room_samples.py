"""Samples of an empty box-shaped room, written down from its six planes: exact, small, with holes."""

import numpy as np
import torch

from mtlrepro.data.classes import NYUV2

SIDES = np.array([[1, 0, 0], [-1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], float)  # normals, inwards
DISTANCES = np.array([2.0, 2.2, 1.3, 1.1, 4.0, 3.0])  # of each side from the camera, metres
CLASSES = [NYUV2.index(name) for name in ("wall", "window", "floor", "ceiling", "picture", "wall")]


def room(camera, height, width, seed):
    """Image, depth, normal and segmentation of the room seen from a camera turned by up to 30 degrees."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-0.5, 0.5)
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    sides = SIDES @ turn.T
    rays = camera.rays(height, width).astype(float)
    facing = -np.einsum("sk,khw->shw", sides, rays)
    reach = np.where(facing > 0, DISTANCES[:, None, None] / np.where(facing > 0, facing, 1), np.inf)
    side, depth = reach.argmin(0), reach.min(0)
    normal = np.moveaxis(sides[side], -1, 0)
    segmentation = np.array(CLASSES)[side]
    colours = rng.integers(40, 216, (6, 3))
    image = (np.moveaxis(colours[side], -1, 0) + rng.integers(-30, 31, (3, height, width))) / 255
    holes = np.zeros((height, width), bool)
    holes[height // 3 : height // 3 + 3, width // 4 : width // 4 + 5] = True
    return {
        "image": torch.tensor(image, dtype=torch.float32),
        "segmentation": torch.tensor(np.where(holes, -1, segmentation)),
        "depth": torch.tensor(np.where(holes, 0, depth)[None], dtype=torch.float32),
        "normal": torch.tensor(np.where(holes, 0, normal), dtype=torch.float32),
    }


def rooms(n, camera, height, width, seed=0):
    return [room(camera, height, width, [seed, index]) for index in range(n)]


def with_all_maps(sample, seed):
    """The same view with the ten maps of Taskonomy, those that the planes do not give drawn at random."""
    rng = np.random.default_rng(seed)
    shape = sample["depth"].shape
    unit = {
        key: torch.tensor(rng.random(shape), dtype=torch.float32)
        for key in ("reshading", "edges2d", "edges3d", "keypoints2d", "keypoints3d")
    }
    curvature = -np.sort(-rng.uniform(-30, 30, (2, *shape[1:])), axis=0)
    return {
        **sample,
        **unit,
        "segmentation": torch.tensor(rng.integers(-1, 17, shape[1:])),
        "curvature": torch.tensor(curvature, dtype=torch.float32),
        "valid": (sample["depth"] > 0) & torch.tensor(rng.random(shape) > 0.1),
    }
