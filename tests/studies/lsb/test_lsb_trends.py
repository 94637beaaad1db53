"""What Section 5 says of loss scales, on histories made by hand, and how far uncertainty weighting can get."""

from math import exp, log

import numpy as np
import pandas as pd
import pytest
import torch
from loss_histories import rows, runs
from study_stores import keep

from mtlrepro.analysis.verdicts import Interval, grouped
from mtlrepro.balancers import LSB, create
from mtlrepro.studies.lsb import method as lsb_method
from mtlrepro.studies.lsb import trends as lsb_trends
from mtlrepro.studies.lsb.grids import EIGHT, FOUR, TASKS, equal_beside_own_rate, growths, own_rate, trends
from mtlrepro.studies.lsb.trends import OWN, Trends
from mtlrepro.studies.setting import Setting


def shown(folder, table, tasks):
    """Trends whose runs are stored with as many seconds of one image a second as make 2,000 steps of 8 images."""
    configs = trends(Setting(), tasks)
    provenance = {"images_per_second": 8.0}
    store = keep(folder, *configs, history=[{"seconds": 2000.0}], provenance=provenance)
    return Trends(Setting(store=store), configs, table)


def judged(found):
    return {(one.claim, one.case): one for one in lsb_trends.claims(found)}


def test_claims_on_runs_that_go_as_the_supplement_says(tmp_path):
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
    claims = lsb_trends.claims(shown(tmp_path, table, TASKS))
    assert {claim.status for claim in claims} == {"holds"}
    told = [claim for claim in claims if claim.kind == "paper"]
    assert {(claim.source, claim.finding) for claim in told} == {("Section 5", 2)}
    assert len(told) == 1 + 1 + 2 + 2
    assert {claim.finding for claim in claims if claim.kind == "ours"} == {0}
    assert all(claim.reading and claim.case for claim in claims)
    # spread of steep: ln 3 sqrt(2)/3; quotient of the means over four epochs, with 3 flat ones near 0
    (equal,) = (claim for claim in claims if "faster than equal" in claim.claim)
    flat_spread = log(1.01) * np.sqrt(2) / 3
    steep_spread = log(3) * np.sqrt(2) / 3
    assert equal.measured.value == pytest.approx((steep_spread + 3 * flat_spread) / 4 / steep_spread)


def test_claims_on_runs_that_go_the_other_way(tmp_path):
    steep, flat = [1.0, 3.0, 1.0], [1.0, 1.01, 1.0]
    scales = {"equal": [flat] * 4, "DWA": [flat] * 4, "uncertainty": [flat, flat, flat, steep], "LSB": [steep] * 4}
    claims = lsb_trends.claims(shown(tmp_path, runs(TASKS, scales), TASKS))
    assert {claim.status for claim in claims} == {"does not hold"}


def test_speed_is_compared_by_the_supplement_with_uncertainty_weighting_alone(tmp_path):
    scales = {"equal": [[1.0, 3.0, 1.0, 1.0]] * 2, "uncertainty": [[1.0, 3.0, 1.0, 1.0]] * 2}
    scales |= {"GLS": [[1.0, 1.1, 1.0, 1.0]] * 2, "LSB": [[1.0, 1.2, 1.0, 1.0]] * 2}
    faster = [one for one in lsb_trends.claims(shown(tmp_path, runs(FOUR, scales), FOUR)) if "faster" in one.claim]
    assert {one.claim.removeprefix("LSB levels the loss scales faster than "): one.kind for one in faster} == {
        "uncertainty weighting": "paper",
        "equal weighting": "ours",
        "GLS": "ours",
    }
    gls = faster[-1]
    assert (gls.source, gls.status, gls.case) == ("our question", "does not hold", "four tasks")
    assert gls.measured.value == pytest.approx(log(1.2) / log(1.1))


def test_sets_of_tasks_are_cases_of_one_claim(tmp_path):
    cases = []
    for tasks in (FOUR, EIGHT):
        steep, flat = [1.0] * (len(tasks) - 1) + [3.0], [1.0] * (len(tasks) - 1) + [1.1]
        scales = {"equal": [steep] * 2, "uncertainty": [steep] * 2, "LSB": [flat] * 2}
        cases += lsb_trends.claims(shown(tmp_path / str(len(tasks)), runs(tasks, scales), tasks))
    own = {group[0].claim: group for group in grouped(cases)}
    assert [one.case for one in own["LSB equalizes the loss scales"]] == [
        "four tasks, β growing by 0.5 per epoch",
        "eight tasks, β growing by 0.5 per epoch",
    ]


# --- a small loss of eight


def small(share, rest=1.0):
    values = [rest] * 8
    values[EIGHT.index("keypoints2d")] = share
    return values


