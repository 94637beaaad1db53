"""Loaders: the same batches from memory and from disk for a seed, resumed anywhere, never waiting for the device."""

import itertools

import numpy as np
import pytest
import torch
from host_reads import errors_on_synchronisation
from small_scenes import Noise

from mtlrepro.data.classes import CITYSCAPES
from mtlrepro.data.datasets import Dataset
from mtlrepro.data.loading import DiskLoader, MemoryLoader
from mtlrepro.data.scenes import cache as scenes
from mtlrepro.data.store import Store, Writer
from mtlrepro.data.transforms import Augmentation

AUGMENTATION = Augmentation(scales=(1.0, 1.2, 1.5), crop=(12, 16))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTLREPRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        return Store(scenes.generate("streets", n=11, size=(16, 20), generator=Noise(), progress=False))


@pytest.fixture(scope="module")
def dataset(store):
    return Dataset(store)


def equal(batches, others):
    batches, others = list(batches), list(others)
    assert len(batches) == len(others) > 0
    for batch, other in zip(batches, others, strict=True):
        assert list(batch) == list(other)
        assert {key: flags.tolist() for key, flags in batch["labelled"].items()} == {
            key: flags.tolist() for key, flags in other["labelled"].items()
        }
        for key in batch.keys() - {"labelled"}:
            for one, two in zip(batch[key], other[key], strict=True):
                assert one.dtype == two.dtype
                assert torch.equal(one.cpu(), two.cpu()), key
    return True


def epochs(loader, n=2):
    return list(itertools.chain.from_iterable(list(loader) for _ in range(n)))


@pytest.mark.parametrize("augmentation", [None, Augmentation(), AUGMENTATION], ids=["plain", "mirror", "zoom"])
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_and_disk_give_the_same_to_the_last_bit(dataset, augmentation, workers):
    options = {"augmentation": augmentation, "seed": 5}
    memory = epochs(MemoryLoader(dataset, 4, **options))
    assert equal(memory, epochs(DiskLoader(dataset, 4, workers=workers, **options)))
    assert [len(batch["index"]) for batch in memory] == [4, 4, 3] * 2
    assert set(memory[0]) == {*dataset.keys, "labelled", "index"}


def test_a_batch_is_its_samples_transformed(store, dataset):
    loader = MemoryLoader(dataset, 4, augmentation=AUGMENTATION, seed=1)
    both = Dataset(store, keys=Noise.KEYS)
    for epoch in range(2):
        table = AUGMENTATION.draw(11, (16, 20), seed=1, epoch=epoch)
        seen = []
        for batch in loader:
            rows = batch["index"]
            expected = AUGMENTATION(both.batch(rows.numpy()), table[rows])
            expected["labelled"] = {key: expected["labelled"][key] for key in batch["labelled"]}
            assert equal([batch], [{key: expected[key] for key in batch}])
            seen += rows.tolist()
        assert sorted(seen) == list(range(11))
        assert seen != sorted(seen)


@pytest.mark.parametrize("kind", [MemoryLoader, DiskLoader])
def test_parts_of_batches_make_up_the_batches(dataset, kind):
    options = {"augmentation": AUGMENTATION, "drop_last": True, "seed": 2}
    whole = epochs(MemoryLoader(dataset, 4, **options))
    parts = [epochs(kind(dataset, 4, part=(k, 2), **options)) for k in range(2)]
    for batch, *halves in zip(whole, *parts, strict=True):
        assert [len(half["index"]) for half in halves] == [2, 2]
        flags, *half_flags = (part.pop("labelled") for part in (batch, *halves))
        for key, values in flags.items():
            assert torch.cat([half[key] for half in half_flags]).tolist() == values.tolist()
        for key, values in batch.items():
            together = [value for half in halves for value in half[key]]
            assert all(torch.equal(a, b) for a, b in zip(together, values, strict=True))


def test_transforms_of_a_sample_depend_on_neither_order_nor_batch_size(dataset):
    def by_index(loader):
        return {int(i): image for batch in loader for i, image in zip(batch["index"], batch["image"], strict=True)}

    one = by_index(MemoryLoader(dataset, 4, augmentation=AUGMENTATION))
    other = by_index(DiskLoader(dataset, 3, augmentation=AUGMENTATION, shuffle=False, workers=0))
    assert list(other) == list(range(11))
    assert all(torch.equal(one[i], other[i]) for i in range(11))


