"""HTML is escaped, commands can be run again, chapters show and judge."""

import base64
import json
import math
import shlex
import sys
from dataclasses import replace
from types import SimpleNamespace

import matplotlib as mpl
import nbformat
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from nbformat import v4
from page_cases import NASTY, Parsed, drawing, exhibit, measured

from mtlrepro import cli
from mtlrepro.analysis.verdicts import Interval, Verdict, rows
from mtlrepro.pages import chapter as report
from mtlrepro.pages import figures as plots
from mtlrepro.pages.findings import Finding, answers, findings_html
from mtlrepro.pages.html import image_html
from mtlrepro.pages.notebook import FINDINGS, PROVENANCE, TABLE, VERDICTS, NotebookError
from mtlrepro.pages.parameters import assign
from mtlrepro.pages.plan import Part, Plan
from mtlrepro.pages.running import run_notebook
from mtlrepro.pages.stored import normalise_file, notebook_statistics
from mtlrepro.pages.verdict_tables import verdicts_html
from mtlrepro.training.provenance import provenance


@pytest.fixture
def shown(monkeypatch, updated):
    """What is displayed, in order: a bundle of MIME types or an object."""
    found = []
    monkeypatch.setattr(report, "display", lambda content, **options: found.append(content))
    monkeypatch.setattr(report, "update_display", lambda content, **options: updated.append((content, options)))
    return found


@pytest.fixture
def updated():
    """What takes the place of something that was displayed before, with the options of the call."""
    return []


CHOSEN = {"seeds": 3, "sizes": [4, 8], "rates": [1e-5, 0.5], "device": "cpu", "quick": True, "note": "it's < 5"}


def declaring(path, text):
    """Notebook that declares parameters."""
    cell = v4.new_code_cell(text, metadata={"tags": ["parameters"]})
    nbformat.write(v4.new_notebook(cells=[cell]), path)
    return path


def opened(notebook, values):
    """Chapter made in a module, or kernel, of these variables."""
    namespace = {"Chapter": report.Chapter, **values}
    exec(f"chapter = Chapter({str(notebook)!r})", namespace)
    return namespace["chapter"]


@pytest.fixture
def chapter(tmp_path):
    kinds = {"seeds": "int", "sizes": "list[int]", "rates": "list[float]", "device": "str", "quick": "bool"}
    lines = [f"{name}: {kinds.get(name, 'str')} = {value!r}  # help" for name, value in CHOSEN.items()]
    return opened(declaring(tmp_path / "chapter.ipynb", "\n".join(lines)), CHOSEN)


DECLARED = """\
seeds: int = 5  # networks [1..]
rate: float = 0.1  # step size
device: str = "cpu"  # where
quick: bool = False  # less
sizes: list[int] = [8]  # images
rates: list[float] = [0.1]  # several
names: list[str] = ["a"]  # several
"""
DEFAULTS = {
    "seeds": 5,
    "rate": 0.1,
    "device": "cpu",
    "quick": False,
    "sizes": [8],
    "rates": [0.1],
    "names": ["a"],
}


@pytest.fixture
def notebook(tmp_path):
    return declaring(tmp_path / "it's a notebook.ipynb", DECLARED)


def test_rerun_command():
    line = report.rerun_command("book/a.ipynb", {"n": 3, "sizes": [4, 8], "quick": True, "slow": False, "rate": 1e-5})
    assert line == "mtlrepro run book/a.ipynb -p n 3 -p sizes 4,8 -p quick true -p slow false -p rate 1e-05"
    assert report.rerun_command("a.ipynb", {}) == "mtlrepro run a.ipynb"
    assert (
        report.rerun_command("a b.ipynb", {"x": "$HOME; it's"}) == """mtlrepro run 'a b.ipynb' -p x '$HOME; it'"'"'s'"""
    )


@pytest.mark.parametrize(
    "values",
    [
        {"seeds": 7, "rate": -2.5e-7, "device": "cuda:0", "quick": True, "sizes": [1, 2, 3]},
        {"quick": False, "rate": 3.0, "rates": [1e-300, 0.1, -12345678.123456789], "names": ["left", "a b"]},
        {"device": "", "sizes": [], "rates": [], "names": []},
        {"device": '$HOME `ls` "it\'s" *\\', "sizes": [-1]},
        {"rates": [0.1 + 0.2]},
        {},
    ],
)
def test_the_command_line_reads_back_the_values_that_rerun_command_writes(notebook, values):
    program, *words = shlex.split(report.rerun_command(str(notebook), values))
    arguments = cli._parser().parse_args(words)
    assert (program, arguments.subcommand, arguments.notebook) == ("mtlrepro", "run", notebook)
    assert assign(notebook, arguments.texts) == values


