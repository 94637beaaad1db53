from dataclasses import replace
from math import log

import numpy as np
import pandas as pd
import pytest
import torch
from run_cases import Held

from mtlrepro.pages import figures
from mtlrepro.studies.lsb import pictures as lsb_pictures
from mtlrepro.studies.lsb.grids import EIGHT, TASKS, Setting, comparison, trends
from mtlrepro.studies.lsb.pictures import GAP, Shown
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
        "edges2d": torch.tensor([[[[0.0, 0.5, 0.0, 0.5]]]]),
    }


# --- errors


@pytest.mark.parametrize(
    ("task", "prediction", "expected"),
    [
        ("segmentation", [[[0, 0, 2, 5]]], [0, 1, 0, np.nan]),
        ("depth", [[[[2.0, 2.0, 2.0, 9.0]]]], [log(2), 0, log(2), np.nan]),
        ("normal", [[[[1, 0, 0, 0]], [[0, 0, 0, 0]], [[0, 2, 1, 1]]]], [0, 1, 2, np.nan]),
        ("curvature", [[[[1.0, 1.0, 0.0, 9.0]], [[0.0, 2.0, 1.0, 9.0]]]], [1, 2, 2, np.nan]),
        ("edges2d", [[[[0.25, 0.5, 0.0, 0.0]]]], [0.25, 0, 0, 0.5]),
    ],
)
def test_losses_by_hand(task, prediction, expected):
    prediction = np.array(prediction, dtype=np.int8 if task == "segmentation" else np.float32)
    loss = lsb_pictures.loss_map(task, prediction, batch())
    assert loss.shape == (1, 1, 4)
    assert loss[0, 0].tolist() == pytest.approx(expected, nan_ok=True)
    if task != "normal":
        np.testing.assert_array_equal(lsb_pictures.error_map(task, prediction, batch()), loss)


def test_errors_of_normals_are_angles_in_degrees():
    prediction = np.array([[[[1, 1, 0, 0]], [[0, 1, 0, 0]], [[0, 0, 1, 1]]]], dtype=np.float32)
    error = lsb_pictures.error_map("normal", prediction, batch())
    assert error[0, 0].tolist() == pytest.approx([0, 45, 180, np.nan], abs=0.05, nan_ok=True)


def test_a_depth_of_zero_has_a_finite_error():
    error = lsb_pictures.error_map("depth", np.zeros((1, 1, 1, 4), dtype=np.float32), batch())
    assert np.isfinite(error[0, 0, :3]).all()


def test_the_sum_of_maps_is_unknown_where_one_of_them_is():
    total = lsb_pictures.overall({"a": np.array([[1.0, np.nan]]), "b": np.array([[2.0, 3.0]])})
    assert total[0].tolist() == pytest.approx([3, np.nan], nan_ok=True)


def shown():
    right = {
        "segmentation": np.array([[[0, 1, 2, 0]]], dtype=np.int8),
        "depth": np.array([[[[1.0, 2.0, 4.0, 1.0]]]], dtype=np.float32),
    }
    wrong = {"segmentation": np.array([[[1, 1, 2, 0]]], dtype=np.int8), "depth": 2 * right["depth"]}
    return Shown(("segmentation", "depth"), batch(), {"equal": {1: wrong, 3: wrong}, "LSB": {1: wrong, 3: right}}, 3)


def test_mean_errors_are_over_known_pixels():
    errors = lsb_pictures.mean_errors(shown())
    assert errors["task"].tolist() == ["segmentation", "depth"] * 4
    assert errors["error"].tolist() == pytest.approx([1 / 3, log(2)] * 3 + [0, 0])
    text = lsb_pictures.best(lsb_pictures.mean_errors(shown()))
    assert text == ("Least mean error over the kept images: classes LSB (wrong class: 0); depth LSB (|log ratio|: 0).")


