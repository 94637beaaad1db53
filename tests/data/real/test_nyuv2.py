"""NYU Depth v2 end to end: rooms exported in the official layout and as the MTAN pack, prepared, verified, loaded."""

import shutil
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import real_scripts
import torch
from room_samples import rooms
from scipy.io import loadmat, savemat

from mtlrepro.data.classes import NYUV2
from mtlrepro.data.datasets import load
from mtlrepro.data.geometry import Pinhole
from mtlrepro.data.real.fetching import RemoteFile
from mtlrepro.data.real.nyuv2 import files as nyuv2_files
from mtlrepro.data.real.nyuv2 import prepare as nyuv2
from mtlrepro.data.real.nyuv2.files import CAMERA, FORTY_TO_THIRTEEN, SIZE

HEIGHT, WIDTH = 36, 48
VIEW = CAMERA.resized(SIZE, (HEIGHT, WIDTH))
DATA = {"train": rooms(5, VIEW, HEIGHT, WIDTH, 1), "test": rooms(3, VIEW, HEIGHT, WIDTH, 2)}
EIGHT_BITS = 0.42  # degrees: components off by 1/255 (0.39), then float16


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    folder = tmp_path_factory.mktemp("official")
    nyuv2.export(folder, DATA["train"], DATA["test"])
    return folder


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    nyuv2.export_mtan(folder, DATA["train"], DATA["test"])
    return folder


