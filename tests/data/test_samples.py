"""Sample conventions: encoding, decoding, collating and checking."""

import numpy as np
import pytest
import torch
from small_scenes import Noise

from mtlrepro.data.samples import KINDS, blank, check, collate, decode, encode


@pytest.fixture
def sample():
    scene = Noise().generate([0], split="train", size=(16, 20), seed=0)
    return {key: value[0] for key, value in scene.items()}


def test_what_is_stored_comes_back(sample):
    for key, value in sample.items():
        stored = encode(key, value if KINDS[key].ragged else value[None])
        assert stored.dtype == KINDS[key].stored
        back = decode(key, torch.from_numpy(stored))
        assert back.dtype == value.dtype == KINDS[key].dtype
        tolerance = {"uint8": 0.5 / 255 + 1e-6, "float16": 2**-11}.get(KINDS[key].stored, 0)
        torch.testing.assert_close(back if KINDS[key].ragged else back[0], value, rtol=tolerance, atol=tolerance)


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
    kind = KINDS[key]
    array = torch.zeros((2, *kind.shape, 4, 5), dtype=kind.dtype)
    array[(1, *(0,) * len(kind.shape), 2, 3)] = value
    with pytest.raises(ValueError, match=message):
        encode(key, array, row=6)


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


def test_collate_stacks_and_fills_what_is_missing(sample):
    other = {key: sample[key] for key in ("image", "boxes", "labels")}
    partial = {key: sample[key] for key in ("image", "segmentation", "depth", "valid")}
    batch = collate([other | {"index": torch.tensor(4)}, partial | {"index": torch.tensor(2)}])
    assert batch["index"].tolist() == [4, 2]
    assert batch["image"].shape == (2, 3, 16, 20)
    assert (batch["segmentation"][0] == -1).all()
    assert not batch["depth"][0].any()
    assert not batch["valid"][0].any()
    assert batch["valid"].dtype == torch.bool
    assert torch.equal(batch["segmentation"][1], sample["segmentation"])
    assert batch["detected"].tolist() == [True, False]
    assert torch.equal(batch["boxes"][0], sample["boxes"])
    assert batch["boxes"][1].shape == (0, 4)
    assert batch["labels"][1].dtype == torch.int64


def test_collate_with_given_keys_has_them_always(sample):
    batch = collate([{"image": sample["image"]}], keys=("image", "normal", "boxes"))
    assert list(batch) == ["image", "normal", "boxes", "detected"]
    assert not batch["normal"].any()
    assert batch["detected"].tolist() == [False]


def test_collate_refuses_nothing_and_mixed_sizes():
    with pytest.raises(ValueError, match="samples is empty"):
        collate([])
    with pytest.raises(ValueError, match=r"sizes \[\(4, 5\), \(4, 6\)\]; accepted: one size"):
        collate([{"image": torch.zeros(3, 4, 6)}, {"image": torch.zeros(3, 4, 5)}])


def test_blank_targets_are_of_the_right_kind():
    for key, kind in KINDS.items():
        target = blank(key, (4, 5))
        assert target.dtype == kind.dtype
        assert target.shape == ((0, *kind.shape) if kind.ragged else (*kind.shape, 4, 5))


def test_a_good_sample_passes(sample):
    check(sample | {"index": torch.tensor(0)})
    assert len(sample["boxes"]) > 0


def _change(sample, key, index, value):
    sample[key] = sample[key].clone()
    sample[key][index] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("image"), "accepted: image and others"),
        (lambda s: s.update(depth=s["depth"].double()), "depth is torch.float64; accepted: torch.float32"),
        (lambda s: s.update(depth=s["depth"][:, 1:]), r"depth has the size \[15, 20\]; accepted: \[16, 20\]"),
        (lambda s: _change(s, "normal", (slice(None), 3, 4), 0.5), r"normal at \[3, 4\] is 0.8\d+; accepted: length"),
        (lambda s: _change(s, "curvature", (1, 3, 4), 99), "accepted: k1 >= k2"),
        (lambda s: _change(s, "boxes", (0, 2), 20.5), "boxes at .* accepted: 0 <= x1 < x2 <= 20"),
        (lambda s: _change(s, "boxes", (0, 2), s["boxes"][0, 0]), "boxes at .* accepted"),
        (lambda s: s.update(labels=s["labels"][1:]), "labels has .* one for a box"),
    ],
)
def test_bad_samples_are_named(sample, change, message):
    change(sample)
    with pytest.raises(ValueError, match=message):
        check(sample)
