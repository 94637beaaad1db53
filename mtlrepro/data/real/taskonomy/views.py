"""Where Taskonomy's files lie: folders by domain or by building, or the tar files as they are downloaded."""

import re
import tarfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mtlrepro.data.real.fetching import require_end
from mtlrepro.data.real.preparing import files_in
from mtlrepro.data.real.rasters import Raster, read_raster
from mtlrepro.data.real.taskonomy.files import DOMAINS

View = tuple[int, int]
AGAIN = "get it again with `python data_scripts/taskonomy.py fetch FOLDER`"
_NAME = re.compile(r"point_(\d+)_view_(\d+)(?:_domain_(\w+))?\.png")


@dataclass(frozen=True)
class Entry:
    """One file, or one member of a tar file.

    Attributes:
        path: The file, or the archive.
        member: Name in the archive, or None.
        start: Where the member's bytes begin.
        length: How many there are.
    """

    path: Path
    member: str | None = None
    start: int = 0
    length: int = 0

    def read(self, kind: str, size: tuple[int, int] | None) -> Raster:
        """Read the raster, of the given (height, width) where that is known.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged or has another size.
        """
        if self.member is None:
            return read_raster(self.path, kind, size=size, remedy=AGAIN)
        with self.path.open("rb") as file:
            file.seek(self.start)
            content = file.read(self.length)
        return read_raster(self.path / self.member, kind, size=size, remedy=AGAIN, content=content)


def find_views(source: Path, building: str) -> dict[View, dict[str, Entry]]:
    """Find the files of a building, by (point, view), in this order, and by key.

    Looked for are, for each domain, `SOURCE/DOMAIN/BUILDING/`, `SOURCE/DOMAIN/taskonomy/BUILDING/` (of
    `omnidata-tools`), `SOURCE/BUILDING_DOMAIN/` and its `DOMAIN/`, and `SOURCE/BUILDING_DOMAIN.tar`.

    A view without an image is left out, with a warning.

    Returns:
        Empty if there is nothing of this building.

    Raises:
        FileNotFoundError: A domain, or one view's file of a domain, is missing.
        ValueError: An archive is damaged, or a file's name states another domain.
    """
    domains = {key: domain for key, (domain, _) in DOMAINS.items()}
    by_key = {key: _find_domain(source, building, domain) for key, domain in domains.items()}
    if all(entries is None for entries in by_key.values()):
        return {}
    views: dict[View, dict[str, Entry]] = {view: {} for view in sorted(by_key["image"] or {})}
    for key, entries in by_key.items():
        if not entries:
            raise FileNotFoundError(
                f"{source / domains[key] / building} or {building}_{domains[key]}.tar: no such files; {AGAIN}"
            )
        absent = sorted(set(views) - set(entries))
        if absent:
            point, number = absent[0]
            raise FileNotFoundError(
                f"{source}: {building}, domain {domains[key]}: no file of point {point}, view {number} and "
                f"{len(absent) - 1} more of {len(views)}; {AGAIN}"
            )
        for view in views:
            views[view][key] = entries[view]
    if others := sorted({view for entries in by_key.values() for view in entries or ()} - set(views)):
        point, number = others[0]
        warnings.warn(
            f"{source}: {building}: point {point}, view {number} and {len(others) - 1} more have files, but no image "
            f"in domain {domains['image']}; they are left out",
            stacklevel=3,
        )
    return views


def has_building(source: Path, building: str) -> bool:
    """Whether there is anything of a building."""
    return any(_path(source, building, domain) is not None for domain, _ in DOMAINS.values())


def _path(source: Path, building: str, domain: str) -> Path | None:
    """Folder or archive of one building and domain."""
    together = source / f"{building}_{domain}"
    folders = (
        source / domain / building,
        source / domain / "taskonomy" / building,
        together / domain,
        together,
    )
    archive = source / f"{building}_{domain}.tar"
    return next((folder for folder in folders if folder.is_dir()), archive if archive.is_file() else None)


def _find_domain(source: Path, building: str, domain: str) -> Mapping[View, Entry] | None:
    path = _path(source, building, domain)
    if path is None:
        return None
    entries = {}
    for name, entry in (
        _members(path) if path.is_file() else [(file.name, Entry(file)) for file in files_in(path, "*.png")]
    ):
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        if match[3] is not None and match[3].replace("_", "") != domain.replace("_", ""):
            raise ValueError(f"{path / name}: a file of domain {match[3]}; accepted: {domain}; {AGAIN}")
        entries[int(match[1]), int(match[2])] = entry
    return entries


def _members(archive: Path) -> list[tuple[str, Entry]]:
    """List an uncompressed tar file without reading its members."""
    try:
        with tarfile.open(archive, "r:") as opened:
            members = [
                (Path(info.name).name, Entry(archive, info.name, info.offset_data, info.size))
                for info in opened
                if info.isreg()
            ]
            require_end(opened)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{archive}: not a complete tar file ({error}); remove it and {AGAIN}") from None
    return members