@pytest.fixture
def damaged(official, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(official, tmp_path / "source")
    return tmp_path / "source"


script = partial(real_scripts.call, "nyuv2")


def angles(a, b, known):
    a, b = (torch.nn.functional.normalize(vectors[:, known].double(), dim=0) for vectors in (a, b))
    return torch.rad2deg(2 * torch.asin((a - b).norm(dim=0) / 2))


def assert_same(found, sample, *, normal=True):
    """Equal but for rounding: images to 8 bits; depth and classes exact; normals to 8 bits a component."""
    assert (found["image"] - sample["image"]).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal(found["segmentation"], sample["segmentation"])
    assert torch.equal(found["depth"], sample["depth"])
    if normal:
        known = sample["normal"].any(0)
        assert torch.equal(found["normal"].any(0), known)
        assert angles(found["normal"], sample["normal"], known).max() < EIGHT_BITS


# --- published facts


def test_published_sizes_and_tables():
    assert nyuv2_files.OFFICIAL_COUNTS == {"train": 795, "test": 654}
    assert len(FORTY_TO_THIRTEEN) == 40
    assert set(FORTY_TO_THIRTEEN) == set(range(1, 14))
    # Of the 40 classes (Gupta et al. 2013): 1 wall, 2 floor, 4 bed, 5 chair, 9 window, 22 ceiling, 25 television.
    names = {number: NYUV2[FORTY_TO_THIRTEEN[number - 1] - 1] for number in (1, 2, 4, 5, 9, 22, 25)}
    assert list(names.values()) == ["wall", "floor", "bed", "chair", "window", "ceiling", "tv"]


# --- official layout


def test_the_exported_file_is_laid_out_as_matlab_writes_it(official):
    path = official / "nyu_depth_v2_labeled.mat"
    assert path.read_bytes()[:19] == b"MATLAB 7.3 MAT-file"
    with h5py.File(path) as file:
        assert file["images"].shape == (8, 3, WIDTH, HEIGHT)
        assert file["images"].dtype == np.uint8
        assert file["rawDepths"].shape == file["depths"].shape == file["labels"].shape == (8, WIDTH, HEIGHT)
        assert file["labels"].dtype == np.uint16
        assert file["depths"][:].min() > 0
        assert file["names"].shape == (1, 894)
        assert "".join(chr(c) for c in file[file["names"][0, 41]][:, 0]) == "label 42"
        forty = loadmat(official / "classMapping40.mat")["mapClass"]
        assert forty.shape == (1, 894)
        chain = np.array([0, *(FORTY_TO_THIRTEEN[number - 1] for number in forty[0])])
        splits = loadmat(official / "splits.mat")
        numbers = {split: splits[f"{split}Ndxs"] for split in ("train", "test")}
        assert {name: array.shape for name, array in numbers.items()} == {"train": (5, 1), "test": (3, 1)}
        assert sorted(np.concatenate([*numbers.values()])[:, 0]) == list(range(1, 9))
        first = int(numbers["test"][0, 0]) - 1
        sample = DATA["test"][0]
        assert np.array_equal(chain[file["labels"][first].T] - 1, sample["segmentation"].numpy())
        assert np.array_equal(file["rawDepths"][first].T, sample["depth"][0].numpy())
        pixel = (sample["image"][:, 5, 7] * 255).round().numpy()
        assert np.array_equal(file["images"][first, :, 7, 5], pixel)
    files = sorted(path.name for path in (official / "normals_gt" / "masks").iterdir())
    assert files == [f"{index:04}.png" for index in range(8)]


@pytest.mark.parametrize("normals", ["ladicky", "eigen"])
def test_exported_rooms_come_back(official, tmp_path, normals):
    nyuv2.prepare(official, tmp_path / "out", normals=normals, progress=False)
    for split, samples in DATA.items():
        dataset = load("nyuv2", split, root=tmp_path / "out")
        assert len(dataset) == len(samples)
        assert dataset.class_names == NYUV2
        for index, sample in enumerate(samples):
            assert_same(dataset[index], sample)


def test_the_script_from_export_to_samples(official, tmp_path, capsys):
    target = tmp_path / "out"
    out, err = real_scripts.start("nyuv2", "prepare", official, target)
    assert out == ""
    assert "train: 100%" in err
    assert script("prepare", official, target) == 0
    assert script("verify", target, "--subset") == 0
    printed = capsys.readouterr().out
    assert "mean n_y of floors" in printed
    assert "all well" in printed
    assert script("verify", target) == 1  # 5 and 3 images are not the published 795 and 654
    assert "2 of" in capsys.readouterr().out.splitlines()[-1]
    for split, samples in DATA.items():
        dataset = load("nyuv2", split, root=target)
        for index, sample in enumerate(samples):
            found = dataset[index]
            assert_same(found, sample, normal=False)
            known = found["normal"].any(0)
            assert not (known & (sample["depth"][0] == 0)).any()
            assert angles(found["normal"], sample["normal"], known).quantile(0.7) < 0.5  # planes, off at corners


def test_filled_depth_has_no_hole_and_keeps_what_was_measured(official, tmp_path):
    nyuv2.prepare(official, tmp_path / "out", depth="filled", normals="eigen", progress=False)
    dataset = load("nyuv2", "train", root=tmp_path / "out")
    for index, sample in enumerate(DATA["train"]):
        found, known = dataset[index], sample["depth"] > 0
        assert not known.all()
        assert torch.equal(found["depth"][known], sample["depth"][known])
        assert (found["depth"] > 0).all()
        assert torch.allclose(found["normal"].norm(dim=0), torch.ones(()), atol=2e-3)
        assert angles(found["normal"], sample["normal"], known[0]).max() < EIGHT_BITS
        assert (found["segmentation"] == -1).any()


def test_resizing_blends_no_target(official, tmp_path):
    size = (HEIGHT // 2, WIDTH // 2)
    nyuv2.prepare(official, tmp_path / "out", size=size, normals="ladicky", progress=False)
    dataset = load("nyuv2", "train", root=tmp_path / "out")
    assert dataset.size == size
    camera = Pinhole.of(dataset.store.meta)
    assert camera == CAMERA.resized(SIZE, size)
    for index, sample in enumerate(DATA["train"]):
        found = dataset[index]
        picked = {key: sample[key][..., 1::2, 1::2] for key in ("depth", "segmentation", "normal")}
        assert torch.equal(found["depth"], picked["depth"])
        assert torch.equal(found["segmentation"], picked["segmentation"])
        assert torch.equal(found["normal"].any(0), picked["normal"].any(0))
        assert found["image"].mean() == pytest.approx(float(sample["image"].mean()), abs=0.01)


def test_a_second_run_with_other_options_is_refused(official, tmp_path):
    nyuv2.prepare(official, tmp_path / "out", progress=False)
    with pytest.raises(ValueError, match="prepared with another depth"):
        nyuv2.prepare(official, tmp_path / "out", depth="filled", progress=False)


def test_saturated_depth_is_a_hole(damaged, tmp_path):
    with h5py.File(damaged / "nyu_depth_v2_labeled.mat", "r+") as file:
        file["rawDepths"][:, 3, 2] = 10
    nyuv2.prepare(damaged, tmp_path / "out", progress=False)
    assert (load("nyuv2", "test", root=tmp_path / "out").batch([0, 1, 2])["depth"][:, 0, 2, 3] == 0).all()


# --- MTAN pack


def test_the_pack_comes_back(pack, tmp_path):
    nyuv2.prepare(pack, tmp_path / "out", progress=False)
    findings = nyuv2.verify(tmp_path / "out", subset=True, progress=False)
    assert findings["ok"].all(), findings[~findings["ok"]]
    for split, samples in DATA.items():
        dataset = load("nyuv2", split, root=tmp_path / "out")
        assert len(dataset) == len(samples)
        for index, sample in enumerate(samples):
            assert_same(dataset[index], sample)


def test_the_pack_holds_what_its_loaders_expect(pack):
    assert sorted(path.name for path in pack.iterdir()) == ["train", "val"]
    arrays = {kind: np.load(pack / "val" / kind / "2.npy") for kind in ("image", "label", "depth", "normal")}
    assert [array.shape[2:] for array in arrays.values()] == [(3,), (), (1,), (3,)]
    sample = DATA["test"][2]
    x, y, z = sample["normal"][:, 5, 7].tolist()
    assert arrays["normal"][5, 7].tolist() == [x, z, -y]
    assert arrays["label"].min() == -1


def test_the_pack_filled(pack, tmp_path):
    nyuv2.prepare(pack, tmp_path / "out", depth="filled", progress=False)
    batch = load("nyuv2", "test", root=tmp_path / "out").batch([0, 1, 2])
    assert (batch["depth"] > 0).all()
    assert batch["normal"].any(1).all()


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    """The first 16 images are complete when image 18 fails: they are not read again."""
    samples = DATA["train"] * 4
    nyuv2.export_mtan(tmp_path / "pack", samples, DATA["test"])
    label = tmp_path / "pack" / "train" / "label" / "18.npy"
    good = np.load(label)
    np.save(label, good + 20)
    with pytest.raises(ValueError, match=r"label/18\.npy: values"):
        nyuv2.prepare(tmp_path / "pack", tmp_path / "out", progress=False)
    assert not (tmp_path / "out" / "train").exists()
    np.save(label, good)
    (tmp_path / "pack" / "train" / "label" / "3.npy").write_bytes(b"would be refused")
    nyuv2.prepare(tmp_path / "pack", tmp_path / "out", progress=False)
    dataset = load("nyuv2", "train", root=tmp_path / "out")
    for index, sample in enumerate(samples):
        assert_same(dataset[index], sample)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("train/depth/1.npy", None, r"depth/1\.npy.*no such file; unpack the MTAN pack again"),
        ("train/normal/4.npy", None, r"normal/4\.npy.*no such file"),
        ("train/depth/1.npy", lambda a: a[:-1], r"depth/1\.npy: shape \[35, 48, 1\]; accepted: \[36, 48, 1\]"),
        ("val/label/0.npy", lambda a: a + 10, r"label/0\.npy: values .*; accepted: -1 to 12"),
        ("val/label/0.npy", lambda a: a / 2, r"label/0\.npy: classes that are no whole numbers"),
        ("val/depth/0.npy", lambda a: a * np.nan, r"depth/0\.npy: values nan to nan; accepted: 0 to"),
        ("val/normal/0.npy", lambda a: a * 2, r"normal/0\.npy: values .*; accepted: -1.01 to 1.01"),
    ],
)
def test_a_damaged_pack_is_named(pack, tmp_path, file, change, message):
    shutil.copytree(pack, tmp_path / "source")
    path = tmp_path / "source" / file
    if change is None:
        path.unlink()
    else:
        np.save(path, change(np.load(path)))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        nyuv2.prepare(tmp_path / "source", tmp_path / "out", progress=False)


