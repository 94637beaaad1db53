"""Fetching Cityscapes through its owner's program, which asks for the user's account."""

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from mtlrepro.data.real.cityscapes.files import PACKAGES
from mtlrepro.data.real.packages import Package, unpack_packages

PAGE = "https://www.cityscapes-dataset.com/downloads/"
TERMS = (
    "Cityscapes may be used for non-commercial research and teaching and must not be passed on; read the terms at "
    "https://www.cityscapes-dataset.com/license/ . Downloads need an account (free) of cityscapes-dataset.com."
)
_SIZES = {
    "leftImg8bit": "11 GB",
    "rightImg8bit": "11 GB",
    "gtFine": "241 MB",
    "disparity": "3.5 GB",
    "camera": "2 MB",
}
# As torchvision's former prototype data sets had them; csDownload checks the md5 that the owner gives for all five.
_SHA256 = {
    "gtFine": ("40461a50097844f400fef147ecaf58b18fd99e14e4917fb7c3bf9c0d87d95884",),
    "leftImg8bit": ("3ccff9ac1fa1d80a6a064407e589d747ed0657aac7dc495a4403ae1235a37525",),
}


def fetch(folder: str | Path, *, right: bool = True, progress: bool = True) -> None:
    """Download the packages with `csDownload`, check and unpack them.

    A package that lies in `folder` is not downloaded. `csDownload` asks for name and password on the terminal and
    compares the md5 that the owner gives; a stopped download is resumed.

    Args:
        folder: Where the archives and the unpacked files go.
        right: Also the right views.
        progress: Show bars on stderr.

    Raises:
        FileNotFoundError: `csDownload` is needed and not installed.
        ValueError: `csDownload` fails, or an archive is not the known one or damaged.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    packages = [
        Package(name, _SIZES[kind], sha256=_SHA256.get(kind, ()))
        for kind, name in PACKAGES.items()
        if right or kind != "rightImg8bit"
    ]
    for package in packages:
        if not package.archives(folder):
            _download(package, folder)
    unpack_packages(packages, folder, remedy=f"get it from {PAGE}", progress=progress)


def _download(package: Package, folder: Path) -> None:
    """Let `csDownload` write into a folder of its own, and take the package when it is complete."""
    program = shutil.which("csDownload")
    if program is None:
        raise FileNotFoundError(
            "csDownload, the owner's program, is not on the PATH; install it (python -m pip install "
            f"cityscapesscripts), or download {package.name} ({package.size}) from {PAGE} into {folder}; run again"
        )
    incomplete = folder / "incomplete"
    incomplete.mkdir(exist_ok=True)
    partial = incomplete / package.name
    resume = ["--resume"] if partial.exists() else []
    status = subprocess.run([program, "--destination_path", str(incomplete), *resume, package.name]).returncode
    if status or not partial.is_file():
        raise ValueError(
            f"csDownload {package.name} ended with status {status}, see above; run again to go on, or remove "
            f"{partial} to begin anew"
        )
    partial.replace(folder / package.name)
    with suppress(OSError):  # Another package may be incomplete.
        incomplete.rmdir()
