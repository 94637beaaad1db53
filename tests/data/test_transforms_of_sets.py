"""Mirror and zoom keep what belongs together on the real stereo pair and on our scenes."""

import pytest
import torch

from mtlrepro.data import motorcycle
from mtlrepro.data.right_view import right_view
from mtlrepro.data.samples import collate
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
