"""The store: a folder with one JSON file for each run, named by its configuration's hash.

`HASH.json` is the record of a complete run, `HASH.failed.json` that of a failed one, `HASH.npz` holds the predictions
that were kept, `HASH.weights.npz` the weights of every step, `HASH.gradients.npz` what was found about the tasks'
gradients. Records from several machines are merged by copying files.
"""

from pathlib import Path

import numpy as np

from mtlrepro.training import gradients, observations, predictions, records
from mtlrepro.training.config import ALGORITHM, RunConfig
from mtlrepro.training.gradients import Gradients
from mtlrepro.training.records import Record


class Store:
    """Records of one folder, opened once: each file is read when it is first needed, validated once, and kept.

    Files that appear later are seen, and a file that has changed is read again. What is given out is not a copy.

    Args:
        folder: Folder of the records; one that does not exist is empty.

    Attributes:
        folder: The same.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._read: dict[Path, tuple[tuple[int, ...], Record | str]] = {}

    def record(self, config: RunConfig) -> Record | None:
        """Record of a run that is complete; None if it is absent, stale or damaged."""
        return self._usable(records.path_of(self.folder, config.hash))

    def __contains__(self, config: RunConfig) -> bool:
        return self.record(config) is not None

    def failure(self, config: RunConfig) -> Record | None:
        """Record of a run that failed and has not been completed since."""
        return None if config in self else self._usable(records.path_of(self.folder, config.hash, "failed"))

    def predictions(self, config: RunConfig) -> dict[int, dict[str, np.ndarray]]:
        """Predictions that a run kept, see `training.predictions.read`."""
        return predictions.read(self.folder, config.hash)

    def gradients(self, config: RunConfig) -> dict[int, Gradients]:
        """What a run found about its tasks' gradients, see `training.gradients.read`."""
        return gradients.read(self.folder, config.hash)

    def step_weights(self, config: RunConfig) -> np.ndarray:
        """Weights of every step that a run kept, see `training.observations.step_weights`."""
        return observations.step_weights(self.folder, config.hash)

    @property
    def records(self) -> dict[str, Record]:
        """Hash to record of every complete run."""
        return self._by_hash("complete")

    @property
    def failed(self) -> dict[str, Record]:
        """Hash to record of every run that failed and has not been completed since."""
        complete = self.records
        return {hash_: record for hash_, record in self._by_hash("failed").items() if hash_ not in complete}

    @property
    def stale(self) -> dict[Path, Record]:
        """File to record of another version of the algorithm."""
        return {path: record for path, record in self._records().items() if record["algorithm"] != ALGORITHM}

    @property
    def damaged(self) -> dict[Path, str]:
        """File to the reason why it is no record."""
        return {path: content for path, content in self._contents().items() if isinstance(content, str)}

    def problems(self) -> list[str]:
        """A message for each file that is not used, those of another version of the algorithm in one."""
        messages = [f"{path}: not used, damaged or foreign: {reason}" for path, reason in self.damaged.items()]
        if stale := self.stale:
            names = ", ".join(sorted(path.name for path in stale))
            messages.append(f"{self.folder}: not used, stale, of another algorithm than {ALGORITHM}: {names}")
        return messages

    def _by_hash(self, status: str) -> dict[str, Record]:
        usable = (record for record in self._records().values() if record["algorithm"] == ALGORITHM)
        return {record["hash"]: record for record in usable if record["status"] == status}

    def _records(self) -> dict[Path, Record]:
        return {path: content for path, content in self._contents().items() if isinstance(content, dict)}

    def _contents(self) -> dict[Path, Record | str]:
        return {path: self._content(path) for path in sorted(self.folder.glob("[!.]*.json"))}

    def _usable(self, path: Path) -> Record | None:
        content = self._content(path)
        return content if isinstance(content, dict) and content["algorithm"] == ALGORITHM else None

    def _content(self, path: Path) -> Record | str:
        """Record of a file, or the reason why it has none."""
        try:
            status = path.stat()
        except OSError as error:
            return str(error)
        version = (status.st_ino, status.st_size, status.st_mtime_ns)
        if path not in self._read or self._read[path][0] != version:
            try:
                content: Record | str = records.read(path)
            except (ValueError, OSError) as error:
                content = str(error)
            self._read[path] = version, content
        return self._read[path][1]
