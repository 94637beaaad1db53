import json
import shutil

import numpy as np
import pytest
import real_scripts
import torch
from PIL import Image
from street_samples import BASELINE, FOCAL, street_samples
from torchvision.datasets import Cityscapes

from mtlrepro.data.classes import CITYSCAPES, CITYSCAPES_7, SEVEN
from mtlrepro.data.real.cityscapes import files as cityscapes_files
from mtlrepro.data.real.cityscapes import prepare as cityscapes
from mtlrepro.data.store import Store

KINDS = ("leftImg8bit", "rightImg8bit", "gtFine", "disparity", "camera")


def exported(folder, samples=None, split="train"):
    cityscapes.export(folder, samples or street_samples(), split, focal=FOCAL, baseline=BASELINE)
    return folder


def first(folder, kind, split="train"):
    return cityscapes_files.file_of(folder, kind, split, "export_000000_000000")


# --- encodings


def test_label_tables_are_those_of_torchvision():
    for label in Cityscapes.classes:
        if label.id < 0:
            continue
        ids = np.array([[label.id]], np.uint8)
        train = -1 if label.ignore_in_eval else label.train_id
        assert cityscapes_files.decode_labels(ids)[0, 0] == train
        assert cityscapes_files.decode_labels(ids, 7)[0, 0] == label.category_id - 1
        if train >= 0:
            assert CITYSCAPES[train] == label.name
            assert CITYSCAPES_7[SEVEN[train]] == label.category
            assert cityscapes_files.encode_labels(np.array([train])) == label.id


def test_disparity_values_of_the_official_encoding():
    p = np.array([[0, 1, 257, 32257, 65535]], np.uint16)
    disparity = cityscapes_files.decode_disparity(p)
    np.testing.assert_array_equal(disparity, [[0, 0, 1, 126, 65534 / 256]])
    np.testing.assert_array_equal(cityscapes_files.encode_disparity(disparity), [[0, 0, 257, 32257, 65535]])


def test_encoded_disparity_is_within_1_512_pixel():
    disparity = np.random.default_rng(0).uniform(0.01, 255, (50, 60)).astype(np.float32)
    decoded = cityscapes_files.decode_disparity(cityscapes_files.encode_disparity(disparity))
    assert np.abs(decoded - disparity).max() <= 1 / 512 + 1e-5
    for wrong in (-1, 256, np.nan):
        with pytest.raises(ValueError, match=r"accepted: 0 to 255\.99"):
            cityscapes_files.encode_disparity(np.array([[wrong]]))


def test_names_of_the_official_files(tmp_path):
    exported(tmp_path, street_samples(1), "val")
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "leftImg8bit/val/export/export_000000_000000_leftImg8bit.png",
        "rightImg8bit/val/export/export_000000_000000_rightImg8bit.png",
        "gtFine/val/export/export_000000_000000_gtFine_labelIds.png",
        "disparity/val/export/export_000000_000000_disparity.png",
        "camera/val/export/export_000000_000000_camera.json",
    }
    with Image.open(first(tmp_path, "disparity", "val")) as disparity:
        assert disparity.mode == "I;16"
    # torchvision reads the same layout.
    (tmp_path / "gtFine/train").mkdir()
    image, target = Cityscapes(tmp_path, "val", "fine", "semantic")[0]
    target.load()
    assert image.size == target.size == (48, 24)


# --- round trips


def test_exported_samples_come_back(tmp_path):
    samples = street_samples()
    exported(tmp_path / "source", samples)
    cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    store = Store(tmp_path / "target/train")
    for i, sample in enumerate(samples):
        for key in ("image", "right"):
            assert (store[key][i] == (sample[key] * 255).round().numpy()).all()
        assert (store["segmentation"][i] == sample["segmentation"].numpy()).all()
        assert np.abs(store["disparity"][i] - sample["disparity"].numpy()).max() <= 1 / 512
    assert store["focal"].tolist() == [FOCAL] * 3
    assert store["baseline"].tolist() == [BASELINE] * 3
    assert store.meta["classes"] == list(CITYSCAPES)
    findings = cityscapes.verify(tmp_path / "target", progress=False)
    assert findings["ok"].all()
    assert "partial, 3 images" in findings["found"].tolist()


