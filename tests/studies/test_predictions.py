from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

from mtlrepro.data import datasets
from mtlrepro.pages import figures
from mtlrepro.runs.store import Store
from mtlrepro.studies import predictions as studies_predictions
from mtlrepro.studies.predictions import GAP, Shown
from mtlrepro.studies.setting import Setting
from mtlrepro.tasks import MAPS
from mtlrepro.training import predictions


def batch():
    """One image of 1 x 4 pixels, the last one unknown."""
    return {
        "image": torch.full((1, 3, 1, 4), 0.5),
        "segmentation": torch.tensor([[[0, 1, 2, -1]]]),
        "depth": torch.tensor([[[[1.0, 2.0, 4.0, 0.0]]]]),
        "normal": torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]).T[None, :, None],
        "curvature": torch.tensor([[[[0.0, 1.0, 2.0, 0.0]], [[0.0, 0.0, 1.0, 0.0]]]]),
        "valid": torch.tensor([[[[True, True, True, False]]]]),
        "disparity": torch.tensor([[[[8.0, 4.0, 2.0, 0.0]]]]),
        "edges2d": torch.tensor([[[[0.0, 0.5, 0.0, 0.5]]]]),
    }


@pytest.mark.parametrize(
    ("task", "prediction", "expected"),
    [
        ("segmentation", [[[0, 0, 2, 5]]], [0, 1, 0, np.nan]),
        ("depth", [[[[2.0, 2.0, 2.0, 9.0]]]], [log(2), 0, log(2), np.nan]),
        ("normal", [[[[1, 0, 0, 0]], [[0, 0, 0, 0]], [[0, 2, 1, 1]]]], [0, 1, 2, np.nan]),
        ("curvature", [[[[1.0, 1.0, 0.0, 9.0]], [[0.0, 2.0, 1.0, 9.0]]]], [1, 2, 2, np.nan]),
        ("edges2d", [[[[0.25, 0.5, 0.0, 0.0]]]], [0.25, 0, 0, 0.5]),
        ("disparity", [[[[8.0, 8.0, 9.0, 9.0]]]], [0, 4, 7, np.nan]),
    ],
)
def test_losses_by_hand(task, prediction, expected):
    prediction = np.array(prediction, dtype=np.int8 if task == "segmentation" else np.float32)
    loss = studies_predictions.loss_map(task, prediction, batch())
    assert loss.shape == (1, 1, 4)
    assert loss[0, 0].tolist() == pytest.approx(expected, nan_ok=True)
    if task != "normal":
        np.testing.assert_array_equal(studies_predictions.error_map(task, prediction, batch()), loss)


def test_known_share_is_that_of_pixels_at_which_every_target_is_known():
    seen = batch() | {"valid": torch.tensor([[[[True, False, True, False]]]])}
    shown = Shown(["segmentation", "curvature"], seen, {}, 3)
    assert studies_predictions.known_share(shown, 0) == 0.5
    assert studies_predictions.known_share(Shown(["segmentation"], seen, {}, 3), 0) == 0.75


def test_errors_of_normals_are_angles_in_degrees():
    prediction = np.array([[[[1, 1, 0, 0]], [[0, 1, 0, 0]], [[0, 0, 1, 1]]]], dtype=np.float32)
    error = studies_predictions.error_map("normal", prediction, batch())
    assert error[0, 0].tolist() == pytest.approx([0, 45, 180, np.nan], abs=0.05, nan_ok=True)


def test_a_depth_of_zero_has_a_finite_error():
    error = studies_predictions.error_map("depth", np.zeros((1, 1, 1, 4), dtype=np.float32), batch())
    assert np.isfinite(error[0, 0, :3]).all()


def test_the_sum_of_maps_is_unknown_where_one_of_them_is():
    total = studies_predictions.overall({"a": np.array([[1.0, np.nan]]), "b": np.array([[2.0, 3.0]])})
    assert total[0].tolist() == pytest.approx([3, np.nan], nan_ok=True)


