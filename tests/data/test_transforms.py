"""Mirror, crop and zoom: against torchvision, against pictures of the mirrored and the nearer world, pair by pair."""

import math

import numpy as np
import pytest
import torch
from sample_cases import collate
from small_scenes import Noise
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from mtlrepro.data.right_view import right_view
from mtlrepro.data.samples import twin
from mtlrepro.data.transforms import VISIBLE, Augmentation
from mtlrepro.targets import TARGETS

SIZE = (24, 36)


def noise(n=4, keys=None, size=SIZE):
    scenes = Noise(keys).generate(range(n), split="train", size=size, seed=0)
    place = torch.arange(size[1]) + 0.5
    if "occlusion" in scenes:
        scenes["occlusion"] |= place < scenes["disparity"]
    if "occlusion_right" in scenes:
        scenes["occlusion_right"] |= place + scenes["disparity_right"] > size[1]
    batch = collate([{key: value[i] for key, value in scenes.items()} for i in range(n)])
    del batch["labelled"]  # transforms look at maps and boxes only
    return batch


def parameters(*rows):
    """Rows of zoom factor, top, left, mirror."""
    return torch.tensor(rows, dtype=torch.float32)


MONOCULAR = [key for key in Noise.KEYS if key not in ("right", "occlusion") and not key.endswith("_right")]


# --- drawing


def test_parameters_depend_on_seed_epoch_and_index_alone():
    augmentation = Augmentation(scales=(1.0, 1.2, 1.5))
    table = augmentation.draw(50, SIZE, seed=3, epoch=2)
    assert table.shape == (50, 4)
    assert table.dtype == torch.float32
    assert torch.equal(augmentation.draw(20, SIZE, seed=3, epoch=2), table[:20])
    assert not torch.equal(augmentation.draw(50, SIZE, seed=3, epoch=3), table)
    assert not torch.equal(augmentation.draw(50, SIZE, seed=4, epoch=2), table)


def test_parameters_are_uniform_and_windows_lie_inside():
    table = Augmentation(flip=0.25, scales=(1.0, 1.2, 1.5)).draw(20000, SIZE, seed=0, epoch=0).double()
    scale, top, left, mirrored = table.unbind(1)
    for factor in (1.0, 1.2, 1.5):
        chosen = (scale - factor).abs() < 1e-6
        assert abs(chosen.double().mean() - 1 / 3) < 0.02
        # Windows of 24/s x 36/s begin at 0 .. floor(24 - 24/s) and 0 .. floor(36 - 36/s).
        for corner, side in ((top, 24), (left, 36)):
            last = math.floor(side - side / factor + 1e-9)
            counts = torch.bincount(corner[chosen].long(), minlength=last + 1) / chosen.sum()
            assert len(counts) == last + 1
            assert (counts - 1 / (last + 1)).abs().max() < 0.02
    assert abs(mirrored.mean() - 0.25) < 0.01
    assert torch.equal(mirrored, mirrored.round())


def test_crops_lie_inside():
    augmentation = Augmentation(crop=(20, 30), scales=(2.0,))
    _, top, left, _ = augmentation.draw(2000, SIZE, seed=0, epoch=0).unbind(1)
    assert (top.min(), top.max(), left.min(), left.max()) == (0, 14, 0, 21)
    assert augmentation.output_size(SIZE) == (20, 30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flip": 1.5}, "flip is 1.5; accepted: a probability"),
        ({"scales": ()}, r"scales is \(\); accepted: one or more"),
        ({"scales": (1.0, 0.5)}, "accepted: one or more numbers from 1 to 16"),
        ({"scales": (float("nan"),)}, "scales is"),
        ({"crop": (0, 5)}, r"crop is \(0, 5\); accepted: \(height, width\)"),
    ],
)
def test_attributes_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**arguments)


def test_a_crop_larger_than_the_images_is_refused():
    with pytest.raises(ValueError, match=r"crop is \(20, 40\); accepted for these images: up to \(24, 36\)"):
        Augmentation(crop=(20, 40)).draw(1, SIZE, seed=0, epoch=0)


# --- mirror


@pytest.mark.parametrize("crop", [None, SIZE])
def test_monocular_mirror(crop):
    batch = noise(2, MONOCULAR)
    result = Augmentation(crop=crop)(batch, parameters((1, 0, 0, 0), (1, 0, 0, 1)))
    assert list(result) == list(batch)
    for key, values in batch.items():
        kept, mirrored = result[key]
        assert torch.equal(kept, values[0])
        if key == "boxes":
            x1, y1, x2, y2 = values[1].unbind(1)
            assert torch.equal(mirrored, torch.stack([36 - x2, y1, 36 - x1, y2], 1))
        elif key == "normal":
            assert torch.equal(mirrored, values[1].flip(-1) * torch.tensor([-1.0, 1, 1])[:, None, None])
        elif key in ("labels",):
            assert torch.equal(mirrored, values[1])
        elif key != "index":
            assert torch.equal(mirrored, values[1].flip(-1))


