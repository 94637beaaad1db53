"""Interaction that works without a kernel: sliders over figures prepared beforehand."""

from collections.abc import Mapping, Sequence

import ipywidgets


def figure_slider(figures: Mapping[str, str], description: str, start: str) -> ipywidgets.VBox:
    """Make a slider that shows one of several prepared figures.

    The slider and the stack are linked in the browser (`jslink`), so that the rendered page needs no kernel;
    arrow keys move the slider.

    Args:
        figures: Slider label to HTML, in order.
        description: What the slider varies, shown to its left.
        start: Label at which it starts.

    Raises:
        ValueError: If there are fewer than two figures.
    """
    if len(figures) < 2:
        raise ValueError(f"figures holds {len(figures)} entries; accepted: 2 or more")
    slider = _slider(list(figures), description, start)
    return ipywidgets.VBox([slider, _stack(slider, [ipywidgets.HTML(html) for html in figures.values()])])


def figure_sliders(
    figures: Mapping[tuple[str, str], str], descriptions: tuple[str, str], start: tuple[str, str]
) -> ipywidgets.VBox:
    """Make two sliders, one for each part of the labels, that together show one of many prepared figures.

    The rest as for :func:`figure_slider`.

    Args:
        figures: Labels of both sliders to HTML, one for each pair of labels; each slider's labels are in the order of
            their first appearance.
        descriptions: What each slider varies, shown to its left.
        start: Labels at which they start.

    Raises:
        ValueError: If a pair of labels has no figure, or a slider has fewer than two labels.
    """
    outer, inner = (list(dict.fromkeys(pair[i] for pair in figures)) for i in (0, 1))
    if min(len(outer), len(inner)) < 2 or len(figures) < len(outer) * len(inner):
        counts = f"{len(figures)} entries for {len(outer)} x {len(inner)} labels"
        raise ValueError(f"figures holds {counts}; accepted: one for each pair, 2 or more labels a slider")
    sliders = [_slider(*each) for each in zip((outer, inner), descriptions, start, strict=True)]
    # One look for all of them: a page stores every layout and style.
    look = {"layout": ipywidgets.Layout(), "style": ipywidgets.HTML().style}
    rows = [_stack(sliders[1], [ipywidgets.HTML(figures[one, two], **look) for two in inner]) for one in outer]
    return ipywidgets.VBox([*sliders, _stack(sliders[0], rows)])


def _slider(labels: Sequence[str], description: str, start: str) -> ipywidgets.SelectionSlider:
    return ipywidgets.SelectionSlider(
        options=labels,
        value=start,
        description=description,
        style={"description_width": "initial"},
        layout={"width": "min(100%, 28em)"},
    )


def _stack(slider: ipywidgets.SelectionSlider, children: Sequence[ipywidgets.Widget]) -> ipywidgets.Stack:
    """Stack of which `slider` chooses the child that is shown."""
    stack = ipywidgets.Stack(children, selected_index=slider.index)
    ipywidgets.jslink((slider, "index"), (stack, "selected_index"))
    return stack