def test_mean_losses_have_their_sum():
    losses = lsb_pictures.mean_losses(shown())
    assert losses["task"].tolist() == ["segmentation", "depth", "sum"] * 4
    assert losses["error"][2] == pytest.approx(losses["error"][:2].sum())
    assert lsb_pictures.maps_finding(losses) == lsb_pictures.maps_finding(lsb_pictures.mean_errors(shown()))


# --- what the supplement says


def finals(quotients, noise=(1.0, 1.1, 1.2)):
    """Runs of equal weighting and LSB whose losses have these quotients in every seed."""
    rows = []
    for seed, factor in enumerate(noise):
        for method in ("equal", "lsb"):
            losses = {f"{t}.lsb_loss": factor * (q if method == "lsb" else 1.0) for t, q in quotients.items()}
            rows.append({"method": method, "seed": seed, **losses})
    return pd.DataFrame(rows)


def test_quotients_of_the_same_seed_cancel_what_the_seed_does():
    table = lsb_pictures.final_losses(finals({"depth": 1.5, "edges2d": 0.5}), ["depth", "edges2d"])
    assert table["quotient"].tolist() == pytest.approx([1.5, 0.5])
    assert table["low"].tolist() == pytest.approx([1.5, 0.5])
    assert table["equal"][0] == "1.10 ± 0.25"  # t(0.975, 2) * 0.1 / sqrt(3)


def test_claims_about_small_losses_and_all_tasks():
    quotients = {"depth": 4.0, "normal": 1.0, "edges2d": 0.5, "edges3d": 0.5, "keypoints2d": 2.0, "keypoints3d": 0.25}
    claims = lsb_pictures.claims(finals(quotients), [*quotients])
    assert [claim.status for claim in claims] == ["holds", "holds", "does not hold", "holds", "holds"]
    assert claims[-1].measured.value == pytest.approx(2 ** ((2 - 1 - 1 + 1 - 2) / 6))
    assert claims[-1].claim.startswith("All 6 tasks")


def evaluated():
    """LSB halves the loss of edges at both evaluations, and doubles then halves that of depth; seeds differ."""
    table = {("edges2d", 5): 0.5, ("edges2d", 10): 0.5, ("depth", 5): 2.0, ("depth", 10): 0.5}
    rows = [
        (method, seed, epoch, task, factor * (quotient if method == "lsb" else 1.0))
        for seed, factor in enumerate((1.0, 1.5))
        for (task, epoch), quotient in table.items()
        for method in ("equal", "lsb")
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "epoch", "task", "loss"])


def test_quotients_by_epoch():
    table = lsb_pictures.quotients(evaluated())
    assert table["task"].tolist() == ["edges, 2-D", "depth"]
    assert table["epoch 5"].tolist() == ["0.500 [0.500, 0.500]", "2.00 [2.00, 2.00]"]
    assert table["epoch 10"].tolist() == ["0.500 [0.500, 0.500]"] * 2
    assert lsb_pictures.quotients_finding(evaluated()).endswith(
        "over 2 seeds. It is below 1 after epoch 5 on 1 and after epoch 10 on 2 of 2 tasks."
    )


def test_evaluations_are_those_of_the_epochs_that_have_one(tmp_path, monkeypatch):
    (config, *_) = trends(Setting("smoke", seeds=1), EIGHT, ["lsb"])
    scores = {task: {"lsb_loss": 0.5 + place} for place, task in enumerate(EIGHT)}
    history = [{"epoch": 1, "metrics": None}, {"epoch": 2, "metrics": scores}]
    stored = Held({config.hash: {"history": history}})
    monkeypatch.setattr(lsb_pictures, "Store", lambda store: stored)
    found = lsb_pictures.evaluations([config], tmp_path)
    assert found["epoch"].tolist() == [2] * 8
    assert found["loss"].tolist() == [0.5 + place for place in range(8)]


