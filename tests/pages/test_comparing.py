"""Two runs beside each other: parameters first, then verdicts, then tables."""

import nbformat
import pytest
from nbformat import v4

from mtlrepro.pages.comparing import compare_runs
from mtlrepro.pages.notebook import PROVENANCE, TABLE, VERDICTS


def verdict(claim="It falls", measured="0.5 [0.4, 0.6]", status="holds", case="", reading="", **more):
    return {"claim": claim, "case": case, "reading": reading, "measured": measured, "status": status, **more}


def save(path, *, title="A chapter", verdicts=(), tables=None, error=None, **parameters):
    values = {"scale": "cpu", "seeds": 3, **parameters}
    outputs = [v4.new_output("display_data", {PROVENANCE: {"parameters": values}})]
    outputs.append(v4.new_output("display_data", {VERDICTS: list(verdicts)}))
    for name, values in (tables or {"t": [1.0, 2.0]}).items():
        content = {"name": name, "rtol": 0.1, "atol": 0, "columns": {"x": values}}
        outputs.append(v4.new_output("display_data", {TABLE: content}))
    if error:
        outputs.append(v4.new_output("error", ename="ValueError", evalue=error))
    cells = [v4.new_markdown_cell(f"# {title}"), v4.new_code_cell("0"), v4.new_code_cell("1", outputs=outputs)]
    nbformat.write(v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def compared(tmp_path):
    def compare(old, new, **options):
        return compare_runs(save(tmp_path / "a.ipynb", **old), save(tmp_path / "b.ipynb", **new), **options)

    return compare


def test_equal_runs(compared):
    run = {"verdicts": [verdict(), verdict(case="four tasks")]}
    assert compared(run, run) == (["1 of 1 tables agree, 2 of 2 verdicts have the same status"], True)
    assert compared({}, {}) == (["1 of 1 tables agree"], True)


def test_parameters_come_first_then_verdicts_then_a_line_a_table(compared):
    old = {"verdicts": [verdict(case="a"), verdict(case="b")], "tables": {"t": [1.0, 2.0, 3.0], "u": [1.0]}}
    new = {
        "seeds": 5,
        "verdicts": [
            verdict(case="a", measured="0.51 [0.4, 0.6]"),
            verdict(case="b", measured="2 [1, 3]", status="does not hold"),
        ],
        "tables": {"t": [1.0, 3.0, 4.0], "v": [1.0]},
    }
    lines, same = compared(old, new)
    assert not same
    assert lines == [
        "parameter 'seeds': stored 3, fresh 5",
        'verdict "It falls" (b): stored 0.5 [0.4, 0.6] holds, fresh 2 [1, 3] does not hold',
        'verdict "It falls" (a): stored 0.5 [0.4, 0.6] holds, fresh 0.51 [0.4, 0.6] holds',
        "table 't': 2 of 3 cells differ",
        "table 'u': only in the stored one",
        "table 'v': only in the fresh one",
        "0 of 3 tables agree, 1 of 2 verdicts have the same status",
    ]
    cells, _ = compared(old, new, cells=True)
    assert cells[3:5] == [
        "table 't', column 'x', row 1: stored 2.0, fresh 3.0, accepted within 0.2",
        "table 't', column 'x', row 2: stored 3.0, fresh 4.0, accepted within 0.3",
    ]


def test_digits_of_an_interval_that_moved_are_shown_and_do_not_count(compared):
    lines, same = compared({"verdicts": [verdict()]}, {"verdicts": [verdict(measured="0.501 [0.4, 0.6]")]})
    assert same
    assert lines[0].startswith('verdict "It falls": stored 0.5')


def test_verdicts_are_matched_by_claim_case_and_reading(compared):
    old = [verdict(reading="a mean over trials"), verdict(), verdict()]
    new = [verdict(), verdict(claim="It rises", status="inconclusive", measured="")]
    lines, same = compared({"verdicts": old}, {"verdicts": new})
    assert not same
    assert lines == [
        'verdict "It falls" (read as a mean over trials): stored 0.5 [0.4, 0.6] holds, fresh absent',
        'verdict "It falls": stored 0.5 [0.4, 0.6] holds, fresh absent',
        'verdict "It rises": stored absent, fresh inconclusive',
        "1 of 1 tables agree, 1 of 4 verdicts have the same status",
    ]


def test_verdicts_of_another_size_are_matched_and_the_size_is_shown(compared):
    """The size of the runs and the best rival are circumstances, and a reading may count its seeds."""
    old = verdict(case="three tasks", reading="mean of 3 seeds", circumstances="best other GLS, gpu scale")
    new = verdict(
        case="three tasks", reading="mean of 2 seeds", measured="", status="inconclusive", circumstances="cpu scale"
    )
    lines, same = compared({"verdicts": [old]}, {"verdicts": [new], "scale": "smoke"})
    assert not same
    assert lines == [
        "parameter 'scale': stored 'cpu', fresh 'smoke'",
        'verdict "It falls" (three tasks; read as mean of seeds): stored 0.5 [0.4, 0.6] holds (best other GLS, gpu '
        "scale), fresh inconclusive (cpu scale)",
        "1 of 1 tables agree, 0 of 1 verdicts have the same status",
    ]


def test_runs_of_two_notebooks_are_one_line(compared):
    lines, same = compared({"verdicts": [verdict()]}, {"title": "Another", "draws": 5})
    assert not same
    assert lines == ["runs of different notebooks: stored 'A chapter', fresh 'Another'"]
    lines, _ = compared({}, {"title": "The same chapter, renamed"})
    assert lines == ["1 of 1 tables agree"]


def test_a_run_that_failed_is_said_first_and_does_not_agree(compared):
    lines, same = compared({}, {"error": "no numbers"})
    assert not same
    assert lines == [
        "the fresh run failed: code cell 2 of 2 (`1`): ValueError: no numbers",
        "1 of 1 tables agree",
    ]
