"""Taskonomy end to end: rooms with ten maps exported in each layout, prepared, verified, loaded."""

import hashlib
import shutil
import tarfile
from functools import partial

import numpy as np
import pytest
import real_scripts
import torch
from PIL import Image
from room_samples import rooms, with_all_maps

from mtlrepro.data.classes import TASKONOMY
from mtlrepro.data.datasets import load
from mtlrepro.data.geometry import Pinhole
from mtlrepro.data.real.taskonomy import prepare as taskonomy
from mtlrepro.data.real.taskonomy.files import DOMAINS, TINY, decode, encode, file_name
from mtlrepro.data.real.taskonomy.views import find_views

script = partial(real_scripts.call, "taskonomy")
SIDE = 32
VIEW = Pinhole(28.0, 28.0, (SIDE - 1) / 2, (SIDE - 1) / 2)
DATA = {
    split: [with_all_maps(sample, [seed, index]) for index, sample in enumerate(rooms(n, VIEW, SIDE, SIDE, seed))]
    for split, n, seed in (("train", 6, 1), ("val", 2, 2), ("test", 3, 3))
}
HALF_FLOAT = 2**-11  # relative, of the float16 in which the maps but depth are stored
ERROR = {  # half a step of the files' encoding, and what float16 adds
    "image": 0.5 / 255,
    "depth": 0.5 / 512,
    "normal": 1 / 255 * 1.8,
    "curvature": 0.5 / 127 / 0.03 + 30 * HALF_FLOAT,
    "reshading": 0.5 / 255 + HALF_FLOAT,
    "edges2d": 0.5 / 65535 + HALF_FLOAT,
    "edges3d": 0.5 / 65535 + HALF_FLOAT,
    "keypoints2d": 0.5 / 65535 + HALF_FLOAT,
    "keypoints3d": 0.5 / 65535 + HALF_FLOAT,
    "segmentation": 0,
    "valid": 0,
}


def export(folder, layout="domains"):
    for split, samples in DATA.items():
        taskonomy.export(folder, samples, split, layout=layout)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taskonomy")
    export(folder)
    return folder


@pytest.fixture
def damaged(source, tmp_path):
    shutil.copytree(source, tmp_path / "source")
    return tmp_path / "source"


def prepare(source, target, **options):
    taskonomy.prepare(source, target, **{"every": 1, "subset": True, "progress": False} | options)


def in_order(samples):
    """As they are read: the first building's views, then the second's."""
    return samples[::2] + samples[1::2]


def assert_same(found, sample):
    assert set(found) == {*DOMAINS, "index"}
    for key, error in ERROR.items():
        where = sample["valid"] if key in ("curvature", "reshading", "edges3d", "keypoints3d") else True
        difference = ((found[key].double() - sample[key].double()).abs() * torch.as_tensor(where)).max()
        assert difference <= error + 1e-6, key
    assert torch.equal(found["depth"] == 0, sample["depth"] == 0)
    assert torch.equal(found["normal"].any(0), sample["normal"].any(0))


# --- published facts and encodings


def test_the_tiny_split_and_its_dispute():
    assert {split: len(names) for split, names in TINY.items()} == {"train": 25, "val": 5, "test": 5}
    assert len({name for names in TINY.values() for name in names}) == 35
    assert len(taskonomy.buildings("train", woodbine=False)) == 24
    assert "woodbine" in taskonomy.buildings("train")
    assert len(DOMAINS) == 11
    assert len(TASKONOMY) == 17


def test_decoding_by_hand():
    """One row of pixels for each domain, with the values that its documentation gives a meaning to."""
    rasters = {
        "image": np.zeros((1, 4, 3), np.uint8),
        "depth": np.array([[512, 1300, 64499, 65535]], np.uint16),
        "normal": np.array([[[128, 128, 0], [128, 128, 128], [128, 0, 128], [255, 128, 128]]], np.uint8),
        "segmentation": np.array([[0, 1, 2, 17]], np.uint8),
        # the last one as files have it: the larger magnitude first, which is the smaller value
        "curvature": np.array([[[127, 127, 0], [254, 127, 0], [0, 0, 0], [64, 127, 0]]], np.uint8),
        "reshading": np.full((1, 4, 3), 51, np.uint8),
        "valid": np.array([[255, 255, 255, 255]], np.uint8),
        **dict.fromkeys(
            ("edges2d", "edges3d", "keypoints2d", "keypoints3d"), np.array([[0, 13107, 65535, 1]], np.uint16)
        ),
    }
    maps = decode(rasters)
    np.testing.assert_allclose(maps["depth"], [[[1, 1300 / 512, 64499 / 512, 0]]])
    np.testing.assert_allclose(maps["normal"][:, 0, 0], [0, 0, -1], atol=0.006)  # a wall straight ahead
    assert not maps["normal"][:, 0, 1].any()
    np.testing.assert_allclose(maps["normal"][:, 0, 2], [0, -1, 0], atol=0.006)  # a floor
    assert maps["segmentation"].tolist() == [[-1, 0, 1, 16]]
    expected = [[[0, 100 / 3, 0, (64 / 127 - 1) / 0.03]], [[0, 0, 0, 0]]]
    np.testing.assert_allclose(maps["curvature"], expected, rtol=1e-5)
    assert maps["valid"].tolist() == [[[True, True, False, False]]]
    np.testing.assert_allclose(maps["reshading"], 0.2)
    np.testing.assert_allclose(maps["edges2d"], [[[0, 0.2, 1, 1 / 65535]]])
    with pytest.raises(ValueError, match="class 18; accepted: 0 to 17"):
        decode({**rasters, "segmentation": np.array([[18, 0, 0, 0]], np.uint8)})


