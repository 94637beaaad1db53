"""Stores: written whole or not at all, continued after a stop, checked to the last byte."""

import errno
import json
import multiprocessing
import os
import pickle
import signal

import numpy as np
import pytest
import torch

from mtlrepro.data.store import META, Store, Writer, build_once
from mtlrepro.files import cache_dir

DEPTH = np.arange(6 * 20, dtype=np.float32).reshape(6, 1, 4, 5)
BOXES = [np.arange(4 * m, dtype=np.float32).reshape(m, 4) for m in (2, 0, 1, 3, 0, 1)]


@pytest.fixture(scope="module")
def others():
    """Two other processes."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        yield pool


def write(folder, upto=6, step=2, stop=None, **options):
    """Write depth, boxes, labels and ids in steps; `stop` is called before the step that begins there."""
    with Writer(folder, 6, {"classes": ["a", "b"]}, **options) as writer:
        for start in range(writer.done, upto, step):
            if stop is not None and start == 4:
                stop()
            writer.put("depth", start, DEPTH[start : start + step])
            writer.put("name", start, np.array(["one", "two"]))
            for row in range(start, start + step):
                writer.append("boxes", torch.from_numpy(BOXES[row]))
                writer.append("labels", np.full(len(BOXES[row]), row))
            writer.advance(step)
    return Store(folder)


def interrupt():
    raise KeyboardInterrupt


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def check_content(store):
    assert np.array_equal(store["depth"], DEPTH)
    assert np.array_equal(store["boxes"], np.concatenate(BOXES))
    assert store["labels"].tolist() == [0, 0, 2, 3, 3, 3, 5]
    assert store["box_offsets"].tolist() == [0, 2, 2, 3, 6, 6, 7]
    assert store["name"].tolist() == ["one", "two"] * 3
    assert store.verify() == []


def test_what_is_written_is_read(tmp_path):
    store = write(tmp_path / "train")
    check_content(store)
    assert len(store) == 6
    assert store.meta["classes"] == ["a", "b"]
    assert store.names == ["box_offsets", "boxes", "depth", "labels", "name"]
    assert isinstance(store["depth"], np.memmap)
    assert not store["depth"].flags.writeable
    assert {path.name for path in tmp_path.iterdir()} == {"train", ".train.lock"}
    assert {path.name for path in store.folder.iterdir()} == {META, *(f"{name}.npy" for name in store.names)}


def test_no_boxes_at_all(tmp_path):
    with Writer(tmp_path / "a", 2, {}) as writer:
        for _ in range(2):
            writer.append("boxes", np.zeros((0, 4), np.float32))
            writer.append("labels", np.zeros(0, np.int64))
        writer.put("valid", 0, np.ones((2, 1, 3, 3), bool))
    store = Store(tmp_path / "a")
    assert store["boxes"].shape == (0, 4)
    assert store["labels"].dtype == np.int8
    assert store.verify() == []


def test_a_copy_for_another_process_is_small_and_reads_the_same(tmp_path):
    store = write(tmp_path / "train")
    assert store["depth"] is store["depth"]
    copy = pickle.dumps(store)
    assert len(copy) < 2000
    check_content(pickle.loads(copy))


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "train", stop=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == [".train.lock"]
    check_content(write(tmp_path / "train"))


def test_after_an_error_writing_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "train", stop=interrupt, resume=True)
    assert not (tmp_path / "train").exists()
    starts = []
    with Writer(tmp_path / "train", 6, {"classes": ["a", "b"]}, resume=True) as writer:
        starts.append(writer.done)
        writer.put("depth", 4, DEPTH[4:])
        writer.put("name", 4, np.array(["one", "two"]))
        for row in (4, 5):
            writer.append("boxes", BOXES[row])
            writer.append("labels", np.full(len(BOXES[row]), row))
    assert starts == [4]
    check_content(Store(tmp_path / "train"))


def _write_and_die(folder):
    with Writer(folder, 6, {"classes": ["a", "b"]}, resume=True) as writer:
        for start in (0, 2):
            writer.put("depth", start, DEPTH[start : start + 2])
            writer.put("name", start, np.array(["one", "two"]))
            for row in (start, start + 1):
                writer.append("boxes", BOXES[row])
                writer.append("labels", np.full(len(BOXES[row]), row))
            if start == 0:
                writer.advance(2)
        die()  # the second step is written, but not marked as complete


def test_after_a_kill_writing_goes_on_from_what_was_complete(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_write_and_die, args=(tmp_path / "train",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "train").exists()
    begun = []
    store = write(tmp_path / "train", stop=lambda: begun.append(True), resume=True)
    assert begun
    check_content(store)


@pytest.mark.parametrize(("n", "meta"), [(6, {"classes": ["a", "c"]}), (8, {"classes": ["a", "b"]})])
def test_a_partial_folder_of_other_parameters_is_not_continued(tmp_path, n, meta):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "train", stop=interrupt, resume=True)
    with Writer(tmp_path / "train", n, meta, resume=True) as writer:
        assert writer.done == 0
        writer.put("valid", 0, np.ones((n, 1, 2, 2), bool))
    assert Store(tmp_path / "train").names == ["valid"]


def test_only_one_process_writes_a_folder(tmp_path, others):
    with Writer(tmp_path / "a", 1, {}) as writer:
        writer.put("valid", 0, np.ones((1, 1, 2, 2), bool))
        with pytest.raises(ValueError, match="a is being written by another process"):
            others.apply(write, (tmp_path / "a",))


def test_a_finished_folder_is_not_overwritten(tmp_path):
    write(tmp_path / "train")
    with pytest.raises(ValueError, match=r"train exists; accepted: a new folder \(delete"):
        write(tmp_path / "train")
    check_content(Store(tmp_path / "train"))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda w: w.put("depth", 4, DEPTH[:3]), "depth: rows 4 to 7 of 6; accepted: rows 0 to 6"),
        (lambda w: w.put("depth", -1, DEPTH[:1]), "depth: rows -1 to 0"),
        (lambda w: w.put("depth", 2, -DEPTH[1:3]), r"depth, row 2, element \[0, 0, 0\]: found -20.0"),
        (
            lambda w: w.put("depth", 2, DEPTH[:2, :, 1:]),
            r"found \[1, 3, 5\] float32; accepted: \[1, 4, 5\]",
        ),
        (lambda w: w.put("boxes", 0, BOXES[0]), r"accepted: append\('boxes', rows\)"),
        (lambda w: w.append("depth", DEPTH), "name is 'depth'; accepted: boxes, labels, boxes_right"),
        (lambda w: w.append("boxes", -BOXES[0]), "image 0: boxes, row 0, .* found -1.0"),
        (lambda w: w.append("labels", np.array([10])), r"image 0: labels, row 0, .* found 10; accepted: 0 to 9"),
        (lambda w: w.put("a/b", 0, np.ones(1)), "name is 'a/b'; accepted: letters"),
        (lambda w: w.put("extra", 0, np.array([None])), "extra is object; accepted: numbers"),
        (
            lambda w: w.put("segmentation", 3, np.full((1, 2, 2), 2)),
            r"row 3, .* found class 2; accepted: -1 to 1",
        ),
        (lambda w: w.advance(3), "depth: row 2 is not written"),
        (lambda w: w.advance(7), "rows is 7; accepted: 0 to 6"),
        (lambda w: None, "depth: row 2 of 6 was never written"),
        (lambda w: (w.put("depth", 0, DEPTH), w.append("boxes", BOXES[0])), "boxes: 1 images appended; accepted: 6"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(tmp_path, action, message):
    with pytest.raises(ValueError, match=message), Writer(tmp_path / "a", 6, {"classes": ["a", "b"]}) as writer:
        writer.put("depth", 0, DEPTH[:2])
        action(writer)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("labels", [[], [np.array([1])]])
def test_a_box_without_label_is_refused(tmp_path, labels):
    message = "boxes and labels have not the same numbers of rows"
    with pytest.raises(ValueError, match=message), Writer(tmp_path / "a", 1, {}) as writer:
        writer.put("depth", 0, DEPTH[:1])
        writer.append("boxes", BOXES[0])
        for rows in labels:
            writer.append("labels", rows)
    assert not (tmp_path / "a").exists()


def test_a_full_disk_is_noticed_before_any_work(tmp_path, monkeypatch):
    def full(descriptor, offset, size):
        assert size > DEPTH.nbytes
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device; 608 bytes are needed: .*depth.npy"):
        write(tmp_path / "train")
    assert [path.name for path in tmp_path.iterdir()] == [".train.lock"]


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="n is 0; accepted: 1 or more"):
        Writer(tmp_path / "a", 0, {})
    with pytest.raises(ValueError, match="a: no array was written"), Writer(tmp_path / "a", 1, {}):
        pass


def test_damage_is_reported(tmp_path):
    folder = tmp_path / "train"
    write(folder)
    store = Store(folder)
    with (folder / "depth.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x00")
    (problem,) = store.verify()
    assert "depth.npy has sha256" in problem
    assert Store(folder)["name"][0] == "one"

    os.truncate(folder / "depth.npy", 300)
    assert "depth.npy cannot be read" in store.verify()[0]
    with pytest.raises(ValueError, match=r"depth.npy cannot be read \(.*\); delete the folder and make it again"):
        Store(folder)

    np.save(folder / "depth.npy", DEPTH.astype(np.float64))
    with pytest.raises(ValueError, match=r"depth.npy holds \('<f8', .*expected \('<f4'"):
        Store(folder)

    (folder / "depth.npy").unlink()
    with pytest.raises(ValueError, match=r"depth.npy cannot be read"):
        Store(folder)

    (folder / META).write_text("{")
    with pytest.raises(ValueError, match=r"meta.json is damaged .*make it again"):
        Store(folder)
    for content, message in (
        ({"format": 0}, "format is 0; accepted: 1"),
        ([], "no JSON object"),
        ({"format": 1}, "it has no number n and no object arrays"),
        ({"format": 1, "n": True, "arrays": {}}, "it has no number n"),
        ({"format": 1, "n": 1, "arrays": {"image": {"dtype": "|u1"}}}, "array 'image' has no dtype, shape and sha256"),
    ):
        (folder / META).write_text(json.dumps(content))
        with pytest.raises(ValueError, match=rf"meta.json is damaged \({message}.*make it again"):
            Store(folder)
    with pytest.raises(ValueError, match=r"nowhere holds no meta.json"):
        Store(tmp_path / "nowhere")


def test_an_unknown_array_is_named(tmp_path):
    with pytest.raises(ValueError, match="no array 'image'; accepted: box_offsets, boxes, depth"):
        write(tmp_path / "train")["image"]


def _count_builds(folder):
    def build(target):
        with (folder.parent / "builds").open("a") as file:
            file.write("x")
        write(target)

    build_once(folder, build)
    return Store(folder).verify()


def test_two_processes_build_once(tmp_path, others):
    assert others.map(_count_builds, [tmp_path / "train"] * 2, chunksize=1) == [[], []]
    assert (tmp_path / "builds").read_text() == "x"
    _count_builds(tmp_path / "train")
    assert (tmp_path / "builds").read_text() == "x"


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("MTLREPRO_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / ".cache" / "mtlrepro"
