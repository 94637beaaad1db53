"""Mirror and zoom keep what belongs together on the real stereo pair and on our scenes."""

import pytest
import torch
from sample_cases import check, collate

from mtlrepro.data import motorcycle
from mtlrepro.data.right_view import right_view
from mtlrepro.data.scenes.rooms import generate as rooms
from mtlrepro.data.stereo import match_error
from mtlrepro.data.transforms import Augmentation

MIRROR = torch.tensor([[1.0, 0, 0, 1]])


@pytest.fixture(scope="module")
def motorcycles():
    return collate([{key: value for key, value in motorcycle.pair().items() if key != "occlusion"}])


def error(batch):
    return float(match_error(batch["image"], batch["right"], batch["disparity"]))


def test_the_real_pair_mirrored_is_a_pair(motorcycles):
    before = error(motorcycles)
    mirrored = Augmentation()(motorcycles, MIRROR)
    known = mirrored["disparity"] > 0
    # The left view hides some of the right view, and its disparity has holes.
    assert 0.75 < known.double().mean() < 0.9
    # What the right view hides counts before and not after: its pixels do not exist in the new left view.
    assert error(mirrored) < before < 0.04
    wrong = mirrored | {"disparity": motorcycles["disparity"].flip(-1)}
    assert error(wrong) > 2.5 * error(mirrored)
    assert torch.equal(known.expand(-1, 3, -1, -1) & (mirrored["normal"] != 0), mirrored["normal"] != 0)


def test_the_real_pair_mirrored_twice_is_the_same_where_both_views_see_it(motorcycles):
    twice = Augmentation()(Augmentation()(motorcycles, MIRROR), MIRROR)
    both = (twice["disparity"] > 0) & (motorcycles["disparity"] > 0)
    assert both.double().mean() > 0.7
    difference = (twice["disparity"] - motorcycles["disparity"])[both].abs()
    assert difference.median() < 0.01
    assert (difference < 0.5).double().mean() > 0.99
    assert torch.equal(twice["image"], motorcycles["image"])
    cosine = (twice["normal"] * motorcycles["normal"]).sum(1, keepdim=True)[both & (twice["normal"][:, 2:] != 0)]
    assert (cosine > 0.9).double().mean() > 0.95


def test_the_real_pair_zoomed_is_a_pair(motorcycles):
    window, row = (333, 494), torch.tensor([[1.0, 80, 120, 0]])
    cropped = Augmentation(flip=0, crop=window)(motorcycles, row)
    row[0, 0] = 1.5
    zoomed = Augmentation(flip=0, scales=(1.5,))(motorcycles, row)
    assert error(zoomed) < 1.05 * error(cropped) < 0.05
    assert error(zoomed | {"disparity": zoomed["disparity"] / 1.5}) > 2 * error(cropped)


def test_the_derived_right_view_does_not_depend_on_threads(motorcycles):
    once = right_view(motorcycles, ["disparity_right", "normal_right"])
    torch.set_num_threads(2)
    try:
        again = right_view(motorcycles, ["disparity_right", "normal_right"])
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(once[key], again[key]) for key in once)


@pytest.fixture(scope="module")
def room_batch():
    return rooms.generate(range(6), split="train", size=(48, 64), seed=0)


def slant(batch):
    """Share of slanted pixels on which inverse depth grows along the row against the normal's x.

    On a plane 1/z = (n . ray) / (n . p) with n . p < 0, so its slope along x has the sign of -n_x.
    """
    inverse = torch.where(batch["depth"] > 0, 1 / batch["depth"], torch.nan)
    slope = inverse[..., 2:] - inverse[..., :-2]
    x = batch["normal"][:, :1, :, 1:-1]
    inside = batch["valid"][..., 1:-1] & slope.isfinite() & (x.abs() > 0.1)
    return float((slope * x < 0)[inside].double().mean())


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_depth_and_normals_of_rooms_stay_together(room_batch, scale):
    row = torch.tensor([[scale, 5 * (scale - 1), 8 * (scale - 1), 1]]).expand(6, -1)
    before = slant(room_batch)
    mirrored = Augmentation(scales=(scale,))(room_batch, row)
    assert before > 0.9
    assert slant(mirrored) > 0.9
    assert slant(mirrored | {"normal": mirrored["normal"] * torch.tensor([-1.0, 1, 1]).view(3, 1, 1)}) < 0.1
    for row in range(6):
        check({key: values[row] for key, values in mirrored.items()})