@pytest.mark.parametrize("keys", [MONOCULAR, Noise.KEYS], ids=["one view", "stereo"])
@pytest.mark.parametrize("crop", [None, SIZE])
def test_mirrored_twice_is_the_same(keys, crop):
    batch = noise(3, keys)
    augmentation, row = Augmentation(crop=crop), parameters(*[(1, 0, 0, 1)] * 3)
    once = augmentation(batch, row)
    assert not torch.equal(once["image"], batch["image"])
    twice = augmentation(once, row)
    for key, values in batch.items():
        for one, other in zip(values, twice[key], strict=True):
            assert torch.equal(one, other), key


def test_stereo_mirror_swaps_the_views():
    batch = noise(2, Noise.KEYS)
    assert any(len(boxes) for boxes in batch["boxes_right"])
    result = Augmentation()(batch, parameters((1, 0, 0, 1), (1, 0, 0, 0)))
    sign = torch.tensor([-1.0, 1, 1])[:, None, None]
    for key in Noise.KEYS:
        first, second = result[key]
        assert torch.equal(second, batch[key][1])
        other = batch[twin(key)][0]
        if key.startswith("boxes"):
            assert torch.equal(first, torch.stack([36 - other[:, 2], other[:, 1], 36 - other[:, 0], other[:, 3]], 1))
        elif key.startswith("labels"):
            assert torch.equal(first, other)
        else:
            assert torch.equal(first, other.flip(-1) * (sign if key.startswith("normal") else 1))


def test_stereo_pairs_without_the_other_views_targets_are_refused():
    batch = noise(2, ("image", "right", "boxes", "labels"))
    message = "boxes_right is not stored, and the mirror image of a stereo pair needs it; accepted: flip=0, other keys"
    with pytest.raises(ValueError, match=message):
        Augmentation()(batch, parameters((1, 0, 0, 1), (1, 0, 0, 0)))
    kept = Augmentation(flip=0)(batch, parameters((1, 0, 0, 0), (1, 0, 0, 0)))
    assert torch.equal(kept["right"], batch["right"])
    with pytest.raises(ValueError, match="segmentation_right is not stored"):
        Augmentation()(noise(1, ("image", "right", "segmentation")), parameters((1, 0, 0, 1)))
    with pytest.raises(ValueError, match="occlusion_right is not stored"):
        Augmentation()(noise(1, ("image", "right", "disparity", "occlusion")), parameters((1, 0, 0, 1)))


# --- a stereo pair of known geometry: a slanted wall and a plate in front of it


def wall(x, y):
    return torch.stack([0.5 + 0.3 * torch.sin(x / 5 + c) * torch.cos(y / 6 - c) for c in range(3)])