def test_a_truncated_array_is_named(pack, tmp_path):
    shutil.copytree(pack, tmp_path / "source")
    path = tmp_path / "source" / "train" / "depth" / "2.npy"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"depth/2\.npy: not a complete array file .*unpack"):
        nyuv2.prepare(tmp_path / "source", tmp_path / "out", progress=False)


def test_the_pack_has_its_own_normals(pack, tmp_path):
    with pytest.raises(ValueError, match="normals is 'eigen'; accepted: nothing"):
        nyuv2.prepare(pack, tmp_path / "out", normals="eigen", progress=False)


# --- damage


def test_options_are_checked(official, tmp_path):
    with pytest.raises(ValueError, match="depth is 'best'; accepted: raw, filled"):
        nyuv2.prepare(official, tmp_path / "out", depth="best")
    with pytest.raises(ValueError, match="normals is 'best'; accepted: depth, ladicky, eigen"):
        nyuv2.prepare(official, tmp_path / "out", normals="best")
    with pytest.raises(FileNotFoundError, match=r"holds neither nyu_depth_v2_labeled\.mat .* nor train/image/"):
        nyuv2.prepare(tmp_path, tmp_path / "out")


def test_a_truncated_mat_file(damaged, tmp_path):
    path = damaged / "nyu_depth_v2_labeled.mat"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"labeled\.mat: not a complete v7\.3 \.mat file .*fetch FOLDER"):
        nyuv2.prepare(damaged, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["splits.mat", "classMapping40.mat", "class13Mapping.mat"])