def shown(images=1):
    right = {
        "segmentation": np.array([[[0, 1, 2, 0]]], dtype=np.int8),
        "depth": np.array([[[[1.0, 2.0, 4.0, 1.0]]]], dtype=np.float32),
    }
    wrong = {"segmentation": np.array([[[1, 1, 2, 0]]], dtype=np.int8), "depth": 2 * right["depth"]}
    right, wrong = ({task: maps.repeat(images, axis=0) for task, maps in own.items()} for own in (right, wrong))
    repeated = {name: values.repeat_interleave(images, dim=0) for name, values in batch().items()}
    return Shown(("segmentation", "depth"), repeated, {"equal": {1: wrong, 3: wrong}, "LSB": {1: wrong, 3: right}}, 3)


def test_mean_errors_are_over_known_pixels():
    errors = studies_predictions.mean_errors(shown())
    assert errors["task"].tolist() == ["segmentation", "depth"] * 4
    assert errors["error"].tolist() == pytest.approx([1 / 3, log(2)] * 3 + [0, 0])
    text = studies_predictions.best(studies_predictions.mean_errors(shown()))
    assert text == ("Least mean error over the kept images: classes LSB (wrong class: 0); depth LSB (|log ratio|: 0).")


def test_mean_losses_have_their_sum():
    losses = studies_predictions.mean_losses(shown())
    assert losses["task"].tolist() == ["segmentation", "depth", "sum"] * 4
    assert losses["error"][2] == pytest.approx(losses["error"][:2].sum())


# --- drawings


def test_a_mosaic_keeps_pixels_and_titles():
    red, blue = (np.full((2, 3, 3), colour, dtype=np.uint8) for colour in ([255, 0, 0], [0, 0, 255]))
    (axes,) = studies_predictions.mosaic([[red, blue], [blue, blue]], ["one", "two"], ["a", "b"]).axes
    (image,) = axes.get_images()
    pixels = np.asarray(image.get_array())
    assert pixels.shape == (2 * 2 + GAP, 2 * 3 + GAP, 3)
    assert pixels[0, 0].tolist() == [255, 0, 0] and pixels[-1, 0].tolist() == pixels[0, -1].tolist() == [0, 0, 255]
    assert (pixels[2 : 2 + GAP] == 255).all()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "two"]


def test_heat_is_dark_at_zero_and_magenta_where_unknown():
    colours = studies_predictions.heat(np.array([[0.0, 1.0, 5.0, np.nan]]), 1.0)
    assert colours.dtype == np.uint8
    assert colours[0, 0].max() < 10
    assert colours[0, 1].tolist() == colours[0, 2].tolist()
    assert colours[0, 3].tolist() == [0xFF, 0x00, 0xFF]