def test_findings_count_what_is_smaller():
    errors = lsb_pictures.mean_errors(shown())
    assert lsb_pictures.maps_finding(errors).endswith(
        "After epoch 3 its mean loss is smaller under LSB than under equal weighting on 2 of 2 tasks."
    )
    table = lsb_pictures.final_losses(finals({"depth": 1.5, "edges2d": 0.5}), ["depth", "edges2d"])
    assert lsb_pictures.losses_finding(table).endswith("smaller under LSB: edges, 2-D; larger: depth.")


# --- drawings


def test_a_mosaic_keeps_pixels_and_titles():
    red, blue = (np.full((2, 3, 3), colour, dtype=np.uint8) for colour in ([255, 0, 0], [0, 0, 255]))
    (axes,) = lsb_pictures.mosaic([[red, blue], [blue, blue]], ["one", "two"], ["a", "b"]).axes
    (image,) = axes.get_images()
    pixels = np.asarray(image.get_array())
    assert pixels.shape == (2 * 2 + GAP, 2 * 3 + GAP, 3)
    assert pixels[0, 0].tolist() == [255, 0, 0] and pixels[-1, 0].tolist() == pixels[0, -1].tolist() == [0, 0, 255]
    assert (pixels[2 : 2 + GAP] == 255).all()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "two"]


def test_heat_is_dark_at_zero_and_pink_where_unknown():
    colours = lsb_pictures.heat(np.array([[0.0, 1.0, 5.0, np.nan]]), 1.0)
    assert colours.dtype == np.uint8
    assert colours[0, 0].max() < 10
    assert colours[0, 1].tolist() == colours[0, 2].tolist()
    assert colours[0, 3].tolist() == [0xE3, 0x77, 0xC2]


def test_panel_and_maps_have_a_row_for_everything():
    (panel,) = lsb_pictures.panel(shown(), 0).axes
    last = shown()
    first = replace(last, predictions={name: {1: own[1]} for name, own in last.predictions.items()})
    pixels, others = (
        np.asarray(lsb_pictures.panel(one, 0).axes[0].get_images()[0].get_array()) for one in (last, first)
    )
    assert (pixels != others).any()  # estimates are those of the last epoch
    assert [label.get_text() for label in panel.get_xticklabels()] == ["target", "equal", "LSB"]
    assert len(panel.get_yticks()) == 2 * 2
    assert [*lsb_pictures.slides(shown(), "full sharing", 1)] == ["1"]
    (maps,) = lsb_pictures.loss_maps(shown()).axes
    assert len(maps.get_xticks()) == 2 + 1
    assert [label.get_text() for label in maps.get_yticklabels()] == [
        f"{method}\nepoch {epoch}" for method in ("equal", "LSB") for epoch in (1, 3)
    ]
    assert len(figures.webp(lsb_pictures.loss_maps(shown()), photograph=True)) > 500
    one, two = (figures.webp(lsb_pictures.panel(shown(), 0), photograph=True) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("eight", [False, True])
def test_what_runs_kept_meets_its_targets(tmp_path, eight):
    """Targets that stand in for stored predictions have no error."""
    setting = Setting("smoke", seeds=2, comparison_seeds=2)
    configs = trends(setting, EIGHT, ["equal"]) if eight else comparison(setting, ["equal"], ["full_sharing"])
    configs = [
        config.replace(pictures={"epochs": [2], "images": [0, 2]}) if config.pictures else config for config in configs
    ]
    kept = configs[0]
    data = lsb_pictures.datasets.load("rooms", "test", n=3, size=kept.size).batch([0, 2])
    taken = {name: data[name].to(torch.int8 if name == "segmentation" else torch.float16) for name in kept.tasks}
    taken["normal"] = (127 * data["normal"]).round().to(torch.int8)
    predictions.write(tmp_path / f"{kept.hash}.npz", {2: taken})
    found = lsb_pictures.load(configs, setting, tmp_path)
    assert tuple(found.tasks) == (EIGHT if eight else TASKS)
    losses = lsb_pictures.mean_losses(found)
    assert losses["error"].tolist()[:-1] == pytest.approx([0] * len(found.tasks), abs=2e-3)
    assert found.predictions.keys() == {"equal"}
