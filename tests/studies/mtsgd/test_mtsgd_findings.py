"""The claims of the box, and the readings that the chapter takes."""

import math

import pytest

from mtlrepro.analysis import published
from mtlrepro.studies.mtsgd import critique, readings, rule, three
from mtlrepro.studies.mtsgd.findings import FINDINGS


def test_verdicts_of_algebra_and_of_printed_tables_name_findings_that_there_are():
    assert [one.number for one in FINDINGS] == list(range(1, len(FINDINGS) + 1))
    verdicts = critique.claims(published.read("mtsgd"), published.read("mtan"))
    named = {one.finding for one in [*verdicts, *three.claims(), *rule.rate_claims()]}
    assert named - {0} == {2, 3, 4, 5, 7, 8}


def test_what_decay_leaves_of_a_weight_over_the_schedule():
    # 186 steps in each of 100, 50 and 50 epochs at rates of 0.01, 0.001 and 0.0001; momentum 0.9 gathers ten steps.
    found = readings.shrinkage()
    assert found["coupled"] == pytest.approx(math.exp(-1e-4 * 10 * 186 * (1 + 0.05 + 0.005)))
    assert found["decoupled"] == pytest.approx(math.exp(-1e-4 * 186 * 200))


def test_every_reading_says_what_is_printed_what_follows_and_what_is_taken():
    tables = {one.name: one.table for one in readings.exhibits()}
    assert list(tables) == ["readings_rule", "readings_training", "readings_measurement"]
    for table in tables.values():
        assert list(table) == list(readings.COLUMNS)
        assert (table.map(str.strip).map(len) > 0).all().all()
        assert not table.duplicated(["place", "as printed"]).any()
    text = tables["readings_measurement"].to_string()
    assert f"{500 / 186:.1f} epochs, or {500 / 186 / 2:.1f} if" in text
