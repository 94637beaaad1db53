import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mtlrepro.studies import variants
from mtlrepro.studies.lsb.scores import TABLE_S3
from mtlrepro.studies.scores import Scores
from mtlrepro.studies.setting import Setting


def scores_of(**columns):
    """Scores of each variant, one a seed."""
    rows = [(name, seed, score) for name, values in columns.items() for seed, score in enumerate(values)]
    return pd.DataFrame(rows, columns=["variant", "seed", "score"])


def test_a_variant_changes_any_field():
    setting = Setting(dataset="streets")
    plans = {
        "default": {"method": "mtsgd"},
        "sgd": {"method": "mtsgd", "optimizer": "sgd", "lr": 0.01},
        "other network": {"network": "segnet_mtan"},
    }
    grid = variants.grid(setting, plans, range(2))
    assert {name: [run.seed for run in runs] for name, runs in grid.items()} == {name: [0, 1] for name in plans}
    assert grid["sgd"][1] == setting.run(method="mtsgd", optimizer="sgd", lr=0.01, seed=1)
    assert grid["other network"][0] == setting.run("segnet_mtan", seed=0)


def test_scores_are_against_the_mean_of_the_default():
    one = pd.DataFrame({"seed": [0, 1], **{name: [40.0, 60.0] for name in TABLE_S3.names}})
    scored = variants.scored({"base": one, "same": one}, "base", TABLE_S3)
    assert scored["variant"].tolist() == ["base"] * 2 + ["same"] * 2
    depth, normal, classes = 0, 0, -20  # errors fall where shares fall, as much
    assert scored["score"].tolist()[::2] == pytest.approx([(depth + normal + classes) / 3] * 2)
    with pytest.raises(ValueError, match="default is 'other'; accepted: 'base', 'same'"):
        variants.scored({"base": one, "same": one}, "other", TABLE_S3)


def test_differences_are_paired():
    """Differences 1, 2, 3: mean 2, deviation 1, so half the interval is t / sqrt(3); all signs agree in 2 of 8."""
    found = variants.paired_differences(scores_of(base=(10, 20, 30), better=(11, 22, 33), mixed=(12, 19, 29)), "base")
    assert found["variant"].tolist() == ["better", "mixed"]
    half = stats.t.ppf(0.975, 2) / 3**0.5
    first, second = (row for _, row in found.iterrows())
    assert (first["difference"], first["low"], first["high"]) == pytest.approx((2, 2 - half, 2 + half))
    assert first["p"] == first["p_reachable"] == pytest.approx(0.25)
    # 2, -1, -1: every pattern of signs has a sum of 0 or beyond on both sides of it
    assert second["difference"] == pytest.approx(0)
    assert second["p"] == 1


def test_a_common_step_of_each_seed_does_not_widen_the_interval():
    steps = np.array([0.0, 50.0, -30.0, 7.0])
    gains = np.array([1.0, 1.2, 0.9, 1.1])
    small = variants.paired_differences(scores_of(base=0 * steps, other=gains), "base")
    large = variants.paired_differences(scores_of(base=steps, other=steps + gains), "base")
    np.testing.assert_allclose(small.drop(columns="variant"), large.drop(columns="variant"))
    assert small["p"].tolist() == pytest.approx([2 / 16])


def test_the_direction_of_the_score_counts():
    drops = Scores.of(("depth.rmse",), "per metric, lower is better")
    found = variants.paired_differences(scores_of(base=(5, 5, 5), better=(3, 2, 1)), "base", drops.sign)
    assert found["difference"].tolist() == [3]


def test_what_cannot_be_paired_is_refused():
    uneven = scores_of(base=(1, 2, 3), short=(1, 2))
    with pytest.raises(ValueError, match="a seed of short is missing; accepted: the same seeds"):
        variants.paired_differences(uneven, "base")
    with pytest.raises(ValueError, match="default is 'none'; accepted: 'base', 'short'"):
        variants.paired_differences(uneven, "none")
