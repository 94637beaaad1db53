"""Weight decay, on a store of runs that were never trained."""

import math
import re
from dataclasses import replace

import pytest
from mtsgd_runs import TABLES, broken, numbers, stored

from mtlrepro.analysis.significance import holm, paired_p_value
from mtlrepro.studies.mtsgd import decay, grids, plan, readings, tables
from mtlrepro.studies.mtsgd.grids import NO_CONFLICT, Cell
from mtlrepro.studies.mtsgd.tables import AEPE, MIOU
from mtlrepro.studies.setting import Setting

FELT: dict[grids.Decay, float] = {"torch": grids.PAPER_DECAY, "decoupled": grids.PAPER_DECAY}
"""Matched decay in runs as long as the article's."""
CLAIM = "MTSGD at a threshold of 0 is better at segmentation than joint SGD"
COUPLED, DECOUPLED = decay.DECAYS.values()


def runs(setting):
    made = plan.experiments(setting)
    return [run for name in TABLES for run in made[name](setting)]


def costly(run):
    """Both metrics of a run; matched decay costs joint SGD 1 point, and MTSGD 3 if coupled and 5 if not."""
    found = numbers(run)
    if run.weight_decay > grids.PAPER_DECAY:
        cost = {"torch": 3.0, "decoupled": 5.0}[run.decay] if run.method == "mtsgd" else 1.0
        found["segmentation"]["miou"] -= cost + 0.1 * run.seed
        found["disparity"]["aepe"] += 0.3 if run.method == "mtsgd" else 0.1
    return found


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("decay") / "runs", runs, costly)


@pytest.fixture(scope="module")
def trained(setting):
    return tables.load(setting)


@pytest.mark.parametrize(("form", "schedule"), [("torch", "rates"), ("decoupled", "steps")])
def test_matched_decay_leaves_as_much_of_a_weight_as_the_article_over_its_schedule(form, schedule):
    """Stepped through with SGD's momentum at `cpu`; only the steps' share in which momentum starts differs."""
    setting = Setting(scale="cpu", dataset="streets", network="mtsgd")
    run, amount = setting.run(), grids.decays(setting)[form]

    def left(epochs, steps, amount):
        weight, momentum = 1.0, 0.0
        for rate in epochs:
            for _ in range(steps):
                momentum = 0.9 * momentum + (amount * weight if form == "torch" else 0.0)
                weight -= rate * momentum + (amount * weight if form == "decoupled" else 0.0)
        return weight

    ours = left([run.lr * run.factor ** sum(epoch >= end for end in run.milestones) for epoch in range(20)], 50, amount)
    theirs = left([1e-2] * 100 + [1e-3] * 50 + [1e-4] * 50, grids.PAPER_STEPS, grids.PAPER_DECAY)
    assert run.epochs == 20 and run.n_train // run.batch_size == 50
    assert ours == pytest.approx(theirs, rel=0.01)
    assert theirs == pytest.approx(readings.shrinkage()["coupled" if form == "torch" else form], rel=0.01)


def test_every_amount_and_form_has_its_row(setting, trained):
    amounts = grids.decays(setting)
    shown = decay.exhibit(trained, amounts)
    assert shown.table["decay"].tolist() == [name for name in decay.rows(trained) for _ in range(2)]
    means = shown.table.set_index(["decay", "method"])["mIoU, %"]
    assert means["none", "joint SGD"] == pytest.approx(41.55)  # of two seeds, 41 and 42.1
    assert means["coupled, 0.0001", "joint SGD"] == pytest.approx(40.5)  # of the same seeds; the third has 42
    assert means[COUPLED, "joint SGD"] == pytest.approx(40.5 - 1.05)
    assert means["coupled, 0.0001", "MTSGD, threshold 0"] == pytest.approx(54.55)
    coupled, decoupled = f"{amounts['torch']:g}", f"{amounts['decoupled']:g}"
    alone = (
        f"82 % of a weight with coupled decay of {coupled} and 2.4 % of a weight with decoupled decay of {decoupled}"
    )
    assert alone in shown.caption
    assert f"either form pulls {amounts['torch'] / 1e-4:.2g} times as hard beside the losses" in shown.caption
    assert re.search(r"joint SGD, coupled: \+2\.1 \[[^;]*\] and \+0\.150 \[[^;]*\]; ", shown.caption)
    assert re.search(r"MTSGD, threshold 0, decoupled: \+6\.1 \[", shown.caption)


def test_clipping_without_decay(setting, trained):
    """Four points of mIoU and a quarter of a pixel from a threshold of -1 to 0, in both of two seeds alike."""
    found = [one for one in decay.claims(trained, grids.decays(setting)) if one.claim.startswith("Clipping")]
    assert [one.measured.value for one in found] == pytest.approx([-4, -0.25])
    assert {(one.finding, one.case, one.status) for one in found} == {(3, "both without weight decay", "holds")}