def test_damaged_or_missing_small_files(damaged, tmp_path, name):
    content = (damaged / name).read_bytes()
    for change in (content[: len(content) // 2], b"", b"<html>not found</html>" * 20, None):
        if change is None:
            (damaged / name).unlink()
        else:
            (damaged / name).write_bytes(change)
        with pytest.raises((ValueError, FileNotFoundError), match=f"{name}: .*fetch FOLDER"):
            nyuv2.prepare(damaged, tmp_path / "out", progress=False)


def test_a_missing_small_file_is_missing_and_not_damaged(damaged, tmp_path):
    (damaged / "splits.mat").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"splits\.mat: no such file; get it again with `python data_scripts/nyuv2"
    ):
        nyuv2.prepare(damaged, tmp_path / "out", progress=False)


def test_a_file_that_is_locked_is_read(damaged, tmp_path):
    """HDF5 would take a lock, which a process that writes, or a network drive, refuses."""
    fcntl = pytest.importorskip("fcntl")
    with (damaged / "nyu_depth_v2_labeled.mat").open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        nyuv2.prepare(damaged, tmp_path / "out", progress=False)
    assert len(load("nyuv2", root=tmp_path / "out")) == 5


def test_hidden_files_of_normals_are_skipped(damaged, tmp_path):
    folder = damaged / "nyu_normals_gt"
    for path in list(folder.rglob("*.png")):
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    nyuv2.prepare(damaged, tmp_path / "out", normals="ladicky", progress=False)
    assert nyuv2.verify(tmp_path / "out", subset=True, progress=False)["ok"].all()


def test_a_damaged_chunk_is_named_with_its_image(damaged, tmp_path):
    path = damaged / "nyu_depth_v2_labeled.mat"
    with h5py.File(path) as file:
        chunk = file["labels"].id.get_chunk_info_by_coord((4, 0, 0))
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"labeled\.mat: labels of image 5 cannot be read .*fetch FOLDER"):
        nyuv2.prepare(damaged, tmp_path / "out", progress=False)