def test_encoding_is_the_inverse_of_decoding():
    rng = np.random.default_rng(0)
    sample = {key: value.numpy() for key, value in DATA["test"][0].items()}
    first = encode({**sample, "image": rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)})
    second = encode(decode(first))
    for key in DOMAINS:
        if key == "normal":  # 8 bits, brought to length 1, 8 bits again
            assert np.abs(first[key].astype(int) - second[key].astype(int)).max() <= 1
        else:
            assert np.array_equal(first[key], second[key]), key
        assert first[key].dtype == (np.uint16 if DOMAINS[key][1] == "uint16" else np.uint8)
    with pytest.raises(ValueError, match=r"depth is up to 126\.0 m; accepted: below 125\.98 m"):
        encode({**sample, "depth": sample["depth"] * 0 + 126})


def test_file_names():
    assert file_name("depth_zbuffer", 3, 1) == "point_3_view_1_domain_depth_zbuffer.png"
    assert file_name("segment_semantic", 0, 12) == "point_0_view_12_domain_segmentsemantic.png"


# --- layouts


@pytest.mark.parametrize("layout", ["domains", "buildings", "tars", "omnidata", "flat"])
def test_every_layout_comes_back(tmp_path, layout):
    folder = tmp_path / "source"
    export(folder, {"omnidata": "domains", "flat": "buildings"}.get(layout, layout))
    if layout == "omnidata":
        for domain in list(folder.iterdir()):
            domain.rename(tmp_path / "moved")
            domain.mkdir()
            (tmp_path / "moved").rename(domain / "taskonomy")
    if layout == "flat":
        for together in list(folder.iterdir()):
            (inside,) = together.iterdir()
            inside.rename(tmp_path / "moved")
            together.rmdir()
            (tmp_path / "moved").rename(together)
    prepare(folder, tmp_path / "out")
    for split, samples in DATA.items():
        dataset = load("taskonomy", split, root=tmp_path / "out")
        assert len(dataset) == len(samples)
        assert dataset.class_names == TASKONOMY
        for index, sample in enumerate(in_order(samples)):
            assert_same(dataset[index], sample)


def test_tars_come_with_their_checksums(tmp_path):
    export(tmp_path, "tars")
    lines = dict(reversed(line.split()) for line in (tmp_path / "md5sum.txt").read_text().splitlines())
    assert len(lines) == 11 * 6  # domains; two buildings of each split
    name = "ihlen_normal.tar"
    assert lines[name] == hashlib.md5((tmp_path / name).read_bytes()).hexdigest()
    assert f"https://datasets.epfl.ch/taskonomy/{name}" in (tmp_path / "links.txt").read_text().split()
    with tarfile.open(tmp_path / name) as archive:
        assert "normal/point_0_view_0_domain_normal.png" in archive.getnames()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_views_are_sorted_by_number_and_sampled_from_the_first_of_each_building(tmp_path):
    """25 views of one building in points of four views: point 10 comes after point 2."""
    samples = [DATA["train"][0]] * 50
    taskonomy.export(tmp_path / "source", samples, "train")
    assert list(find_views(tmp_path / "source", "allensville"))[-1] == (12, 0)
    prepare(tmp_path / "source", tmp_path / "out", every=10)
    found = load("taskonomy", "train", root=tmp_path / "out").store["names"].tolist()
    expected = []
    for first, building in enumerate(("allensville", "beechwood")):
        for number in (0, 10, 20):
            index = 2 * number + first
            expected.append(f"{building}/point_{index // 4}_view_{index % 4}")
    assert found == expected