def stereo(size=(24, 64), slope=0.06):
    """Disparity slope x + 2 on the wall, 7 on the plate, whose left image lies in 30 <= x < 42, 8 <= y < 16."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
    rows = (y >= 8) & (y < 16)
    left_plate, right_plate = rows & (x >= 30) & (x < 42), rows & (x >= 23) & (x < 35)
    behind = (x + 2) / (1 - slope)  # the wall at a place of the right view, in the left view
    left = torch.where(left_plate, 1 - wall(x, y), wall(x, y))
    right = torch.where(right_plate, 1 - wall(x + 7, y), wall(behind, y))
    disparity = torch.where(left_plate, 7.0, slope * x + 2)
    disparity_right = torch.where(right_plate, 7.0, behind - x)
    hidden = (behind > size[1] - 1) | (rows & ~right_plate & (behind > 29) & (behind < 42))
    sample = {
        "image": left,
        "right": right,
        "segmentation": left_plate.long(),
        "depth": 100 / disparity[None],
        "disparity": disparity[None],
        "normal": torch.tensor([0.0, 0, -1])[:, None, None].expand(3, *size),
    }
    truth = {"disparity": disparity_right[None], "segmentation": right_plate.long(), "hidden": hidden}
    return collate([sample]), truth


def warp_error(batch):
    """Greatest difference of left(x) and right(x - d) over pixels that both views show, and their share."""
    right, disparity = batch["right"][0], batch["disparity"][0, 0]
    height, width = disparity.shape
    place = torch.arange(width) - disparity
    first = place.floor().long()
    inside = (disparity > 0) & (first >= 0) & (first < width - 1)
    first = first.clamp(0, width - 2)
    rows = torch.arange(height)[:, None]
    moved = torch.lerp(right[:, rows, first], right[:, rows, first + 1], (place - first).clamp(0, 1))
    return (moved - batch["image"][0]).abs().amax(0), inside


def test_the_pair_is_a_pair():
    batch, truth = stereo()
    error, inside = warp_error(batch)
    # Where the plate of the right view hides what the left view shows, or bilinear taps straddle its border, not.
    assert (error[inside] < 0.02).double().mean() > 0.93
    swapped = {"image": batch["right"].flip(-1), "right": batch["image"].flip(-1)}
    error, inside = warp_error(swapped | {"disparity": truth["disparity"][None].flip(-1)})
    assert (error[inside] < 0.02).double().mean() > 0.93


def test_the_right_view_is_derived_exactly_on_planes():
    batch, truth = stereo()
    keys = ("disparity_right", "segmentation_right", "depth_right", "normal_right")
    derived = right_view(batch, keys)
    disparity = derived["disparity_right"][0]
    known = disparity[0] > 0
    torch.testing.assert_close(disparity[0][known], truth["disparity"][0][known], rtol=1e-5, atol=1e-5)
    assert torch.equal(derived["segmentation_right"][0][known], truth["segmentation"][known])
    assert torch.equal(known, ~truth["hidden"])
    assert (derived["segmentation_right"][0][~known] == -1).all()
    assert not derived["normal_right"][0][:, ~known].any()
    torch.testing.assert_close(derived["depth_right"][0, 0][known], 100 / truth["disparity"][0][known])
    assert not derived["depth_right"][0, 0][~known].any()


def test_the_derived_right_view_is_the_same_alone_and_in_a_batch():
    (near, _), (far, _) = stereo(), stereo(slope=0.01)
    both = {key: torch.cat([near[key], far[key]]) for key in ("disparity", "segmentation")}
    together = right_view(both, ["segmentation_right", "disparity_right"])
    for row, batch in enumerate((near, far)):
        alone = right_view(batch, ["segmentation_right", "disparity_right"])
        assert all(torch.equal(alone[key][0], together[key][row]) for key in alone)


def test_sky_is_behind_everything():
    batch, _ = stereo()
    sky = batch["segmentation"] == 0
    batch["disparity"][sky[:, None]] = 0
    derived = right_view(batch, ["segmentation_right", "disparity_right"], sky=0)
    # The plate moves left by 7 pixels; sky stays; what the plate uncovers is unknown.
    expected = torch.zeros(24, 64, dtype=torch.int64)
    expected[8:16, 30:42] = -1
    expected[8:16, 23:35] = 1
    found = derived["segmentation_right"][0]
    borders = torch.zeros(24, 64, dtype=torch.bool)
    borders[8:16, [29, 42]] = True
    assert torch.equal(found[~borders], expected[~borders])
    assert (derived["disparity_right"][0, 0] > 0).equal(expected == 1)
    without = right_view(batch, ["segmentation_right"])["segmentation_right"]
    assert (without[0][expected == 0] == -1).all()


def test_a_mirrored_pair_without_stored_targets_is_a_pair():
    batch, truth = stereo()
    keys = list(batch)
    result = Augmentation()(batch, parameters((1, 0, 0, 1)))
    assert list(result) == keys
    error, inside = warp_error(result)
    assert (error[inside] < 0.02).double().mean() > 0.93
    known = result["disparity"][0, 0] > 0
    torch.testing.assert_close(result["disparity"][0][:, known], truth["disparity"].flip(-1)[:, known])
    assert 0.7 < known.double().mean() < 1


@pytest.mark.parametrize("mirrored", [0, 1])
def test_a_zoomed_pair_is_a_pair(mirrored):
    batch, _ = stereo()
    scale = 1.5
    zoomed = Augmentation(scales=(scale,))(batch, parameters((scale, 4, 12, mirrored)))
    error, inside = warp_error(zoomed)
    assert (error[inside] < 0.02).double().mean() > 0.85
    wrong = zoomed | {"disparity": zoomed["disparity"] / scale}
    assert (warp_error(wrong)[0][inside] < 0.02).double().mean() < 0.1
    known = zoomed["disparity"] > 0
    # z d = f B is kept: depth is divided and disparity multiplied.
    torch.testing.assert_close((zoomed["depth"] * zoomed["disparity"])[known], torch.full_like(error, 100)[known[0, 0]])


# --- zoom and crop


@pytest.mark.parametrize("scale", [1.2, 1.5, 2.0])
@pytest.mark.parametrize("mirrored", [0, 1])
def test_zoom_is_torchvisions_resized_crop(scale, mirrored):
    """Windows of 20 x 30, 16 x 24 and 12 x 18 pixels, all whole."""
    batch = noise(1, MONOCULAR)
    top, left, height, width = 2, 3, round(24 / scale), round(36 / scale)
    result = Augmentation(scales=(scale,))(batch, parameters((scale, top, left, mirrored)))
    factor = {"disparity": scale, "curvature": scale, "depth": 1 / scale}
    for key in MONOCULAR:
        if TARGETS[key].ragged:
            continue
        # For masks v2 takes "nearest", which shifts them by up to half a pixel against the image.
        mode = InterpolationMode.BILINEAR if key == "image" else InterpolationMode.NEAREST_EXACT
        planes = batch[key].float() if batch[key].ndim == 4 else batch[key][:, None].float()
        expected = v2.resized_crop(planes, top, left, height, width, SIZE, interpolation=mode, antialias=False)
        expected = v2.horizontal_flip(expected) if mirrored else expected
        found = result[key].float().reshape(expected.shape)
        if key == "image":  # at the window's border torchvision repeats the last pixel, here the next one is there
            torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-5, rtol=0)
        elif key == "normal":
            expected[:, 0] *= 1 - 2 * mirrored
            assert torch.equal(found, expected)
        elif key in factor:
            torch.testing.assert_close(found, expected * factor[key], rtol=1e-6, atol=0)
        else:
            assert torch.equal(found, expected), key


@pytest.mark.parametrize("mirrored", [0, 1])
def test_boxes_are_torchvisions(mirrored):
    batch = noise(6, ("image", "boxes", "labels"))
    scale, top, left = 1.5, 4, 9
    rows = parameters(*[(scale, top, left, mirrored)] * 6)
    result = Augmentation(scales=(scale,))(batch, rows)
    kept = 0
    for boxes, labels, found, found_labels in zip(
        batch["boxes"], batch["labels"], result["boxes"], result["labels"], strict=True
    ):
        whole = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=SIZE, clamping_mode=None)
        moved = v2.resized_crop(whole, top, left, 16, 24, list(SIZE))
        moved = v2.horizontal_flip(moved) if mirrored else moved
        clipped = v2.clamp_bounding_boxes(moved, clamping_mode="hard").as_subclass(torch.Tensor)
        moved = moved.as_subclass(torch.Tensor)
        area, inside = ((b[:, 2:] - b[:, :2]).prod(1) for b in (moved, clipped))
        good = inside >= VISIBLE * area
        torch.testing.assert_close(found, clipped[good])
        assert torch.equal(found_labels, labels[good])
        kept += int(good.sum())
    assert 0 < kept < sum(len(boxes) for boxes in batch["boxes"])


def test_boxes_by_hand():
    batch = {
        "image": torch.zeros(2, 3, 10, 20),
        "boxes": [torch.tensor([[0.0, 0, 4, 4], [4, 2, 12, 6], [15, 0, 20, 10]]), torch.zeros(0, 4)],
        "labels": [torch.tensor([1, 2, 3]), torch.zeros(0, dtype=torch.int64)],
    }
    result = Augmentation(scales=(2.0,))(batch, parameters((2, 1, 5, 0), (2, 0, 0, 0)))
    # Columns 5..15 and rows 1..6, doubled: the first box is outside, the second loses a column, the third is outside.
    assert result["boxes"][0].tolist() == [[0, 2, 14, 10]]
    assert result["labels"][0].tolist() == [2]
    assert result["boxes"][1].shape == (0, 4)


def test_no_value_is_blended():
    batch = noise(5, MONOCULAR)
    table = Augmentation(scales=(1.3,)).draw(5, SIZE, seed=0, epoch=0)
    result = Augmentation(scales=(1.3,))(batch, table)
    factor = {"disparity": table[0, 0], "curvature": table[0, 0], "depth": 1 / table[0, 0]}
    for key in MONOCULAR:
        if key == "image" or TARGETS[key].ragged:
            continue
        before = batch[key] / table[0, 0] if key == "depth" else batch[key] * factor.get(key, 1)
        values = set(before.flatten().tolist())
        if key == "normal":
            values |= {-value for value in values}
            norms = result[key].norm(dim=1)
            assert (((norms - 1).abs() < 1e-5) | (norms == 0)).all()
        assert set(result[key].flatten().tolist()) <= values, key


def test_zoom_by_one_changes_nothing():
    batch = noise(2, Noise.KEYS)
    result = Augmentation(scales=(1.0, 2.0))(batch, parameters((1, 0, 0, 0), (1, 0, 0, 0)))
    for key, values in batch.items():
        assert all(torch.equal(one, other) for one, other in zip(result[key], values, strict=True)), key


def test_crop_takes_whole_pixels():
    batch = noise(1, ("image", "segmentation", "depth", "boxes", "labels"))
    result = Augmentation(crop=(10, 12))(batch, parameters((1, 5, 7, 0)))
    for key in ("image", "segmentation", "depth"):
        assert torch.equal(result[key], batch[key][..., 5:15, 7:19])


def test_what_loses_its_counterpart_is_occluded():
    batch, _ = stereo(slope=0.0)
    batch["occlusion"] = torch.zeros(1, 1, 24, 64, dtype=torch.bool)
    batch["disparity"][:] = 4.0
    result = Augmentation(flip=0, crop=(24, 40))(batch, parameters((1, 0, 10, 0)))
    columns = result["occlusion"][0, 0].any(0)
    assert torch.equal(columns, result["occlusion"][0, 0].all(0))
    assert columns.nonzero().flatten().tolist() == [0, 1, 2, 3]
    assert not batch["occlusion"].any()


def test_a_sample_is_transformed_alone_as_in_a_batch():
    augmentation = Augmentation(scales=(1.0, 1.2, 1.5), crop=(20, 30))
    batch, table = noise(6, Noise.KEYS), augmentation.draw(6, SIZE, seed=1, epoch=0)
    together = augmentation(batch, table)
    for row in (4, 0):
        alone = augmentation({key: values[row : row + 1] for key, values in batch.items()}, table[row : row + 1])
        for key in batch:
            assert torch.equal(alone[key][0], together[key][row]), key


# --- pictures of a ball on a wall by their formulas


def ball(size, focal, centre, radius, wall_z, principal):
    """Depth, normal and curvature of a ball before a frontal wall, at pixel centres."""
    height, width = size
    x = ((torch.arange(width, dtype=torch.float64) + 0.5 - principal[1]) / focal).expand(height, width)
    y = ((torch.arange(height, dtype=torch.float64) + 0.5 - principal[0]) / focal)[:, None].expand(height, width)
    ray = torch.stack([x, y, torch.ones_like(x)])
    c = torch.tensor(centre, dtype=torch.float64)[:, None, None]
    a, b = (ray * ray).sum(0), (ray * c).sum(0)
    root = b * b - a * ((c * c).sum() - radius**2)
    hit = root > 0
    depth = torch.where(hit, (b - root.clamp(min=0).sqrt()) / a, wall_z)
    frontal = torch.tensor([0.0, 0, -1], dtype=torch.float64)[:, None, None]
    normal = torch.where(hit, (ray * depth - c) / radius, frontal)
    curvature = torch.where(hit, 1 / radius, 0.0)
    maps = {"image": ray.clamp(0, 1), "depth": depth[None], "normal": normal, "curvature": torch.stack([curvature] * 2)}
    return {key: value.float()[None] for key, value in maps.items()}


def test_mirror_is_the_picture_of_the_mirrored_world():
    size, middle = (24, 36), (12, 18)
    picture = ball(size, 30, (0.4, -0.2, 3.0), 0.7, 4.0, middle)
    mirrored = ball(size, 30, (-0.4, -0.2, 3.0), 0.7, 4.0, middle)
    found = Augmentation()(picture, parameters((1, 0, 0, 1)))
    for key in ("depth", "normal", "curvature"):
        torch.testing.assert_close(found[key], mirrored[key], atol=1e-6, rtol=1e-6)
    assert (picture["curvature"] > 0).double().mean() > 0.1


def test_zoom_is_the_picture_of_the_smaller_world_through_the_longer_lens():
    """Enlarged three times, every third pixel has the centre of one of the original."""
    size, s, top, left = (24, 36), 3, 5, 9
    picture = ball(size, 30, (0.4, -0.2, 3.0), 0.7, 4.0, (12, 18))
    principal = ((12 - top) * s, (18 - left) * s)
    smaller = ball(size, 30 * s, (0.4 / s, -0.2 / s, 3.0 / s), 0.7 / s, 4.0 / s, principal)
    found = Augmentation(scales=(3.0,))(picture, parameters((s, top, left, 0)))
    for key in ("depth", "normal", "curvature"):
        torch.testing.assert_close(found[key][..., 1::3, 1::3], smaller[key][..., 1::3, 1::3], atol=1e-5, rtol=1e-5)
    assert np.unique(found["curvature"].numpy()).size == 2
