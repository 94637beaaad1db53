"""Archives that a data set's owner gives out after a login: checked, and unpacked into one folder."""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mtlrepro.data.real.fetching import checksum, unpack


@dataclass(frozen=True)
class Package:
    """One archive, with what its owner publishes about it.

    Attributes:
        name: File name.
        size: In words.
        sha256: Known checksums, of which one must fit; none where the owner gives none.
        md5: The same for md5.
        parts: Archives that together stand for this one.
    """

    name: str
    size: str
    sha256: tuple[str, ...] = ()
    md5: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    def archives(self, folder: Path) -> list[Path]:
        """Return the archives in `folder` that make up the package: itself, else all its parts, else none."""
        if (folder / self.name).is_file():
            return [folder / self.name]
        parts = [folder / part for part in self.parts]
        return parts if all(part.is_file() for part in parts) else []

    def check(self, archive: Path) -> None:
        """Compare an archive with the known checksums; those of parts are not published.

        Raises:
            ValueError: No checksum fits.
        """
        for kind, known in (("sha256", self.sha256), ("md5", self.md5)):
            if known and archive.name == self.name and (digest := checksum(archive, kind)) not in known:
                raise ValueError(
                    f"{archive} has {kind} {digest}; accepted: {' or '.join(known)}; remove it and download it again"
                )


def unpack_packages(packages: Sequence[Package], folder: Path, *, remedy: str, progress: bool = True) -> None:
    """Check the packages that lie in a folder and unpack them there; those already unpacked are skipped.

    Each is unpacked into a temporary folder, completely, before its files are moved in. `.NAME.unpacked`
    marks it as done.

    Args:
        packages: What must be there.
        folder: Where the archives are and the files go.
        remedy: Where to get what is missing; ends the message.
        progress: Show bars on stderr.

    Raises:
        FileNotFoundError: Packages are missing; found before any work.
        ValueError: An archive is not the known one, is damaged, or has members that leave the folder.
    """
    missing = [package for package in packages if not package.archives(folder)]
    if missing:
        lines = [f"  {package.name} ({package.size}){_or_parts(package)}" for package in missing]
        raise FileNotFoundError("\n".join([f"{folder} lacks", *lines, remedy]))
    for package in packages:
        for archive in package.archives(folder):
            mark = folder / f".{archive.name}.unpacked"
            size = str(archive.stat().st_size)
            if mark.is_file() and mark.read_text(encoding="utf-8") == size:
                continue
            if progress:
                tqdm.write(f"checking {archive.name}", file=sys.stderr)
            package.check(archive)
            with tempfile.TemporaryDirectory(prefix=f".{archive.name}.", dir=folder) as temporary:
                _move_in(unpack(archive, Path(temporary) / "inside", progress=progress), folder)
            mark.write_text(size, encoding="utf-8")


def _or_parts(package: Package) -> str:
    return f", or {' and '.join(package.parts)}" if package.parts else ""


def _move_in(source: Path, folder: Path) -> None:
    """Move the files below `source` to the same paths below `folder`, where they replace older ones."""
    for path in source.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