def test_smaller_images_have_smaller_disparities_and_focal_lengths(tmp_path):
    exported(tmp_path / "source")
    cityscapes.prepare(tmp_path / "source", tmp_path / "full", progress=False)
    cityscapes.prepare(tmp_path / "source", tmp_path / "half", size=(12, 24), progress=False)
    full, half = Store(tmp_path / "full/train"), Store(tmp_path / "half/train")
    # By the nearest pixel: pixel (r, c) of the half is at (2r + 1, 2c + 1) of the whole.
    np.testing.assert_allclose(half["disparity"], full["disparity"][:, :, 1::2, 1::2] / 2)
    np.testing.assert_array_equal(half["segmentation"], full["segmentation"][:, 1::2, 1::2])
    assert half["focal"][0] == FOCAL / 2
    assert abs(half["image"].mean(dtype=float) - full["image"].mean(dtype=float)) < 2
    assert cityscapes.verify(tmp_path / "half", progress=False)["ok"].all()


def test_an_mtan_pack_comes_back(tmp_path):
    samples = street_samples(size=(24, 64))
    for split in ("train", "val"):
        cityscapes.export_mtan(tmp_path / "pack", samples, split)
    cityscapes.prepare(tmp_path / "pack", tmp_path / "target", progress=False)
    store = Store(tmp_path / "target/val")
    for i, sample in enumerate(samples):
        assert (store["image"][i] == (sample["image"] * 255).round().numpy()).all()
        assert (store["segmentation"][i] == sample["segmentation"].numpy()).all()
        # 1/512 of a pixel at a width of 2048
        assert np.abs(store["disparity"][i] - sample["disparity"].numpy()).max() <= 64 / 2048 / 512 + 1e-6
    raw = np.load(tmp_path / "pack/val/depth/0.npy")
    assert raw.shape == (24, 64, 1)
    assert raw[-1, -1, 0] == pytest.approx((5 * 32 * 256 + 1) / 65535, abs=1e-7)
    assert store["segmentation"].dtype == np.int8
    assert "right" not in store.names
    assert cityscapes.verify(tmp_path / "target", progress=False)["ok"].all()


def test_seven_classes_of_an_mtan_pack(tmp_path):
    samples = street_samples(size=(24, 64))
    cityscapes.export_mtan(tmp_path / "pack", samples)
    (tmp_path / "pack/train/label_7").rename(tmp_path / "pack/train/label")  # LibMTL's name
    cityscapes.prepare(tmp_path / "pack", tmp_path / "target", classes=7, progress=False)
    store = Store(tmp_path / "target/train")
    expected = np.array([*SEVEN, -1])[samples[1]["segmentation"].numpy()]
    np.testing.assert_array_equal(store["segmentation"][1], expected)
    assert store.meta["classes"] == list(CITYSCAPES_7)
    with pytest.raises(ValueError, match=r"no label_2; choose classes \(--classes\) that it has: 19, 7, or"):
        cityscapes.prepare(tmp_path / "pack", tmp_path / "other", classes=2, progress=False)


def test_categories_keep_ids_that_are_not_evaluated(tmp_path):
    exported(tmp_path / "source", street_samples(1))
    ids = np.zeros((24, 48), np.uint8)
    ids[0, :5] = [9, 14, 29, 5, 26]  # parking, guard rail, caravan, dynamic, car
    Image.fromarray(ids).save(first(tmp_path / "source", "gtFine"))
    for classes, expected in ((19, [-1, -1, -1, -1]), (7, [0, 1, 6, -1])):
        cityscapes.prepare(tmp_path / "source", tmp_path / str(classes), classes=classes, progress=False)
        assert Store(tmp_path / str(classes) / "train")["segmentation"][0, 0, :4].tolist() == expected


def test_without_right_views(tmp_path):
    samples = street_samples(1)
    del samples[0]["right"]
    exported(tmp_path / "source", samples)
    with pytest.raises(FileNotFoundError, match=r"rightImg8bit.png: no such file; unpack rightImg8bit_trainvaltest"):
        cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    assert not (tmp_path / "target").exists()
    cityscapes.prepare(tmp_path / "source", tmp_path / "target", right=False, progress=False)
    assert "right" not in Store(tmp_path / "target/train").names
    assert cityscapes.verify(tmp_path / "target", progress=False)["ok"].all()


# --- damage