def test_a_number_that_is_hardly_felt_tells_nothing_about_decay(setting, trained):
    amounts = grids.decays(setting)
    assert decay.felt(amounts) < decay.FELT
    for given, status, rows in ((amounts, "cannot be tested here", 2), (FELT, "holds", 5)):
        verdicts = [one for one in decay.claims(trained, given) if one.claim.endswith("the article's number")]
        assert len(verdicts) == 2 * rows and {one.status for one in verdicts} == {status}
        assert {one.finding for one in verdicts if one.claim.startswith("MTSGD")} == {4}
    short = decay.table_exhibit(trained, amounts).caption
    assert f"With {100 * decay.felt(amounts):.2g} % of the effect" in short and short.endswith(
        "so that none is judged."
    )
    assert decay.table_exhibit(trained, FELT).caption == tables.table_exhibit(trained, "Table 3").caption


def test_claims_about_matched_decay(setting, trained):
    verdicts = decay.claims(trained, grids.decays(setting))
    found = {(one.claim, one.case): one for one in verdicts}
    coupled = found[
        "MTSGD is better at segmentation without weight decay than with matched decay", f"threshold 0, {COUPLED}"
    ]
    assert (coupled.measured.value, coupled.status) == (pytest.approx(-4.1), "holds")  # 1.05 and 3.05 points
    assert (coupled.finding, coupled.limits, coupled.kind) == (4, 0, "paper")
    other = found[
        "MTSGD is better at disparity without weight decay than with matched decay", f"threshold 0, {DECOUPLED}"
    ]
    assert other.measured.value == pytest.approx(-0.35)
    assert (other.finding, other.limits, other.kind) == (0, 4, "ours")
    joint = found["Joint SGD is better at segmentation without weight decay than with matched decay", COUPLED]
    assert (joint.measured.value, joint.finding, joint.limits) == (pytest.approx(-2.1), 0, 4)
    gained = [one for one in verdicts if one.claim.startswith("MTSGD gains more at segmentation")]
    assert [one.measured.value for one in gained] == pytest.approx([-2, -4]) and {one.limits for one in gained} == {4}
    gained = [one for one in verdicts if one.claim.startswith("MTSGD gains more at disparity")]
    assert [one.measured.value for one in gained] == pytest.approx([-0.2, -0.2])
    assert {one.status for one in gained} == {"holds"}
    cases = [one.case for one in verdicts if one.claim == CLAIM]
    assert cases == ["both without weight decay", f"decay {COUPLED}", f"decay {DECOUPLED}"]
    better = [one.measured.value for one in verdicts if one.claim == CLAIM]
    assert better == pytest.approx([-14.05, -12.05, -10.05])
    assert [(found[CLAIM, case].finding, found[CLAIM, case].kind) for case in cases] == [
        (0, "ours"),
        (0, "ours"),
        (0, "ours"),
    ]
    assert [found[CLAIM, case].limits for case in cases] == [8, 0, 0]
    printed = found[
        "MTSGD at a threshold of 0 without weight decay is better at segmentation than joint SGD with it",
        "joint SGD with 0.0001",
    ]
    # 14.05 points by the method and 1.05 without decay.
    assert (printed.finding, printed.kind, printed.source) == (8, "paper", "Tables 2 and 3")
    assert printed.measured.value == pytest.approx(-15.1)


def test_a_form_under_which_joint_sgd_breaks_down_is_not_judged(setting, trained):
    """Whatever both methods lose then says nothing about several tasks; the other form is judged as before."""
    lost = {one: runs.assign(**{MIOU: 4.0}) for one, runs in trained.decayed["decoupled"].items()}
    one = replace(trained, decayed={**trained.decayed, "decoupled": lost})
    assert decay.breaks_down(one, "decoupled") and not decay.breaks_down(one, "torch")
    assert not decay.breaks_down(trained, "decoupled")
    before, after = (decay.claims(each, grids.decays(setting)) for each in (trained, one))
    for was, now in zip(before, after, strict=True):
        if DECOUPLED in now.case:
            assert now.measured is None and now.reading.startswith("what decay costs where joint SGD still learns")
            assert now.limits == 0  # so that no claim shows what nothing was measured of
        else:
            assert now == was
    assert sum(DECOUPLED in now.case for now in after) == 8


def test_the_caption_says_which_differences_judge_nothing(setting, trained):
    """Those of rows under a form of decay under which joint SGD breaks down."""
    far = {
        one: runs.assign(**{MIOU: trained.cells[Cell(one, decay=0.0)][MIOU].to_numpy() - 30 + 1e-3 * runs["seed"]})
        for one, runs in trained.decayed["decoupled"].items()
    }
    broken = replace(trained, decayed={**trained.decayed, "decoupled": far})
    caption = decay.tests_exhibit(broken, grids.decays(setting)).caption
    table = tables.tests(decay.pairs(broken, grids.decays(setting)))
    clear = table[table[["p of mIoU", "p of AEPE"]].min(axis=1) < 0.05]
    void = int((clear["compared"] + clear["with"]).str.contains("decoupled").sum())
    assert void >= 2
    assert f"{len(clear)} of 8 rows differ in a metric at the 5 % level, {void} of them with a row whose" in caption
    assert "breaks down" not in decay.tests_exhibit(trained, grids.decays(setting)).caption


