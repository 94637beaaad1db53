"""The prose of a notebook's text cells: what a reader reads as words, without formulas, code, links and citations."""

import re

# What is taken out, in this order, with what stands in its place.
_REMOVED = (
    (r"```(?!\{)\w*\n[\s\S]*?```", " "),  # code; the text of a directive stays
    (r"```\{?[\w-]*\}?.*", " "),
    (r"^:\w+:.*$", " "),
    (r"\$\$[\s\S]*?\$\$", " "),
    (r"\$[^$]*\$", " "),
    (r"\{(?:cite|py:\w+|doc|ref|eq|numref)(?::\w+)?\}`[^`]*`", " "),
    (r"\{term\}`([^`<]*?)\s*(?:<[^>]*>)?`", r"\1"),
    (r"``?[^`]*``?", " "),
    (r"\[([^\]]*)\]\([^)]*\)", r"\1"),
    (r"^\([\w-]+\)=$", " "),
    (r"^\s*\d+\. ", " "),
)


def prose(markdown: str, *, headings: bool = True) -> str:
    """Text of a Markdown cell in words; numbers of lists and headings are no part of it.

    Args:
        markdown: Source of the cell.
        headings: Whether the words of headings belong to it.
    """
    text = re.sub(r"^#+ .*$", " ", markdown, flags=re.MULTILINE) if not headings else markdown
    text = re.sub(r"^#+ +(\d+\.|[a-z]\.)? *", "", text, flags=re.MULTILINE)
    for pattern, instead in _REMOVED:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


def terms(markdown: str) -> set[str]:
    """Glossary terms that a Markdown text links, in lower case."""
    linked = re.findall(r"\{term\}`([^`<]*?)\s*(?:<([^>]*)>)?`", markdown)
    return {(target or shown).strip().lower() for shown, target in linked}
