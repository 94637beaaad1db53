"""Sliders are linked to what they show, without a kernel."""

import pytest
from ipywidgets.embed import dependency_state

from mtlrepro.pages.sliders import figure_slider, figure_sliders


def test_figure_slider_links_its_position_to_the_figure_shown():
    """Both the link and what it links are in the state that a page stores, so that no kernel is needed."""
    box = figure_slider({"2": "<p>two</p>", "8": '<img alt="eight">', "32": "<p>more</p>"}, "images per batch", "8")
    slider, stack = box.children
    assert slider.options == ("2", "8", "32")
    assert slider.index == stack.selected_index == 1
    assert slider.description == "images per batch"
    assert [child.value for child in stack.children] == ["<p>two</p>", '<img alt="eight">', "<p>more</p>"]
    models = dependency_state([box]).values()
    (link,) = (model["state"] for model in models if model["model_name"] == "LinkModel")
    assert link["source"] == [f"IPY_MODEL_{slider.model_id}", "index"]
    assert link["target"] == [f"IPY_MODEL_{stack.model_id}", "selected_index"]


@pytest.mark.parametrize("figures", [{}, {"only": "<p>"}])
def test_a_slider_needs_two_figures(figures):
    with pytest.raises(ValueError, match=f"^figures holds {len(figures)} entries; accepted: 2 or more$"):
        figure_slider(figures, "nothing", "only")


def test_two_sliders_choose_a_row_and_a_figure_in_it():
    figures = {(beta, pi): f"<p>{beta}, {pi}</p>" for pi in ("1/3", "0.9") for beta in ("0", "0.5", "1")}
    box = figure_sliders(figures, ("rate of beta", "priority"), ("1", "1/3"))
    betas, priorities, rows = box.children
    assert (betas.options, priorities.options) == (("0", "0.5", "1"), ("1/3", "0.9"))
    assert (betas.description, priorities.description) == ("rate of beta", "priority")
    assert betas.index == rows.selected_index == 2
    assert [priorities.index, *(row.selected_index for row in rows.children)] == [0, 0, 0, 0]
    shown = [[child.value for child in row.children] for row in rows.children]
    assert shown == [[figures[beta, pi] for pi in priorities.options] for beta in betas.options]
    models = dependency_state([box]).values()
    links = [model["state"] for model in models if model["model_name"] == "LinkModel"]
    expected = [(betas, rows), *((priorities, row) for row in rows.children)]
    assert sorted((link["source"], link["target"]) for link in links) == sorted(
        ([f"IPY_MODEL_{slider.model_id}", "index"], [f"IPY_MODEL_{stack.model_id}", "selected_index"])
        for slider, stack in expected
    )
    assert len({child.layout.model_id for row in rows.children for child in row.children}) == 1


@pytest.mark.parametrize(
    ("labels", "counts"),
    [
        ([], "0 entries for 0 x 0 labels"),
        ([("0", "a"), ("1", "a")], "2 entries for 2 x 1 labels"),
        ([("0", "a"), ("0", "b"), ("1", "a")], "3 entries for 2 x 2 labels"),
    ],
)
def test_sliders_need_a_figure_for_each_pair(labels, counts):
    message = f"^figures holds {counts}; accepted: one for each pair, 2 or more labels a slider$"
    with pytest.raises(ValueError, match=message):
        figure_sliders(dict.fromkeys(labels, "<p>"), ("one", "two"), ("0", "a"))
