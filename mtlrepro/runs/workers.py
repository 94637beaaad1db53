"""Training of a grid's missing runs on this machine, each in a process of its own, several at a time."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout
from tqdm import tqdm

from mtlrepro import files
from mtlrepro.runs.store import Store
from mtlrepro.training.config import RunConfig
from mtlrepro.training.run import train

LEAD = "grid: "
"""What a line on stderr begins with that tells of runs to be trained; stored notebooks do not keep such lines."""
PLAIN = "MTLREPRO_PLAIN"
"""Variable in the environment of a notebook whose stderr goes to something else than a screen."""
PAUSE = 0.05
"""Seconds between two looks at the running processes."""
PATIENCE = 10.0
"""Seconds that a process has to end when it is told to."""


def train_here(
    configs: Mapping[str, RunConfig], store: Store, *, jobs: int, progress: bool, data_root: str | Path | None
) -> dict[str, str]:
    """Train runs that a store lacks, `jobs` at a time; on `cuda` these share the GPU.

    A run that another process is training is put off until no other is left, so that two grids share the work.
    Whatever ends this function also ends the processes; their checkpoints stay.

    Args:
        configs: Hash to configuration.
        store: The store, whose folder also holds the checkpoints.
        jobs: Number of processes at a time.
        progress: Count runs on stderr, see `Bar`.
        data_root: Folder of a prepared real data set.

    Returns:
        Hash of each run that failed, and its message.
    """
    waiting = dict(configs)
    running: dict[str, subprocess.Popen[bytes]] = {}
    failures: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(prefix="mtlrepro-grid-") as folder,
        Bar(len(waiting), progress=progress) as bar,
    ):
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    # Two grids may still start one run at the same moment: the later process then reads the record.
                    hash_ = next(
                        (name for name in waiting if not _in_training(store.folder, name)), next(iter(waiting))
                    )
                    config = waiting.pop(hash_)
                    if config in store:
                        bar.update(len(failures))
                    else:
                        running[hash_] = _start(config, store.folder, Path(folder), data_root)
                time.sleep(PAUSE)
                for hash_ in [name for name, process in running.items() if process.poll() is not None]:
                    code = running.pop(hash_).returncode
                    if configs[hash_] not in store:
                        failures[hash_] = _message(code, _log(Path(folder), hash_))
                    bar.update(len(failures))
        finally:
            stop(list(running.values()))
    return failures


def train_inline(
    configs: Mapping[str, RunConfig], store: Store, *, progress: bool, data_root: str | Path | None
) -> dict[str, str]:
    """Train runs that a store lacks in this process, one after another: a process takes longer to start than these.

    Args:
        configs: Hash to configuration.
        store: The store.
        progress: Count runs on stderr, see `Bar`.
        data_root: Folder of a prepared real data set.

    Returns:
        Hash of each run that failed, and its message.
    """
    failures: dict[str, str] = {}
    with Bar(len(configs), progress=progress) as bar:
        for hash_, config in configs.items():
            try:
                train(config, store=store.folder, data_root=data_root, progress=False, resumable=False)
            except (ValueError, ArithmeticError, OSError, RuntimeError) as error:
                failures[hash_] = str(error)
            bar.update(len(failures))
    return failures


class Bar:
    """A bar on stderr that counts runs or, where that is neither a terminal nor a notebook's, a line for each.

    Args:
        runs: How many there will be.
        progress: Show anything at all.
    """

    def __init__(self, runs: int, *, progress: bool) -> None:
        drawn = sys.stderr.isatty() or (_in_notebook() and PLAIN not in os.environ)
        self._lines = progress and not drawn
        self._ended = 0
        self._runs = runs
        self._bar = tqdm(desc=LEAD.removesuffix(": "), total=runs, unit=" runs", disable=not (progress and drawn))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, failed: int = 0) -> None:
        """Count a run that has ended.

        Args:
            failed: How many have failed so far.
        """
        self._ended += 1
        failures = f", {failed} failed" if failed else ""
        if self._lines:
            sys.stderr.write(f"{LEAD}{self._ended} of {self._runs} runs have ended{failures}\n")
        if failed:
            self._bar.set_postfix(failed=failed, refresh=False)
        self._bar.update()


def _in_notebook() -> bool:
    return type(sys.stderr).__module__.startswith("ipykernel.")


def train_command(config: Path, store: Path, data_root: str | Path | None) -> list[str]:
    """Command that trains the run of a configuration file."""
    command = [sys.executable, "-m", "mtlrepro", "train", str(config), "--store", str(store)]
    return command if data_root is None else [*command, "--data-root", str(data_root)]


def package_path() -> str:
    """`PYTHONPATH` with which other processes import this very package."""
    return os.pathsep.join(filter(None, [str(files.PROJECT), os.environ.get("PYTHONPATH")]))


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes; those that do not within `PATIENCE` are killed."""
    for process in processes:
        process.terminate()
    end = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def last_line(log: Path) -> str:
    """Last line of what a training process wrote to stderr, without the command's name; empty without a file."""
    if not log.exists():
        return ""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next(filter(None, reversed(lines)), "").removeprefix("mtlrepro train: ")


def _start(config: RunConfig, store: Path, folder: Path, data_root: str | Path | None) -> subprocess.Popen[bytes]:
    source = folder / f"{config.hash}.json"
    source.write_text(config.to_json(), encoding="utf-8")
    with _log(folder, config.hash).open("wb") as log:
        return subprocess.Popen(
            train_command(source, store, data_root),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={**os.environ, "PYTHONPATH": package_path(), "OMP_NUM_THREADS": str(config.threads)},
        )


def _log(folder: Path, hash_: str) -> Path:
    return folder / f"{hash_}.log"


def _message(code: int, log: Path) -> str:
    line = last_line(log)
    if code < 0:
        return f"killed by {signal.Signals(-code).name}" + (f", after: {line}" if line else "")
    return line or f"ended with status {code} and without a record"


def _in_training(store: Path, hash_: str) -> bool:
    folder = store / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f"{hash_}.lock").acquire(blocking=False):
            return False
    except Timeout:
        return True
