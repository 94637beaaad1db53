"""Strict runs of notebooks."""

# mypy: allow-untyped-calls
# (nbformat is a typed package whose functions carry no types)

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from nbformat import NotebookNode

from mtlrepro import files
from mtlrepro.pages.notebook import (
    INJECTED,
    NotebookError,
    first_line,
    is_executed,
    notebook_text,
    one_line,
    read_notebook,
    title_of,
)
from mtlrepro.pages.parameters import Value
from mtlrepro.pages.plan import ready, settle
from mtlrepro.pages.stored import normalise
from mtlrepro.runs.workers import PLAIN


class RunFailed(NotebookError):
    """A notebook that was started and did not complete."""


def run_notebook(
    path: str | Path,
    output: str | Path,
    values: Mapping[str, Value] | None = None,
    *,
    timeout: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    log: TextIO | None = None,
) -> Path:
    """Execute a notebook with the given parameter values and return the path of the result.

    The notebook runs in its own folder, on the running interpreter. The result is in stored form (see `normalise`) and
    appears under its name only when every code cell has completed.

    Args:
        path: The notebook.
        output: Where the result is written, which may be the notebook itself.
        values: Of parameters; others take their defaults, also where the notebook is the result of an earlier run.
        timeout: Seconds that each cell may take.
        progress: Called as each code cell starts, with its number, how many there are, and the cell's first line.
        log: Where the notebook's stderr is also written while it runs, such as the progress of training.

    Raises:
        NotebookError: A name or value or the output is refused (see `settle_for`), or values together by the notebook's
            plan (see `pages.plan`), before a kernel starts.
        RunFailed: The run does not complete: the notebook so far then lies beside `output` as `<stem>.failed.ipynb`.
    """
    source, target = Path(path).absolute(), Path(output).absolute()
    settled = settle_for(path, output, values or {})
    ready(path, settled)
    values = {name: settled[name] for name in values or {}}

    notebook = read_notebook(source)
    # What an earlier run left behind would otherwise override defaults or be taken for new output.
    notebook.cells = [cell for cell in notebook.cells if INJECTED not in cell.metadata.get("tags", [])]
    notebook.metadata.pop("widgets", None)

    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial.ipynb")
    failed = target.with_name(f"{target.stem}.failed.ipynb")
    try:
        files.write(partial, notebook_text(notebook))
        error = _execute(partial, source.parent, values, timeout, progress, log)
        notebook = read_notebook(partial)
        reason = _failure(notebook, error, timeout)
        files.write(partial, notebook_text(normalise(notebook)))
        if reason is not None:
            partial.replace(failed)
            raise RunFailed(f"{path}: {reason}. The notebook so far is kept as {failed}") from error
        partial.replace(target)
        if failed.resolve() != source.resolve():
            failed.unlink(missing_ok=True)
    finally:
        partial.unlink(missing_ok=True)
    return target


def settle_for(path: str | Path, output: str | Path, values: Mapping[str, Value]) -> dict[str, Value]:
    """Give every parameter of a notebook its value, see `settle`, for a run whose result goes to `output`.

    An earlier result may be overwritten, another notebook may not, nor the notebook itself by a run with other values
    than its defaults: it would keep its defaults beside results that are not theirs.

    Args:
        path: The notebook.
        output: Where the result is written.
        values: Of parameters; others take their defaults.

    Raises:
        NotebookError: A name or value is refused, or the output cannot or may not be written.
    """
    target = Path(output).absolute()
    if target.suffix != ".ipynb" or target.is_dir() or not os.access(target.parent, os.W_OK):
        accepted = "a name ending in .ipynb in an existing folder that can be written to"
        raise NotebookError(f"output {output}: accepted is {accepted}")
    usual, _ = settle(path, {})
    settled, _ = settle(path, values)
    if target.exists():
        if target.samefile(path):
            if changed := [name for name, value in settled.items() if value != usual[name]]:
                problem = f"is the notebook itself, and {', '.join(changed)} not as it declares"
                raise NotebookError(f"output {output}: {problem}; accepted: another name, or the defaults")
        elif (other := _title_in(target)) and other != _title_in(Path(path)):
            accepted = "a new name, or that of an earlier run of the same notebook"
            raise NotebookError(f"output {output}: holds {other!r}; accepted: {accepted}")
    return settled


def _title_in(path: Path) -> str:
    try:
        return title_of(read_notebook(path))
    except NotebookError:
        return ""


def _execute(
    path: Path,
    folder: Path,
    values: Mapping[str, Value],
    timeout: int | None,
    progress: Callable[[int, int, str], None] | None,
    log: TextIO | None,
) -> Exception | None:
    """Execute a notebook file in place with papermill and return what stopped it, if anything did."""
    import papermill
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class RunningInterpreter(AsyncKernelManager):
        """The kernel of this interpreter, whatever kernels are registered under the name python3."""

        @property
        def kernel_spec(self) -> KernelSpec:
            # What goes wrong in a cell is told in the notebook; the kernel's own log would only repeat it.
            env = {} if log is not None and log.isatty() else {PLAIN: "1"}
            return KernelSpec(resource_dir="", env=env, **get_kernel_dict(["--log-level=CRITICAL"]))

    started = 0

    def on_cell_execute(cell: NotebookNode, cell_index: int) -> None:
        nonlocal started
        started += 1
        if progress is not None:
            progress(started, total, first_line(cell))

    total = sum(is_executed(cell) for cell in read_notebook(path).cells) + bool(values)
    logging.getLogger("papermill").addHandler(logging.NullHandler())
    literal = str(path).replace("{", "{{").replace("}", "}}")  # papermill formats paths
    try:
        papermill.execute_notebook(
            literal,
            literal,
            dict(values),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=folder,
            execution_timeout=timeout,
            iopub_timeout=60,
            kernel_manager_class=RunningInterpreter,
            on_cell_execute=on_cell_execute,
            stderr_file=log,
        )
    except Exception as error:
        return error
    return None


def _failure(notebook: NotebookNode, error: Exception | None, timeout: int | None) -> str | None:
    """Return which cell failed and why, and record it in that cell; None if every code cell completed."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    cells = [cell for cell in notebook.cells if is_executed(cell)]
    started = [cell for cell in cells if cell.metadata.get("papermill", {}).get("start_time")]
    # papermill ends by marking cells that never started as completed, so the status alone does not tell.
    completed = [cell for cell in started if cell.metadata.papermill.status == "completed"]
    if error is None and len(completed) == len(cells):
        return None
    if not started:
        return one_line(f"the kernel did not start: {error}")

    raised = [(cell, output) for cell in cells for output in cell.outputs if output.output_type == "error"]
    # Where the kernel was stopped from outside, an error output tells how, not why.
    if raised and not isinstance(error, CellTimeoutError | DeadKernelError):
        cell, output = raised[0]
        reason = f"{output.ename}: {output.evalue}"
    else:
        cell, name = started[-1], type(error).__name__
        reason = f"{name}: {error}"
        if isinstance(error, DeadKernelError):
            reason = "the kernel died (killed, out of memory, or left by os._exit)"
        elif isinstance(error, CellTimeoutError):
            reason = f"timed out: still running after {timeout} s"
        cell.outputs.append(NotebookNode(output_type="error", ename=name, evalue=reason, traceback=[reason]))
    where = f"code cell {cells.index(cell) + 1} of {len(cells)} (`{first_line(cell)}`)"
    return one_line(f"{where} failed: {reason}")
