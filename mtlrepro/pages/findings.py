"""What a chapter found: each claim of the paper with its verdicts in short, read before the evidence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mtlrepro.analysis.verdicts import WORST_FIRST, Verdict, grouped


@dataclass(frozen=True)
class Finding:
    """One numbered claim of the box *What the paper claims*, as the box *What we found* answers it.

    Its verdicts are those of the chapter whose `finding` is this number. The first claim among them is quoted with its
    measured value, that of its worst case.

    Attributes:
        number: Of the claim.
        claim: What the paper says, in a few words.
        section: Anchor of the section that shows the evidence, without `#`.
        evidence: What it rests on: algebra, printed trials, our runs at which size and with how many seeds.
    """

    number: int
    claim: str
    section: str
    evidence: str


def answers(findings: Sequence[Finding], verdicts: Sequence[Verdict]) -> list[dict[str, str]]:
    """Answer each finding by its verdicts, the paper's claims alone.

    Returns:
        One entry a finding, as text: `number`, `claim`, `section`, `evidence`; `status`, claims counted by the status
        of their worst case, worst first, such as `inconclusive 1, holds 3`, without a number if all agree; and
        `measured`, what is quoted.

    Raises:
        ValueError: A finding has no verdict, or a verdict names a number that no finding has.
    """
    known = {finding.number for finding in findings}
    stray = sorted({one.finding for one in verdicts} - known - {0})
    if stray:
        raise ValueError(f"finding is {stray[0]} in a verdict; accepted: 0 or one of {sorted(known)}")
    return [_answer(one, [verdict for verdict in verdicts if verdict.finding == one.number]) for one in findings]


def _answer(finding: Finding, verdicts: Sequence[Verdict]) -> dict[str, str]:
    groups = grouped(verdicts)
    if not groups:
        raise ValueError(f"finding {finding.number} has no verdict; accepted: one or more")
    counts = Counter(cases[0].status for cases in groups)
    found = [status for status in WORST_FIRST if counts[status]]
    status = found[0] if len(found) == 1 else ", ".join(f"{name} {counts[name]}" for name in found)
    quoted = groups[0][0]
    measured = "" if quoted.measured is None else f"{quoted.claim}: {quoted.measured}"
    if measured and quoted.case:
        measured += f" ({quoted.case})"
    return {
        "number": str(finding.number),
        "claim": finding.claim,
        "status": status,
        "measured": measured,
        "evidence": finding.evidence,
        "section": finding.section,
    }


def badges(status: str) -> str:
    """HTML of the statuses of an answer."""
    parts = []
    for part in status.split(", "):
        name = part.rstrip("0123456789 ")
        parts.append(f'<span class="verdict {name.replace(" ", "-")}">{escape(part)}</span>')
    return "<br>".join(parts)


def findings_html(answered: Sequence[dict[str, str]]) -> str:
    """Box of the answers as a numbered list; empty before there are any."""
    items = [
        f'<li value="{one["number"]}"><a href="#{escape(one["section"])}">{escape(one["claim"])}</a>: '
        f"{badges(one['status'])}"
        + (f'<br><span class="quoted">{escape(one["measured"])}</span>' if one["measured"] else "")
        + f'<br><span class="evidence">{escape(one["evidence"])}</span></li>'
        for one in answered
    ]
    body = f"<ol>{''.join(items)}</ol>" if items else "<p>Computed at the end of this run.</p>"
    return f'<div class="admonition note mtlrepro-findings"><p class="admonition-title">What we found</p>{body}</div>'