def test_a_small_loss_of_eight_is_kept_small_throughout_or_balanced(tmp_path):
    scales = {"equal": [small(0.01)] * 3, "uncertainty": [small(0.9), small(0.01), small(0.01)]}
    scales |= {"GradNorm": [small(0.01)] * 3, "LSB": [small(0.01), small(1.0), small(1.0)]}
    claims = judged(shown(tmp_path, runs(EIGHT, scales), EIGHT))
    ours = claims["LSB trains keypoints, 2-D in a balanced manner with the other losses", "eight tasks"]
    assert (ours.claimed, ours.measured.value, ours.status) == (50, 0, "holds")
    kept = "Conventional methods keep the loss of keypoints, 2-D on a small scale throughout the training"
    assert claims[kept, "equal"].measured.value == pytest.approx(100 * 0.01 / 7.01)
    assert (claims[kept, "equal"].status, claims[kept, "equal"].kind) == ("holds", "paper")
    assert claims[kept, "uncertainty"].status == "does not hold", "it is not small in the first epoch"
    assert (claims[kept, "GradNorm"].kind, claims[kept, "GradNorm"].finding) == ("ours", 0)
    assert not [claim for claim, _ in claims if "segmentation" in claim]


def test_a_balanced_manner_is_counted_in_epochs_of_every_run(tmp_path):
    """Runs end with 0, 12.5 and nearly 100 % of the sum: no mean of the shares describes one; two are out of the band.

    In the first run one of two epochs of the second half is out of it, in the second none, in the third both.
    """
    level, high = small(1.0), small(1000.0)
    own = {0: [level, level, level, small(1e-6)], 1: [high, high, level, level], 2: [level, level, high, high]}
    table = pd.concat(rows(values, "LSB", seed, EIGHT) for seed, values in own.items())
    rest = [pd.concat(rows([small(0.01)] * 4, name, seed, EIGHT) for seed in own) for name in ("equal", "uncertainty")]
    claims = judged(shown(tmp_path, pd.concat([*rest, table]), EIGHT))
    found = claims["LSB trains keypoints, 2-D in a balanced manner with the other losses", "eight tasks"]
    assert found.measured == Interval(50, 0, 100)
    assert (found.status, found.kind) == ("inconclusive", "paper")
    assert "of 3 runs" in found.reading


def test_gls_is_judged_on_raw_losses_as_the_supplement_takes_its_weights_to_be_fixed(tmp_path):
    """Its loss of keypoints is small; its own weights, in inverse proportion, make all loss scales equal."""
    losses = np.array(small(0.01))
    table = pd.concat(
        rows([[0.125] * 7 + [0.12501]] * 2, "GLS", seed, EIGHT).assign(weight=np.tile(0.125 / losses, 2))
        for seed in range(2)
    )
    lsb = pd.concat(rows([[1.0] * 7 + [1.1]] * 2, "LSB", seed, EIGHT) for seed in range(2))
    uncertainty = pd.concat(
        rows([small(0.01)] * 2, name, seed, EIGHT) for name in ("equal", "uncertainty") for seed in range(2)
    )
    claims = [
        one
        for one in lsb_trends.claims(shown(tmp_path, pd.concat([uncertainty, table, lsb]), EIGHT))
        if one.case == "GLS" or "GLS's own" in one.claim
    ]
    raw, own = claims
    assert (raw.kind, raw.status) == ("paper", "holds")
    assert "raw losses" in raw.reading
    assert raw.measured.value == pytest.approx(100 * 0.01 / 7.01, rel=1e-3)
    assert (own.kind, own.status, own.measured.value) == ("ours", "holds", pytest.approx(12.5, rel=1e-4))


# --- how far uncertainty weighting gets


@pytest.mark.parametrize("tasks", [2, 3, 8])
def test_uncertainty_weighting_rests_where_every_loss_scale_is_one_half(tasks):
    """Its own gradient is 0 at weights 1 / (2 l), |log(K / 2l)| from the start, where it is 1/2 - l / K."""
    losses = torch.logspace(-2, 2, tasks, dtype=torch.float64)
    balancer = create("uncertainty", tasks)
    assert balancer.weights.tolist() == pytest.approx([1 / tasks] * tasks)
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    balancer.backward([loss * x.squeeze() for loss in losses], [x])
    assert balancer.log_variance.grad.tolist() == pytest.approx((0.5 - losses / tasks).tolist())
    start = balancer.log_variance.detach().clone()
    with torch.no_grad():
        balancer.log_variance.copy_(losses.log())
    balancer.zero_grad()
    balancer.backward([loss * x.squeeze() for loss in losses], [x])
    assert balancer.log_variance.grad.tolist() == pytest.approx([0] * tasks, abs=1e-12)
    assert (balancer.weights * losses).tolist() == pytest.approx([0.5] * tasks)
    assert (losses.log() - start).abs().tolist() == pytest.approx((tasks / (2 * losses)).log().abs().tolist())


