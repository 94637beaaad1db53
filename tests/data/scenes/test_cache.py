"""Scenes are generated once into the cache, for a version and all parameters, also by two processes at a time."""

import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import pytest
from small_scenes import Noise

from mtlrepro.data import store
from mtlrepro.data.scenes import cache as scenes
from mtlrepro.data.store import Store

OPTIONS = {"n": 40, "size": (16, 20), "seed": 1, "progress": False}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path))
    monkeypatch.setattr(scenes, "CHUNK", 16)
    return tmp_path


def test_once_in_chunks():
    calls = []
    folder = scenes.generate("streets", "val", generator=Noise(calls=calls), **OPTIONS)
    assert calls == [list(range(16)), list(range(16, 32)), list(range(32, 40))]
    assert scenes.generate("streets", "val", generator=Noise(calls=calls), **OPTIONS) == folder
    assert len(calls) == 3
    store = Store(folder)
    assert store.verify() == []
    scene = Noise().generate([37], split="val", size=(16, 20), seed=1)
    assert np.array_equal(store["segmentation"][37], scene["segmentation"][0])
    begin, end = store["box_offsets"][37:39]
    assert np.array_equal(store["boxes"][begin:end], scene["boxes"][0])
    assert {key: store.meta[key] for key in ("dataset", "split", "version", "seed", "size", "n")} == {
        "dataset": "streets",
        "split": "val",
        "version": 3,
        "seed": 1,
        "size": [16, 20],
        "n": 40,
    }


@pytest.mark.parametrize("damage", ["zeros", "cut", "gone", "meta"])
def test_a_damaged_file_is_named_and_the_scenes_are_made_again(monkeypatch, damage):
    folder = scenes.generate("streets", "val", generator=Noise(), **OPTIONS)
    path = folder / ("meta.json" if damage == "meta" else "segmentation.npy")
    content = path.read_bytes()
    path.unlink()
    if damage == "zeros":
        path.write_bytes(content[:-4000] + bytes(4000))
    elif damage != "gone":
        path.write_bytes(content[:-400])
    monkeypatch.setattr(store, "_undamaged", set())  # as in another process
    with pytest.warns(UserWarning, match=rf"{path.name} .*; {folder} is made again"):
        scenes.generate("streets", "val", generator=Noise(), **OPTIONS)
    assert (folder / "segmentation.npy").read_bytes() == content or damage == "meta"
    assert Store(folder).verify() == []


def test_every_parameter_and_the_version_have_their_own_folder(cache):
    newer = Noise(("image",))
    newer.VERSION = 4
    made = {
        scenes.generate(name, split, generator=generator, n=n, size=size, seed=seed, progress=False)
        for name, split, n, size, seed, generator in (
            ("rooms", "train", 2, (16, 20), 0, Noise(("image",))),
            ("streets", "train", 2, (16, 20), 0, Noise(("image",))),
            ("rooms", "val", 2, (16, 20), 0, Noise(("image",))),
            ("rooms", "train", 3, (16, 20), 0, Noise(("image",))),
            ("rooms", "train", 2, (20, 16), 0, Noise(("image",))),
            ("rooms", "train", 2, (16, 20), 1, Noise(("image",))),
            ("rooms", "train", 2, (16, 20), 0, newer),
        )
    }
    assert len(made) == 7
    assert cache / "rooms" / "train-v4-n2-16x20-seed0" in made


def test_a_stopped_run_goes_on(monkeypatch, tmp_path):
    class Stopping(Noise):
        def generate(self, indices, **options):
            if 20 in indices:
                raise KeyboardInterrupt
            return super().generate(indices, **options)

    with pytest.raises(KeyboardInterrupt):
        scenes.generate("streets", generator=Stopping(), **OPTIONS)
    calls = []
    resumed = Store(scenes.generate("streets", generator=Noise(calls=calls), **OPTIONS))
    assert calls[0][0] == 16
    monkeypatch.setenv("MTLREPRO_CACHE", str(tmp_path / "another"))
    fresh = Store(scenes.generate("streets", generator=Noise(), **OPTIONS))
    assert resumed.meta["arrays"] == fresh.meta["arrays"]


class Logging(Noise):
    """Writes a letter into the cache for every chunk."""

    def generate(self, indices, **options):
        with open(os.path.join(os.environ["MTLREPRO_CACHE"], "chunks"), "a") as file:  # noqa: PTH118, PTH123
            file.write("x")
        return super().generate(indices, **options)


def _generate(barrier, results):
    barrier.wait()
    results.put(scenes.generate("streets", generator=Logging(), **OPTIONS))


def test_two_processes_at_a_time_generate_once(cache):
    fork = multiprocessing.get_context("fork")
    barrier, results = fork.Barrier(2), fork.Queue()
    processes = [fork.Process(target=_generate, args=(barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    folders = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(folders) == 1
    assert (cache / "chunks").read_text() == "xxx"
    assert Store(folders.pop()).verify() == []


class Dying(Noise):
    """Says that its second chunk has begun, and is killed a moment later."""

    def __init__(self, begun):
        super().__init__()
        self.begun = begun

    def generate(self, indices, **options):
        if 16 in indices:
            self.begun.set()
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().generate(indices, **options)


def test_a_process_that_waits_goes_on_where_a_killed_one_was():
    fork = multiprocessing.get_context("fork")
    begun, calls = fork.Event(), []
    process = fork.Process(target=lambda: scenes.generate("streets", generator=Dying(begun), **OPTIONS))
    process.start()
    assert begun.wait(timeout=60)
    folder = scenes.generate("streets", generator=Noise(calls=calls), **OPTIONS)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert calls == [list(range(16, 32)), list(range(32, 40))]
    assert Store(folder).verify() == []


def test_progress_is_plain_text_on_stderr_if_that_is_a_terminal(capsys, monkeypatch):
    scenes.generate("rooms", "train", n=2, size=(16, 16), generator=Noise(("image",)))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    scenes.generate("rooms", "val", n=2, size=(16, 16), generator=Noise(("image",)))
    out, err = capsys.readouterr()
    assert out == ""
    assert "rooms val" in err
    assert "2/2" in err
    scenes.generate("rooms", "test", n=2, size=(16, 16), generator=Noise(("image",)), progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "seas"}, "name is 'seas'; accepted: rooms, streets"),
        ({"split": "dev"}, "split is 'dev'; accepted: train, val, test"),
        ({"n": 0}, "n is 0; accepted: 1 or more"),
        ({"seed": -1}, "seed is -1; accepted: 0 or more"),
        ({"size": (16, 15)}, r"size is \(16, 15\); accepted: 16 to 4096 pixels each way"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        scenes.generate(**{"name": "rooms", "generator": Noise()} | arguments)
