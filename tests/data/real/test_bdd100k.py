import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from street_samples import street_samples

from mtlrepro.data import datasets
from mtlrepro.data.classes import BDD100K, CITYSCAPES
from mtlrepro.data.real.bdd100k import files as bdd100k_files
from mtlrepro.data.real.bdd100k import prepare as bdd100k
from mtlrepro.data.store import Store

BOTH = ("detection", "segmentation")


def exported(folder, samples=None, split="train", tasks=BOTH):
    bdd100k.export(folder, samples or street_samples(), split, tasks=tasks)
    return folder


def label(category="car", box=(1, 2, 8, 11), **more):
    return {"category": category, "box2d": dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)), **more}


def with_frames(folder, frames, split="train"):
    """Export one sample for each frame and replace the labels."""
    exported(folder, street_samples(len(frames)), split, ("detection",))
    for i, frame in enumerate(frames):
        frame.setdefault("name", f"{i:08x}-00000000.jpg")
    bdd100k_files.detection_files(folder / "bdd100k", split)[0].write_text(json.dumps(frames))
    return folder


def prepare(folder, tasks=("detection",), target="target", **options):
    bdd100k.prepare(folder, folder / target, tasks=tasks, progress=False, **options)
    return folder / target


def test_exported_samples_come_back(tmp_path):
    samples = street_samples()
    target = prepare(exported(tmp_path, samples), BOTH)
    data = datasets.load("bdd100k", root=target)
    assert (data.class_names, data.box_names) == (CITYSCAPES, BDD100K)
    for expected, sample in zip(samples, (data[i] for i in range(3)), strict=True):
        torch.testing.assert_close(sample["boxes"], expected["boxes"])
        torch.testing.assert_close(sample["labels"], expected["labels"])
        torch.testing.assert_close(sample["segmentation"], expected["segmentation"])
        assert (sample["image"] - expected["image"]).abs().mean() < 2 / 255  # JPEG
    findings = bdd100k.verify(target, progress=False)
    assert findings["ok"].all()
    assert findings.set_index("what").loc["train: images with detection", "found"] == "partial, 3 images"
    assert findings.set_index("what").loc["train: boxes of car", "found"] == "3"


def test_official_files_and_inclusive_boxes(tmp_path):
    exported(tmp_path, street_samples(1), "val")
    files = {str(path.relative_to(tmp_path / "bdd100k")) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "images/100k/val/00000000-00000000.jpg",
        "images/10k/val/00000000-00000000.jpg",
        "labels/det_20/det_val.json",
        "labels/sem_seg/masks/val/00000000-00000000.png",
    }
    frame = json.loads((tmp_path / "bdd100k/labels/det_20/det_val.json").read_text())[0]
    assert frame["labels"][0]["category"] == "car"
    assert frame["labels"][0]["box2d"] == {"x1": 1, "y1": 2, "x2": 8, "y2": 11}  # 8 x 10 pixels


def test_boxes_scale_with_the_image(tmp_path):
    data = datasets.load("bdd100k", root=prepare(exported(tmp_path), size=(12, 16)))
    assert data.size == (12, 16)
    torch.testing.assert_close(data[0]["boxes"], torch.tensor([[1 / 3, 1, 3, 6], [20.5 / 3, 1.625, 16, 12]]))
    assert data[0]["boxes"].max() <= 16


def test_drivable_area(tmp_path):
    samples = [{**s, "segmentation": s["segmentation"].remainder(4) - 1} for s in street_samples()]
    tasks = ("detection", "drivable")
    target = prepare(exported(tmp_path, samples, tasks=tasks), tasks)
    data = datasets.load("bdd100k", root=target)
    assert data.class_names == ("direct", "alternative", "background")
    torch.testing.assert_close(data[2]["segmentation"], samples[2]["segmentation"])
    assert not (tmp_path / "bdd100k/images/10k").exists()
    assert bdd100k.verify(target, progress=False)["ok"].all()


def test_a_sample_lacks_the_targets_that_its_image_does_not_have(tmp_path):
    samples = street_samples(4)
    del samples[1]["boxes"], samples[1]["labels"]
    del samples[2]["segmentation"]
    samples[3]["boxes"], samples[3]["labels"] = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    target = prepare(exported(tmp_path, samples), BOTH)
    data = datasets.load("bdd100k", root=target)
    assert "boxes" not in data[1]
    assert "segmentation" not in data[2]
    assert data[3]["boxes"].shape == (0, 4)
    batch = data.batch([0, 1, 2, 3])
    assert batch["labelled"]["boxes"].tolist() == [True, False, True, True]
    assert (batch["segmentation"][2] == -1).all()
    assert [len(boxes) for boxes in batch["boxes"]] == [2, 0, 2, 0]
    assert bdd100k.verify(target, progress=False)["ok"].all()


def test_one_task_alone(tmp_path):
    exported(tmp_path)
    assert prepare(tmp_path, ("segmentation",), "a") and Store(tmp_path / "a/train").meta["tasks"] == ["segmentation"]
    assert "boxes" not in Store(tmp_path / "a/train").names
    assert "segmentation" not in Store(prepare(tmp_path, target="b") / "train").names


