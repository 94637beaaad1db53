"""The box *What we found*: each numbered claim answered by its verdicts."""

import json
from dataclasses import replace

import pytest
from page_cases import NASTY, Parsed

from mtlrepro.analysis.verdicts import Interval, Verdict
from mtlrepro.pages.findings import Finding, answers, badges, counted, findings_html, findings_rows_html, findings_text

HOLDS = Verdict("It is one", "Eq. 1", 1.0, 0.1, Interval(1.0, 0.95, 1.05), finding=1)
FAILS = replace(HOLDS, measured=Interval(2.0, 1.9, 2.1))
ONE = Finding(1, "All are one.", "all-are-one", "our runs, three seeds")


def test_a_finding_quotes_the_worst_case_of_its_first_claim():
    verdicts = [
        replace(FAILS, claim="of another", finding=2),
        replace(HOLDS, case="small"),
        replace(FAILS, case="large"),
        replace(FAILS, claim="And so is this"),
        replace(FAILS, claim="an aside", finding=0),
    ]
    two = Finding(2, "So is the other.", "other", "algebra")
    assert answers([ONE, two], verdicts) == [
        {
            "number": 1,
            "claim": "All are one.",
            "section": "all-are-one",
            "evidence": "our runs, three seeds",
            "statuses": {"does not hold": 2},
            "quoted": "It is one (large)",
            "measured": "2.00 [1.90, 2.10]",
            "reading": "",
            "limits": [],
        },
        {
            "number": 2,
            "claim": "So is the other.",
            "section": "other",
            "evidence": "algebra",
            "statuses": {"does not hold": 1},
            "quoted": "of another",
            "measured": "2.00 [1.90, 2.10]",
            "reading": "",
            "limits": [],
        },
    ]


def test_statuses_are_counted_by_claim_the_worst_first():
    verdicts = [HOLDS, replace(HOLDS, claim="b"), Verdict("c", "Table 1", finding=1), replace(FAILS, claim="d")]
    verdicts += [replace(HOLDS, claim="e", tolerance=0.01, kind="ours"), replace(HOLDS, claim="e", kind="identity")]
    (answer,) = answers([ONE], verdicts)
    assert list(answer["statuses"].items()) == [
        ("does not hold", 1),
        ("inconclusive", 1),
        ("cannot be tested here", 1),
        ("holds", 3),
    ]


def test_what_cannot_be_tested_has_no_number():
    (answer,) = answers([ONE], [Verdict("It is one", "Eq. 1", finding=1)])
    assert (answer["statuses"], answer["measured"]) == ({"cannot be tested here": 1}, "")
    assert "quoted" not in findings_html([answer])


def test_answers_survive_being_stored():
    found = answers([ONE], [HOLDS])
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("findings", "verdicts", "message"),
    [
        ([ONE], [], "finding 1 has no verdict; accepted: one or more"),
        ([ONE], [HOLDS, replace(HOLDS, finding=3)], r"finding is 3 in a verdict; accepted: 0 or one of \[1\]"),
        ([ONE], [HOLDS, replace(HOLDS, finding=0, limits=3)], r"limits is 3 in a verdict; accepted: 0 or one of \[1\]"),
        ([ONE, ONE], [HOLDS], r"numbers of findings are \[1, 1\]; accepted: a number each"),
    ],
)
def test_findings_and_verdicts_have_to_fit(findings, verdicts, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        answers(findings, verdicts)


def test_limits_of_a_claim_are_told_beside_it_and_not_counted():
    limit = replace(FAILS, claim="elsewhere", case="large", finding=0, limits=1)
    (answer,) = answers([ONE], [HOLDS, limit, replace(HOLDS, claim="elsewhere", case="small", finding=0, limits=1)])
    assert answer["statuses"] == {"holds": 1}
    assert answer["limits"] == [
        {"quoted": "elsewhere (large)", "measured": "2.00 [1.90, 2.10]", "status": "does not hold"}
    ]
    for html in (findings_html([answer]), findings_rows_html([("Title", "page.html", [answer])])):
        assert "Limit: elsewhere (large): 2.00 [1.90, 2.10]" in html
        assert '<span class="verdict does-not-hold">does not hold</span>' in html


def test_badges_count_unless_all_agree():
    assert Parsed(badges({"holds": 3})).texts["span"] == ["holds"]
    parsed = Parsed(badges({"does not hold": 1, "holds": 2}))
    assert parsed.texts["span"] == ["1 does not hold", "2 holds"]
    assert [span["class"] for span in parsed.tags["span"]] == ["verdict does-not-hold", "verdict holds"]


def test_the_box_numbers_links_and_escapes():
    nasty = Finding(4, NASTY, "a-section", NASTY)
    found = answers([nasty], [replace(HOLDS, claim=NASTY, case=NASTY, reading=NASTY, finding=4)])
    parsed = Parsed(findings_html(found))
    assert parsed.tags["li"] == [{"value": "4"}]
    assert parsed.tags["a"] == [{"href": "#a-section"}]
    assert parsed.texts["a"] == [NASTY]
    assert parsed.texts["span"] == ["holds", f"{NASTY} ({NASTY}): 1.00 [0.950, 1.05] ({NASTY})", NASTY]
    assert "b" not in parsed.tags
    assert parsed.texts["p"] == ["What we found"]


def test_the_box_is_empty_before_the_end_of_the_run():
    parsed = Parsed(findings_html([]))
    assert parsed.texts["p"] == ["What we found", "Computed at the end of this run."]
    assert "li" not in parsed.tags
    assert findings_text([]) == "What we found"


def test_the_measured_claim_with_the_worst_status_is_quoted():
    """A number that holds does not stand beside a badge that says that something does not."""
    untold = Verdict("c", "Table 1", finding=1)
    (answer,) = answers([ONE], [untold, HOLDS, replace(FAILS, claim="d")])
    assert (answer["quoted"], answer["measured"]) == ("d", "2.00 [1.90, 2.10]")
    (answer,) = answers([ONE], [untold, HOLDS])
    assert answer["quoted"] == "It is one"
    (answer,) = answers([ONE], [untold])
    assert (answer["quoted"], answer["measured"]) == ("c", "")


def test_statuses_are_shown_worst_first_in_whatever_order_they_are_stored():
    html = badges({"holds": 3, "inconclusive": 1, "does not hold": 2})
    assert html.index("2 does not hold") < html.index("1 inconclusive") < html.index("3 holds")
    assert list(counted({"holds": 3, "does not hold": 2})) == ["does not hold", "holds"]
    assert counted({"holds": 3}) == {"holds": "holds"}
