import numpy as np
import pandas as pd
import pytest
import torch
from study_stores import keep

from mtlrepro.analysis.significance import holm, paired_p_value
from mtlrepro.analysis.verdicts import geometric_interval, grouped
from mtlrepro.studies.lsb import predictions as lsb_predictions
from mtlrepro.studies.lsb.grids import EIGHT, trends
from mtlrepro.studies.predictions import Shown
from mtlrepro.studies.setting import Setting


def finals(quotients, noise=(1.0, 1.1, 1.2)):
    """Runs of equal weighting and LSB whose losses have these quotients in every seed."""
    rows = []
    for seed, factor in enumerate(noise):
        for method in ("equal", "lsb"):
            losses = {
                lsb_predictions.measure(t): factor * (q if method == "lsb" else 1.0) for t, q in quotients.items()
            }
            rows.append({"method": method, "seed": seed, **losses})
    return pd.DataFrame(rows)


def test_quotients_of_the_same_seed_cancel_what_the_seed_does():
    table = lsb_predictions.final_losses(finals({"depth": 1.5, "edges2d": 0.5}), ["depth", "edges2d"])
    for bound in ("", " low", " high"):
        assert table[f"LSB over equal{bound}"].tolist() == pytest.approx([1.5, 0.5])
    expected = geometric_interval([1.0, 1.1, 1.2])
    assert table.loc[0, ["equal", "equal low", "equal high"]].tolist() == pytest.approx(
        [expected.value, expected.low, expected.high]
    )
    assert table["p, corrected"].tolist() == [0, 0]


def test_tasks_that_are_read_together_are_corrected():
    runs = finals({"depth": 1.5, "edges2d": 0.5})
    lsb = runs["method"] == "lsb"
    runs.loc[lsb, ["depth.lsb_loss", "edges2d.lsb_loss"]] *= np.array([[1.0, 1.0], [1.1, 1.02], [1.2, 0.98]])
    table = lsb_predictions.final_losses(runs, ["depth", "edges2d"])
    ratios = np.log([[1.5, 1.5 * 1.1, 1.5 * 1.2], [0.5, 0.5 * 1.02, 0.5 * 0.98]])
    assert table["p, corrected"].tolist() == pytest.approx(holm([paired_p_value(one) for one in ratios]).tolist())


def with_others(table, **factors):
    """The same runs with those of other methods, whose losses are those of equal weighting times a factor."""
    losses = [name for name in table if "." in name]
    equal = table[table["method"] == "equal"]
    others = [equal.assign(method=name, **(factor * equal[losses])) for name, factor in factors.items()]
    return pd.concat([table, *others], ignore_index=True)


def test_claims_about_all_tasks_the_best_and_small_losses():
    quotients = {"depth": 4.0, "normal": 1.0, "edges2d": 0.5, "edges3d": 0.5, "keypoints2d": 2.0, "keypoints3d": 0.25}
    runs = with_others(finals(quotients), uncertainty=1.2, dwa=1.3, gls=1.5)
    *small, everything, best = lsb_predictions.claims(runs, [*quotients])
    assert [claim.status for claim in small] == ["holds", "holds", "does not hold", "holds"]
    assert {(claim.kind, claim.source, claim.finding) for claim in small} == {("ours", "our question", 3)}
    assert all("not corrected" in claim.reading for claim in small)
    assert len(grouped(small)) == 1
    assert everything.measured.value == pytest.approx(2 ** ((2 - 1 - 1 + 1 - 2) / 6))
    assert (everything.status, everything.source, everything.finding) == ("holds", "Section 6, Figure S-5", 3)
    assert (best.source, best.kind, best.status) == ("Section 5", "paper", "does not hold")
    assert best.place == "eight tasks, best other equal"
    assert best.measured.value == pytest.approx(2)


