"""The scripts of Cityscapes and BDD100K as a user calls them, and what they do with the owners' archives."""

import hashlib
import os
import sys
import zipfile

import pytest
import real_scripts
import torch
from street_samples import BASELINE, FOCAL, street_samples

from mtlrepro.data.datasets import load
from mtlrepro.data.real.bdd100k import fetch as bdd100k_fetch
from mtlrepro.data.real.bdd100k import prepare as bdd100k
from mtlrepro.data.real.cityscapes import fetch as cityscapes_fetch
from mtlrepro.data.real.cityscapes import files as cityscapes_files
from mtlrepro.data.real.cityscapes import prepare as cityscapes
from mtlrepro.data.real.packages import Package, unpack_packages


@pytest.fixture
def script(capsys):
    """Call a script's `main`; gives exit status, stdout and stderr."""

    def call(name, *arguments):
        return real_scripts.call(name, *arguments), *capsys.readouterr()

    return call


def zipped(folder, kind, archive):
    """Pack the files of one folder below `folder`, as the owners do."""
    with zipfile.ZipFile(archive, "w") as opened:
        for path in (folder / kind).rglob("*"):
            opened.write(path, path.relative_to(folder))


def test_cityscapes_from_files_to_samples(tmp_path, script):
    samples = street_samples()
    cityscapes.export(tmp_path / "source", samples, "val", focal=FOCAL, baseline=BASELINE)
    _, err = real_scripts.start("cityscapes", "prepare", tmp_path / "source", tmp_path / "target")
    assert "3/3" in err
    status, out, _ = script("cityscapes", "verify", tmp_path / "target")
    assert status == 0, out
    assert "all well" in out
    assert "class road" in out

    data = load("cityscapes", "val", root=tmp_path / "target")
    for sample, found in zip(samples, (data[i] for i in range(3)), strict=True):
        for key, tolerance in (("image", 1e-6), ("right", 1e-6), ("segmentation", 0), ("disparity", 1 / 512)):
            torch.testing.assert_close(found[key], sample[key], atol=tolerance, rtol=0)
    seven = load("cityscapes", "val", root=tmp_path / "target", classes=7)
    assert seven.class_names == ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
    assert seven[0]["segmentation"].max() == 6

    with (tmp_path / "target/val/image.npy").open("r+b") as file:
        file.seek(300)
        file.write(b"damage")
    status, out, _ = script("cityscapes", "verify", tmp_path / "target")
    assert status == 1
    assert "1 of" in out
    (tmp_path / "target/val/image.npy").write_bytes(b"damage")
    status, out, _ = script("cityscapes", "verify", tmp_path / "target")
    assert status == 1
    assert "image.npy cannot be read" in out


def test_bdd100k_from_files_to_samples(tmp_path, script):
    samples = street_samples()
    tasks = ("detection", "segmentation")
    bdd100k.export(tmp_path / "source", samples, tasks=tasks)
    status, _, err = script("bdd100k", "prepare", tmp_path / "source", tmp_path / "target", "--tasks", *tasks)
    assert status == 0, err
    assert "train: left out: nothing" in err
    status, out, _ = script("bdd100k", "verify", tmp_path / "target")
    assert status == 0, out
    assert "boxes of traffic sign" in out
    data = load("bdd100k", root=tmp_path / "target")
    for sample, found in zip(samples, (data[i] for i in range(3)), strict=True):
        torch.testing.assert_close(found["boxes"], sample["boxes"])
        torch.testing.assert_close(found["segmentation"], sample["segmentation"])


def test_options_reach_the_arrays(tmp_path, script):
    cityscapes.export(tmp_path / "source", street_samples(), focal=FOCAL, baseline=BASELINE)
    options = ("--size", "12x24", "--classes", "7", "--no-right")
    assert script("cityscapes", "prepare", tmp_path / "source", tmp_path / "target", *options)[0] == 0
    data = load("cityscapes", root=tmp_path / "target")
    assert (data.size, data.n_classes, "right" in data.keys) == ((12, 24), 7, False)