def test_epochs_and_seeds_differ(dataset):
    def orders(seed):
        loader = MemoryLoader(dataset, 11, augmentation=AUGMENTATION, seed=seed)
        return [tuple(next(iter(loader))["index"].tolist()) for _ in range(3)]

    assert orders(0) == orders(0)
    assert len({*orders(0), *orders(1)}) == 6


def test_without_shuffling_or_transforms_the_split_in_order(dataset):
    loader = DiskLoader(dataset, 4, shuffle=False, workers=0)
    assert equal(loader, [dataset.batch(rows) for rows in (range(4), range(4, 8), range(8, 11))])


def test_a_short_last_batch_is_kept_or_dropped(dataset):
    for kind in (MemoryLoader, DiskLoader):
        options = {} if kind is MemoryLoader else {"workers": 0}
        kept, dropped = kind(dataset, 4, **options), kind(dataset, 4, drop_last=True, **options)
        assert (len(kept), len(dropped)) == (3, 2)
        assert [len(batch["image"]) for batch in dropped] == [4, 4]
        assert dropped.epoch == 1
        assert len(kind(dataset, 11, drop_last=True, **options)) == 1
        assert len(kind(dataset, 20, **options)) == 1


@pytest.mark.parametrize("kind", [MemoryLoader, DiskLoader])
@pytest.mark.parametrize("stop", [0, 1, 2, 3, 5])
def test_a_run_goes_on_where_it_was(dataset, kind, stop):
    options = {"augmentation": AUGMENTATION, "seed": 3} | ({} if kind is MemoryLoader else {"workers": 0})

    def endless(loader):
        while True:
            yield from loader

    whole = list(itertools.islice(endless(kind(dataset, 4, **options)), 9))
    first = kind(dataset, 4, **options)
    begun = list(itertools.islice(endless(first), stop))
    state = first.state_dict()
    assert (state["epoch"], state["position"]) == divmod(stop, 3)
    resumed = kind(dataset, 4, **options)
    resumed.load_state_dict(state)
    assert equal(begun + list(itertools.islice(endless(resumed), 9 - stop)), whole)
    # The first loader itself also goes on after it was left.
    assert equal(list(itertools.islice(endless(first), 9 - stop)), whole[stop:])


def test_workers_stay_and_a_left_epoch_is_completed(dataset):
    loader = DiskLoader(dataset, 2, workers=2, seed=3)
    reference = epochs(MemoryLoader(dataset, 2, seed=3))
    begun = list(itertools.islice(loader, 2))
    assert equal(begun + list(loader), reference[:6])
    assert equal(loader, reference[6:])


