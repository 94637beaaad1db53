from dataclasses import replace

import dense_caster
import numpy as np
import pytest
import torch
from sample_cases import check
from torch.nn.functional import grid_sample

from mtlrepro.data.classes import BDD100K, CITYSCAPES, CITYSCAPES_7, SEVEN
from mtlrepro.data.scenes import cache as scenes
from mtlrepro.data.scenes import tiled
from mtlrepro.data.scenes.raycast import Camera, Lookup
from mtlrepro.data.scenes.streets import generate as streets
from mtlrepro.data.scenes.streets.composition import FOCAL
from mtlrepro.data.scenes.streets.layout import BASELINE, draw
from mtlrepro.data.scenes.streets.picture import develop, radiance
from mtlrepro.data.store import Store

SIZE = (48, 96)


def layouts(n, size=SIZE, start=0):
    return draw([np.random.SeedSequence([7, 0, i]) for i in range(start, start + n)], size, "cpu")


@pytest.fixture(scope="module")
def views():
    layout = layouts(6)
    return layout, streets.look_at(layout, layout.left), streets.look_at(layout, layout.right)


@pytest.fixture(scope="module")
def batch():
    return streets.generate(range(5), split="train", size=SIZE)


@pytest.fixture(scope="module")
def many():
    return streets.generate(range(160), split="train", size=(32, 64), keys=("segmentation", "boxes", "labels"))


def sampled(maps, view, layout, sign=-1):
    """Maps of the right view at the places of the left view's pixels."""
    d = streets.disparity(view.camera, view.surface.depth, view.surface.slot >= 0)
    height, width = view.camera.size
    x = (torch.arange(width) + 0.5 + sign * d) * 2 / width - 1
    y = ((torch.arange(height) + 0.5) * 2 / height - 1)[:, None].expand_as(x)
    return grid_sample(maps, torch.stack([x, y], -1), align_corners=False, padding_mode="border")


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_samples_are_valid(batch):
    for row in range(5):
        sample = {key: batch[key][row] for key in streets.KEYS}
        check(sample)
        assert len(sample["labels"]) == len(sample["boxes"])
        assert len(sample["labels_right"]) == len(sample["boxes_right"])
    assert torch.equal(batch["valid"], batch["depth"] > 0)
    assert torch.equal(batch["valid"], batch["normal"].norm(dim=1, keepdim=True) > 0.5)
    assert torch.equal(batch["valid"][:, 0], batch["segmentation"] != streets.SKY)


@pytest.mark.parametrize("size", [(48, 96), (37, 51), (96, 64), (40, 330)])
def test_tiles_find_what_the_dense_caster_finds(size):
    layout = layouts(4, size, start=20)
    scene, camera, other = layout.scene, layout.left, layout.right
    depth, slot = tiled.cast(scene, camera)
    dense_depth, dense_slot = dense_caster.cast(scene, camera)
    assert torch.equal(depth, dense_depth)
    assert (slot != dense_slot).float().mean() < 1e-3  # faces that coincide
    points = camera.at(depth)
    hit = slot >= 0
    dense = dense_caster.blocked(scene, points, other.position, margin=5e-4)
    assert torch.equal(tiled.hidden(scene, camera, points, other) & hit, dense & hit)
    dense = dense_caster.blocked(scene, points, layout.sun, layout.casters, margin=2e-4)
    casting = replace(scene, active=layout.casters)
    assert torch.equal(tiled.shadowed(casting, camera, points, layout.sun, hit) & hit, dense & hit)
    assert 0.02 < (dense & hit).float().mean() < 0.9


def test_disparity_is_focal_length_times_baseline_over_depth(batch):
    d, z = batch["disparity"], batch["depth"]
    known = d > 0
    assert 0.3 < known.float().mean() < 0.99
    expected = FOCAL * SIZE[1] * BASELINE / z[known]
    torch.testing.assert_close(d[known], expected, rtol=1e-5, atol=0)
    holes = batch["valid"] & ~known
    assert 0.01 < holes.float().mean() < 0.25


