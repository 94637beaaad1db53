import numpy as np
import pandas as pd
import pytest

from mtlrepro import balancers, tasks
from mtlrepro.studies.lsb.scores import TABLE_S3
from mtlrepro.studies.scores import _SHOWN, METHODS, Scores, method_title

STREETS = Scores.of_tasks(("segmentation", "disparity"), "per metric, lower is better")


def test_every_metric_is_one_of_its_task():
    for name in _SHOWN:
        task, metric = name.split(".", 1)
        assert metric in tasks.create([task])[0].metrics().higher_is_better


def test_every_task_has_scores():
    for name in tasks.NAMES:
        assert {metric.split(".")[0] for metric in Scores.of_tasks([name]).names} == {name}


def test_the_metrics_of_the_papers_table():
    assert TABLE_S3.labels == {
        "depth.delta1": "δ₁, %",
        "depth.rmse": "RMSE, m",
        "normal.within_30": "within 30°, %",
        "normal.mean_angle": "mean angle, °",
        "segmentation.miou": "mIoU, %",
        "segmentation.pixel_accuracy": "accuracy, %",
    }
    assert list(TABLE_S3.higher.values()) == [True, False, True, False, True, True]
    assert list(TABLE_S3.decimals.values()) == [1, 3, 1, 1, 1, 1]


def test_scores_of_two_tasks_on_streets():
    assert STREETS.names == [
        "segmentation.miou",
        "segmentation.pixel_accuracy",
        "disparity.aepe",
        "disparity.rel_err",
    ]
    assert list(STREETS.higher.values()) == [True, True, False, False]
    boxes = Scores.of(("detection.map", "segmentation.miou"))
    assert boxes.labels == {"detection.map": "mAP, %", "segmentation.miou": "mIoU, %"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scores.of(["depth.loss"]), r"metric is 'depth\.loss'; accepted: segmentation\.miou"),
        (lambda: Scores.of_tasks(["colour"]), "names has 'colour'"),
    ],
)
def test_what_is_unknown_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_delta_m_by_both_conventions():
    """Against 50, 50, 2, 0.5: mIoU 10 % better, accuracy 0, disparity's errors 20 % and 10 % worse."""
    runs = pd.DataFrame([[55.0, 50.0, 2.4, 0.55]], columns=STREETS.names)
    baseline = dict(zip(STREETS.names, (50.0, 50.0, 2.0, 0.5), strict=True))
    assert STREETS.sign == -1
    assert STREETS.delta_m(runs, baseline).tolist() == pytest.approx([-(10 + 0 - 20 - 10) / 4])
    higher = Scores.of_tasks(("segmentation", "disparity"))
    assert higher.sign == 1
    assert higher.delta_m(runs, baseline).tolist() == pytest.approx([((10 + 0) / 2 + (-20 - 10) / 2) / 2])


def test_ranks_and_measures_have_one_direction():
    runs = pd.DataFrame([[60.0, 70.0, 3.0, 0.2], [50.0, 70.0, 2.0, 0.1]], columns=STREETS.names)
    assert STREETS.ranks(runs).to_numpy().tolist() == [[1, 1.5, 2, 2], [2, 1.5, 1, 1]]
    assert STREETS.average_ranks(runs).tolist() == [6.5 / 4, 5.5 / 4]
    np.testing.assert_allclose(STREETS.measures(runs).iloc[0], [60, 70, -3, -0.2, -6.5 / 4])


def test_titles_are_of_methods_that_exist():
    assert set(METHODS) <= {*balancers.METHODS, *balancers.CONTROLS}
    assert method_title("lsb") == "LSB"
    assert method_title("torchjd:UPGrad") == "torchjd:UPGrad"
