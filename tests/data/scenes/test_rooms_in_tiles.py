"""Rooms cast in tiles have the depth and shadows of the dense caster."""

from dataclasses import replace

import dense_caster
import numpy as np
import pytest
import torch

from mtlrepro.data.scenes import tiled
from mtlrepro.data.scenes.rooms import generate as rooms
from mtlrepro.data.scenes.rooms.layout import Draws, draw


@pytest.mark.parametrize("size", [(48, 64), (37, 51), (96, 128)])
def test_tiles_find_what_the_dense_caster_finds(size):
    seeds = [np.random.SeedSequence([3, 0, i]) for i in range(24)]
    layout = draw(Draws(seeds, rooms.NUMBERS), size, "cpu")
    scene, camera = layout.scene, layout.camera
    depth, slot = tiled.cast(scene, camera)
    dense_depth, dense_slot = dense_caster.cast(scene, camera)
    assert torch.equal(depth, dense_depth)
    assert (slot != dense_slot).float().mean() < 2e-3  # faces that coincide
    points = camera.at(depth)
    dense = dense_caster.blocked(scene, points, layout.lamp, layout.casters, rooms.MARGIN)
    casting = replace(scene, active=scene.active & layout.casters)
    shadows = tiled.shadowed(casting, camera, points, layout.lamp, slot >= 0, rooms.MARGIN)
    assert torch.equal(shadows, dense)
    assert 0.02 < shadows.float().mean() < 0.5