def test_chapters_name_the_parameters_that_were_asked_for(chapter):
    run = f"mtlrepro run {shlex.quote(chapter.notebook)}"
    assert chapter.command("sizes", "quick") == f"{run} -p sizes 4,8 -p quick true"
    chapter.defaults["seeds"] = 99
    assert chapter.command("sizes").endswith(f"-p sizes 4,8 -p seeds {chapter.parameters['seeds']}")
    with pytest.raises(KeyError, match="tasks"):
        chapter.command("tasks")


def test_the_rerun_line_has_all_parameters(chapter, capsys):
    chapter.rerun_line()
    assert capsys.readouterr().out == f"{chapter.command(*CHOSEN)}\n"


def test_a_chapter_sets_style_and_one_thread(notebook):
    mpl.rcdefaults()
    torch.set_num_threads(2)
    opened(notebook, DEFAULTS)
    assert mpl.rcParams["svg.hashsalt"] == "mtlrepro"
    assert torch.get_num_threads() == 1


def test_a_chapter_reads_the_declared_parameters_and_no_others(notebook):
    chapter = opened(notebook, DEFAULTS | {"seeds": 7, "rate": 2, "undeclared": 1})
    assert chapter.parameters == DEFAULTS | {"seeds": 7, "rate": 2.0}
    assert chapter.defaults == DEFAULTS


def test_a_chapter_names_parameters_without_a_value(notebook):
    values = {name: value for name, value in DEFAULTS.items() if name not in ("rate", "names")}
    with pytest.raises(NotebookError, match="no value of rate, names; accepted: a value for each"):
        opened(notebook, values)


def test_a_chapter_refuses_a_value_that_the_declaration_refuses(notebook):
    with pytest.raises(NotebookError, match=r"parameter 'seeds': found 0, accepted: a whole number in \[1\.\.\]"):
        opened(notebook, DEFAULTS | {"seeds": 0})


def test_a_chapter_in_a_kernel_sees_the_values_that_papermill_injects(tmp_path):
    path = declaring(tmp_path / "n.ipynb", DECLARED)
    book = nbformat.read(path, 4)
    code = f"from mtlrepro.pages.chapter import Chapter\nChapter({str(path)!r}).rerun_line()"
    book.cells.append(v4.new_code_cell(code))
    nbformat.write(book, path)
    done = nbformat.read(run_notebook(path, tmp_path / "out.ipynb", {"seeds": 9, "sizes": [3, 4]}), 4)
    (output,) = done.cells[-1].outputs
    expected = report.rerun_command(str(path), DEFAULTS | {"seeds": 9, "sizes": [3, 4]})
    assert output.text == f"{expected}\n"


def test_a_figure_carries_its_table_caption_alt_and_command(chapter, shown):
    one = exhibit(figure=drawing(), caption=NASTY, alt="A <curve>.", uses=("seeds", "note"), rtol=1e-3)
    chapter.show(one)
    (bundle,) = shown
    assert set(bundle) == {"text/html", "text/plain", TABLE}
    parsed = Parsed(bundle["text/html"])
    assert parsed.tags["img"][0]["alt"] == "A <curve>."
    assert parsed.texts["figcaption"] == [bundle["text/plain"]] == [NASTY]
    assert parsed.texts["code"] == [chapter.command("seeds", "note")]
    assert (
        bundle[TABLE]
        == one.payload
        == {
            "name": "noise",
            "rtol": 1e-3,
            "atol": 1e-9,
            "columns": measured().to_dict("list"),
        }
    )