def resave(folder, name, dtype=None, shape=None, change=None):
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "r+") as file:
        values = file[name][:]
        del file[name]
        if change is not None:
            values = change(values)
        if values is not None:
            file[name] = values.astype(dtype or values.dtype)


@pytest.mark.parametrize(
    ("name", "dtype", "change", "message"),
    [
        ("rawDepths", None, lambda v: None, "no variable rawDepths"),
        ("images", "uint16", None, "images is uint16; accepted: uint8"),
        ("labels", "uint8", None, "labels is uint8; accepted: uint16"),
        ("rawDepths", None, lambda v: v[:, :-1], r"rawDepths is \[8, 47, 36\], images \[8, 3, 48, 36\]; accepted: one"),
        ("labels", None, lambda v: v[:-1], r"labels is \[7, 48, 36\]"),
        ("labels", None, lambda v: v * 0 + 895, r"label 895 in image \d; accepted: 0 to 894"),
        ("rawDepths", None, lambda v: -v, r"depth -.* in image \d; accepted: 0 or more"),
        ("rawDepths", None, lambda v: v * np.nan, r"depth nan in image \d"),
    ],
)
def test_wrong_contents_of_the_mat_file(damaged, tmp_path, name, dtype, change, message):
    resave(damaged, name, dtype, change=change)
    with pytest.raises(ValueError, match=rf"labeled\.mat: {message}.*fetch FOLDER"):
        nyuv2.prepare(damaged, tmp_path / "out", progress=False)
    assert not (tmp_path / "out" / "train").exists()


@pytest.mark.parametrize(
    ("train", "message"),
    [([0, 1], "image 0 of 8; accepted: 1 to 8"), ([9], "image 9 of 8"), ([1, 1], "image 1 occurs twice")],
)
def test_splits_out_of_range(damaged, tmp_path, train, message):
    savemat(str(damaged / "splits.mat"), {"trainNdxs": np.array([train]).T, "testNdxs": np.array([[2]])})
    with pytest.raises(ValueError, match=rf"splits\.mat: {message}"):
        nyuv2.prepare(damaged, tmp_path / "out", progress=False)


def test_mappings_other_than_the_published(damaged, tmp_path):
    savemat(str(damaged / "class13Mapping.mat"), {"classMapping13": {"labels13": np.ones((1, 40), np.uint8)}})
    with pytest.raises(ValueError, match="labels13 is not the published table"):
        nyuv2.prepare(damaged, tmp_path / "out", progress=False)
    savemat(str(damaged / "classMapping40.mat"), {"mapClass": np.full((1, 894), 41, np.uint8)})
    with pytest.raises(ValueError, match="894 classes 41 to 41; accepted: 894 classes 1 to 40"):
        nyuv2.prepare(damaged, tmp_path / "out", progress=False)


def test_the_folder_of_ladickys_archive_may_be_doubled(damaged, tmp_path):
    """The archive may hold its own folder, which unpacking then puts into another of the same name."""
    (damaged / "nyu_normals_gt").rename(tmp_path / "moved")
    (damaged / "nyu_normals_gt").mkdir()
    (tmp_path / "moved").rename(damaged / "nyu_normals_gt" / "nyu_normals_gt")
    nyuv2.prepare(damaged, tmp_path / "out", normals="ladicky", progress=False)
    assert_same(load("nyuv2", "test", root=tmp_path / "out")[1], DATA["test"][1])