def test_slow_growth_is_asked_for_beside_the_supplements():
    runs = with_others(finals({"keypoints2d": 2.0}), uncertainty=1.2, dwa=1.3, gls=1.5)
    better = finals({"keypoints2d": 0.5})
    slow = better[better["method"] == "lsb"].drop(columns="method")
    found = lsb_predictions.slow_claims(runs, slow, ["keypoints2d"])
    assert [one.status for one in lsb_predictions.claims(runs, ["keypoints2d"])] == ["does not hold"] * 3
    assert [one.status for one in found] == ["holds"] * 3
    assert {(one.kind, one.source, one.finding) for one in found} == {("ours", "our question", 0)}
    assert [one.place for one in found] == [
        "keypoints, 2-D, slow growth of β",
        "slow growth of β",
        "eight tasks, slow growth of β, best other equal",
    ]


def test_the_best_other_method_is_one_of_the_supplements():
    runs = with_others(finals({"keypoints2d": 0.5}), uncertainty=1.1, dwa=0.9, gls=0.8, gradnorm=0.1)
    *_, best = lsb_predictions.claims(runs, ["keypoints2d"])
    assert best.circumstances == "best other GLS"
    assert best.measured.value == pytest.approx(0.5 / 0.8)


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
    table = lsb_predictions.quotients(evaluated())
    assert table["task"].tolist() == ["edges, 2-D", "depth"]
    assert table["epoch 5"].tolist() == ["0.500 [0.500, 0.500]", "2.00 [2.00, 2.00]"]
    assert table["epoch 10"].tolist() == ["0.500 [0.500, 0.500]"] * 2
    assert lsb_predictions.quotients_finding(evaluated()) == (
        "Of 2 tasks, the whole interval lies below 1 for 1 after epoch 5 and 2 after epoch 10."
    )


def test_evaluations_are_those_of_the_epochs_that_have_one(tmp_path):
    (config, *_) = trends(Setting(scale="smoke", seeds=1), EIGHT, ["lsb"])
    scores = {task: {"lsb_loss": 0.5 + place, "mean_angle": 0.5 + place} for place, task in enumerate(EIGHT)}
    scores["normal"]["lsb_loss"] = -1.0  # of estimates that are longer than unit vectors
    history = [{"epoch": 1, "metrics": None}, {"epoch": 2, "metrics": scores}]
    setting = Setting(scale="smoke", store=keep(tmp_path, config, history=history))
    found = lsb_predictions.evaluations(setting, [config])
    assert found["epoch"].tolist() == [2] * 8
    assert found["loss"].tolist() == [0.5 + place for place in range(8)]


def test_findings_count_what_is_smaller():
    rows = [("equal", 3, "depth", 0.5), ("equal", 3, "edges2d", 0.2), ("equal", 3, "sum", 0.7)]
    rows += [("LSB", 1, "depth", 0.9), ("LSB", 3, "depth", 0.4), ("LSB", 3, "edges2d", 0.1), ("LSB", 3, "sum", 0.5)]
    errors = pd.DataFrame(rows, columns=["method", "epoch", "task", "error"])
    assert lsb_predictions.maps_finding(errors).endswith(
        "After epoch 3 its mean loss is smaller under LSB than under equal weighting on 2 of 2 tasks."
    )
    table = lsb_predictions.final_losses(finals({"depth": 1.5, "edges2d": 0.5}), ["depth", "edges2d"])
    assert lsb_predictions.losses_finding(table) == (
        "By the interval of each task, smaller under LSB: edges, 2-D; larger: depth; by the corrected test, smaller: "
        "edges, 2-D; larger: depth."
    )


@pytest.mark.parametrize("images", [1, 2])
def test_loss_maps_say_that_the_only_image_was_no_choice(images):
    """Of a depth that is known at half of the pixels; where there are more images, the rule chooses."""
    depth = torch.tensor([[[[1.0, 0.0]]]]).repeat(images, 1, 1, 1)
    batch = {"image": torch.zeros(images, 3, 1, 2), "depth": depth}
    estimates = {2: {"depth": np.ones((images, 1, 1, 2), dtype=np.float32)}}
    found = Shown(("depth",), batch, {"equal": estimates, "LSB": estimates}, 0)
    caption = lsb_predictions.loss_maps_exhibit(found).caption
    assert "known at 50 % of its pixels" in caption
    assert ("It is the first test image, whatever is known of it" in caption) == (images == 1)