def test_a_state_of_another_run_is_refused(dataset):
    state = MemoryLoader(dataset, 4, seed=1).state_dict()
    for options, message in (
        ({"batch_size": 4}, "seed of the state is 1; accepted: 0, that of this loader"),
        ({"batch_size": 3, "seed": 1}, "batch_size of the state is 4; accepted: 3"),
    ):
        with pytest.raises(ValueError, match=message):
            MemoryLoader(dataset, **options).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; accepted: 1 or more"),
        ({"batch_size": 2, "seed": -1}, "seed is -1; accepted: 0 or more"),
        ({"batch_size": 12, "drop_last": True}, "batch_size is 12; accepted with drop_last: up to 11"),
        ({"batch_size": 2, "workers": -1}, "workers is -1; accepted: 0 or more"),
        ({"batch_size": 2, "augmentation": Augmentation(crop=(17, 8))}, r"crop is \(17, 8\); accepted for these"),
    ],
)
def test_arguments_out_of_range_are_refused(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        DiskLoader(dataset, **options)


# --- groups of targets

SHARES = {"segmentation": (0.0, 0.3), "depth": (0.2, 1.0)}  # 3 of 11 images, and 9; one has both
GROUPS = [["segmentation"], ["depth"]]


@pytest.fixture(scope="module")
def shown(dataset):
    return dataset.showing(SHARES)


def test_one_group_of_what_all_have_changes_nothing(dataset):
    options = {"augmentation": AUGMENTATION, "drop_last": True, "seed": 4}
    assert equal(
        epochs(MemoryLoader(dataset, 4, groups=[["depth", "segmentation"]], **options)),
        epochs(MemoryLoader(dataset, 4, **options)),
    )


def test_a_group_is_drawn_from_what_has_any_of_its_targets(shown):
    """In every epoch each of the samples once, and no other."""
    for keys, count in ((["segmentation"], 3), (["depth"], 9), (["segmentation", "depth"], 11)):
        rows = np.flatnonzero(np.any([shown.has(key, np.arange(11)) for key in keys], axis=0)).tolist()
        loader = MemoryLoader(shown, 2, groups=[keys], seed=1)
        orders = [[i for batch in loader for i in batch["index"].tolist()] for _ in range(3)]
        assert all(sorted(order) == rows for order in orders)
        assert len(rows) == count


def test_groups_in_turn(shown):
    """Batch i is of group i mod 2, over the ends of epochs; each group is passed through before it begins again."""
    loader = MemoryLoader(shown, 2, groups=GROUPS, drop_last=True, augmentation=AUGMENTATION, seed=6)
    assert len(loader) == 5  # as with the union, 11 samples
    batches = epochs(loader, 8)
    drawn = {}
    for k, (key,) in enumerate(GROUPS):
        own, other = batches[k::2], GROUPS[1 - k][0]
        rows = set(np.flatnonzero(shown.has(key, np.arange(11))).tolist())
        passed = len(rows) // 2
        passes = [own[i : i + passed] for i in range(0, 20 - passed, passed)]
        for number, batches_of_pass in enumerate(passes):
            order = [i for batch in batches_of_pass for i in batch["index"].tolist()]
            assert len(set(order)) == len(order) == 2 * passed and set(order) <= rows
            drawn.setdefault(key, []).append(tuple(order))
            table = AUGMENTATION.draw(11, (16, 20), seed=6, epoch=number)
            for batch in batches_of_pass:
                assert batch["labelled"][key].all() and not batch["labelled"][other].any()
                assert batch["labelled"]["normal"].all()
                expected = AUGMENTATION(
                    Dataset(shown.store, keys=Noise.KEYS).batch(batch["index"].numpy()), table[batch["index"]]
                )
                assert torch.equal(batch["image"], expected["image"])
        assert len(set(drawn[key])) > 3  # passes have orders of their own
        assert {i for order in drawn[key] for i in order} == rows


@pytest.mark.parametrize("kind", [MemoryLoader, DiskLoader])
@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4, 5, 6, 7, 13])
def test_groups_go_on_where_they_were_in_parts_too(shown, kind, stop):
    options = {"groups": GROUPS, "drop_last": True, "augmentation": AUGMENTATION, "seed": 3}
    unbroken = MemoryLoader(shown, 2, **options)
    epoch, position = divmod(stop, 5)
    state = unbroken.state_dict() | {"epoch": epoch, "position": position}
    whole = epochs(unbroken, 4)
    options |= {} if kind is MemoryLoader else {"workers": 0}
    halves = []
    for part in range(2):
        loader = kind(shown, 2, part=(part, 2), **options)
        loader.load_state_dict(state)
        halves.append(epochs(loader, 4 - epoch))
    for batch, *parts in zip(whole[stop:], *halves, strict=True):
        assert batch["index"].tolist() == [i for part in parts for i in part["index"].tolist()]
        for key in ("image", "segmentation", "depth"):
            assert torch.equal(batch[key], torch.cat([part[key] for part in parts]))
        for key, flags in batch["labelled"].items():
            assert flags.tolist() == [flag for part in parts for flag in part["labelled"][key].tolist()]


def test_memory_and_disk_draw_the_same_groups(shown):
    options = {"groups": GROUPS, "drop_last": True, "augmentation": AUGMENTATION, "seed": 3}
    assert equal(epochs(MemoryLoader(shown, 2, **options)), epochs(DiskLoader(shown, 2, workers=2, **options)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": GROUPS}, r"groups is .*; accepted without drop_last: one at most"),
        (
            {"groups": GROUPS, "drop_last": True},
            "batch_size is 4; accepted with drop_last: up to 3, the samples with seg",
        ),
        ({"groups": [["depth", "sky"]]}, r"groups is \[\['depth', 'sky'\]\]; accepted: one or more of image, "),
        ({"groups": [[]]}, r"groups is \[\[\]\]; accepted: one or more of image, "),
    ],
)
def test_groups_that_cannot_be_drawn_are_refused(shown, options, message):
    with pytest.raises(ValueError, match=message):
        MemoryLoader(shown, 4, **options)


# --- stereo without stored targets of the right view, and missing targets


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory):
    """Both views, segmentation with sky above, disparity; nothing of the right view."""
    scene = Noise().generate(range(5), split="train", size=(16, 20), seed=0)
    scene["segmentation"][:, :6], scene["disparity"][:, :, :6] = 10, 0
    folder = tmp_path_factory.mktemp("cityscapes") / "train"
    with Writer(folder, 5, {"dataset": "cityscapes", "split": "train", "classes": CITYSCAPES}) as writer:
        for key in ("image", "right", "segmentation", "disparity"):
            writer.put(key, 0, scene[key])
    return Dataset(Store(folder))


