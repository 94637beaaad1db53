import json

from docutils.nodes import make_id

from mtlrepro import files
from mtlrepro.studies.lsb.findings import FINDINGS


def notebook():
    return json.loads(files.book("loss_scale_balancing.ipynb").read_text(encoding="utf-8"))["cells"]


def test_findings_answer_the_box_of_claims_in_its_order():
    (box,) = (
        "".join(cell["source"])
        for cell in notebook()
        if "What the supplement claims" in "".join(cell["source"]) and cell["cell_type"] == "markdown"
    )
    numbers = [line.split(".")[0] for line in box.splitlines() if line[:1].isdigit()]
    assert [str(finding.number) for finding in FINDINGS] == numbers


def test_findings_link_to_sections_of_the_chapter():
    headings = {
        make_id(line.lstrip("# "))
        for cell in notebook()
        if cell["cell_type"] == "markdown"
        for line in "".join(cell["source"]).splitlines()
        if line.startswith("#")
    }
    assert {finding.section for finding in FINDINGS} <= headings
