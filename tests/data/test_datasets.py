"""Data sets by name: samples, batches, chosen keys and classes, missing targets, arguments that are refused."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from sample_cases import check, collate
from small_scenes import Noise

from mtlrepro.data.classes import CITYSCAPES, CITYSCAPES_7, SEVEN
from mtlrepro.data.datasets import Dataset, load, part_of
from mtlrepro.data.scenes import cache as scenes
from mtlrepro.data.store import Store, Writer
from mtlrepro.losses import known
from mtlrepro.targets import TARGETS


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Noise in every key, generated through the cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTLREPRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        store = Store(scenes.generate("streets", "val", n=7, size=(16, 20), seed=2, generator=Noise()))
        return Dataset(store, keys=Noise.KEYS)


@pytest.fixture(scope="module")
def partly(tmp_path_factory):
    """Three images: the first has boxes only, the second segmentation only, the third both."""
    folder = tmp_path_factory.mktemp("bdd100k") / "train"
    meta = {"dataset": "bdd100k", "split": "train", "classes": CITYSCAPES, "box_classes": ["a"] * 10}
    with Writer(folder, 3, meta) as writer:
        writer.put("image", 0, torch.full((3, 3, 8, 8), 0.2))
        segmentation = torch.ones(3, 8, 8, dtype=torch.int64)
        segmentation[0] = -1
        writer.put("segmentation", 0, segmentation)
        writer.put("has_segmentation", 0, np.array([False, True, True]))
        writer.put("has_detection", 0, np.array([True, False, True]))
        for m in (2, 0, 0):
            writer.append("boxes", torch.tensor([[0.0, 1, 4, 5]] * m).reshape(-1, 4))
            writer.append("labels", torch.full((m,), 3))
    return load("bdd100k", root=folder.parent)


def equal(a, b):
    assert list(a) == list(b)
    a, b = (batch | batch["labelled"] for batch in (a, b))
    del a["labelled"], b["labelled"]
    for key in a:
        pairs = zip(a[key], b[key], strict=True) if isinstance(a[key], list) else [(a[key], b[key])]
        for one, other in pairs:
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


# --- shares of labels

SHARES = {"boxes": (0.0, 10 / 14), "segmentation": (10 / 14, 1.0), "depth": (0.0, 0.3), "curvature": (0.5, 1.0)}


def having(dataset, key):
    return set(np.flatnonzero(dataset.has(key, range(len(dataset)))).tolist())


def test_shares_are_parts_of_one_order(dataset):
    """Of 7 images: 5 with boxes and 2 others with classes, as many as the rounded ends of the shares hold."""
    shown = dataset.showing(SHARES)
    boxes, classes, depth, curvature = (having(shown, key) for key in SHARES)
    assert (len(boxes), len(classes), len(depth), len(curvature)) == (5, 2, 2, 3)
    assert boxes | classes == set(range(7)) == having(shown, "normal")
    assert depth < boxes and classes < curvature
    assert having(shown, "labels") == having(shown, "boxes_right") == boxes
    assert having(shown, "segmentation_right") == classes
    assert {key: having(shown.reading(["boxes", *SHARES]), key) for key in SHARES} == {
        "boxes": boxes,
        "segmentation": classes,
        "depth": depth,
        "curvature": curvature,
    }
    assert all(having(shown.showing({}), key) == set(range(7)) for key in SHARES)


@pytest.mark.parametrize("n", [1, 7, 100, 1001])
def test_adjacent_shares_part_the_images(n):
    ends = [0.0, 1 / 11, 0.3, 0.5, 0.95, 1.0]
    parts = [part_of(n, share) for share in itertools.pairwise(ends)]
    assert [place for part in parts for place in part] == list(range(n))
    assert all(abs(len(part) - n * (b - a)) <= 1 for part, (a, b) in zip(parts, itertools.pairwise(ends), strict=True))


def test_hidden_labels_are_unknown_and_others_untouched(dataset):
    shown = dataset.showing(SHARES)
    batch, whole = shown.batch(range(7)), dataset.batch(range(7))
    for key in dataset.keys:
        name = "boxes" if key.startswith(("boxes", "labels")) else key.removesuffix("_right")
        there = having(shown, name)
        for i in range(7):
            if i in there:
                assert torch.equal(batch[key][i], whole[key][i])
            else:
                assert key.startswith(("boxes", "labels")) or (batch[key][i] == TARGETS[key].invalid).all()
                assert key not in shown[i] and len(batch[key][i]) == (0 if name == "boxes" else len(whole[key][i]))
        if key not in ("image", "right"):
            assert batch["labelled"][key].tolist() == [i in there for i in range(7)]
    for key in ("segmentation", "depth", "curvature"):
        assert known(batch, key).flatten(1).any(1).tolist() == [i in having(shown, key) for i in range(7)]


def test_images_without_a_target_stay_without(partly):
    assert having(partly, "segmentation") == {1, 2}
    order = having(partly.showing({"segmentation": (0, 1 / 3)}), "normal")
    assert order == {0, 1, 2}
    parts = [having(partly.showing({"segmentation": (k / 3, (k + 1) / 3)}), "segmentation") for k in range(3)]
    assert sorted(map(len, parts)) == [0, 1, 1]
    assert set().union(*parts) == {1, 2}


def test_attributes(dataset):
    assert len(dataset) == 7
    assert (dataset.name, dataset.split, dataset.size) == ("streets", "val", (16, 20))
    assert dataset.keys == tuple(key for key in TARGETS if key in Noise.KEYS)
    left = Dataset(dataset.store)
    assert left.keys == tuple(key for key in dataset.keys if not key.endswith("_right"))
    assert left.reading(dataset.keys).keys == dataset.keys
    assert (dataset.n_classes, dataset.class_names) == (19, CITYSCAPES)
    assert dataset.box_names == ("pedestrian", *dataset.box_names[1:9], "traffic sign")
    assert dataset.nbytes == sum(dataset.store[key].nbytes for key in Noise.KEYS)


def test_samples_are_what_was_generated(dataset):
    scene = Noise().generate([3], split="val", size=(16, 20), seed=2)
    sample = dataset[3]
    check(sample)
    assert sample["index"] == 3
    assert set(sample) == {*Noise.KEYS, "index"}
    assert torch.equal(sample["segmentation"], scene["segmentation"][0])
    assert torch.equal(sample["boxes_right"], scene["boxes_right"][0])
    torch.testing.assert_close(sample["image"], scene["image"][0], atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(sample["normal"], scene["normal"][0], atol=2**-11, rtol=2**-11)


def test_a_batch_is_the_collated_samples(dataset):
    rows = [5, 0, 5]
    batch = dataset.batch(rows)
    assert batch["index"].tolist() == rows
    equal(batch, collate([dataset[row] for row in rows]))


def test_samples_by_position(dataset):
    assert dataset[-1]["index"] == 6
    assert len(list(dataset)) == 7
    with pytest.raises(IndexError):
        dataset[7]


def test_writing_into_a_sample_changes_nothing(dataset):
    before = dataset[1]["depth"].clone()
    dataset[1]["depth"].fill_(9)
    dataset[1]["boxes"].fill_(9)
    assert torch.equal(dataset[1]["depth"], before)
    assert not (dataset[1]["boxes"] == 9).all() or len(dataset[1]["boxes"]) == 0


def test_chosen_keys(dataset):
    some = Dataset(dataset.store, keys=("labels", "depth"))
    assert some.keys == ("image", "depth", "boxes", "labels")
    assert set(some[0]) == {*some.keys, "index"}
    assert some.nbytes < dataset.nbytes
    with pytest.raises(ValueError, match=r"keys hold 'keypoints3d'; accepted for .*: image, right, segmentation"):
        Dataset(dataset.store, keys=("depth", "keypoints3d"))


def test_seven_classes(dataset):
    seven = Dataset(dataset.store, keys=dataset.keys, classes=7)
    assert seven.reading(["segmentation"]).n_classes == 7
    assert seven.class_names == CITYSCAPES_7
    assert seven.n_classes == 7
    for key in ("segmentation", "segmentation_right"):
        fine, coarse = dataset[2][key], seven[2][key]
        assert torch.equal(coarse == -1, fine == -1)
        assert (fine == -1).any()
        for train_id in fine.unique().tolist():
            assert train_id == -1 or (coarse[fine == train_id] == SEVEN[train_id]).all()
    assert Dataset(dataset.store, classes=19).n_classes == 19
    with pytest.raises(ValueError, match=r"classes is 13; accepted for .*: 19, 7"):
        Dataset(dataset.store, classes=13)


def test_images_lack_what_is_not_labelled(partly):
    assert set(partly[0]) == {"image", "boxes", "labels", "index"}
    assert set(partly[1]) == {"image", "segmentation", "index"}
    assert set(partly[2]) == {"image", "boxes", "labels", "segmentation", "index"}
    assert len(partly[0]["boxes"]) == 2
    assert len(partly[2]["boxes"]) == 0


def test_batches_fill_what_is_not_labelled(partly):
    batch = partly.batch([1, 2, 0])
    assert batch["labelled"]["boxes"].tolist() == [False, True, True]
    assert [len(boxes) for boxes in batch["boxes"]] == [0, 0, 2]
    assert (batch["segmentation"] == -1).flatten(1).all(1).tolist() == [False, False, True]
    equal(batch, collate([partly[i] for i in (1, 2, 0)], (*partly.keys, "index")))


def test_a_copy_for_another_process_is_small(dataset):
    dataset.batch([0])
    copy = pickle.dumps(dataset)
    assert len(copy) < 6000
    equal(pickle.loads(copy).batch([1]), dataset.batch([1]))


def test_scenes_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    monkeypatch.setattr(
        scenes, "import_module", lambda name: {"mtlrepro.data.scenes.rooms.generate": Noise(("image", "depth"))}[name]
    )
    rooms = load("rooms", "test", n=3, size=(16, 16), keys=["depth"])
    assert (rooms.name, rooms.split, len(rooms), rooms.keys) == ("rooms", "test", 3, ("image", "depth"))
    with pytest.raises(ValueError, match="root is 'x'; accepted: none for rooms"):
        load("rooms", root="x")
    monkeypatch.setattr(scenes, "generate", None)
    with pytest.raises(ValueError, match="keys hold 'disparity'; accepted: image, depth"):
        load("rooms", "val", keys=["disparity"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "nyu"}, "name is 'nyu'; accepted: rooms, streets, nyuv2, cityscapes, taskonomy, bdd100k"),
        ({"name": "nyuv2", "split": "valid"}, "split is 'valid'; accepted: train, test"),
        ({"name": "nyuv2"}, "root is None; nyuv2 is not generated: make it with `python data_scripts/nyuv2.py prepare"),
        ({"name": "nyuv2", "root": "x", "n": 3}, "n is 3; accepted: none for nyuv2"),
        ({"name": "nyuv2", "root": "x", "seed": 0}, "seed is 0; accepted: none for nyuv2"),
        ({"name": "cityscapes", "root": "x"}, "x.train holds no prepared split; make it with .*cityscapes.py prepare"),
    ],
)
def test_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load(**arguments)


def test_another_data_set_in_the_folder_is_refused(partly):
    with pytest.raises(ValueError, match="holds 'bdd100k'; accepted: 'cityscapes'"):
        load("cityscapes", root=partly.store.folder.parent)


def test_a_store_that_is_no_split_is_refused(tmp_path):
    with Writer(tmp_path / "a", 1, {"dataset": "rooms"}) as writer:
        writer.put("image", 0, np.zeros((1, 3, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"meta.json lacks split; accepted: a data set's split"):
        Dataset(Store(tmp_path / "a"))