def test_a_slider_shows_every_figure_with_its_alt_and_one_table(chapter, shown):
    frames = {str(n): (drawing((0, n)), f"Batches of {n} & more.") for n in (2, 8, 32)}
    one = exhibit(frames=frames, sliders=("batch",), start="8", uses=("sizes",), atol=0.5)
    chapter.show(one)
    box, bundle = shown
    slider, stack = box.children
    assert slider.options == ("2", "8", "32")
    assert (slider.description, slider.value) == ("batch", "8")
    for child, (label, (_, alt)) in zip(stack.children, frames.items(), strict=True):
        assert child.value == image_html(drawing((0, int(label))), alt)
        assert Parsed(child.value).tags["img"][0]["alt"] == alt
    assert len({child.value for child in stack.children}) == 3
    parsed = Parsed(bundle["text/html"])
    assert parsed.tags["figure"] and f"<noscript>{stack.children[1].value}</noscript>" in bundle["text/html"]
    assert parsed.texts["figcaption"] == ["It falls."]
    assert parsed.texts["code"] == [chapter.command("sizes")]
    assert bundle[TABLE] == one.payload


@pytest.mark.parametrize(("labels", "sliders"), [("2", ("batch",)), (("2", "3"), ("batch", "size"))])
def test_a_single_figure_needs_no_slider(chapter, shown, labels, sliders):
    chapter.show(exhibit(frames={labels: (drawing(), "One.")}, sliders=sliders))
    (bundle,) = shown
    assert [image["alt"] for image in Parsed(bundle["text/html"]).tags["img"]] == ["One."]
    assert bundle[TABLE] == exhibit().payload


def test_two_sliders_show_pictures_with_their_alts_and_one_table(chapter, shown):
    frames = {(n, k): (drawing((0, int(n + k))), f"Sizes {n} and {k} & more.") for n in "12" for k in "34"}
    one = exhibit(frames=frames, sliders=("n", "k"), start=("1", "4"), form="drawing", uses=("sizes",), rtol=0.25)
    chapter.show(one)
    box, bundle = shown
    *sliders, rows = box.children
    assert [slider.description for slider in sliders] == ["n", "k"]
    for row, n in zip(rows.children, "12", strict=True):
        for child, k in zip(row.children, "34", strict=True):
            (image,) = Parsed(child.value).tags["img"]
            assert image["alt"] == f"Sizes {n} and {k} & more."
            kind, data = image["src"].split(",")
            assert kind == "data:image/webp;base64"
            assert base64.b64decode(data) == plots.webp(drawing((0, int(n + k))))
    assert [slider.value for slider in sliders] == ["1", "4"]
    parsed = Parsed(bundle["text/html"])
    assert [image["alt"] for image in parsed.tags["img"]] == ["Sizes 1 and 4 & more."]
    assert parsed.texts["figcaption"] == ["It falls."]
    assert bundle[TABLE] == one.payload


def test_a_slider_of_one_label_is_left_out(chapter, shown):
    frames = {("1", k): (drawing((0, int(k))), f"Size {k}.") for k in "34"}
    chapter.show(exhibit(frames=frames, sliders=("n", "k")))
    slider, _ = shown[0].children
    assert (slider.description, slider.options) == ("k", ("3", "4"))


def test_a_table_shows_three_digits_and_stores_all(chapter, shown):
    table = pd.DataFrame({"name": [NASTY, "b"], "x": [0.123456, 3e-17], "n": [123456, 7]})
    chapter.show(exhibit(table=table))
    (bundle,) = shown
    assert Parsed(bundle["text/html"]).texts["td"] == [NASTY, "0.123", "123456", "b", "< 1e-12", "7"]
    assert "code" not in Parsed(bundle["text/html"]).tags  # no command
    assert bundle[TABLE]["columns"] == {"name": [NASTY, "b"], "x": [0.123456, 0.0], "n": [123456, 7]}
    assert bundle["text/plain"] == "It falls."


def test_a_table_can_be_shown_to_readers_in_another_form(chapter, shown):
    chapter.show(exhibit(shown=pd.DataFrame({"size, images": ["none"], "share": [math.nan]}).fillna(0.25)))
    (bundle,) = shown
    assert Parsed(bundle["text/html"]).texts["th"] == ["size, images", "share"]
    assert Parsed(bundle["text/html"]).texts["td"] == ["none", "0.250"]
    assert bundle[TABLE] == exhibit().payload