def test_training_images_that_the_other_set_holds_out_are_left_out(tmp_path):
    exported(tmp_path)
    held_out = bdd100k_files.image_file(tmp_path / "bdd100k", "10k", "test", "00000001-00000000")
    held_out.parent.mkdir()
    held_out.write_bytes(b"")
    store = Store(prepare(tmp_path, BOTH) / "train")
    assert store["names"].tolist() == ["00000000-00000000", "00000002-00000000"]
    assert store.meta["left_out"]["training images that another set holds out"] == 1


def test_frames_in_every_form_and_labels_left_out(tmp_path, capsys):
    frames = [
        {"labels": None},
        {},
        {
            "labels": [
                label("bike"),
                label("person"),
                label("motor"),
                label("van"),
                label("other vehicle"),
                label("trailer"),
                label("rider", attributes={"crowd": True}),
                label("rider", attributes=None),
                {"category": "lane", "poly2d": []},
            ]
        },
    ]
    with_frames(tmp_path, frames)
    bdd100k.prepare(tmp_path, tmp_path / "target", tasks=("detection",))
    data = datasets.load("bdd100k", root=tmp_path / "target")
    assert [BDD100K[k] for k in data[2]["labels"]] == ["bicycle", "pedestrian", "motorcycle", "car", "rider"]
    assert data[0]["boxes"].shape == data[1]["boxes"].shape == (0, 4)
    assert data.store.meta["left_out"] == {
        "crowd": 1,
        "images without a target": 0,
        "no box": 1,
        "other vehicle": 1,
        "trailer": 1,
        "training images that another set holds out": 0,
    }
    assert "train: left out: 1 crowd, 1 no box, 1 other vehicle, 1 trailer" in capsys.readouterr().err


def test_an_object_with_frames_and_the_file_of_2018(tmp_path):
    with_frames(tmp_path, [{"labels": [label()]}])
    new, old = bdd100k_files.detection_files(tmp_path / "bdd100k", "train")
    old.write_text(json.dumps({"frames": json.loads(new.read_text())}))
    new.unlink()
    assert len(Store(prepare(tmp_path) / "train")["boxes"]) == 1


def test_a_box_may_pass_the_border_by_the_rounding_of_one_pixel(tmp_path):
    with_frames(tmp_path, [{"labels": [label(box=(-0.5, 0, 47.9, 24))]}])
    assert Store(prepare(tmp_path) / "train")["boxes"].tolist() == [[0, 0, 48, 24]]


WRONG_FRAMES = {
    "outside": (
        [{"labels": [label(box=(1, 2, 50, 11))]}],
        "car has the box x 1 to 50, .*the image, 0 to 47",
    ),
    "inverted": ([{"labels": [label(box=(8, 2, 1, 11))]}], "car has the box x 8 to 1"),
    "not a number": ([{"labels": [label(box=(float("nan"), 2, 8, 11))]}], "it holds NaN, which JSON does not have"),
    "text": ([{"labels": [label(box=("1", 2, 8, 11))]}], "frame 00000000-00000000.jpg: '1' is no number"),
    "truth value": ([{"labels": [label(box=(True, 2, 8, 11))]}], "frame 00000000-00000000.jpg: True is no number"),
    "category": ([{"labels": [label("tram")]}], "frame 00000000-00000000.jpg: category 'tram'; accepted: pedestrian,"),
    "no category": ([{"labels": [{"box2d": {}}]}], "frame 0 is not in Scalabel's format"),
    "no corner": ([{"labels": [{"category": "car", "box2d": {"x1": 0}}]}], "frame 0 is not in Scalabel's format"),
    "twice": ([{}, {"name": "00000000-00000000.jpg"}], "00000000-00000000.jpg: occurs twice"),
    "no image": ([{}, {"name": "other.jpg"}], "100k/train/other.jpg: no such file; det_train.json has a frame of that"),
}


@pytest.mark.parametrize("wrong", WRONG_FRAMES)
def test_wrong_labels_are_named_with_a_remedy(tmp_path, wrong):
    frames, message = WRONG_FRAMES[wrong]
    with_frames(tmp_path, frames)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        prepare(tmp_path)
    assert "det_train.json" in str(caught.value)
    assert "unpack bdd100k_" in str(caught.value)
    assert not (tmp_path / "target").exists()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_by(array):
    return lambda path: Image.fromarray(array).save(path)


IMAGE = "images/100k/train/00000001-00000000.jpg"
MASK = "labels/sem_seg/masks/train/00000001-00000000.png"
DAMAGE = {
    "truncated image": (
        IMAGE,
        truncate,
        "1-00000000.jpg: not a complete image .*; unpack bdd100k_images_100k",
    ),
    "truncated mask": (MASK, truncate, "1-00000000.png: not a complete image file .*; unpack bdd100k_sem_seg"),
    "16-bit mask": (MASK, replace_by(np.zeros((24, 48), np.uint16)), "mode I;16; accepted: 8-bit grey or palette"),
    "class": (
        MASK,
        replace_by(np.full((24, 48), 19, np.uint8)),
        "1-00000000.png: class 19; accepted: 0 to 18, and",
    ),
    "two sizes": (IMAGE, replace_by(np.zeros((24, 50, 3), np.uint8)), "24 x 50 pixels; accepted: 24 x 48"),
    "truncated labels": ("labels/det_20/det_train.json", truncate, "det_train.json: not a complete JSON file"),
    "missing labels": ("labels/det_20/det_train.json", lambda path: path.unlink(), "det_train.json: no such file"),
    "no frames": ("labels/det_20/det_train.json", lambda path: path.write_text("3"), "no list of frames"),
}


