"""What a chapter found: each claim of the paper with its verdicts in short, read before the evidence."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from mtlrepro.analysis.verdicts import WORST_FIRST, Verdict, grouped, measured_text
from mtlrepro.pages.html import badge, small, table_box


@dataclass(frozen=True)
class Finding:
    """One numbered claim of the box *What the paper claims*, as the box *What we found* answers it.

    Its verdicts are those of the chapter whose `finding` is this number. Of those with a measured value, the one with
    the worst status is quoted, the first of several, so that the number says what does not hold rather than what does.
    Verdicts whose `limits` is this number say how far the claim reaches: they follow, and are not counted.

    Attributes:
        number: Of the claim.
        claim: What the paper says, in a few words.
        section: Anchor of the section that shows the evidence, without `#`: a label, or the heading's words in lower
            case, joined by hyphens, without a number in front.
        evidence: What it rests on: algebra, printed trials, our runs at which size and with how many seeds.
    """

    number: int
    claim: str
    section: str
    evidence: str


def answers(findings: Sequence[Finding], verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Answer each finding by its verdicts, of whatever kind.

    Args:
        findings: What the box lists.
        verdicts: All verdicts of the chapter; those with `finding` 0 answer nothing.

    Returns:
        One entry a finding, as notebooks store it: `number`, `claim`, `section`, `evidence`; `statuses`, how many
        claims have which status in their worst case, the worst status first; `quoted`, the claim that is quoted and
        its place; `measured`, what was measured there, empty if nothing was; `reading`, of what; and `limits`, of each
        claim that shows how far this one reaches `quoted`, `measured` and `status` of its worst case.

    Raises:
        ValueError: Two findings have the same number, a finding has no verdict, or a verdict names a number that no
            finding has.
    """
    numbers = [finding.number for finding in findings]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"numbers of findings are {numbers}; accepted: a number each")
    for name in ("finding", "limits"):
        stray = sorted({getattr(one, name) for one in verdicts} - {0, *numbers})
        if stray:
            raise ValueError(f"{name} is {stray[0]} in a verdict; accepted: 0 or one of {sorted(numbers)}")
    return [_answer(one, verdicts) for one in findings]


def _answer(finding: Finding, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Answer one finding by those of all verdicts that name it."""
    groups = grouped([one for one in verdicts if one.finding == finding.number])
    limits = grouped([one for one in verdicts if one.limits == finding.number])
    if not groups:
        raise ValueError(f"finding {finding.number} has no verdict; accepted: one or more")
    counts = Counter(cases[0].status for cases in groups)
    worst_first = sorted((cases[0] for cases in groups), key=lambda one: WORST_FIRST.index(one.status))
    quoted = next((one for one in worst_first if one.measured is not None), worst_first[0])
    return {
        "number": finding.number,
        "claim": finding.claim,
        "section": finding.section,
        "evidence": finding.evidence,
        "statuses": {status: counts[status] for status in WORST_FIRST if counts[status]},
        **_quoted(quoted),
        "reading": quoted.reading,
        "limits": [{**_quoted(cases[0]), "status": cases[0].status} for cases in limits],
    }


def _quoted(verdict: Verdict) -> dict[str, str]:
    quoted = f"{verdict.claim} ({verdict.place})" if verdict.place else verdict.claim
    return {"quoted": quoted, "measured": measured_text(verdict)}


def limit_text(limit: Mapping[str, str]) -> str:
    """One claim that shows how far another one reaches, with what was measured, if anything was."""
    return limit["quoted"] + (f": {limit['measured']}" if limit["measured"] else "")


def _limit(limit: Mapping[str, str]) -> str:
    """HTML of `limit_text` with its status."""
    return f"Limit: {escape(limit_text(limit))} {badge(limit['status'])}"


def counted(statuses: Mapping[str, int]) -> dict[str, str]:
    """Status to its text, the worst first: with how many claims have it, unless all claims agree.

    Args:
        statuses: Of an answer, in any order, as notebooks store the keys of a mapping by name.
    """
    found = [status for status in WORST_FIRST if status in statuses]
    return {status: status if len(found) == 1 else f"{statuses[status]} {status}" for status in found}


def badges(statuses: Mapping[str, int]) -> str:
    """HTML of the statuses of an answer, see `counted`."""
    return " ".join(badge(status, text) for status, text in counted(statuses).items())


def findings_text(answered: Sequence[Mapping[str, Any]]) -> str:
    """Answers as plain text, a line each."""
    lines = []
    for one in answered:
        statuses = ", ".join(f"{count} {status}" for status, count in one["statuses"].items())
        lines.append(f"{one['number']}. {one['claim']}: {statuses}")
    return "\n".join(["What we found", *lines])


def findings_html(answered: Sequence[Mapping[str, Any]]) -> str:
    """Box of the answers as a numbered list; before there are any, it says when they come."""
    items = "".join(_item(one) for one in answered)
    body = f"<ol>{items}</ol>" if items else "<p>Computed at the end of this run.</p>"
    return f'<div class="admonition note mtlrepro-findings"><p class="admonition-title">What we found</p>{body}</div>'


def _item(answer: Mapping[str, Any]) -> str:
    link = f'<a href="#{escape(answer["section"])}">{escape(answer["claim"])}</a>'
    parts = [f"{link} {badges(answer['statuses'])}"]
    if answer["measured"]:
        reading = f" ({answer['reading']})" if answer["reading"] else ""
        quoted = f"{answer['quoted']}: {answer['measured']}{reading}"
        parts.append(f'<span class="quoted">{escape(quoted)}</span>')
    parts += [f'<span class="quoted">{_limit(one)}</span>' for one in answer["limits"]]
    parts.append(f'<span class="evidence">{escape(answer["evidence"])}</span>')
    return f'<li value="{answer["number"]}">{"<br>".join(parts)}</li>'


def findings_rows_html(chapters: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]]) -> str:
    """Table of what several chapters found, a row a claim below a row a chapter.

    Args:
        chapters: Title, address of the page, and answers of each chapter.
    """
    head = "".join(f'<th scope="col">{title}</th>' for title in ("claim", "verdict", "measured", "evidence"))
    bodies = []
    for title, page, answered in chapters:
        link = f'<a href="{escape(page)}">{escape(title)}</a>'
        rows = "".join(f"<tr>{_cells(page, one)}</tr>" for one in answered)
        bodies.append(f'<tbody><tr><th colspan="4" scope="rowgroup">{link}</th></tr>{rows}</tbody>')
    table = f'<table class="mtlrepro"><thead><tr>{head}</tr></thead>{"".join(bodies)}</table>'
    return table_box(table, "Each claim, the verdicts on it, and one number that was measured.")


def _cells(page: str, answer: Mapping[str, Any]) -> str:
    """Cells of one answer on a page other than its own."""
    reading = f" ({answer['reading']})" if answer["reading"] else ""
    quoted = f"{escape(answer['measured'])}{small(escape(answer['quoted'] + reading))}" if answer["measured"] else ""
    quoted += "".join(small(_limit(one)) for one in answer["limits"])
    link = f'<a href="{escape(page)}#{escape(answer["section"])}">{escape(answer["claim"])}</a>'
    cells = (link, badges(answer["statuses"]), quoted, escape(answer["evidence"]))
    return "".join(f"<td>{cell}</td>" for cell in cells)
