"""Tables of verdicts: a row a claim, by whose statement it is."""

from dataclasses import replace

import pytest
from page_cases import NASTY, Parsed

from mtlrepro.analysis.verdicts import Interval, Verdict
from mtlrepro.pages.verdict_tables import CAPTIONS, verdicts_html

HOLDS = Verdict("It is one", "Eq. 1", 1.0, 0.1, Interval(1.0, 0.95, 1.05))
FAILS = replace(HOLDS, measured=Interval(2.0, 1.9, 2.1))


def captions(parsed):
    return [
        text
        for text, attributes in zip(parsed.texts["p"], parsed.tags["p"], strict=True)
        if attributes == {"class": "caption"}
    ]


def test_a_row_says_claim_source_reading_measurement_and_status():
    (row,) = [Parsed(verdicts_html([replace(HOLDS, claim=NASTY, reading="a mean, <in> %", case="2 tasks")]))]
    assert row.texts["th"] == ["claim", "claimed", "measured", "status"]
    claim, claimed, measured, status = row.texts["td"]
    assert claim == NASTY
    assert claimed == "1 ±\xa00.1"
    assert measured == "1.00 [0.950,\xa01.05]"
    assert status == ""
    assert row.texts["span"] == ["Eq. 1", "Read as: a mean, <in> %", "2 tasks", "holds"]
    assert "b" not in row.tags and "in" not in row.tags


def test_every_status_has_its_badge():
    verdicts = [HOLDS, replace(FAILS, claim="no"), replace(HOLDS, claim="who knows", tolerance=0.01)]
    parsed = Parsed(verdicts_html([*verdicts, Verdict("elsewhere", "Table 1")]))
    badges = [span["class"] for span in parsed.tags["span"] if span["class"].startswith("verdict")]
    names = ["holds", "does-not-hold", "inconclusive", "cannot-be-tested-here"]
    assert badges == [f"verdict {name}" for name in names]


def test_cases_of_a_claim_are_one_row_with_the_worst_in_front():
    cases = [replace(HOLDS, case="small"), replace(FAILS, case="large"), replace(HOLDS, case="<other>")]
    parsed = Parsed(verdicts_html(cases))
    assert len(parsed.texts["td"]) == 4
    assert parsed.texts["td"][2].startswith("2.00")
    assert parsed.texts["summary"] == ["2 more cases"]
    assert [text[:4] for text in parsed.texts["li"]] == ["1.00", "1.00"]
    below = [text for text, span in zip(parsed.texts["span"], parsed.tags["span"], strict=True) if "below" in str(span)]
    assert below == ["Eq. 1", "large", "small", "<other>"]
    assert Parsed(verdicts_html(cases[:2])).texts["summary"] == ["1 more case"]


def test_kinds_have_a_table_each_in_one_order():
    verdicts = [replace(HOLDS, kind=kind, claim=kind) for kind in ("expectation", "identity", "ours", "paper")]
    assert captions(Parsed(verdicts_html(verdicts))) == list(CAPTIONS.values())
    assert captions(Parsed(verdicts_html(verdicts[2:3]))) == [CAPTIONS["ours"]]
    assert verdicts_html([]) == ""


@pytest.mark.parametrize(
    ("kind", "count", "folds"),
    [("paper", 30, 0), ("ours", 12, 0), ("ours", 13, 1), ("identity", 1, 1), ("expectation", 12, 0)],
)
def test_identities_are_folded_and_the_papers_claims_never(kind, count, folds):
    verdicts = [replace(HOLDS, kind=kind, claim=f"claim {number}") for number in range(count)]
    assert len(Parsed(verdicts_html(verdicts)).tags.get("details", [])) == folds