def test_without_disparity(tmp_path):
    """Images and labels alone are enough for segmentation."""
    exported(tmp_path / "source")
    for kind in ("disparity", "camera"):
        shutil.rmtree(tmp_path / "source" / kind)
    with pytest.raises(
        FileNotFoundError, match=r"disparity_trainvaltest.*or prepare without disparity \(--no-disparity"
    ):
        cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    arguments = (tmp_path / "source", tmp_path / "target", "--no-disparity")
    assert real_scripts.call("cityscapes", "prepare", *arguments) == 0
    assert Store(tmp_path / "target/train").names == ["image", "names", "right", "segmentation"]
    assert cityscapes.verify(tmp_path / "target", progress=False)["ok"].all()


@pytest.mark.parametrize("unknown", [0, 13])
@pytest.mark.parametrize("classes", [19, 7])
def test_train_ids_in_files_of_label_ids_do_not_pass(tmp_path, classes, unknown):
    exported(tmp_path / "source")
    for path in (tmp_path / "source/gtFine").rglob("*.png"):
        labels = cityscapes_files.decode_labels(np.array(Image.open(path)))
        Image.fromarray(np.where(labels < 0, unknown, labels).astype(np.uint8)).save(path)
    with pytest.warns(UserWarning, match=r"target.train: no pixel of .*, as if the files of gtFine held train ids"):
        cityscapes.prepare(tmp_path / "source", tmp_path / "target", classes=classes, progress=False)
    found = cityscapes.verify(tmp_path / "target", progress=False)
    (wrong,) = found[~found["ok"]].itertuples()
    assert (wrong.found, wrong.expected) == ("0", "above 0 (none: train ids in files of label ids)")


def test_hidden_files_and_a_byte_order_mark_change_nothing(tmp_path):
    exported(tmp_path / "source")
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    camera = first(tmp_path / "source", "camera")
    camera.write_text(camera.read_text(), encoding="utf-8-sig")
    cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    assert len(Store(tmp_path / "target/train")) == 3


def test_a_folder_too_deep_and_capitals_get_a_hint(tmp_path):
    exported(tmp_path / "outer/source")
    with pytest.raises(ValueError, match=r"outer.source.leftImg8bit is there: it lies one folder too deep"):
        cityscapes.prepare(tmp_path / "outer", tmp_path / "target", progress=False)
    path = first(tmp_path / "outer/source", "disparity")
    path.rename(path.with_suffix(".PNG"))
    with pytest.raises(ValueError, match=r"_disparity.PNG: extension \.PNG; accepted: \.png; rename the files"):
        cityscapes.prepare(tmp_path / "outer/source", tmp_path / "target", progress=False)


def test_a_file_that_would_be_left_out_is_refused(tmp_path):
    exported(tmp_path / "source")
    exported(tmp_path / "source", split="val")
    path = first(tmp_path / "source", "leftImg8bit")
    for change, found in (
        (lambda: path.rename(path.with_suffix(".PNG")), r"leftImg8bit\.PNG: extension \.PNG; accepted: \.png"),
        (path.with_suffix(".PNG").unlink, r"000000_leftImg8bit\.png: no such file; unpack leftImg8bit_trainvaltest"),
        (lambda: shutil.rmtree(path.parent), r"00_leftImg8bit\.png and 2 more of 3: no such file; .*, or remove the f"),
    ):
        change()
        with pytest.raises((ValueError, FileNotFoundError), match=found):
            cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    for kind in KINDS:
        shutil.rmtree(tmp_path / "source" / kind / "train")
    cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    assert [path.name for path in (tmp_path / "target").iterdir() if path.is_dir()] == ["val"]


def test_a_split_of_a_pack_without_images_is_refused(tmp_path):
    for split in ("train", "val"):
        cityscapes.export_mtan(tmp_path / "pack", street_samples(1, size=(24, 64)), split)
    shutil.rmtree(tmp_path / "pack/val/image")
    with pytest.raises(FileNotFoundError, match=r"val.image.0\.npy: no such file; unpack the MTAN pack again"):
        cityscapes.prepare(tmp_path / "pack", tmp_path / "target", progress=False)
    assert not (tmp_path / "target").exists()


