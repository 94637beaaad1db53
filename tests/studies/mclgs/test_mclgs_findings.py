"""The claims of the box."""

from mtlrepro.studies.mclgs import poster, toy
from mtlrepro.studies.mclgs.findings import FINDINGS
from mtlrepro.studies.mclgs.poster import BDD100K, NYUV2
from mtlrepro.studies.mclgs.toy import Path
from mtlrepro.studies.mclgs.unpaired import FINDING


def test_claims_are_numbered_in_order_and_verdicts_name_them():
    assert [one.number for one in FINDINGS] == list(range(1, len(FINDINGS) + 1))
    paths = [Path(factor, method, 0.0, 0.0, 0.0) for factor in toy.FACTORS for method in toy.METHODS]
    named = {one.finding for one in [*poster.claims(), *toy.claims(paths)]} | {FINDING}
    assert named == {0, NYUV2.finding, 2, BDD100K.finding, 6, 7}
    assert named - {0} <= {one.number for one in FINDINGS}
