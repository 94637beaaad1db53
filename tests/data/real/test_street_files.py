"""Streets written as files of Cityscapes and BDD100K and read again: the same samples, but for rounding."""

import pytest
import torch
from sample_cases import check

from mtlrepro.data.classes import BDD100K, SEVEN
from mtlrepro.data.datasets import load
from mtlrepro.data.real.bdd100k import prepare as bdd100k
from mtlrepro.data.real.cityscapes import prepare as cityscapes
from mtlrepro.data.scenes.streets import generate as streets
from mtlrepro.data.scenes.streets.layout import BASELINE, FOCAL

SIZE = (48, 96)
CAMERA = {"focal": FOCAL * SIZE[1], "baseline": BASELINE}
VIEW = ("image", "right", "segmentation", "disparity", "boxes", "labels", "depth")


@pytest.fixture(scope="module")
def scenes():
    batch = streets.generate(range(4), split="train", size=SIZE, keys=VIEW)
    return [{key: batch[key][i] for key in VIEW} for i in range(4)]


def same_image(found, expected):
    return (found - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_files_of_cityscapes(scenes, tmp_path):
    for split in ("train", "val"):
        cityscapes.export(tmp_path / "source", scenes, split, **CAMERA)
    cityscapes.prepare(tmp_path / "source", tmp_path / "target", progress=False)
    data = load("cityscapes", "val", root=tmp_path / "target")
    for i, scene in enumerate(scenes):
        found = data[i]
        check(found)
        assert same_image(found["image"], scene["image"])
        assert same_image(found["right"], scene["right"])
        assert torch.equal(found["segmentation"], scene["segmentation"])
        assert (found["disparity"] - scene["disparity"]).abs().max() <= 1 / 512
        depth = float(data.store["focal"][i] * data.store["baseline"][i]) / found["disparity"]
        known = found["disparity"] > 0
        # A disparity off by 1/512 is a depth off by the share 1/512 / d.
        off = (depth - scene["depth"]).abs() / scene["depth"] * found["disparity"]
        assert off[known].max() <= 1 / 512 + 1e-4
    assert torch.equal(
        load("cityscapes", root=tmp_path / "target", classes=7)[0]["segmentation"].unique(),
        torch.tensor([*SEVEN, -1])[scenes[0]["segmentation"]].unique(),
    )
    assert cityscapes.verify(tmp_path / "target", progress=False)["ok"].all()


def test_a_data_set_can_be_written_and_gives_the_same_files(scenes, tmp_path):
    # Known disparities below 1/512 would come back as unknown.
    scenes = [scene | {"disparity": scene["disparity"].where(scene["disparity"] > 1 / 512, 0)} for scene in scenes]
    cityscapes.export(tmp_path / "first", scenes, **CAMERA)
    cityscapes.prepare(tmp_path / "first", tmp_path / "target", progress=False)
    cityscapes.export(tmp_path / "second", load("cityscapes", root=tmp_path / "target"), **CAMERA)
    first, second = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("first", "second")
    )
    assert len(first) == 5 * len(scenes)
    assert first == second


def test_the_mtan_pack(scenes, tmp_path):
    cityscapes.export_mtan(tmp_path / "source", scenes)
    cityscapes.prepare(tmp_path / "source", tmp_path / "target", classes=7, progress=False)
    data = load("cityscapes", root=tmp_path / "target")
    to_seven = torch.tensor([*SEVEN, -1])
    for i, scene in enumerate(scenes):
        found = data[i]
        check(found)
        assert same_image(found["image"], scene["image"])
        assert torch.equal(found["segmentation"], to_seven[scene["segmentation"]])
        # 1/512 of a pixel at a width of 2048
        assert (found["disparity"] - scene["disparity"]).abs().max() <= SIZE[1] / 2048 / 512 + 1e-6
    assert cityscapes.verify(tmp_path / "target", progress=False)["ok"].all()


def test_files_of_bdd100k(scenes, tmp_path):
    tasks = ("detection", "segmentation")
    bdd100k.export(tmp_path / "source", scenes, tasks=tasks)
    bdd100k.prepare(tmp_path / "source", tmp_path / "target", tasks=tasks, progress=False)
    data = load("bdd100k", root=tmp_path / "target")
    assert data.box_names == BDD100K
    assert sum(len(scene["boxes"]) for scene in scenes) > 4
    for i, scene in enumerate(scenes):
        found = data[i]
        check(found)
        assert (found["image"] - scene["image"]).abs().mean() < 4 / 255  # JPEG on sensor noise
        assert torch.equal(found["segmentation"], scene["segmentation"])
        assert torch.equal(found["boxes"], scene["boxes"])
        assert torch.equal(found["labels"], scene["labels"])
    assert bdd100k.verify(tmp_path / "target", progress=False)["ok"].all()