def test_minus_one_in_a_pack_is_unknown(tmp_path):
    cityscapes.export_mtan(tmp_path / "pack", street_samples(1), "train")
    path = tmp_path / "pack/train/depth/0.npy"
    depth = np.load(path)
    depth[2, 3] = -1
    np.save(path, depth)
    cityscapes.prepare(tmp_path / "pack", tmp_path / "target", progress=False)
    assert Store(tmp_path / "target/train")["disparity"][0, 0, 2, 3] == 0
    depth[2, 3] = -0.5
    np.save(path, depth)
    with pytest.raises(ValueError, match=r"0\.npy: values -0\.5 to .*; accepted: 0 to 1"):
        cityscapes.prepare(tmp_path / "pack", tmp_path / "other", progress=False)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_by(array):
    return lambda path: Image.fromarray(array).save(path)


DAMAGE = {
    "truncated image": ("leftImg8bit", truncate, "not a complete image file .*; unpack leftImg8bit_trainvaltest.zip"),
    "no image at all": ("gtFine", lambda path: path.write_text("no"), "labelIds.png: not a complete image file"),
    "missing labels": ("gtFine", lambda path: path.unlink(), "labelIds.png: no such file; unpack gtFine_trainval"),
    "missing right": ("rightImg8bit", lambda path: path.unlink(), r"rightImg8bit.png: no such file; .*\(--no-right\)"),
    "8-bit disparity": (
        "disparity",
        replace_by(np.zeros((24, 48), np.uint8)),
        "_disparity.png: pixels of mode L; accepted: 16-bit grey; unpack disparity_trainvaltest.zip",
    ),
    "16-bit labels": ("gtFine", replace_by(np.zeros((24, 48), np.uint16)), "mode I;16; accepted: 8-bit grey"),
    "grey image": ("leftImg8bit", replace_by(np.zeros((24, 48), np.uint8)), "mode L; accepted: 8-bit RGB"),
    "class out of range": (
        "gtFine",
        replace_by(np.full((24, 48), 34, np.uint8)),
        "labelIds.png: label id 34; accepted: 0 to 33; unpack gtFine_trainvaltest.zip again",
    ),
    "two sizes": (
        "rightImg8bit",
        replace_by(np.zeros((24, 50, 3), np.uint8)),
        "rightImg8bit.png: 24 x 50 pixels; accepted: 24 x 48",
    ),
    "truncated camera": ("camera", truncate, "camera.json: not a complete JSON file .*; unpack camera_trainval"),
    "camera without baseline": (
        "camera",
        lambda path: path.write_text(json.dumps({"intrinsic": {"fx": 1.0}})),
        "no numbers intrinsic.fx and extrinsic.baseline",
    ),
    "baseline in text": (
        "camera",
        lambda path: path.write_text(json.dumps({"intrinsic": {"fx": 1.0}, "extrinsic": {"baseline": "0.2"}})),
        "no numbers intrinsic.fx and extrinsic.baseline",
    ),
    "truth value as focal length": (
        "camera",
        lambda path: path.write_text(json.dumps({"intrinsic": {"fx": True}, "extrinsic": {"baseline": 0.2}})),
        "no numbers intrinsic.fx and extrinsic.baseline",
    ),
    "vast focal length": (
        "camera",
        lambda path: path.write_text(json.dumps({"intrinsic": {"fx": 10**400}, "extrinsic": {"baseline": 0.2}})),
        "it holds a number of 401 digits; accepted: up to 400",
    ),
    "negative baseline": (
        "camera",
        lambda path: path.write_text(json.dumps({"intrinsic": {"fx": 1.0}, "extrinsic": {"baseline": -1}})),
        "baseline is -1.0; accepted: above 0",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_named_with_a_remedy(tmp_path, damage):
    kind, change, message = DAMAGE[damage]
    exported(tmp_path / "source")
    # The second image, so that the first one sets the size.
    change(cityscapes_files.file_of(tmp_path / "source", kind, "train", "export_000001_000000"))
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    assert "export_000001" in str(caught.value)
    assert not (tmp_path / "target/train").exists()


MTAN_DAMAGE = {
    "truncated": ("depth", truncate, "depth/1.npy: not a complete array file"),
    "missing": ("label_19", lambda path: path.unlink(), "label_19/1.npy: no such file; unpack the MTAN pack again"),
    "range": ("depth", lambda path: np.save(path, np.full((24, 64, 1), 80.0)), "80.0 to 80.0; accepted: 0 to 1"),
    "not a number": ("image", lambda path: np.save(path, np.full((24, 64, 3), np.nan)), "values nan"),
    "class": ("label_19", lambda path: np.save(path, np.full((24, 64), 19.0)), "19.0 to 19.0; accepted: -1 to 18"),
    "half a class": (
        "label_19",
        lambda path: np.save(path, np.full((24, 64), 1.5)),
        "classes that are no whole numbers",
    ),
    "two sizes": ("image", lambda path: np.save(path, np.zeros((24, 60, 3))), r"shape \[24, 60, 3\]; accepted: \[24,"),
    "pickle": (
        "image",
        lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
        "image/1.npy: not a complete array file",
    ),
}


@pytest.mark.parametrize("damage", MTAN_DAMAGE)
def test_damaged_packs_are_named_with_a_remedy(tmp_path, damage):
    kind, change, message = MTAN_DAMAGE[damage]
    cityscapes.export_mtan(tmp_path / "source", street_samples(size=(24, 64)))
    change(tmp_path / "source/train" / kind / "1.npy")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    assert not (tmp_path / "target/train").exists()


def test_sources_that_hold_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"neither leftImg8bit/ .*leftImg8bit_trainvaltest.zip.* MTAN"):
        cityscapes.prepare(tmp_path, tmp_path / "target", progress=False)
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(ValueError, match="no image in train or val"):
        cityscapes.prepare(tmp_path, tmp_path / "target", progress=False)
    exported(tmp_path)
    with pytest.raises(ValueError, match="classes is 2; accepted: 19, 7"):
        cityscapes.prepare(tmp_path, tmp_path / "target", classes=2, progress=False)


def test_exporting_what_does_not_fit():
    sample = street_samples(1, size=(24, 64))[0]
    with pytest.raises(ValueError, match="split is 'test'; accepted: train, val"):
        cityscapes.export("nowhere", [sample], "test", focal=1, baseline=1)
    sample["disparity"] = torch.full((1, 24, 64), 9.0)
    with pytest.raises(ValueError, match=r"up to 9\.0 pixels; accepted: up to 1/8 of the width 64"):
        cityscapes.export_mtan("nowhere", [sample])


# --- resumption and checks


def test_a_stopped_run_goes_on_and_a_complete_split_is_left(tmp_path, monkeypatch):
    exported(tmp_path / "source", street_samples(5))
    monkeypatch.setattr("mtlrepro.data.real.preparing.PIECE", 2)
    broken = cityscapes_files.file_of(tmp_path / "source", "disparity", "train", "export_000003_000000")
    good = broken.read_bytes()
    broken.write_bytes(good[:60])
    with pytest.raises(ValueError, match="export_000003"):
        cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    broken.write_bytes(good)
    read = []
    original = cityscapes._read_official
    monkeypatch.setattr(cityscapes, "_read_official", lambda *args, **kw: read.append(args[2]) or original(*args, **kw))
    cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    assert sorted(read) == [f"export_00000{i}_000000" for i in (2, 3, 4)]
    cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    assert len(read) == 3
    cityscapes.prepare(tmp_path / "source", tmp_path / "whole", progress=False)
    resumed, whole = Store(tmp_path / "target/train"), Store(tmp_path / "whole/train")
    assert resumed.meta == whole.meta  # with the checksum of each array
    with pytest.raises(ValueError, match=r"was prepared with another size; accepted: .*a new TARGET"):
        cityscapes.prepare(tmp_path / "source", tmp_path / "target", size=(12, 24), progress=False)


def test_verify_finds_what_is_wrong(tmp_path):
    samples = street_samples()
    exported(tmp_path / "source", [{**s, "image": s["right"], "right": s["image"]} for s in samples])
    cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    findings = cityscapes.verify(tmp_path / "target", progress=False)
    assert findings.loc[~findings["ok"], "what"].tolist() == ["train: left(x) - right(x - d)"]

    with (tmp_path / "target/train/image.npy").open("r+b") as file:
        file.seek(200)
        file.write(b"damage")
    findings = cityscapes.verify(tmp_path / "target", progress=False)
    assert findings.loc[~findings["ok"], "what"].tolist() == ["train: files and checksums"]


def test_verify_of_an_empty_folder(tmp_path):
    assert not cityscapes.verify(tmp_path, progress=False)["ok"].any()
    with pytest.raises(ValueError, match="which is no folder"):
        cityscapes.verify(tmp_path / "none", progress=False)