def test_ways_by_hand(tmp_path):
    """2,000 steps at 1e-3 are a log of 2; a loss of 3/2 needs none, one of 3 / (2 e^2) or 3 e^2 / 2 all of it."""
    losses = np.array([1.5, 1.5 * exp(-2), 1.5 * exp(3)])
    own = pd.concat(rows([losses / 3] * 2, "uncertainty", seed, weight=1 / 3) for seed in range(3))
    found = shown(tmp_path, own, TASKS)
    way = lsb_trends.ways(found)
    assert way["needed"].tolist() == pytest.approx([0, 2, 3] * 3, abs=1e-12)
    assert way["possible"].tolist() == pytest.approx([2.0] * 9)
    assert not lsb_trends.within_reach(way)
    sentence = lsb_trends.way_sentence(found)
    assert sentence.startswith("To be at rest, where every loss scale is one half, uncertainty has to move the weight")
    assert "of normals by a factor 20.1 from its start; learning rate times steps allow 7.39, a factor 2.72 less" in (
        sentence
    )
    assert "so it cannot get there, and a weight went a factor 1.00 [1.00, 1.00]" in sentence


def test_a_way_that_just_can_be_gone_is_told_with_its_margin(tmp_path):
    losses = np.array([1.5, 1.5, 1.5 * exp(-1.999)])
    own = pd.concat(rows([losses / 3] * 2, "uncertainty", seed, weight=1 / 3) for seed in range(3))
    assert (
        "by a factor 7.3817 from its start; learning rate times steps allow 7.3891, a factor 1.0010 more, so it can "
        "get there, on a knife-edge"
    ) in lsb_trends.way_sentence(shown(tmp_path, own, TASKS))


def test_what_weights_cannot_reach_is_not_judged(tmp_path):
    def verdicts(log_way, folder):
        losses = 1.5 * np.exp([0.0, log_way, 0.0])
        table = pd.concat(
            rows([losses / 3 * (1 + 0.01 * seed)] * 2, name, seed, weight=1 / 3)
            for name in ("equal", "uncertainty")
            for seed in range(3)
        )
        return lsb_trends.uncertainty_claims(shown(folder, table, TASKS))

    converge, level, beside = verdicts(2.5, tmp_path / "far")
    assert {converge.status, level.status} == {"cannot be tested here"}
    assert beside.measured.value == pytest.approx(1)
    converge, level, _ = verdicts(1.5, tmp_path / "near")
    assert converge.measured.value == pytest.approx(1)
    assert level.status == "does not hold"
    assert level.measured.value == pytest.approx(1.5 * np.sqrt(2) / 3)


def test_convergence_is_what_uncertainty_weighting_adds_to_equal_weighting(tmp_path):
    """Equal weights halve the spread as losses fall and uncertainty weighting quarters it; or both halve it."""
    steep, half, quarter = ([1.0, 1.0, 4.0**power] for power in (1, 0.5, 0.25))
    scales = {"equal": [steep, steep, half], "uncertainty": [steep, steep, quarter]}
    converge, *_ = lsb_trends.uncertainty_claims(shown(tmp_path / "adds", runs(TASKS, scales), TASKS))
    assert (converge.measured.value, converge.status) == (pytest.approx(0.5), "holds")
    scales["uncertainty"] = scales["equal"]
    converge, *_ = lsb_trends.uncertainty_claims(shown(tmp_path / "same", runs(TASKS, scales), TASKS))
    assert converge.measured.value == pytest.approx(1)


def test_with_eight_tasks_convergence_is_not_the_supplements_claim(tmp_path):
    scales = {name: [small(1.1), small(1.2)] for name in ("equal", "uncertainty")}
    found = lsb_trends.uncertainty_claims(shown(tmp_path, runs(EIGHT, scales), EIGHT))
    assert {(one.kind, one.source, one.finding) for one in found} == {("ours", "our question", 0)}


def test_its_own_learning_rate_reaches_further(tmp_path):
    configs = [*own_rate(Setting(), FOUR, 3e-2), *equal_beside_own_rate(Setting(), FOUR)]
    store = keep(tmp_path, *configs, history=[{"seconds": 1000.0}], provenance={"images_per_second": 8.0})
    table = pd.concat(
        rows([[1.0, 1.0, 1.0, 2.0]] * 2, name, seed, FOUR) for name in (OWN, "equal") for seed in range(3)
    )
    arm = Trends(Setting(store=store), configs, table)
    assert lsb_trends.ways(arm)["possible"].unique().tolist() == pytest.approx([30.0])
    converge, level, beside = lsb_trends.uncertainty_claims(arm)
    assert {converge.case, level.case, beside.case} == {"four tasks, own learning rate"}
    assert level.status == "does not hold"
    exhibit = lsb_trends.own_rate_exhibit([arm])
    assert exhibit.table["tasks"].tolist() == ["four tasks"]
    assert "With four tasks: To be at rest, where every loss scale is one half, uncertainty, own rate has" in (
        exhibit.caption
    )


