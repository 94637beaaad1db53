"""What both generators keep: scenes that depend on (seed, split, index) alone, and arguments that are refused."""

import pytest
import torch

from mtlrepro.data.scenes.rooms import generate as rooms
from mtlrepro.data.scenes.streets import generate as streets

SIZE = (24, 48)
SMALL_CHUNKS = {rooms: ("CHUNK", 2), streets: ("PIXELS", 2 * SIZE[0] * SIZE[1])}


@pytest.fixture(scope="module", params=[rooms, streets], ids=["rooms", "streets"])
def made(request):
    return request.param, request.param.generate(range(5), split="train", size=SIZE)


def test_a_scene_has_the_same_bits_alone_and_in_any_batch(made, monkeypatch):
    generator, batch = made
    name, value = SMALL_CHUNKS[generator]
    monkeypatch.setitem(getattr(generator, name), "cpu", value)
    again = generator.generate([3, 0, 4], split="train", size=SIZE)
    for key in generator.KEYS:
        for row, index in enumerate((3, 0, 4)):
            assert torch.equal(again[key][row], batch[key][index]), key
    for key in generator.KEYS:
        alone = generator.generate([2], split="train", size=SIZE, keys=[key])
        assert list(alone) == (["image", key] if key != "image" else ["image"])
        assert torch.equal(alone[key][0], batch[key][2]), key


@pytest.mark.parametrize("other", [{"split": "val"}, {"seed": 1}])
def test_splits_and_seeds_differ(made, other):
    generator, batch = made
    options = {"split": "train", "seed": 0, "size": SIZE, "keys": ["segmentation"]} | other
    assert (generator.generate([0], **options)["segmentation"][0] != batch["segmentation"][0]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split is 'all'; accepted: train, val, test"),
        ({"seed": -1}, "seed is -1; accepted: 0 or more"),
        ({"indices": []}, "indices are"),
        ({"indices": [-1]}, "indices are"),
        ({"keys": ["colour"]}, "keys hold 'colour'; accepted: image, "),
    ],
)
@pytest.mark.parametrize("generator", [rooms, streets], ids=["rooms", "streets"])
def test_bad_arguments(generator, options, message):
    arguments = {"indices": [0], "split": "train", "size": SIZE} | options
    with pytest.raises(ValueError, match=message):
        generator.generate(arguments.pop("indices"), **arguments)