def test_right_view_moved_by_disparity_is_the_left_view(views):
    layout, left, right = views
    pictures = [
        develop(layout, v.camera, radiance(layout, v.camera, v.surface, Lookup(v.rows)), k, noise=False)
        for k, v in enumerate((left, right))
    ]
    visible = ~streets.hidden(layout, left, layout.right) & (left.surface.slot >= 0)
    moved, depth = sampled(pictures[1], left, layout), sampled(right.surface.depth[:, None], left, layout)[:, 0]
    same_surface = (depth / left.surface.depth.clamp(min=1) - 1).abs() < 0.01
    smooth = torch.ones_like(visible)
    for axis, shape in ((2, (-1, 0)), (3, (0, -1))):
        step = pictures[0].diff(dim=axis).abs().amax(1)
        for ends in ((0, 1), (1, 0)):
            pad = (*ends, 0, 0) if shape[1] else (0, 0, *ends)
            smooth &= torch.nn.functional.pad(step, pad) < 0.02
    use = visible & smooth & same_surface
    assert use.float().mean() > 0.15
    error = (moved - pictures[0]).abs().mean(1)[use].mean()
    wrong = (sampled(pictures[1], left, layout, +1) - pictures[0]).abs().mean(1)[use].mean()
    assert error < 1 / 255
    assert wrong > 5 * error


