"""Sample conventions: encoding and decoding."""

import numpy as np
import pytest
import torch
from sample_cases import check
from small_scenes import Noise

from mtlrepro.data.samples import decode, encode
from mtlrepro.targets import TARGETS


@pytest.fixture
def sample():
    scene = Noise().generate([0], split="train", size=(16, 20), seed=0)
    return {key: value[0] for key, value in scene.items()}


def test_what_is_stored_comes_back(sample):
    for key, value in sample.items():
        stored = encode(key, value if TARGETS[key].ragged else value[None])
        assert stored.dtype == TARGETS[key].stored
        back = decode(key, torch.from_numpy(stored))
        assert back.dtype == value.dtype == TARGETS[key].dtype
        tolerance = {"uint8": 0.5 / 255 + 1e-6, "float16": 2**-11}.get(TARGETS[key].stored, 0)
        torch.testing.assert_close(back if TARGETS[key].ragged else back[0], value, rtol=tolerance, atol=tolerance)


def test_eight_bit_images_survive_exactly():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert np.array_equal(encode("image", decode("image", levels)), levels)
    assert decode("image", levels).max() == 1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("depth", -1.0, r"depth, row 7, element \[0, 2, 3\]: found -1.0; accepted: 0 to 3"),
        ("depth", float("nan"), r"found nan; accepted: 0 to"),
        ("depth", float("inf"), r"found inf; accepted: 0 to"),
        ("image", 1.01, r"image, row 7, element \[0, 2, 3\]: found 1.0\d+; accepted: 0 to 1"),
        ("segmentation", 255, r"segmentation, row 7, element \[2, 3\]: found 255; accepted: -1 to 127"),
        ("reshading", 1.5, r"found 1.5; accepted: 0 to 1"),
        ("normal", -2.0, r"found -2.0; accepted: -1.0001 to 1.0001"),
        ("curvature", 1e6, r"found 1000000.0; accepted: -65504 to 65504"),
    ],
)
def test_values_out_of_range_are_named(key, value, message):
    target = TARGETS[key]
    array = torch.zeros((2, *target.shape, 4, 5), dtype=target.dtype)
    array[(1, *(0,) * len(target.shape), 2, 3)] = value
    with pytest.raises(ValueError, match=message):
        encode(key, array, first=6)


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        ("depth", np.zeros((2, 4, 5), np.float32), r"depth has shape \[2, 4, 5\]; accepted: \[B, 1, H, W\]"),
        ("segmentation", np.zeros((2, 1, 4, 5), int), r"accepted: \[B, H, W\]"),
        ("boxes", np.zeros((2, 5), np.float32), r"boxes has shape \[2, 5\]; accepted: \[n, 4\]"),
        ("segmentation", np.zeros((2, 4, 5), np.float32), "segmentation is float32; accepted: int64, int8"),
        ("image", np.zeros((2, 3, 4, 5), np.int64), "image is int64; accepted: float32, uint8"),
        ("valid", np.zeros((2, 1, 4, 5), np.uint8), "valid is uint8; accepted: bool, bool"),
        ("dept", np.zeros(1), "key is 'dept'; accepted: image, right, segmentation"),
    ],
)
def test_wrong_types_and_shapes_are_named(key, array, message):
    with pytest.raises(ValueError, match=message):
        encode(key, array)


def test_a_good_sample_passes(sample):
    check(sample | {"index": torch.tensor(0)})
    assert len(sample["boxes"]) > 0