def test_one_in_a_hundred_is_the_default(source, tmp_path):
    taskonomy.prepare(source, tmp_path / "out", subset=True, progress=False)
    assert {split: len(load("taskonomy", split, root=tmp_path / "out")) for split in DATA} == dict.fromkeys(DATA, 2)


def test_without_woodbine(tmp_path):
    taskonomy.export(tmp_path / "source", DATA["train"], "train")
    for domain in (tmp_path / "source").iterdir():
        (domain / "beechwood").rename(domain / "woodbine")
    for woodbine, n in ((True, 6), (False, 3)):
        target = tmp_path / str(woodbine)
        prepare(tmp_path / "source", target, woodbine=woodbine)
        assert len(load("taskonomy", "train", root=target)) == n


def test_resizing_blends_no_target(source, tmp_path):
    prepare(source, tmp_path / "out", size=(SIDE // 2, SIDE // 2))
    found = load("taskonomy", "val", root=tmp_path / "out")[0]
    assert found["image"].shape == (3, SIDE // 2, SIDE // 2)
    sample = {key: value[..., 1::2, 1::2] for key, value in in_order(DATA["val"])[0].items()}
    assert_same({**found, "image": sample["image"]}, sample)


# --- script


def test_the_script_from_export_to_samples(source, tmp_path, capsys):
    target = tmp_path / "out"
    out, err = real_scripts.start("taskonomy", "prepare", source, target, "--every", "1", "--subset")
    assert out == ""
    assert "train: 100%" in err
    assert script("prepare", source, target, "--every", "1", "--subset") == 0
    assert script("verify", target, "--subset") == 0
    assert "all well" in capsys.readouterr().out
    assert script("verify", target) == 1
    printed = capsys.readouterr().out
    assert "2, without beechwood" not in printed
    assert "3 of" in printed.splitlines()[-1]
    assert_same(load("taskonomy", "test", root=target)[0], DATA["test"][0])


def test_verify_notices_other_values_and_repairs_nothing(source, tmp_path):
    prepare(source, tmp_path / "out")
    path = tmp_path / "out" / "val" / "curvature.npy"
    content = path.read_bytes()[:-2] + b"\x00\x00"
    path.write_bytes(content)
    findings = taskonomy.verify(tmp_path / "out", subset=True, progress=False)
    assert findings.loc[~findings["ok"], "what"].tolist() == ["val: files and checksums"]
    assert path.read_bytes() == content


# --- damage


def test_missing_buildings_are_named_unless_a_subset_will_do(source, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing of benevolence, .* prepare the subset that is there"):
        taskonomy.prepare(source, tmp_path / "out", progress=False)
    with pytest.raises(FileNotFoundError, match="holds no building of the tiny split"):
        prepare(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="every is 0; accepted: 1"):
        prepare(source, tmp_path / "out", every=0)


def replace(path, array):
    Image.fromarray(array).save(path)


NORMAL = "normal/allensville/point_0_view_0_domain_normal.png"
DEPTH = "depth_zbuffer/allensville/point_0_view_2_domain_depth_zbuffer.png"
IDS = "segment_semantic/ihlen/point_0_view_0_domain_segmentsemantic.png"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: (s / DEPTH).unlink(),
            "domain depth_zbuffer: no file of point 0, view 2 and 0 more of 3",
        ),
        (
            lambda s: shutil.rmtree(s / "reshading"),
            r"reshading.allensville or .*_reshading\.tar: no such files",
        ),
        (lambda s: (s / DEPTH).write_bytes(b"no png"), r"depth_zbuffer\.png: not a complete image file"),
        (lambda s: (s / DEPTH).write_bytes((s / DEPTH).read_bytes()[:200]), r"depth_zbuffer\.png: not a complete"),
        (lambda s: replace(s / DEPTH, np.zeros((SIDE, SIDE), np.uint8)), r"pixels of mode L; accepted: 16-bit grey"),
        (lambda s: replace(s / DEPTH, np.zeros((8, SIDE), np.uint16)), r"8 x 32 pixels; accepted: 32 x 32"),
        (
            lambda s: replace(s / IDS, np.full((SIDE, SIDE), 18, np.uint8)),
            r"view_0: class 18; accepted: 0 to 17",
        ),
        (
            lambda s: (s / NORMAL).rename((s / NORMAL).with_name("point_0_view_0_domain_rgb.png")),
            r"domain_rgb\.png: a file of domain rgb; accepted: normal",
        ),
    ],
)
def test_damage_is_named_with_its_remedy(damaged, tmp_path, change, message):
    change(damaged)
    with pytest.raises((ValueError, FileNotFoundError), match=f"{message}.*taskonomy.py fetch FOLDER"):
        prepare(damaged, tmp_path / "out")


def test_a_view_without_an_image_is_left_out_with_a_warning(damaged, tmp_path):
    (damaged / "rgb/allensville/point_0_view_2_domain_rgb.png").unlink()
    with pytest.warns(
        UserWarning, match="allensville: point 0, view 2 and 0 more have files, but no image in domain rgb"
    ):
        prepare(damaged, tmp_path / "out")
    assert len(load("taskonomy", "train", root=tmp_path / "out")) == len(DATA["train"]) - 1


def test_an_image_with_its_extension_in_capitals_is_refused(damaged, tmp_path):
    path = damaged / "rgb/allensville/point_0_view_2_domain_rgb.png"
    path.rename(path.with_suffix(".PNG"))
    with pytest.raises(ValueError, match=r"domain_rgb\.PNG: extension \.PNG; accepted: \.png; rename the files"):
        prepare(damaged, tmp_path / "out")


def test_normals_that_look_away_are_refused(damaged, tmp_path):
    for path in (damaged / "normal").rglob("*.png"):
        replace(path, 255 - np.array(Image.open(path)))
    with pytest.raises(ValueError, match=r"normals point away from the camera \(mean n \. ray is 0\."):
        prepare(damaged, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("member", [0, 1, -1])
@pytest.mark.parametrize("part", ["header", "data", "end"])
def test_a_truncated_tar_file_is_named(tmp_path, member, part):
    taskonomy.export(tmp_path / "source", DATA["train"], layout="tars")
    path = tmp_path / "source" / "allensville_rgb.tar"
    with tarfile.open(path) as archive:
        info = [info for info in archive if info.isreg()][member]
    end = info.offset_data + -(-info.size // 512) * 512
    length = {"header": info.offset + 100, "data": info.offset_data + 100, "end": end}[part]
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises((ValueError, FileNotFoundError), match=r"allensville.*taskonomy.py fetch FOLDER"):
        prepare(tmp_path / "source", tmp_path / "out")


def test_a_damaged_header_in_a_tar_file_is_named(tmp_path):
    """Here `tarfile` lists the members before it, without an error."""
    taskonomy.export(tmp_path / "source", DATA["train"], layout="tars")
    path = tmp_path / "source" / "allensville_rgb.tar"
    with tarfile.open(path) as archive:
        last = [info for info in archive if info.isreg()][-1]
    content = bytearray(path.read_bytes())
    content[last.offset + 150] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"allensville_rgb\.tar: not a complete tar file .*taskonomy.py fetch FOLDER"):
        prepare(tmp_path / "source", tmp_path / "out")


def test_export_refuses(tmp_path):
    with pytest.raises(ValueError, match="split is 'dev'; accepted: train, val, test"):
        taskonomy.export(tmp_path, DATA["val"], "dev")
    with pytest.raises(ValueError, match="layout is 'zip'; accepted: domains, buildings, tars"):
        taskonomy.export(tmp_path, DATA["val"], layout="zip")
    lacking = [{key: value for key, value in DATA["val"][0].items() if key != "valid"}]
    with pytest.raises(ValueError, match="sample 0 lacks valid; accepted: image, depth"):
        taskonomy.export(tmp_path, lacking)


# --- fetch


def test_fetch_checks_every_archive(tmp_path, monkeypatch, file_server, capsys):
    assert script("fetch", tmp_path / "down") == 2
    assert "non-commercial research" in capsys.readouterr().err
    export(tmp_path / "served", "tars")
    address = file_server(tmp_path / "served")
    monkeypatch.setitem(TINY, "val", ("collierville", "corozal"))
    assert script("fetch", tmp_path / "down", "--accept-licence", "--splits", "val", "--mirror", address) == 0
    found = sorted(path.name for path in (tmp_path / "down").glob("*.tar"))
    assert found == sorted(f"{name}_{domain}.tar" for name in TINY["val"] for domain, _ in DOMAINS.values())
    prepare(tmp_path / "down", tmp_path / "out")
    assert_same(load("taskonomy", "val", root=tmp_path / "out")[0], DATA["val"][0])
    (tmp_path / "served" / "corozal_normal.tar").write_bytes(b"changed")
    (tmp_path / "down" / "corozal_normal.tar").unlink()
    with pytest.raises(ValueError, match=r"corozal_normal\.tar.* has md5 .*; expected: .*rejected"):
        taskonomy.fetch(tmp_path / "down", splits=["val"], mirror=address, progress=False)
    monkeypatch.setitem(TINY, "val", ("darden",))
    with pytest.raises(ValueError, match=r"md5sum\.txt: no checksum of darden_rgb\.tar"):
        taskonomy.fetch(tmp_path / "down", splits=["val"], mirror=address, progress=False)
