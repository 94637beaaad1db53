from math import log

import numpy as np
import pandas as pd
import pytest
from loss_histories import rows, runs
from study_stores import keep

from mtlrepro.studies.lsb import trends as lsb_trends
from mtlrepro.studies.lsb.grids import EIGHT, TASKS, trends
from mtlrepro.studies.setting import Setting


def test_claims_on_runs_that_go_as_the_supplement_says():
    steep, flat = [3.0, 1.0, 1.0], [1.0, 1.01, 1.0]
    table = runs(
        TASKS,
        {
            "equal": [steep] * 4,
            "DWA": [steep] * 4,
            "uncertainty": [steep, steep, [2.0, 1.0, 1.0], flat],
            "LSB": [steep, flat, flat, flat],
        },
    )
    claims = lsb_trends.claims(table)
    assert {claim.status for claim in claims} == {"holds"}
    assert len(claims) == 2 + 2 + 3
    assert {claim.source for claim in claims} == {"Section 5"}
    # spread of steep: ln 3 sqrt(2)/3; quotient of the means over four epochs, with 3 flat ones near 0
    (equal,) = (claim for claim in claims if "faster than equal" in claim.claim)
    flat_spread = log(1.01) * np.sqrt(2) / 3
    steep_spread = log(3) * np.sqrt(2) / 3
    assert equal.measured.value == pytest.approx((steep_spread + 3 * flat_spread) / 4 / steep_spread)


def test_claims_on_runs_that_go_the_other_way():
    steep, flat = [1.0, 3.0, 1.0], [1.0, 1.01, 1.0]
    scales = {"equal": [flat] * 4, "DWA": [flat] * 4, "uncertainty": [flat, flat, flat, steep], "LSB": [steep] * 4}
    claims = lsb_trends.claims(runs(TASKS, scales))
    assert {claim.status for claim in claims} == {"does not hold"}


def test_speed_against_gls_is_our_question():
    table = runs(
        EIGHT[:3], {"uncertainty": [[1.0, 3.0, 1.0]] * 2, "GLS": [[1.0, 1.1, 1.0]] * 2, "LSB": [[1.0, 1.2, 1.0]] * 2}
    )
    (gls,) = (claim for claim in lsb_trends.claims(table) if "faster than GLS" in claim.claim)
    assert (gls.source, gls.status) == ("our question", "does not hold")
    assert gls.measured.value == pytest.approx(log(1.2) / log(1.1))


def test_a_small_loss_of_eight_has_its_share_or_not():
    small = [1.0] * 8
    small[EIGHT.index("keypoints2d")] = 0.01
    level = [1.0] * 8
    scales = {"equal": [small] * 3, "uncertainty": [small, small, [0.9, *small[1:]]], "LSB": [small, level, level]}
    claims = {claim.claim: claim for claim in lsb_trends.claims(runs(EIGHT, scales))}
    ours = claims["LSB: keypoints, 2-D end with their share of the loss scales, in %"]
    assert (ours.claimed, ours.measured.value, ours.status) == (12.5, 12.5, "holds")
    theirs = claims["equal: keypoints, 2-D end with less than half their share, in %"]
    assert theirs.measured.value == pytest.approx(100 * 0.01 / 7.01)
    assert theirs.status == "holds"
    assert not [claim for claim in claims if "segmentation" in claim]


def test_reach_of_uncertainty_weighting(tmp_path):
    config = trends(Setting(), TASKS, ["uncertainty"])[0]
    history = [{"seconds": 2.0}, {"seconds": 3.0}]
    setting = Setting(store=keep(tmp_path, config, history=history, provenance={"images_per_second": 3199.9}))
    table = pd.concat(
        [rows([[1.0, 1.0, 8.0]], "equal", weight=1 / 3), rows([[1.0, 1.0, 5.0]], "uncertainty", weight=2 / 3)]
    )
    text = lsb_trends.reach(table, config, setting)
    assert "after 2,000 steps at a learning rate of 0.001" in text
    assert "or divided a weight by about 7.4; the largest one is 2 times its start" in text
    assert text.endswith("the loss scales end a factor 8 apart.")


def test_reach_takes_the_median_seed_and_all_tasks(tmp_path):
    """Quotients of three seeds under equal weights are 2, 4 and 100; weights of eight tasks begin at 1/8."""
    config = trends(Setting(), EIGHT, ["uncertainty"])[0]
    kept = keep(tmp_path, config, history=[{"seconds": 1.0}], provenance={"images_per_second": 8.0})
    setting = Setting(store=kept)
    ends = [[1.0] * 7 + [last] for last in (2.0, 4.0, 100.0)]
    equal = pd.concat(rows([own], "equal", seed, tasks=EIGHT, weight=1 / 8) for seed, own in enumerate(ends))
    table = pd.concat([equal, rows([[1.0] * 8], "uncertainty", tasks=EIGHT, weight=3 / 8)])
    text = lsb_trends.reach(table, config, setting)
    assert "the largest one is 3 times its start" in text
    assert text.endswith("the loss scales end a factor 4 apart.")