def test_masks_without_an_image_are_left_out_and_counted(tmp_path, capsys):
    """The official archives have such."""
    exported(tmp_path, tasks=("segmentation",))
    (tmp_path / "bdd100k/images/10k/train/00000001-00000000.jpg").unlink()
    bdd100k.prepare(tmp_path, tmp_path / "target", tasks=("segmentation",))
    store = Store(tmp_path / "target/train")
    assert len(store) == 2 and store.meta["left_out"]["masks without an image"] == 1
    assert "train: left out: 1 masks without an image" in capsys.readouterr().err


@pytest.mark.parametrize(("task", "labels"), [("detection", "det_val.json"), ("segmentation", "masks/val")])
def test_labels_of_a_split_without_images_are_refused(tmp_path, task, labels):
    for split in ("train", "val"):
        exported(tmp_path, split=split, tasks=(task,))
    images = bdd100k_files.IMAGES[task]
    shutil.rmtree(tmp_path / "bdd100k/images" / images / "val")
    with pytest.raises(
        FileNotFoundError, match=rf"{labels} is there, and no image in .*{images}.val; unpack bdd100k_im"
    ):
        prepare(tmp_path, (task,))
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    "path", ["images/10k/train/00000001-00000000.jpg", "labels/sem_seg/masks/train/00000001-00000000.png"]
)
def test_a_file_with_its_extension_in_capitals_is_refused(tmp_path, path):
    file = exported(tmp_path) / "bdd100k" / path
    file.rename(file.with_suffix(file.suffix.upper()))
    with pytest.raises(ValueError, match=rf"00000000{file.suffix.upper()}: extension .*; accepted: {file.suffix}; ren"):
        prepare(tmp_path, BOTH)


def test_hidden_files_and_a_byte_order_mark_change_nothing(tmp_path):
    exported(tmp_path)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    labels = tmp_path / "bdd100k/labels/det_20/det_train.json"
    labels.write_text(labels.read_text(), encoding="utf-8-sig")
    assert len(Store(prepare(tmp_path, BOTH) / "train")) == 3


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_named_with_a_remedy(tmp_path, damage):
    file, change, message = DAMAGE[damage]
    exported(tmp_path)
    change(tmp_path / "bdd100k" / file)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare(tmp_path, BOTH)
    assert not (tmp_path / "target/train").exists()


def test_sources_that_hold_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"images/100k: no such folder; unpack bdd100k_images_100k.zip"):
        prepare(tmp_path)
    (tmp_path / "images/100k").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no image in train or val"):
        prepare(tmp_path)
    exported(tmp_path / "other", tasks=("detection",))
    with pytest.raises(FileNotFoundError, match="images/10k: no such folder"):
        prepare(tmp_path / "other", BOTH)
    with pytest.raises(FileNotFoundError, match=r"drivable/masks/train: no masks; unpack bdd100k_drivable_labels"):
        prepare(tmp_path / "other", ("drivable",))
    for tasks in ((), ("segmentation", "drivable"), ("depth",)):
        with pytest.raises(ValueError, match="accepted: detection, and one of segmentation and drivable"):
            prepare(tmp_path, tasks)


def test_a_full_disk_is_found_before_any_work(tmp_path, monkeypatch):
    exported(tmp_path)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(ValueError, match=r"target/train needs 0.0 GB and 0.0 GB are free; .* smaller --size"):
        prepare(tmp_path)


def test_exporting_what_does_not_fit(tmp_path):
    with pytest.raises(ValueError, match="split is 'test'; accepted: train, val"):
        exported(tmp_path, split="test")
    with pytest.raises(ValueError, match=r"classes -1 to 18; accepted: -1 to 2 for drivable"):
        exported(tmp_path, tasks=("drivable",))


def test_verify_finds_boxes_that_are_wrong(tmp_path):
    target = prepare(exported(tmp_path))
    path = target / "train/boxes.npy"
    boxes = np.load(path)
    boxes[1] = [5, 5, 60, 10]
    np.save(path, boxes)
    findings = bdd100k.verify(target, progress=False)
    assert findings.loc[~findings["ok"], "what"].tolist() == ["train: files and checksums"]
    meta = json.loads((target / "train/meta.json").read_text())
    meta["arrays"]["boxes"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (target / "train/meta.json").write_text(json.dumps(meta))
    findings = bdd100k.verify(target, progress=False)
    assert findings.loc[~findings["ok"], "what"].tolist() == ["train: boxes outside of their image"]