def test_differences_are_a_family_of_their_own(setting, trained):
    """Rows with the article's number belong to it only where that number is felt."""
    compared = decay.pairs(trained, grids.decays(setting))
    table = tables.tests(compared).set_index(["compared", "with"])
    assert len(table) == 4 + 3 + 1
    own = table.loc["MTSGD, threshold 0, decay 0", "MTSGD, threshold 0, matched decoupled decay"]
    assert own["gain in mIoU, points"] == pytest.approx(6.1)
    raw = [
        paired_p_value(tables.SIGNS[m] * tables.differences(*both, m))
        for both in compared.values()
        for m in (MIOU, AEPE)
    ]
    assert table[["p of mIoU", "p of AEPE"]].to_numpy().ravel() == pytest.approx(holm(raw))
    assert len(tables.tests(decay.pairs(trained, FELT))) == 4 + 3 + 1 + 5
    assert "After Holm's correction over all 16 of them" in decay.tests_exhibit(trained, grids.decays(setting)).caption


GAINED = "MTSGD gains more at segmentation by training without weight decay than joint SGD does"
WITHOUT = "is better at segmentation without weight decay than with matched decay"


@pytest.mark.parametrize("threshold", [None, NO_CONFLICT])
@pytest.mark.parametrize("form", ["torch", "decoupled", ""])
def test_what_a_diverged_run_is_part_of_is_not_judged(tmp_path, threshold, form):
    """One run with a form of decay (empty: none) of joint SGD (None) or MTSGD."""
    one = Setting(scale="smoke", dataset="streets", network="mtsgd", seeds=2, comparison_seeds=3)
    rows = Cell(threshold, decay=0.0).runs(one) if not form else grids.decayed(one)
    method = "equal" if threshold is None else "mtsgd"
    broken(tmp_path, next(run for run in rows if run.method == method and (not form or run.decay == form)))
    setting = stored(tmp_path, runs, costly)
    found = tables.load(setting)
    told = {(one.claim, one.case): one.status for one in decay.claims(found, grids.decays(setting))}
    subject = "Joint SGD" if threshold is None else "MTSGD"
    for other, name in decay.DECAYS.items():
        gone = form in ("", other)
        for claim, case in (
            (GAINED, f"threshold 0, {name}"),
            (f"{subject} {WITHOUT}", name if threshold is None else f"threshold 0, {name}"),
        ):
            assert told[claim, case] == ("cannot be tested here" if gone else "holds")
        assert told[CLAIM, f"decay {name}"] == ("cannot be tested here" if form == other else "holds")
    assert told[CLAIM, "both without weight decay"] == ("holds" if form else "cannot be tested here")
    shown = decay.exhibit(found, grids.decays(setting))
    row = tables.decayed_title(form, threshold) if form else tables.title(Cell(threshold, decay=0.0))
    assert f"Runs that diverged are left out: 1 of {row}. (Positive" in shown.caption
    assert "? and ?" in shown.caption and math.isfinite(shown.table["mIoU, %"].sum())


def test_rows_do_not_hang_on_single_tasks(tmp_path):
    """The table has no improvement over them."""
    one = Setting(scale="smoke", dataset="streets", network="mtsgd", seeds=2, comparison_seeds=3)
    broken(tmp_path, *[run for run in grids.single_tasks(one) if run.tasks == ("disparity",)][:2])
    setting = stored(tmp_path, runs, costly)
    assert len(decay.exhibit(tables.load(setting), grids.decays(setting)).table) == 2 * 4


def test_at_the_articles_schedule_its_number_is_not_trained_twice(trained):
    """Matched coupled decay is the article's number there, whose runs are rows of Table 2."""
    paper = Setting(scale="paper", dataset="cityscapes", network="mtsgd", data_root="TARGET")
    assert {run.decay for run in grids.decayed(paper)} == {"decoupled"}
    assert {run.weight_decay for run in grids.decayed(paper)} == {grids.PAPER_DECAY}
    one = replace(trained, decayed={"decoupled": trained.decayed["decoupled"]}, dataset="cityscapes")
    shown = decay.exhibit(one, FELT)
    assert "% of a weight with decoupled decay of 0.0001, as over the article's schedule. (Positive" in shown.caption
    assert "which are of Cityscapes" not in decay.table_exhibit(one, FELT).caption
    assert "which are of Cityscapes" in decay.table_exhibit(trained, FELT).caption
    cases = {verdict.case for verdict in decay.claims(one, FELT)}
    assert not any("coupled, matched (Eq. 11)" in case for case in cases)
