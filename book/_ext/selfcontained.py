"""Make the rendered book work without a network connection.

Formulas and widgets need two scripts, which would otherwise come from another host. They are installed by
npm (`package.json`) and copied from `node_modules` into the built pages. Sphinx-thebe, which Jupyter Book always
loads, declares its constants a second time on every page and points at another host: its scripts are left out.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import sphinx_thebe
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

logger = logging.getLogger(__name__)

# What is copied: a pattern below node_modules, and the folder below _static/vendor that receives the files.
ASSETS = [
    ("mathjax/es5/tex-mml-chtml.js", "mathjax"),
    ("mathjax/es5/input/tex/extensions/*.js", "mathjax/input/tex/extensions"),
    ("mathjax/es5/output/chtml/fonts/woff-v2/*.woff", "mathjax/output/chtml/fonts/woff-v2"),
    ("@jupyter-widgets/html-manager/dist/embed.js", "."),
    ("@jupyter-widgets/html-manager/dist/*.woff2", "."),
]


def node_modules(start: Path) -> Path | None:
    """Return the nearest `node_modules`, looking upwards from `start` and then from the package."""
    import mtlrepro

    for origin in (start, Path(mtlrepro.__file__)):
        for folder in (origin, *origin.parents):
            if (folder / "node_modules" / "mathjax").is_dir():
                return folder / "node_modules"
    return None


def fall_back(app: Sphinx, config: Config) -> None:
    """Without `node_modules`, say so and keep the scripts that Sphinx and MyST-NB load by default."""
    if node_modules(Path(app.srcdir)) is None:
        logger.warning("no node_modules found (run `npm ci`): formulas and widgets will need a network connection")
        for name in ("mathjax_path", "nb_ipywidgets_js"):
            config[name] = config.values[name].default


def copy_assets(app: Sphinx) -> None:
    """Copy the scripts and fonts that changed."""
    modules = node_modules(Path(app.srcdir))
    if modules is None or app.builder.format != "html":
        return
    for pattern, folder in ASSETS:
        sources = sorted(modules.glob(pattern))
        if not sources:
            logger.warning("nothing in node_modules matches %s: run `npm ci`", pattern)
        target = Path(app.outdir) / "_static" / "vendor" / folder
        target.mkdir(parents=True, exist_ok=True)
        for source in sources:
            copy = target / source.name
            if not copy.exists() or copy.stat().st_size != source.stat().st_size:
                shutil.copyfile(source, copy)


def drop_thebe(app: Sphinx, config: Config) -> None:
    """Disconnect the functions of sphinx-thebe that add scripts to the pages."""
    unwanted = {sphinx_thebe.init_thebe_core, sphinx_thebe.update_thebe_context}
    for listeners in app.events.listeners.values():
        for listener in [one for one in listeners if one.handler in unwanted]:
            app.disconnect(listener.id)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the three steps."""
    app.connect("config-inited", drop_thebe)
    app.connect("config-inited", fall_back, priority=100)
    app.connect("builder-inited", copy_assets)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
