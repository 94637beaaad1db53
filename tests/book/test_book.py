"""The stored notebooks, the pages rendered from them, and those pages in a browser.

MTLREPRO_BOOK names another source folder than book/.
"""

import base64
import functools
import html
import http.server
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import threading
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import yaml

import mtlrepro
from mtlrepro import files
from mtlrepro.pages.notebook import FINDINGS, payloads, read_notebook
from mtlrepro.pages.parameters import assign, declared_parameters
from mtlrepro.pages.stored import normalise_file, notebook_statistics
from mtlrepro.runs.store import Store
from mtlrepro.studies import first_grid, sizes

BOOK = Path(os.environ.get("MTLREPRO_BOOK", Path(__file__).parents[2] / "book")).resolve()
PACKAGE = Path(mtlrepro.__file__).parent
pytestmark = pytest.mark.timeout(900)  # the first test that needs the pages renders the whole book
# Not what a run leaves behind: .NAME.partial.ipynb, NAME.failed.ipynb, NAME.out.ipynb
NOTEBOOKS = sorted(path for path in BOOK.glob("[!.]*.ipynb") if "." not in path.stem)
INTERACTIVE = [path for path in NOTEBOOKS if "application/vnd.jupyter.widget-state+json" in path.read_text()]

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def toc_files(entry):
    """Names of all files below an entry of the table of contents."""
    yield from ([entry["file"]] if "file" in entry else [entry["root"]] if "root" in entry else [])
    for key in ("parts", "chapters", "sections"):
        for child in entry.get(key, []):
            yield from toc_files(child)


def test_every_source_is_in_the_table_of_contents():
    sources = {path.stem for path in [*BOOK.glob("*.md"), *NOTEBOOKS]}
    assert sorted(toc_files(yaml.safe_load((BOOK / "_toc.yml").read_text()))) == sorted(sources)
    assert NOTEBOOKS


def test_every_part_of_the_package_is_on_one_page_of_the_programming_interface():
    parts = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    pages = "".join(path.read_text() for path in sorted(BOOK.glob("api_*.md")))
    listed = " ".join(re.findall(r"```\{package-api\}\n(.*?)```", pages, re.DOTALL)).split()
    assert sorted(listed) == sorted(part for part in parts if not part.startswith("_"))


# --- stored notebooks ---------------------------------------------------------------------------------


@dataclass
class Figure:
    """A <figure>: the text of its caption and of its rerun line."""

    caption: str = ""
    rerun: str = ""


@dataclass
class Shown(HTMLParser):
    """The images and figures of some HTML."""

    alts: list[str | None] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    inside: str | None = None

    def __post_init__(self):
        super().__init__()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.alts.append(attributes.get("alt"))
        elif tag == "figure":
            self.figures.append(Figure())
        elif tag == "figcaption":
            self.inside = "caption"
        elif tag == "p" and attributes.get("class") == "rerun":
            self.inside = "rerun"

    def handle_endtag(self, tag):
        if tag in ("figcaption", "p"):
            self.inside = None

    def handle_data(self, data):
        if self.inside:
            setattr(self.figures[-1], self.inside, getattr(self.figures[-1], self.inside) + data)


def strings(content):
    """All strings inside JSON content."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from strings(value)
    elif isinstance(content, list):
        for value in content:
            yield from strings(value)


def shown(path):
    """What a notebook's outputs and widgets show, parsed."""
    notebook = json.loads(path.read_text())
    content = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    content.append(notebook["metadata"].get("widgets", {}))
    parser = Shown()
    for text in strings(content):
        if "<" in text:
            parser.feed(text)
    return parser


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@each_notebook
def test_parameters_are_declared_with_help(path):
    assert declared_parameters(path)