def test_a_view_at_one_size_names_it_in_captions_and_claims(chapter, shown):
    view = chapter.at(SimpleNamespace(scale="gpu", passed_over=""))
    view.show(exhibit(), exhibit(name="other", caption="Flat.", figure=drawing(), alt="A line."))
    assert [bundle["text/plain"] for bundle in shown] == ["It falls. (gpu scale)", "Flat. (gpu scale)"]
    verdict = Verdict("It holds", "Eq. 1", 1.0, 0.1, Interval(1.0, 0.95, 1.05))
    view.judge(verdict, Verdict("It is small", "Eq. 2"))
    chapter.judge(verdict)
    cases = [("It holds", "gpu scale"), ("It is small", "gpu scale"), ("It holds", "")]
    assert [(one.claim, one.place) for one in chapter.judged] == cases
    assert replace(chapter.judged[0], circumstances="") == verdict


def test_a_cell_may_be_run_again(chapter, shown):
    for _ in range(2):
        chapter.show(exhibit())
    assert len(shown) == 2


def test_verdicts_are_collected_and_shown_with_badges(chapter, shown, updated):
    chapter.judge(
        Verdict(NASTY, "Eq. 1", 1.0, 0.1, Interval(1.0, 0.95, 1.05)),
        Verdict("no", "Eq. 2", 1.0, 0.1, Interval(2.0, 1.9, 2.1), kind="ours"),
    )
    chapter.judge(Verdict("elsewhere", "Table 1"))
    assert shown == []
    chapter.verdicts()
    (bundle,) = shown
    assert bundle["text/html"] == verdicts_html(chapter.judged)
    assert bundle[VERDICTS] == rows(chapter.judged)
    assert [entry["status"] for entry in bundle[VERDICTS]] == ["holds", "does not hold", "cannot be tested here"]
    assert updated == []


FOUND = (Finding(1, "It is one.", "one", "algebra"), Finding(2, "It is two.", "two", "our runs"))


def test_the_box_of_findings_is_filled_in_by_the_verdicts(chapter, shown, updated):
    chapter.findings(*FOUND)
    (box,) = shown
    assert box[FINDINGS] == []
    assert "at the end of this run" in box["text/html"]
    chapter.judge(Verdict("It is one", "Eq. 1", 1.0, 0.1, Interval(1.0, 0.95, 1.05), finding=1))
    chapter.judge(Verdict("It is two", "Eq. 2", finding=2), Verdict("aside", "ours", kind="ours"))
    chapter.verdicts()
    ((filled, options),) = updated
    assert options["display_id"] == report.BOX
    assert filled[FINDINGS] == answers(FOUND, chapter.judged)
    assert filled["text/html"] == findings_html(filled[FINDINGS])
    assert filled["text/plain"].splitlines()[1:] == ["1. It is one.: 1 holds", "2. It is two.: 1 cannot be tested here"]


def test_verdicts_that_do_not_fit_the_findings_are_refused(chapter, shown):
    chapter.findings(*FOUND)
    chapter.judge(Verdict("It is one", "Eq. 1", finding=1))
    with pytest.raises(ValueError, match="finding 2 has no verdict"):
        chapter.verdicts()


BOXED = """\
from mtlrepro.analysis.verdicts import Verdict, mean_interval
from mtlrepro.pages.chapter import Chapter
from mtlrepro.pages.findings import Finding
chapter = Chapter({path!r})
===
chapter.findings(Finding(1, "It is one.", "one", "algebra"))
===
chapter.judge(Verdict("It is one", "Eq. 1", 1.0, 0.1, mean_interval([1.0, 1.01, 0.99]), finding=1))
===
chapter.verdicts()
"""


def executed_by_nbclient(path, output):
    book = nbformat.read(path, 4)
    NotebookClient(book, kernel_name="python3").execute()
    nbformat.write(book, output)
    normalise_file(output)
    return output


@pytest.mark.filterwarnings("default")  # of what runs a kernel
@pytest.mark.parametrize("run", [run_notebook, executed_by_nbclient])
def test_a_stored_notebook_holds_the_filled_box_where_it_was_shown(tmp_path, run):
    path = declaring(tmp_path / "n.ipynb", DECLARED)
    book = nbformat.read(path, 4)
    book.cells += [v4.new_code_cell(source) for source in BOXED.format(path=str(path)).split("===\n")]
    nbformat.write(book, path)
    done = run(path, tmp_path / "out.ipynb")
    (output,) = nbformat.read(done, 4).cells[2].outputs
    (answer,) = output.data[FINDINGS]
    assert (answer["number"], answer["statuses"]) == (1, {"holds": 1})
    assert output.data["text/html"] == findings_html([answer])
    assert normalise_file(done, check=True)
    assert run(done, tmp_path / "again.ipynb").read_text() == done.read_text()


