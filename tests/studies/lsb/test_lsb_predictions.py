import pandas as pd
import pytest
from study_stores import keep

from mtlrepro.studies.lsb import predictions as lsb_predictions
from mtlrepro.studies.lsb.grids import EIGHT, trends
from mtlrepro.studies.setting import Setting


def finals(quotients, noise=(1.0, 1.1, 1.2)):
    """Runs of equal weighting and LSB whose losses have these quotients in every seed."""
    rows = []
    for seed, factor in enumerate(noise):
        for method in ("equal", "lsb"):
            losses = {f"{t}.lsb_loss": factor * (q if method == "lsb" else 1.0) for t, q in quotients.items()}
            rows.append({"method": method, "seed": seed, **losses})
    return pd.DataFrame(rows)


def test_quotients_of_the_same_seed_cancel_what_the_seed_does():
    table = lsb_predictions.final_losses(finals({"depth": 1.5, "edges2d": 0.5}), ["depth", "edges2d"])
    assert table["quotient"].tolist() == pytest.approx([1.5, 0.5])
    assert table["low"].tolist() == pytest.approx([1.5, 0.5])
    assert table["equal"][0] == "1.10 ± 0.25"  # t(0.975, 2) * 0.1 / sqrt(3)


def test_claims_about_small_losses_and_all_tasks():
    quotients = {"depth": 4.0, "normal": 1.0, "edges2d": 0.5, "edges3d": 0.5, "keypoints2d": 2.0, "keypoints3d": 0.25}
    claims = lsb_predictions.claims(finals(quotients), [*quotients])
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
    table = lsb_predictions.quotients(evaluated())
    assert table["task"].tolist() == ["edges, 2-D", "depth"]
    assert table["epoch 5"].tolist() == ["0.500 [0.500, 0.500]", "2.00 [2.00, 2.00]"]
    assert table["epoch 10"].tolist() == ["0.500 [0.500, 0.500]"] * 2
    assert lsb_predictions.quotients_finding(evaluated()).endswith(
        "over 2 seeds. It is below 1 after epoch 5 on 1 and after epoch 10 on 2 of 2 tasks."
    )


def test_evaluations_are_those_of_the_epochs_that_have_one(tmp_path):
    (config, *_) = trends(Setting(scale="smoke", seeds=1), EIGHT, ["lsb"])
    scores = {task: {"lsb_loss": 0.5 + place} for place, task in enumerate(EIGHT)}
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
    assert lsb_predictions.losses_finding(table).endswith("smaller under LSB: edges, 2-D; larger: depth.")