def test_panel_and_maps_have_a_row_for_everything():
    (panel,) = studies_predictions.panel(shown(), 0).axes
    last = shown()
    first = replace(last, predictions={name: {1: own[1]} for name, own in last.predictions.items()})
    pixels, others = (
        np.asarray(studies_predictions.panel(one, 0).axes[0].get_images()[0].get_array()) for one in (last, first)
    )
    assert (pixels != others).any()  # estimates are those of the last epoch
    assert [label.get_text() for label in panel.get_xticklabels()] == ["target", "equal", "LSB"]
    assert len(panel.get_yticks()) == 2 * 2
    exhibit = studies_predictions.panels_exhibit(shown(images=2), "full_sharing")
    assert [*exhibit.frames] == ["1", "2"]
    assert exhibit.frames["2"][1].startswith("full sharing, image 2: a grid of pictures")
    assert "for classes and depth a row of estimates" in exhibit.frames["2"][1]
    (maps,) = studies_predictions.loss_maps(shown()).axes
    assert len(maps.get_xticks()) == 2 + 1
    assert [label.get_text() for label in maps.get_yticklabels()] == [
        f"{method}\nepoch {epoch}" for method in ("equal", "LSB") for epoch in (1, 3)
    ]
    assert len(figures.webp(studies_predictions.loss_maps(shown()), photograph=True)) > 500
    one, two = (figures.webp(studies_predictions.panel(shown(), 0), photograph=True) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("tasks", [("segmentation", "depth", "normal"), ("depth", "normal", *MAPS)])
def test_what_runs_kept_meets_its_targets(tmp_path, tasks):
    """Targets that stand in for stored predictions have no error; runs that keep none are left out."""
    setting = Setting(scale="smoke", tasks=tasks, store=Store(tmp_path))
    kept, other = setting.run(method="equal", pictures={"epochs": [2], "images": [0, 2]}), setting.run(method="lsb")
    data = datasets.load("rooms", "test", n=3, size=kept.size).batch([0, 2])
    taken = {name: data[name].to(torch.int8 if name == "segmentation" else torch.float16) for name in kept.tasks}
    taken["normal"] = (127 * data["normal"]).round().to(torch.int8)
    predictions.write(tmp_path / f"{kept.hash}.npz", {2: taken})
    found = studies_predictions.load(setting, [other, kept])
    assert tuple(found.tasks) == tasks
    losses = studies_predictions.mean_losses(found)
    assert losses["error"].tolist()[:-1] == pytest.approx([0] * len(found.tasks), abs=2e-3)
    assert found.predictions.keys() == {"equal"}


def test_single_tasks_are_shown_as_one(tmp_path):
    setting = Setting(scale="smoke", tasks=("segmentation", "depth"), store=Store(tmp_path))
    fields = {"method": "equal", "pictures": {"epochs": [2], "images": [1]}}
    both, *single = (setting.run(tasks=own, **fields) for own in (setting.tasks, ("segmentation",), ("depth",)))
    for run, value in zip((both, *single), (1, 2, 3), strict=True):
        shapes = {"segmentation": (torch.int8, (1, 2, 2)), "depth": (torch.float16, (1, 1, 2, 2))}
        maps = {task: torch.full(shapes[task][1], value, dtype=shapes[task][0]) for task in run.tasks}
        predictions.write(tmp_path / f"{run.hash}.npz", {2: maps})
    titles = {**{run.hash: "alone" for run in single}, both.hash: "joint"}
    found = studies_predictions.load(setting, [*single, both], titles)
    assert list(found.tasks) == ["segmentation", "depth"]
    values = {title: {task: maps.max() for task, maps in own[2].items()} for title, own in found.predictions.items()}
    assert values == {"alone": {"segmentation": 2, "depth": 3}, "joint": {"segmentation": 1, "depth": 1}}


def test_pictures_are_of_the_first_images_of_which_most_is_known():
    """A rule of the targets alone; images of which less is known come last, in their order."""
    rows = []
    for unknown in (3, 0, 2, 1, 0):  # of 20 pixels; one missing pixel is 95 %
        depth = torch.ones(1, 1, 20)
        depth[..., :unknown] = 0
        rows.append(depth)
    batch = {"depth": torch.stack(rows), "segmentation": torch.zeros(5, 1, 20, dtype=torch.int64)}
    assert Shown(("segmentation", "depth"), batch, {}, 3).clear == [1, 3, 4, 0, 2]
    batch["segmentation"][1, :, :2] = -1  # exactly 90 % is not more
    assert Shown(("segmentation", "depth"), batch, {}, 3).clear == [3, 4, 0, 1, 2]


def test_slides_and_loss_maps_show_these_images(monkeypatch):
    drawn = []
    monkeypatch.setattr(studies_predictions, "panel", lambda shown, image: drawn.append(image))
    monkeypatch.setattr(Shown, "clear", [2, 4, 0, 1, 3])
    assert list(studies_predictions.slides(shown(images=5), "network", 2)) == ["1", "2"]
    assert drawn == [2, 4]
