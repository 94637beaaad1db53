"""Interaction that works without a kernel: a slider over figures prepared beforehand."""

from collections.abc import Mapping

import ipywidgets


def figure_slider(figures: Mapping[str, str], description: str) -> ipywidgets.VBox:
    """Make a slider that shows one of several prepared figures.

    The slider and the stack are linked in the browser (``jslink``), so that the rendered page needs no kernel;
    arrow keys move the slider.

    Args:
        figures: slider label to HTML, in order.
        description: what the slider varies, shown to its left.

    Raises:
        ValueError: if there are fewer than two figures.
    """
    if len(figures) < 2:
        raise ValueError(f"figures holds {len(figures)} entries; accepted: 2 or more")
    slider = ipywidgets.SelectionSlider(
        options=list(figures),
        description=description,
        style={"description_width": "initial"},
        layout={"width": "min(100%, 28em)"},
    )
    stack = ipywidgets.Stack([ipywidgets.HTML(html) for html in figures.values()], selected_index=0)
    ipywidgets.jslink((slider, "index"), (stack, "selected_index"))
    return ipywidgets.VBox([slider, stack])
