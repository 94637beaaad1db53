"""What the chapter on the data sets computes: masks, ranges, shares, figures and checks on scenes made by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import AxesImage

from mtlrepro.data.classes import CITYSCAPES
from mtlrepro.data.scenes.rooms import generate as rooms
from mtlrepro.data.scenes.streets import generate as streets
from mtlrepro.data.store import Writer
from mtlrepro.studies.data import datasets as study
from mtlrepro.studies.data import learnability


@pytest.fixture
def tiny(tmp_path):
    """Two images of 1 x 4 pixels whose classes, depths and curvatures are known by heart."""
    with Writer(tmp_path / "train", 2, {"dataset": "nyuv2", "split": "train", "classes": ["a", "b", "c"]}) as writer:
        writer.put("image", 0, torch.full((2, 3, 1, 4), 0.2))
        writer.put("segmentation", 0, torch.tensor([[[0, 0, 1, -1]], [[0, -1, -1, -1]]]))
        writer.put("depth", 0, torch.tensor([[[[1.0, 2.0, 0.0, 4.0]]], [[[0.0, 8.0, 0.0, 0.0]]]]))
        writer.put("curvature", 0, torch.tensor([[[[5.0, 0, 0, 9]], [[1, 0, 0, 0]]], [[[0, 0, 0, 0]], [[0, 0, 0, 0]]]]))
        writer.put("valid", 0, torch.tensor([[[[True, True, True, False]]], [[[True, True, True, True]]]]))
        writer.advance(2)
    return study.open_dataset("nyuv2", str(tmp_path), "train", n=8, size=(8, 8))


@pytest.fixture(scope="module")
def street():
    batch = streets.generate([3], split="train", size=(48, 96))
    return {key: values[0] for key, values in batch.items()}


def test_inventory_by_hand(tiny):
    table = study.inventory(tiny).set_index("key")
    assert table.index.tolist() == ["image", "segmentation", "depth", "curvature", "valid"]
    assert table.loc["depth", ["smallest", "median", "largest", "unknown"]].tolist() == [1.0, 2.0, 8.0, 50.0]
    assert table.loc["segmentation", ["smallest", "largest", "unknown"]].tolist() == [0.0, 1.0, 50.0]
    assert table.loc["curvature", ["largest", "unknown"]].tolist() == [5.0, 12.5]  # 9 is where nothing is valid
    assert table.loc["image", "unknown"] == 0
    assert table["unit"].tolist() == ["-", "class", "m", "1/m", "-"]
    assert table["invalid"].tolist() == ["-", "-1", "0", "not valid", "-"]


def test_class_shares_by_hand(tiny):
    shares = study.class_shares(tiny)
    assert shares["class"].tolist() == ["a", "b", "c"]
    assert shares["share"].tolist() == pytest.approx([75, 25, 0])


def test_published_shares_follow_from_the_weights():
    """Road: w = 2.5959933, exp(1/w) - 1.1 = 0.3699."""
    shares = study.published_shares().set_index("class")["share"]
    assert tuple(shares.index) == CITYSCAPES
    assert shares["road"] == pytest.approx(36.99, abs=0.01)
    assert shares.sum() == pytest.approx(100, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "root", "message"),
    [
        ("nyuv2", "", "data_root is empty; accepted for nyuv2: .*data_scripts/nyuv2.py prepare SOURCE TARGET"),
        ("cityscapes", "nowhere", "nowhere/train holds no prepared split; make it with .*cityscapes.py prepare"),
        ("rooms", "somewhere", "data_root is 'somewhere'; accepted: none for rooms"),
        ("kitti", "x", "name is 'kitti'; accepted: rooms"),
    ],
)
def test_what_cannot_be_opened(name, root, message):
    with pytest.raises(ValueError, match=message):
        study.open_dataset(name, root, "train", n=8, size=(16, 16))


def test_gallery_shows_every_dense_key_and_every_box(street):
    figure, table = study.gallery(street, CITYSCAPES)
    dense = [key for key in study.SHOWN if key in street]
    assert table["key"].tolist() == dense
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == len(dense)
    (legend,) = figure.legends
    present = [CITYSCAPES[c] for c in street["segmentation"].unique() if c >= 0]
    assert [text.get_text() for text in legend.get_texts()] == present
    (image,) = (axes for axes in figure.axes if axes.get_title() == "image")
    assert len(image.patches) == len(street["boxes"]) > 0
    assert table.set_index("key").loc["disparity", "mean"] == pytest.approx(street["disparity"].mean().item())
    hidden = [
        np.ma.count_masked(drawn.get_array())
        for axes in figure.axes
        for drawn in axes.get_children()
        if isinstance(drawn, AxesImage) and axes.get_title() == "disparity, px"
    ]
    assert hidden == [int((street["disparity"] == 0).sum())]


def test_shares_figure_has_a_line_for_each_class():
    table = pd.DataFrame({"class": ["a", "b", "a"], "share": [90.0, 10.0, 100.0], "source": ["x", "x", "y"]})
    (axes,) = study.shares_figure(table).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[90.0, 10.0], [100.0]]


def test_encodings_stay_within_their_bounds():
    table = study.encodings(2)
    assert set(table["format"]) == {"nyuv2", "cityscapes", "taskonomy", "bdd100k"}
    assert (table["error"] <= table["bound"] + 1e-6).all()
    rounded = table[table["bound"] > 0]
    assert (rounded["error"] > rounded["bound"] / 20).all()  # the bounds are not idle


def test_stereo_matches_only_with_the_right_sign():
    table = study.stereo_check()
    right, wrong = table["difference"][::2].to_numpy(), table["difference"][1::2].to_numpy()
    assert (right < wrong / 2).all()


def test_warp_by_hand():
    """Right view 0, 10, 20, 30: at x - 1 and x - 0.5, and outside at the left border."""
    right = torch.tensor([0.0, 10, 20, 30]).expand(3, 1, 4)
    warped, inside = study._warp(right, torch.tensor([[[1.0, 1.0, 0.5, 0.5]]]))
    assert warped[0].tolist() == [[0, 0, 15, 25]]
    assert inside.tolist() == [[[False, True, True, True]]]


def test_exactness():
    found = study.exactness(4)
    assert found["bits"] == 0
    assert found["normals"] < 0.1
    assert found["curvature"] < 1e-5
    assert found["disparity"] < 1e-4


def test_learned_puts_methods_beside_each_other():
    table = learnability.compare("rooms", seeds=2, train=8, evaluate=4, steps=10, size=(32, 32))
    found = study.learned(table, "rooms", learnability.margins)
    assert found["seed"].tolist() == [0, 1]
    assert (found["network"] - found["colour"]).tolist() == pytest.approx(found["gain"].tolist())
    assert (found["error"] / found["constant"]).tolist() == pytest.approx(found["ratio"].tolist())


def test_rooms_have_every_map_of_the_gallery():
    assert {*rooms.KEYS} <= {*study.SHOWN}