def test_statistics_count_what_a_chapter_shows(chapter, shown, tmp_path):
    chapter.show(exhibit(figure=drawing(), alt="a"))
    chapter.judge(Verdict("elsewhere", "Table 1"))
    chapter.verdicts()
    chapter.environment()
    path = tmp_path / "n.ipynb"
    outputs = [v4.new_output("display_data", bundle) for bundle in shown]
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("show()", outputs=outputs)]), path)
    found = notebook_statistics(path)
    assert (found["figures"], found["tables"]) == (1, 1)
    assert found["verdicts"] == {"cannot be tested here": 1}
    assert found["provenance"]["parameters"] == chapter.parameters


def test_the_environment_of_a_run(chapter, shown):
    chapter.environment()
    (bundle,) = shown
    record = bundle[PROVENANCE]
    assert list(record) == [*provenance("cpu"), "parameters", "seconds"]
    assert record["parameters"] == chapter.parameters
    assert record["threads"] == 1
    assert 0 <= record["seconds"] < 60
    json.dumps(record)
    cells = Parsed(bundle["text/html"]).texts["td"]
    assert cells[::2] == list(record)
    assert cells[1::2] == [str(value) for value in record.values()]


SMALL = {"scale": "smoke", "seeds": 3}


@pytest.fixture
def smoke(tmp_path, monkeypatch, capsys):
    """Chapter at the scale `smoke`, the variables of its notebook, and what was said."""
    plan = Plan(parts=(Part(name="all", scale="smoke", runs=2, missing=2, hours=0.1),), store="FOLDER")
    module = SimpleNamespace(SMOKE={"seeds": 2}, plan=lambda **values: plan)
    monkeypatch.setitem(sys.modules, "a_study", module)
    lines = 'scale: str = "cpu"  # size {smoke, cpu}\nseeds: int = 3  # repetitions'
    path = declaring(tmp_path / "chapter.ipynb", lines)
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.mtlrepro = {"plan": "a_study"}
    nbformat.write(notebook, path)
    namespace = {"Chapter": report.Chapter, **SMALL}
    exec(f"chapter = Chapter({str(path)!r})", namespace)
    return namespace["chapter"], namespace, capsys.readouterr().err


def test_smoke_sets_what_nobody_has_set_and_says_what_it_trains(smoke):
    chapter, namespace, said = smoke
    assert chapter.parameters == {"scale": "smoke", "seeds": 2}
    assert namespace["seeds"] == 2
    assert chapter.command("seeds").endswith("-p seeds 2 -p scale smoke")
    head, part = said.splitlines()
    assert head.startswith("grid: 2 of 2 runs are missing and will be trained into FOLDER: about 6 core-minutes")
    assert part == "grid: all: smoke scale, 2 of 2 runs missing, about 6 core-minutes"


def test_smoke_is_no_evidence_wherever_something_is_shown(smoke, shown, updated):
    chapter, *_ = smoke
    chapter.show(exhibit())
    chapter.at(SimpleNamespace(scale="smoke", passed_over="")).show(exhibit(figure=drawing(), alt="A line."))
    chapter.findings(Finding(1, "It falls", "section", "our runs"))
    chapter.judge(Verdict("It falls", "Eq. 1", 1, 0.5, Interval(1, 0.9, 1.1), finding=1))
    chapter.verdicts()
    texts = [bundle["text/plain"] for bundle in shown]
    assert texts[0] == "Smoke: no evidence. It falls."
    assert texts[1] == "Smoke: no evidence. It falls. (smoke scale)"
    assert texts[3] == "Smoke: no evidence. Verdicts, computed from this run."
    assert "Smoke: no evidence. The paper&#x27;s claims" in shown[3]["text/html"]
    assert "Smoke: no evidence. our runs" in updated[0][0]["text/html"]


def test_captions_say_what_is_stored_at_a_larger_scale_and_not_shown(chapter, shown):
    view = chapter.at(SimpleNamespace(scale="cpu", passed_over="gpu scale is stored with 3 seeds, not shown"))
    view.show(exhibit())
    assert shown[0]["text/plain"] == "It falls. (cpu scale; gpu scale is stored with 3 seeds, not shown)"
    view.judge(Verdict("It falls", "Eq. 1"))
    assert chapter.judged[0].place == "cpu scale"