def test_what_is_hidden_agrees_with_a_finer_depth_buffer(views):
    layout, left, _ = views
    fine = 5
    camera = layout.right
    big = Camera(camera.rotation, camera.position, camera.focal * fine, (SIZE[0] * fine, SIZE[1] * fine))
    buffer = tiled.cast(layout.scene, big)[0][:, fine // 2 :: fine]
    buffer = torch.where(buffer == 0, 1e6, buffer)
    hit = left.surface.slot >= 0
    z = torch.where(hit, left.surface.depth, 1e6)
    d = streets.disparity(left.camera, left.surface.depth, hit)
    place = torch.arange(SIZE[1]) + 0.5 - d
    outside = place < 0
    column = (place * fine - 0.5).clamp(1, SIZE[1] * fine - 3)
    near = torch.stack([buffer.gather(2, column.floor().long() + k) for k in (-1, 0, 1, 2)])
    occluded = (near < 0.97 * z).all(0) | outside
    clear = (near > 0.99 * z).all(0) & ~outside
    hidden = streets.hidden(layout, left, layout.right)
    assert hidden[occluded].all()
    assert not hidden[clear].any()
    assert (occluded | clear).float().mean() > 0.8
    assert (occluded & ~outside).sum() > 50


def test_boxes_bound_their_objects(views):
    layout, left, _ = views
    numbers = streets.instances(layout, left)
    total = 0
    for row in range(len(numbers)):
        boxes, labels = streets.boxes(numbers[row], layout.instances[row], layout.classes[row])
        expected = []
        for number in numbers[row].unique().tolist():
            y, x = (numbers[row] == number).nonzero(as_tuple=True)
            name = (*CITYSCAPES, "void")[layout.classes[row][left.rows[row][y[0], x[0]]]] if number else "nothing"
            name = "pedestrian" if name == "person" else name
            if name in BDD100K and len(x) >= 16:
                bounds = [x.min().item(), y.min().item(), x.max().item() + 1, y.max().item() + 1]
                expected.append([*bounds, BDD100K.index(name)])
        assert torch.cat([boxes, labels[:, None].float()], 1).tolist() == expected
        total += len(expected)
    assert total > 10


def test_every_class_occurs_and_rare_ones_are_rare(many):
    counts = torch.bincount(many["segmentation"][many["segmentation"] >= 0], minlength=19).double()
    share = dict(zip(CITYSCAPES, (counts / counts.sum()).tolist(), strict=True))
    assert min(share.values()) > 0
    assert share["road"] > 0.2
    assert min(share["building"], share["vegetation"]) > 0.05
    assert max(share[name] for name in ("rider", "motorcycle", "train", "traffic light")) < 0.01
    assert (many["segmentation"] == -1).float().mean() > 0.005
    labels = torch.cat(many["labels"])
    assert set(labels.tolist()) == set(range(10))


def test_a_mirrored_pair_with_its_views_swapped_has_the_right_views_disparity(views):
    layout, left, right = views
    maps = streets.disparity(right.camera, right.surface.depth, right.surface.slot >= 0).flip(2)
    depth_left = left.surface.depth.flip(2)
    place = torch.arange(SIZE[1]) + 0.5 - maps
    hidden = streets.hidden(layout, right, layout.left).flip(2)
    low = (place - 0.5).floor().clamp(0, SIZE[1] - 2).long()
    share = (place - 0.5 - low)[..., :]
    inverse = torch.where(depth_left > 0, 1 / depth_left.clamp(min=1e-3), 0.0)
    found = torch.lerp(inverse.gather(2, low), inverse.gather(2, low + 1), share)
    expected = maps / (FOCAL * SIZE[1] * BASELINE)
    seen = ~hidden & (maps > 0) & (place > 0.5)
    agree = (found - expected).abs() < 0.01 * expected
    assert agree[seen].float().mean() > 0.85  # all but borders of objects
    unseen = hidden & (maps > 0) & (place > 0.5)
    assert agree[unseen].float().mean() < 0.2


def test_normals_are_those_of_depth(batch):
    z = batch["depth"].double()
    focal = FOCAL * SIZE[1]
    x = (torch.arange(SIZE[1]) + 0.5 - SIZE[1] / 2) / focal
    y = ((torch.arange(SIZE[0]) + 0.5 - SIZE[0] / 2) / focal)[:, None]
    points = torch.cat([z * x, z * y, z], 1)
    across = points[..., 1:-1, 2:] - points[..., 1:-1, :-2]
    down = points[..., 2:, 1:-1] - points[..., :-2, 1:-1]
    derived = torch.linalg.cross(down, across, dim=1)
    derived = derived / derived.norm(dim=1, keepdim=True).clamp(min=1e-12)
    inner = (..., slice(1, -1), slice(1, -1))
    cosine = (derived * batch["normal"][inner]).sum(1)[batch["valid"][inner][:, 0]]
    assert cosine.median() > 0.9999
    assert (cosine > 0.99).float().mean() > 0.6
    rays = torch.cat([(x + 0 * y)[None], (y + 0 * x)[None], torch.ones(1, *SIZE)]).float()
    assert ((batch["normal"] * rays).sum(1) <= 1e-5).all()


def test_the_ground_faces_up(views):
    _, left, _ = views
    ground = left.surface.slot == 0
    assert (left.surface.normal[:, 1][ground] == -1).all()
    assert (left.surface.face[ground] == 1).all()


def test_noise_differs_between_views_and_is_small(views):
    layout, left, _ = views
    linear = radiance(layout, left.camera, left.surface, Lookup(left.rows))
    clean = develop(layout, left.camera, linear, 0, noise=False)
    first, second = (develop(layout, left.camera, linear, view) - clean for view in (0, 1))
    inner = (clean > 0.15) & (clean < 0.85)
    sigma = layout.light[:, 5].mean()
    assert first[inner].std() == pytest.approx(float(sigma), rel=0.4)
    assert abs(torch.corrcoef(torch.stack([first[inner], second[inner]]))[0, 1]) < 0.05


def test_streets_go_through_the_cache(tmp_path, monkeypatch, batch):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    store = Store(scenes.generate("streets", "train", n=3, size=SIZE, progress=False))
    assert np.array_equal(store["image"][2], np.rint(batch["image"][2].numpy() * 255))
    assert np.array_equal(store["disparity_right"][1], batch["disparity_right"][1].numpy())


def test_seven_categories():
    groups = {
        name: [c for c, s in zip(CITYSCAPES, SEVEN, strict=True) if CITYSCAPES_7[s] == name] for name in CITYSCAPES_7
    }
    assert groups["flat"] == ["road", "sidewalk"]
    assert groups["nature"] == ["vegetation", "terrain"]
    assert groups["human"] == ["person", "rider"]
    assert groups["vehicle"] == ["car", "truck", "bus", "train", "motorcycle", "bicycle"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_makes_the_same_geometry(batch):
    there = streets.generate(range(5), split="train", size=SIZE, device="cuda")
    for key in ("segmentation", "occlusion"):
        assert (there[key].cpu() == batch[key]).float().mean() > 0.999