@each_notebook
def test_cells_ran_once_and_in_order(path):
    cells = [cell for cell in code_cells(path) if cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@each_notebook
def test_outputs_hold_no_error_and_no_warning(path):
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    assert outputs
    assert [output for output in outputs if output.output_type == "error"] == []
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


@each_notebook
def test_notebook_is_in_stored_form(path):
    assert normalise_file(path, check=True), f"run: mtlrepro normalise book/{path.name}"


@each_notebook
def test_code_cells_are_short(path):
    """Parameters, a line each, and imports, which say where things come from, do not count."""
    cells = [cell for cell in code_cells(path) if "parameters" not in cell.metadata.get("tags", [])]
    lines = {cell.source: [line for line in cell.source.splitlines() if line] for cell in cells}
    code = {source: [one for one in own if not re.match("import |from ", one)] for source, own in lines.items()}
    assert [source for source, own in code.items() if len(own) > 12] == []


@each_notebook
def test_nothing_names_a_place_of_one_machine_or_a_package_host(path):
    places = re.compile(
        r"(?<![\w.])/(home|root|tmp|work|Users)/|[A-Z]:\\+Users|\b(pypi|python\w?hosted|npmjs)\.(org|com)"
    )
    embedded = re.compile(r"data:image/(?:svg\+xml|webp);base64,([A-Za-z0-9+/=]+)")
    for text in strings(json.loads(path.read_text())):
        for data in embedded.findall(text):
            assert not places.search(base64.b64decode(data).decode(errors="ignore"))
        assert not places.search(embedded.sub("", text))


@each_notebook
def test_images_say_what_they_show(path):
    alts = shown(path).alts
    assert alts
    for alt in alts:
        assert alt is not None
        assert len(alt.split()) >= 3, alt
        assert not re.search(r"\.(png|svg|jpe?g|gif|webp)$", alt), alt


@each_notebook
def test_images_come_as_html_because_only_that_carries_a_text(path):
    outputs = [output.get("data", {}) for cell in code_cells(path) for output in cell.outputs]
    assert [data.keys() for data in outputs if any(mime.startswith("image/") for mime in data)] == []


@each_notebook
def test_figures_state_a_finding_and_a_command_that_is_accepted(path):
    figures = shown(path).figures
    assert figures
    for figure in figures:
        assert len(figure.caption.strip()) >= 30
        command, verb, notebook, *options = shlex.split(figure.rerun)
        assert (command, verb, notebook) == ("mtlrepro", "run", f"book/{path.name}")
        assert options[0::3] == ["-p"] * (len(options) // 3)
        assign(path, list(zip(options[1::3], options[2::3], strict=True)))


# --- rendered pages -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """Folder of the pages, rendered from the stored notebooks with warnings as errors."""
    output = tmp_path_factory.mktemp("book")
    command = Path(sysconfig.get_path("scripts")) / "jupyter-book"
    built = subprocess.run(
        [command, "build", BOOK, "--path-output", output, "-W", "--keep-going", "--all"],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    log = f"{built.stdout}\n{built.stderr}"
    problems = [line for line in log.splitlines() if re.search("WARNING:|ERROR:|Error", line)]
    assert built.returncode == 0, "\n".join(problems) or log[-3000:]
    return output / "_build" / "html"


def test_statistics_page_counts_each_chapter(rendered):
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", (rendered / "statistics.html").read_text()))
    for path in NOTEBOOKS:
        found = notebook_statistics(path)
        assert f"{found['code_cells']} code cells, {found['figures']} figures" in page
        for status, count in found["verdicts"].items():
            assert re.search(rf"(?<!\d){count} {status}", page)


def test_every_page_says_of_which_version_commit_and_day_it_is(rendered):
    git = ["git", "-C", str(PACKAGE), "log", "-1", "--abbrev=12", "--format=%h of %cs"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"
    for path in [*BOOK.glob("*.md"), *NOTEBOOKS]:
        page = (rendered / f"{path.stem}.html").read_text()
        assert f"mtlrepro {mtlrepro.__version__}, commit {commit}" in page, path.stem


def test_the_front_page_shows_every_finding_and_its_links_lead_somewhere(rendered):
    page = (rendered / "index.html").read_text()
    for path in NOTEBOOKS:
        answers = [answer for found in payloads(read_notebook(path), FINDINGS) for answer in found]
        target = (rendered / f"{path.stem}.html").read_text()
        for answer in answers:
            assert f'href="{path.stem}.html#{answer["section"]}">{html.escape(answer["claim"])}</a>' in page
            assert html.escape(answer["measured"]) in page
            assert f'id="{answer["section"]}"' in target, f"{path.name} has no section {answer['section']}"
            assert f'href="#{answer["section"]}"' in target


def test_every_module_has_a_section_in_the_programming_interface(rendered):
    files = [path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py")]
    modules = {".".join(path.with_suffix("").parts) for path in files if not path.name.startswith("_")}
    packages = {".".join(path.parent.parts) for path in files if path.name == "__init__.py" and len(path.parts) > 2}
    pages = "".join(path.read_text() for path in rendered.glob("api_*.html"))
    sections = re.findall(r'<section id="module-(mtlrepro\.[\w.]+)">', pages)
    assert sorted(sections) == sorted(modules | packages)


def test_howto_page_shows_what_the_command_prints(rendered):
    command = [sys.executable, "-m", "mtlrepro", "params", BOOK / "sgd_noise.ipynb"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    page = html.unescape(re.sub(r"<[^>]*>", "", (rendered / "howto.html").read_text()))
    assert printed.strip() in page


def test_runs_page_shows_costs_sizes_and_the_first_grid(rendered):
    page = Shown()
    text = (rendered / "runs.html").read_text()
    page.feed(text)
    store = Store(BOOK / "results" / "runs")
    runs = first_grid.table(files.book("grids", "first.json"), store)
    (figure,) = page.figures
    assert figure.caption == first_grid.spreads(runs, 0.05).caption
    plain = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", text)))
    exhibits = [sizes.costs("cpu"), sizes.costs("gpu", store.records.values()), sizes.of_data()]
    for exhibit in [*exhibits, sizes.of_networks(), first_grid.means(runs)]:
        assert exhibit.caption in plain, f"what {exhibit.name!r} says has changed: mtlrepro run book/runs.ipynb"


def test_toy_page_shows_the_figure_its_finding_and_a_table(rendered):
    page = Shown()
    text = (rendered / "toys.html").read_text()
    page.feed(text)
    (figure,) = page.figures
    assert re.search(r"Two tasks: \d+ of 14 methods reach the Pareto set .* 3 quadratics: \d+ of 14", figure.caption)
    assert len(re.findall(r"<td>\d+\.\d\d( \*)?</td>", text)) == 14 * 5


# --- in a browser -------------------------------------------------------------------------------------

# What a page looks like to a reader, measured in the page. Contrast as WCAG 2 defines it.
MEASURE = r"""() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const styled = { visibilityProperty: true, opacityProperty: true };
  const visible = (e) => e.getClientRects().length && e.checkVisibility(styled);
  const describe = (e) => `${e.tagName.toLowerCase()}.${e.className}: ${e.textContent.trim().slice(0, 60)}`;
  const rgba = (text) => { const n = text.match(/[\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const background = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = (colour) => colour.slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (element) => {
    const back = background(element);
    const pair = [light(over(rgba(getComputedStyle(element).color), back)), light(back)].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  };
  const words = [".bd-article p", ".bd-article li", ".bd-article a", ".bd-article td", ".bd-article th", ".verdict",
    "figcaption", "p.rerun code", ".bd-article code", ".bd-article dt", ".widget-label", ".widget-readout",
    ".bd-sidebar a", "caption"].flatMap(all).filter(visible).filter((e) => e.textContent.trim());
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const raw = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const shown = !node.parentElement.closest("pre, code, script, style, mjx-container");
    if (shown && /\\[([]|\$\$|\\(frac|sqrt|mathbb|gamma)/.test(node.data)) raw.push(node.data.slice(0, 60));
  }
  const unrendered = all(".math").filter((e) => !e.querySelector("mjx-container")).concat(all("mjx-merror"));
  return {
    theme: document.documentElement.dataset.theme,
    language: document.documentElement.lang,
    description: document.querySelector('meta[name="description"]')?.content ?? "",
    headings: all("h1").filter(visible).length,
    unnamed: all("img").filter((e) => !e.alt).map((e) => e.outerHTML.slice(0, 80)),
    formulas: all(".math").length,
    unrendered: unrendered.map(describe).concat(raw),
    faint: words.filter((e) => contrast(e) < 4.5).map((e) => `${contrast(e).toFixed(1)} ${describe(e)}`),
    words: words.length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    foreign: all("header a, footer a, .bd-sidebar a").filter((e) => e.host && e.host !== location.host).map(describe),
  };
}"""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def site(rendered):
    """Address under which this machine serves the pages."""
    handler = functools.partial(QuietHandler, directory=rendered)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        problem = "no chromium on PATH (Debian and Ubuntu: apt-get install chromium)"
        pytest.fail(problem) if os.environ.get("CI") else pytest.skip(problem)
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.context.close()


def watch(page, allowed):
    """Collect what goes wrong on a page: requests elsewhere, failed ones, errors on the console."""
    problems = []

    def on_request(request):
        if not request.url.startswith((allowed, "data:", "blob:")):
            problems.append(f"request to {request.url}")

    def on_response(response):
        if response.status >= 400:
            problems.append(f"{response.status} for {response.url}")

    def on_console(message):
        if message.type == "error":
            problems.append(f"console: {message.text}")

    page.on("request", on_request)
    page.on("response", on_response)
    page.on("console", on_console)
    page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    return problems


def open_page(page, url):
    """Open a page and wait until formulas and widgets are drawn."""
    page.goto(url)
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.wait_for_function(
        """() => document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]').length
            <= document.querySelectorAll('.widget-subarea').length"""
    )


@pytest.fixture(scope="session")
def visits(browser, site, rendered):
    """What was seen on each page: light and dark on a wide screen, and on a narrow one."""
    seen = {}
    page = browser.new_page()
    problems = watch(page, site)
    for path in sorted(rendered.rglob("*.html")):
        if "_static" in path.parts:
            continue
        page.set_viewport_size({"width": 1280, "height": 900})
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        open_page(page, site + path.relative_to(rendered).as_posix())
        wide = page.evaluate(MEASURE)
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
        page.wait_for_timeout(300)  # colours fade
        dark = page.evaluate(MEASURE)
        page.set_viewport_size({"width": 360, "height": 740})
        page.wait_for_timeout(100)
        narrow = page.evaluate(MEASURE)
        name = path.relative_to(rendered).as_posix()
        seen[name] = {"wide": wide, "dark": dark, "narrow": narrow, "problems": list(problems)}
        problems.clear()
    page.context.close()
    assert {f"{path.stem}.html" for path in [*BOOK.glob("*.md"), *NOTEBOOKS]} | {"search.html"} <= seen.keys()
    return seen


def findings(visits, view, key):
    """Pages where a list of problems is not empty."""
    return {name: visit[view][key] for name, visit in visits.items() if visit[view][key]}


def test_pages_ask_no_other_host_and_raise_no_error(visits):
    assert {name: visit["problems"] for name, visit in visits.items() if visit["problems"]} == {}


def test_formulas_are_rendered(visits):
    assert findings(visits, "wide", "unrendered") == {}
    for name in ["index.html", "glossary.html", "sgd_noise.html", "api_analysis.html"]:
        assert visits[name]["wide"]["formulas"] > 0


def test_pages_have_one_heading_a_language_and_a_description(visits):
    assert {name: visit["wide"]["headings"] for name, visit in visits.items() if visit["wide"]["headings"] != 1} == {}
    assert {visit["wide"]["language"] for visit in visits.values()} == {"en"}
    written = [f"{path.stem}.html" for path in [*BOOK.glob("*.md"), *NOTEBOOKS]]
    assert [name for name in written if len(visits[name]["wide"]["description"]) < 40] == []


def test_images_have_an_alternative_text(visits):
    assert findings(visits, "wide", "unnamed") == {}


def test_theme_adds_no_link_to_another_host(visits):
    assert findings(visits, "wide", "foreign") == {}


@pytest.mark.parametrize(("view", "theme"), [("wide", "light"), ("dark", "dark"), ("narrow", "dark")])
def test_text_stands_out_from_its_background(visits, view, theme):
    assert {visit[view]["theme"] for visit in visits.values()} == {theme}
    assert visits["index.html"][view]["words"] > 20
    assert findings(visits, view, "faint") == {}


@pytest.mark.parametrize("view", ["wide", "narrow"])
def test_pages_do_not_scroll_sideways(visits, view):
    assert findings(visits, view, "overflow") == {}


def test_a_button_switches_to_dark_and_back(page, site):
    open_page(page, site)
    for theme in ("dark", "light"):
        for _ in range(3):
            if page.evaluate("document.documentElement.dataset.theme") != theme:
                page.locator("button.theme-switch-button:visible").first.press("Enter")
        assert page.evaluate("document.documentElement.dataset.theme") == theme


def test_search_finds_a_word(page, site):
    problems = watch(page, site)
    page.goto(f"{site}search.html?q=noise")
    page.get_by_text("Search finished").wait_for()  # results come one after another
    results = page.locator("#search-results li a")
    targets = [link.get_attribute("href").split("?")[0].split("#")[0] for link in results.all()]
    assert "glossary.html" in targets
    assert {f"{path.stem}.html" for path in NOTEBOOKS} & set(targets)
    assert problems == []


VISIBLE_FIGURE = """(handle) => [...handle.closest('.widget-vbox').querySelectorAll('img')]
    .filter((image) => image.getClientRects().length && image.getBoundingClientRect().width > 100)
    .map((image) => image.alt)"""


def test_some_chapter_is_interactive():
    assert INTERACTIVE


@pytest.mark.parametrize("path", INTERACTIVE, ids=lambda path: path.stem)
def test_a_slider_changes_the_figure_by_keyboard(page, site, path):
    open_page(page, f"{site}{path.stem}.html")
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    page.locator(".noUi-handle").first.wait_for()
    handles = page.locator(".noUi-handle").all()
    for number, handle in enumerate(handles):
        if number == 0:
            for _ in range(300):
                page.keyboard.press("Tab")
                if handle.evaluate("(handle) => handle === document.activeElement"):
                    break
        else:
            handle.focus()
        assert handle.evaluate("(handle) => handle === document.activeElement")
        assert handle.evaluate("(handle) => parseFloat(getComputedStyle(handle).outlineWidth)") >= 2
        assert handle.get_attribute("aria-label")
        before, value = handle.evaluate(VISIBLE_FIGURE), handle.get_attribute("aria-valuetext")
        assert len(before) == 1
        at_the_end = handle.evaluate("(handle) => handle.ariaValueNow === handle.ariaValueMax")
        there, back = ("ArrowLeft", "ArrowRight") if at_the_end else ("ArrowRight", "ArrowLeft")
        page.keyboard.press(there)
        page.wait_for_function(
            f"([handle, before]) => ({VISIBLE_FIGURE})(handle)[0] !== before", arg=[handle.element_handle(), before[0]]
        )
        assert len(handle.evaluate(VISIBLE_FIGURE)) == 1
        assert handle.get_attribute("aria-valuetext") != value
        page.keyboard.press(back)
        page.wait_for_function(
            f"([handle, before]) => ({VISIBLE_FIGURE})(handle)[0] === before", arg=[handle.element_handle(), before[0]]
        )


# What the theme and docutils bring, which this book does not write: buttons whose label is not their text, and lists of
# cited works whose entries are no list items.
AXE = """async () => {
  const found = await axe.run({ exclude: [[".theme-switch-button"], [".search-button-field"], [".citation-list"]] });
  const grave = found.violations.filter((one) => ["serious", "critical"].includes(one.impact));
  return grave.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html.slice(0, 100)}`));
}"""


@pytest.fixture(scope="session")
def axe():
    """Path of the script of axe-core."""
    places = [folder / "node_modules" / "axe-core" / "axe.min.js" for folder in PACKAGE.parents]
    script = next((place for place in places if place.is_file()), None)
    if script is None:
        problem = "no axe-core in node_modules (run `npm ci`)"
        pytest.fail(problem) if os.environ.get("CI") else pytest.skip(problem)
    return script


@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing_serious(browser, site, rendered, axe, width):
    found = {}
    page = browser.new_page(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    for path in sorted(rendered.glob("*.html")):
        open_page(page, site + path.name)
        page.add_script_tag(path=axe)
        found[path.name] = page.evaluate(AXE)
    page.context.close()
    assert {name: problems for name, problems in found.items() if problems} == {}


# Tables that are open at a width at which nothing may be hidden in them.
CUT = """() => [...document.querySelectorAll(".mtlrepro-table")]
    .filter((box) => box.getClientRects().length && box.scrollWidth > box.clientWidth)
    .map((box) => box.getAttribute("aria-label"))"""


@each_notebook
def test_tables_hide_nothing_at_a_thousand_pixels(browser, site, path):
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    open_page(page, f"{site}{path.stem}.html")
    cut = page.evaluate(CUT)
    page.context.close()
    assert cut == []


def test_print_shows_whole_tables_and_the_first_frames_without_sliders(page, site):
    page.emulate_media(media="print")
    for path in INTERACTIVE:
        open_page(page, f"{site}{path.stem}.html")
        assert page.locator(".widget-slider:visible").count() == 0
        assert page.evaluate("getComputedStyle(document.querySelector('.mtlrepro-table')).overflowX") == "visible"


@pytest.mark.parametrize("path", INTERACTIVE, ids=lambda path: path.stem)
def test_pages_without_scripts_show_a_picture_for_every_slider(browser, site, path):
    page = browser.new_page(java_script_enabled=False)
    page.goto(f"{site}{path.stem}.html")
    figures = page.locator("figure.mtlrepro:not(details:not([open]) figure)").all()  # those in no closed fold
    assert figures
    assert all(figure.locator("img").is_visible() for figure in figures)
    page.context.close()


@each_notebook
def test_a_chapter_offers_its_notebook(page, site, path):
    page.goto(f"{site}{path.stem}.html")
    link = page.locator(f'a[href$="{path.name}"]').first
    with urllib.request.urlopen(link.evaluate("(link) => link.href")) as answer:
        assert answer.read() == path.read_bytes()


@each_notebook
def test_a_chapter_works_from_disk(page, rendered, path):
    problems = watch(page, "file://")
    open_page(page, (rendered / f"{path.stem}.html").as_uri())
    assert page.evaluate(MEASURE)["unrendered"] == []
    assert problems == []