def test_runs_with_a_rate_of_its_own_are_read_beside_those_of_equal_weighting(tmp_path):
    """Both have the network, tasks and seeds of one another."""
    for tasks in (TASKS, FOUR):
        own, equal = own_rate(Setting(), tasks, 3e-2), equal_beside_own_rate(Setting(), tasks)
        assert [(run.model, run.tasks, run.seed) for run in own] == [(run.model, run.tasks, run.seed) for run in equal]
        assert {run.method for run in equal} == {"equal"}
    numbers = {name: dict.fromkeys(FOUR, 1.0) for name in ("losses", "weights", "loss_scales")}
    setting = Setting(store=keep(tmp_path, *own, *equal, history=[{"epoch": 1, **numbers}]))
    loaded = lsb_trends.load_own_rate(setting, FOUR, 3e-2)
    assert loaded.history["method"].unique().tolist() == [OWN, "equal"]


# --- two growths of beta


def test_trends_know_the_growth_of_beta(tmp_path):
    grids = {tasks: trends(Setting(), tasks) for tasks in (TASKS, FOUR)}
    parts = [Trends(Setting(), configs, pd.DataFrame()) for configs in grids.values()]
    assert lsb_trends.growth_sentence(parts) == (
        "β of LSB grows per epoch by 0.02 with three tasks, by 0.5 with four tasks"
    )
    assert lsb_trends.conditions(parts).endswith("four tasks; three tasks at cpu scale, four tasks at cpu scale")
    assert Trends(Setting(), growths(Setting(), EIGHT), pd.DataFrame()).growth == LSB(1).rate


def test_growths_beside_their_replays():
    """With the losses of equal weighting given, a replay is what the balancer makes of them; scaled losses count."""
    rng = np.random.default_rng(0)
    losses = np.exp(0.2 * rng.standard_normal((8, 4)))
    equal = rows(losses / 4, "equal", 0, FOUR, weight=1 / 4)
    lsb = rows(losses / 4, "LSB", 0, FOUR, weight=1 / 4)
    fast = Trends(Setting(), trends(Setting(), FOUR), pd.concat([equal, lsb]))
    slow = Trends(Setting(), growths(Setting(), FOUR), lsb)
    table = lsb_trends.growths(fast, slow)
    assert table["method"].unique().tolist() == ["trained, 0.5", "trained, 0.02", "replayed, 0.5", "replayed, 0.02"]
    wide = pd.DataFrame(losses, range(1, 9), [*FOUR])
    expected = wide * lsb_method.weights(wide, rate=0.5)
    own = table[table["method"] == "replayed, 0.5"].pivot(index="epoch", columns="task", values="scale")
    np.testing.assert_allclose(own[[*FOUR]], expected)
    exhibit = lsb_trends.growths_exhibit([(fast, slow)])
    assert "With four tasks the mean spread of the second half is: trained, 0.5 " in exhibit.caption
    assert "β ends at 3 or 0.12" in exhibit.caption
    spread, *taken = lsb_trends.growth_claims(fast, slow)
    assert [(one.case, one.kind, one.status) for one in taken] == [
        ("four tasks, β growing by 0.5 per epoch", "ours", "holds"),
        ("four tasks, β growing by 0.02 per epoch", "ours", "holds"),
    ]
    assert (spread.kind, spread.source, spread.finding) == ("ours", "our question", 0)
    assert spread.case == "four tasks, β growing by 0.02 per epoch"


def test_a_task_that_takes_over_in_the_second_half_of_a_run_is_counted():
    level, over = [1.0, 1.0, 1.0, 1.0], [0.01, 0.01, 0.01, 1.0]
    scales = {0: [over, over, level, level], 1: [level, level, over, level], 2: [level] * 4}
    table = pd.concat(rows(own, "LSB", seed, FOUR) for seed, own in scales.items())
    assert lsb_trends.takeovers(table).to_dict() == {0: False, 1: True, 2: False}
    found = Trends(Setting(), trends(Setting(), FOUR), table)
    (verdict, _) = lsb_trends.growth_claims(found, found)[1:]
    assert (verdict.status, verdict.measured.value) == ("does not hold", 1)
    assert verdict.reading.startswith("number of 3 runs with more than 90% in an epoch")