def test_mirrored_pairs_of_cityscapes(cityscapes):
    options = {"augmentation": Augmentation(flip=1.0), "shuffle": False}
    (batch,) = MemoryLoader(cityscapes, 5, **options)
    plain = cityscapes.batch(range(5))
    assert torch.equal(batch["image"], plain["right"].flip(-1))
    assert torch.equal(batch["right"], plain["image"].flip(-1))
    # Sky of unknown disparity stays where it is.
    assert (batch["segmentation"][:, :6] == 10).all()
    assert (batch["segmentation"][:, 6:] == -1).any()
    some = Dataset(cityscapes.store, keys=("right", "segmentation"))
    (without,) = MemoryLoader(some, 5, **options)
    assert set(without) == {"image", "right", "segmentation", "labelled", "index"}
    assert torch.equal(without["segmentation"], batch["segmentation"])


def test_seven_classes_have_a_sky_too(cityscapes):
    options = {"augmentation": Augmentation(flip=1.0), "shuffle": False}
    (fine,) = MemoryLoader(cityscapes, 5, **options)
    (coarse,) = MemoryLoader(Dataset(cityscapes.store, classes=7), 5, **options)
    assert torch.equal(fine["segmentation"] == -1, coarse["segmentation"] == -1)
    assert coarse["segmentation"].max() == 6


def test_pairs_that_cannot_be_mirrored_are_refused_at_once(store, tmp_path):
    with Writer(tmp_path / "train", 2, {"dataset": "cityscapes", "split": "train"}) as writer:
        for key in ("image", "right"):
            writer.put(key, 0, np.zeros((2, 3, 8, 8), np.uint8))
        writer.put("segmentation", 0, np.zeros((2, 8, 8), np.int8))
    pairs = Dataset(Store(tmp_path / "train"))
    with pytest.raises(ValueError, match="segmentation_right is not stored, and the mirror image of a stereo pair"):
        MemoryLoader(pairs, 2, augmentation=Augmentation())
    assert len(list(MemoryLoader(pairs, 2, augmentation=Augmentation(flip=0)))) == 1
    single = Dataset(Store(tmp_path / "train"), keys=["segmentation"])
    assert len(list(MemoryLoader(single, 2, augmentation=Augmentation()))) == 1


def test_missing_targets(tmp_path):
    with Writer(tmp_path / "train", 4, {"dataset": "bdd100k", "split": "train", "classes": ["a", "b"]}) as writer:
        writer.put("image", 0, np.zeros((4, 3, 8, 8), np.uint8))
        present = np.array([True, False, True, False])
        writer.put("segmentation", 0, np.where(present, 1, -1)[:, None, None] * np.ones((1, 8, 8), np.int8))
        writer.put("has_segmentation", 0, present)
        writer.put("has_detection", 0, ~present)
        for row in range(4):
            writer.append("boxes", torch.tensor([[0.0, 0, 3, 3]] * (not present[row])).reshape(-1, 4))
            writer.append("labels", torch.zeros(int(not present[row]), dtype=torch.int64))
    partly = Dataset(Store(tmp_path / "train"))
    options = {"augmentation": Augmentation(flip=1.0), "shuffle": False}
    memory = list(MemoryLoader(partly, 3, **options))
    assert equal(memory, DiskLoader(partly, 3, workers=0, **options))
    assert memory[0]["labelled"]["boxes"].tolist() == [False, True, False]
    assert [boxes.tolist() for boxes in memory[0]["boxes"]] == [[], [[5, 0, 8, 3]], []]
    assert (memory[0]["segmentation"][1] == -1).all()


# --- CUDA


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("workers", [None, 2])
def test_cuda_gives_the_same_and_never_waits(dataset, cityscapes, workers):
    for split in (dataset, cityscapes):
        here = epochs(MemoryLoader(split, 4, augmentation=AUGMENTATION))
        options = {"augmentation": AUGMENTATION, "device": "cuda"}
        loader = MemoryLoader(split, 4, **options) if workers is None else DiskLoader(split, 4, workers=2, **options)
        list(loader)  # starts workers
        loader.epoch = 0
        with errors_on_synchronisation():
            there = epochs(loader)
        for batch, other in zip(here, there, strict=True):
            assert other["image"].device.type == "cuda"
            for key in ("image", "right"):
                torch.testing.assert_close(other.pop(key).cpu(), batch.pop(key), atol=1e-6, rtol=0)
        assert equal(here, there)
