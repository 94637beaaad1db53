"""Rooms: the same bits in any batch, exact geometry, classes as uneven as in NYUv2, holes in every map."""

import numpy as np
import pytest
import torch
from dense_caster import cast
from sample_cases import check

from mtlrepro.data.classes import NYUV2
from mtlrepro.data.scenes.raycast import shade
from mtlrepro.data.scenes.rooms import generate as rooms
from mtlrepro.data.scenes.rooms.layout import FOCAL, Draws, draw
from mtlrepro.data.scenes.textures import sensor_noise, uniform

SIZE = (48, 64)


@pytest.fixture(scope="module")
def batch():
    return rooms.generate(range(6), split="train", size=SIZE)


@pytest.fixture(scope="module")
def many():
    return rooms.generate(range(200), split="train", size=(24, 32), keys=("segmentation", "depth", "valid"))


def layout_of(n, size):
    return draw(Draws([np.random.SeedSequence([3, 0, i]) for i in range(n)], rooms.NUMBERS), size, "cpu")


def test_samples_are_valid(batch):
    for row in range(6):
        check({key: batch[key][row] for key in rooms.KEYS})


def test_the_picture_has_8_bits(batch):
    levels = batch["image"] * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert batch["image"].std() > 0.1


def test_masks_agree(batch):
    valid = batch["valid"]
    assert torch.equal(batch["depth"] > 0, valid)
    assert torch.equal(batch["normal"].norm(dim=1, keepdim=True) > 0.5, valid)
    for key in ("curvature", "reshading", "edges3d", "keypoints3d"):
        assert (batch[key][~valid.expand_as(batch[key])] == 0).all(), key


def test_normals_are_those_of_the_depth():
    """From differences of neighbouring points on one face, where no noise or hole has been added yet."""
    size = (96, 128)
    layout = layout_of(4, size)
    surface = shade(layout.scene, layout.camera, *cast(layout.scene, layout.camera))
    normal = layout.camera.to_camera(surface.normal)
    points = torch.stack([layout.camera.x * surface.depth, layout.camera.y * surface.depth, surface.depth], 1)
    across, down = points[..., 1:-1, 2:] - points[..., 1:-1, :-2], points[..., 2:, 1:-1] - points[..., :-2, 1:-1]
    derived = torch.nn.functional.normalize(torch.linalg.cross(down, across, dim=1), dim=1)
    same = torch.ones(4, 94, 126, dtype=torch.bool)
    for map_ in (surface.slot, surface.face):
        for step in ((0, 1), (2, 1), (1, 0), (1, 2)):
            same &= map_[:, step[0] : step[0] + 94, step[1] : step[1] + 126] == map_[:, 1:-1, 1:-1]
    flat = same & (surface.curvature[:, :, 1:-1, 1:-1] == 0).all(1)
    cosine = (derived * normal[..., 1:-1, 1:-1]).sum(1)[flat]
    angle = cosine.clamp(max=1).acos().rad2deg()
    assert flat.float().mean() > 0.5
    assert angle.median() < 0.1
    assert angle.quantile(0.99) < 1
    rays = torch.stack(torch.broadcast_tensors(layout.camera.x, layout.camera.y, torch.ones(4, *size)), 1)
    assert ((normal * rays).sum(1) < 1e-4).all()  # towards the camera


def test_curvature_is_one_over_the_radius():
    layout = layout_of(8, SIZE)
    surface = shade(layout.scene, layout.camera, *cast(layout.scene, layout.camera))
    radius = layout.scene.half[..., 0].gather(1, surface.slot.flatten(1)).view_as(surface.depth)
    kinds = np.array(layout.scene.kinds)[surface.slot]
    for kind, expected in (("sphere", (1, 1)), ("cylinder", (1, 0)), ("box", (0, 0)), ("room", (0, 0))):
        there = torch.from_numpy(kinds == kind)
        assert there.any(), kind
        if kind == "cylinder":
            there &= surface.face != 1  # its caps are flat
        for k in (0, 1):
            found = surface.curvature[:, k][there]
            torch.testing.assert_close(found, expected[k] / radius[there] if expected[k] else torch.zeros_like(found))


def test_classes_are_as_uneven_as_in_nyuv2(many):
    labels = many["segmentation"]
    shares = torch.bincount(labels[labels >= 0], minlength=13).double()
    shares /= shares.sum()
    assert (shares > 0.003).all()
    assert NYUV2[int(shares.argmax())] == "wall"
    assert shares.max() / shares.min() > 20
    unlabelled = (labels < 0).float().mean()
    assert 0.02 < unlabelled < 0.2


def test_depth_has_the_range_and_the_holes_of_rooms(many):
    known = many["depth"][many["valid"]]
    assert 0.5 < known.min() and known.max() < 10  # noqa: SIM300
    assert 0.05 < (~many["valid"]).float().mean() < 0.3
    windows = many["segmentation"][:, None] == NYUV2.index("window")
    assert (~many["valid"])[windows].float().mean() > (~many["valid"])[~windows].float().mean()


def test_focal_length():
    assert layout_of(2, SIZE).camera.focal.tolist() == pytest.approx([FOCAL * 64] * 2)


def test_noise_is_centred_and_has_unit_variance():
    noise = sensor_noise((64, 64), torch.tensor([1, 2], dtype=torch.int32))
    assert noise.mean().abs() < 0.02  # three standard errors
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    assert noise.abs().max() <= 6**0.5
    assert (noise[0] - noise[1]).std() > 1
    assert (noise[:, 0] - noise[:, 1]).std() > 1


def test_hash_is_uniform():
    values = uniform(torch.arange(256), torch.arange(256)[:, None], torch.tensor(5, dtype=torch.int32)).flatten()
    counts = torch.histc(values, 16, 0, 1)
    assert ((counts - 4096).abs() < 6 * 4096**0.5).all()
    neighbours = torch.corrcoef(torch.stack([values[:-1], values[1:]]))[0, 1]
    assert neighbours.abs() < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_makes_the_same_rooms_but_for_rounding(batch):
    """Where rounding decides, as at an edge or between two of the 8 bits' levels, single pixels differ."""
    there = rooms.generate(range(6), split="train", size=SIZE, device="cuda")
    for key in rooms.KEYS:
        here = batch[key].float()
        far = (there[key].cpu().float() - here).abs() > 1e-3 * here.abs().clamp(min=1)
        assert far.float().mean() < 1e-3, key
