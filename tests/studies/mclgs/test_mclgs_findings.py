"""The claims of the box."""

from mtlrepro.studies.mclgs import front, poster, samples, toy, unpaired
from mtlrepro.studies.mclgs.findings import FINDINGS
from mtlrepro.studies.mclgs.poster import BDD100K, NYUV2
from mtlrepro.studies.mclgs.tables import COLLAPSE
from mtlrepro.studies.mclgs.toy import Path


def test_claims_are_numbered_in_order_and_verdicts_name_them():
    assert [one.number for one in FINDINGS] == list(range(1, len(FINDINGS) + 1))
    paths = [Path(factor, method, 0.0, 0.0, 0.0) for factor in toy.FACTORS for method in toy.METHODS]
    named = {one.finding for one in [*poster.claims(), *toy.claims(paths)]} | {COLLAPSE}
    assert named == {0, NYUV2.finding, 2, BDD100K.finding, 6, 7}
    assert named - {0} <= {one.number for one in FINDINGS}


def test_claims_that_need_runs_of_another_data_set_cannot_be_tested():
    """Hard samples, fixed weights, and labels of different images."""
    open_claims = [*samples.claims(None), *front.claims(None), *unpaired.untested()]
    assert {one.status for one in open_claims} == {"cannot be tested here"}
    assert {one.finding for one in open_claims} == {0, 5, COLLAPSE}