@pytest.mark.parametrize("name", ["cityscapes", "bdd100k"])
def test_refusals_are_one_message_without_a_traceback(tmp_path, script, name):
    status, _, err = script(name, "prepare", tmp_path, tmp_path / "target")
    assert status == 2
    assert err.startswith(f"{name}.py prepare: {tmp_path}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["cityscapes", "bdd100k"])
def test_the_licence_comes_first(tmp_path, script, name):
    status, _, err = script(name, "fetch", tmp_path / "downloads")
    assert status == 2
    assert "Run again with --accept-licence" in err
    assert not (tmp_path / "downloads").exists()


# --- Cityscapes through csDownload

FAKE = """#!{python}
import json, pathlib, shutil, sys
served = pathlib.Path(__file__).parent / "served"
with open(served / "calls", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
name, target = sys.argv[-1], pathlib.Path(sys.argv[sys.argv.index("--destination_path") + 1])
assert target.is_dir() and (target / name).exists() == ("--resume" in sys.argv)
if (served / "stop").exists():
    (target / name).write_bytes(b"half")
    sys.exit(1)
shutil.copy(served / name, target / name)
"""


@pytest.fixture
def owner(tmp_path, monkeypatch):
    """A folder in which a stand-in for csDownload finds packages of three small images."""
    served = tmp_path / "bin/served"
    served.mkdir(parents=True)
    cityscapes.export(tmp_path / "files", street_samples(), focal=FOCAL, baseline=BASELINE)
    for kind, package in cityscapes_files.PACKAGES.items():
        zipped(tmp_path / "files", kind, served / package)
    program = tmp_path / "bin/csDownload"
    program.write_text(FAKE.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    checksums = {
        kind: (hashlib.sha256((served / cityscapes_files.PACKAGES[kind]).read_bytes()).hexdigest(),)
        for kind in cityscapes_fetch._SHA256
    }
    monkeypatch.setattr(cityscapes_fetch, "_SHA256", checksums)
    return served


def test_cityscapes_is_fetched_by_the_owners_program_and_can_be_prepared(owner, tmp_path):
    cityscapes.fetch(tmp_path / "downloads", progress=False)
    calls = (owner / "calls").read_text().splitlines()
    assert len(calls) == 5
    assert '"leftImg8bit_trainvaltest.zip"]' in calls[0]
    cityscapes.prepare(tmp_path / "downloads", tmp_path / "target", progress=False)
    assert cityscapes.verify(tmp_path / "target", progress=False)["ok"].all()
    cityscapes.fetch(tmp_path / "downloads", progress=False)
    assert len((owner / "calls").read_text().splitlines()) == 5


def test_no_right_views_are_fetched_where_none_are_wanted(owner, tmp_path):
    cityscapes.fetch(tmp_path / "downloads", right=False, progress=False)
    assert "rightImg8bit" not in (owner / "calls").read_text()
    assert not (tmp_path / "downloads/rightImg8bit").exists()


def test_a_stopped_download_is_resumed(owner, tmp_path):
    (owner / "stop").touch()
    with pytest.raises(ValueError, match=r"leftImg8bit_trainvaltest.zip ended with status 1, see above; run again"):
        cityscapes.fetch(tmp_path / "downloads", progress=False)
    assert not (tmp_path / "downloads/leftImg8bit_trainvaltest.zip").exists()
    (owner / "stop").unlink()
    cityscapes.fetch(tmp_path / "downloads", progress=False)
    assert "--resume" in (owner / "calls").read_text().splitlines()[1]
    assert (tmp_path / "downloads/leftImg8bit/train/export").is_dir()


def test_a_package_that_is_not_the_known_one_is_refused(owner, tmp_path):
    with zipfile.ZipFile(owner / "gtFine_trainvaltest.zip", "a") as opened:
        opened.writestr("more", "")
    with pytest.raises(ValueError, match=r"gtFine_trainvaltest.zip has sha256 .*; accepted: .*download it again"):
        cityscapes.fetch(tmp_path / "downloads", progress=False)
    assert not (tmp_path / "downloads/gtFine").exists()


def test_without_the_owners_program_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"csDownload.* pip install cityscapesscripts.*leftImg8bit_trainvaltest"
    ):
        cityscapes.fetch(tmp_path / "downloads", progress=False)


# --- BDD100K from archives that the user has


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """A folder with the archives of two tasks, in the user's hands."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    bdd100k.export(tmp_path / "files", street_samples(), tasks=("detection", "segmentation"))
    places = {
        "100k": "bdd100k/images/100k",
        "10k": "bdd100k/images/10k",
        "detection": "bdd100k/labels/det_20",
        "segmentation": "bdd100k/labels/sem_seg",
    }
    packages = dict(bdd100k_fetch._PACKAGES)
    for name, place in places.items():
        archive = folder / packages[name].name
        zipped(tmp_path / "files", place, archive)
        digest = hashlib.md5(archive.read_bytes()).hexdigest()
        packages[name] = Package(archive.name, "small", md5=("0" * 32, digest), parts=packages[name].parts)
    monkeypatch.setattr(bdd100k_fetch, "_PACKAGES", packages)
    return folder


def test_bdd100k_is_checked_unpacked_and_can_be_prepared(archives, tmp_path):
    tasks = ("detection", "segmentation")
    for _ in range(2):
        bdd100k.fetch(archives, tasks=tasks, progress=False)
    bdd100k.prepare(archives, tmp_path / "target", tasks=tasks, progress=False)
    assert bdd100k.verify(tmp_path / "target", progress=False)["ok"].all()


def test_what_is_missing_is_said_at_once_and_where_to_get_it(archives):
    (archives / "bdd100k_images_10k.zip").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        bdd100k.fetch(archives, tasks=("segmentation", "detection"), progress=False)
    assert str(caught.value).splitlines() == [
        f"{archives} lacks",
        "  bdd100k_images_10k.zip (small), or 10k_images_train.zip and 10k_images_val.zip",
        "log in at https://bdd-data.berkeley.edu/ (or http://dl.cv.ethz.ch/bdd100k/data/), download them, "
        f"put them in {archives} and run again",
    ]
    assert not (archives / "bdd100k").exists()


def test_archives_of_single_splits_will_do(archives, tmp_path):
    (archives / "bdd100k_images_10k.zip").unlink()
    for split in ("train", "val"):
        zipped(tmp_path / "files", f"bdd100k/images/10k/{split}", archives / f"10k_images_{split}.zip")
    bdd100k.fetch(archives, tasks=("segmentation",), progress=False)
    assert len(list((archives / "bdd100k/images/10k/train").iterdir())) == 3


def test_a_damaged_archive_is_refused(archives):
    path = archives / "bdd100k_images_10k.zip"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"bdd100k_images_10k.zip has md5 .*; accepted: 0{32} or .*download it again"):
        bdd100k.fetch(archives, tasks=("segmentation",), progress=False)


def test_an_archive_of_another_layout_is_named(archives):
    path = archives / "10k_images_val.zip"
    (archives / "bdd100k_images_10k.zip").replace(archives / "10k_images_train.zip")
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("val/a.jpg", "")
    with zipfile.ZipFile(archives / "10k_images_train.zip", "w") as opened:
        opened.writestr("train/a.jpg", "")
    with pytest.raises(ValueError, match=r"did not unpack to .*bdd100k/images/10k \(found: bdd100k, train, val\)"):
        bdd100k.fetch(archives, tasks=("segmentation",), progress=False)


def test_members_that_leave_the_folder_are_refused(tmp_path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w") as opened:
        opened.writestr("good", "")
        opened.writestr("../bad", "")
    with pytest.raises(ValueError, match=r"a.zip: member '\.\./bad' leaves the folder"):
        unpack_packages([Package("a.zip", "1 kB")], folder, remedy="", progress=False)
    assert {path.name for path in tmp_path.rglob("*")} == {"downloads", "a.zip"}