def test_missing_and_damaged_normals(damaged, tmp_path):
    victim = next((damaged / "nyu_normals_gt" / "train").iterdir())
    victim.unlink()
    with pytest.raises(FileNotFoundError, match=rf"train: no file of image {int(victim.stem)}"):
        nyuv2.prepare(damaged, tmp_path / "out", normals="ladicky", progress=False)
    shutil.rmtree(damaged / "nyu_normals_gt")
    with pytest.raises(FileNotFoundError, match="nyu_normals_gt/train: no such folder; add --ladicky"):
        nyuv2.prepare(damaged, tmp_path / "out", normals="ladicky", progress=False)
    (damaged / "normals_gt" / "normals" / "0001.png").write_bytes(b"no png")
    with pytest.raises(ValueError, match=r"0001\.png: not a complete image file"):
        nyuv2.prepare(damaged, tmp_path / "out", normals="eigen", progress=False)
    (damaged / "normals_gt" / "masks" / "0003.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"masks/0003\.png: no such file; unpack .*normals_gt\.tgz"):
        nyuv2.prepare(damaged, tmp_path / "out", normals="eigen", progress=False)


def test_verify_finds_damage_and_repairs_nothing(official, tmp_path):
    target = tmp_path / "out"
    nyuv2.prepare(official, target, progress=False)
    path = target / "train" / "depth.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    shutil.rmtree(target / "test")
    findings = nyuv2.verify(target, subset=True, progress=False)
    wrong = findings[~findings["ok"]]
    assert wrong["what"].tolist() == ["train: files and checksums", "test: store"]
    assert "depth.npy has sha256" in wrong["found"].iloc[0]
    assert path.read_bytes() == content
    with pytest.raises(ValueError, match="which is no folder"):
        nyuv2.verify(tmp_path / "nothing")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_verify_notices_a_normal_with_a_flipped_axis(tmp_path, axis):
    flip = torch.ones(3, 1, 1)
    flip[axis] = -1
    wrong = [{**sample, "normal": sample["normal"] * flip} for sample in DATA["train"]]
    nyuv2.export_mtan(tmp_path / "pack", wrong, wrong)
    nyuv2.prepare(tmp_path / "pack", tmp_path / "out", progress=False)
    findings = nyuv2.verify(tmp_path / "out", subset=True, progress=False)
    failed = findings.loc[~findings["ok"], "what"].tolist()
    expected = [f"{split}: mean n_{'xyz'[axis]} ray_{'xyz'[axis]}" for split in ("train", "test")]
    assert [what for what in failed if "floors" not in what] == expected
    assert ("train: mean n_y of floors" in failed) == (axis == 1)


# --- fetch


def test_fetch_asks_for_the_terms(tmp_path, capsys):
    assert script("fetch", tmp_path / "down") == 2
    printed = capsys.readouterr().err
    assert "do not pass the files on" in printed
    assert "--accept-licence" in printed
    assert not (tmp_path / "down").exists()


def test_fetch_from_a_mirror(official, tmp_path, monkeypatch, file_server):
    small = [RemoteFile(name, "http://127.0.0.1:9/", (official / name).stat().st_size) for name in ("splits.mat",)]
    monkeypatch.setattr(nyuv2, "FILES", small)
    archive = shutil.make_archive(str(tmp_path / "served" / "nyu_normals_gt"), "zip", official / "nyu_normals_gt")
    shutil.copy(official / "splits.mat", Path(archive).parent)
    address = file_server(Path(archive).parent)
    for _ in range(2):
        nyuv2.fetch(tmp_path / "down", ladicky=True, mirror=address, progress=False)
    assert (tmp_path / "down" / "splits.mat").read_bytes() == (official / "splits.mat").read_bytes()
    found = sorted(path.name for path in (tmp_path / "down" / "nyu_normals_gt" / "test").iterdir())
    assert found == sorted(path.name for path in (official / "nyu_normals_gt" / "test").iterdir())


def test_published_addresses_have_checksums():
    for file in nyuv2_files.FILES:
        assert file.url.endswith(file.name)
        assert file.size > 0
        assert len(file.sha256) == 64
