"""Downloads that resume and are checked, and archives unpacked without leaving their folder."""

import errno
import hashlib
import http.client
import lzma
import shutil
import stat
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, cast

from filelock import FileLock
from tqdm import tqdm

CHUNK = 1 << 20
"""Bytes that are read at once."""

TIMEOUT = 60.0
"""Seconds without an answer after which a connection counts as failed."""

ATTEMPTS = 5
"""Failures in a row, without a new byte, after which a download is given up."""

PAUSE = 1.0
"""Seconds before a new attempt, times the number of failures so far."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on a public server, with what is published about it.

    Attributes:
        name: Path below the folder that it is fetched into, with `/`.
        url: Its address, `http` or `https`.
        size: Bytes, where published.
        sha256: Checksum in hexadecimal, where published.
        md5: Checksum in hexadecimal, where published.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    def check(self, path: Path) -> None:
        """Compare a file with the published size and checksums.

        Raises:
            ValueError: The size or a checksum is another one.
            OSError: The file cannot be read.
        """
        n_bytes = path.stat().st_size
        if self.size is not None and n_bytes != self.size:
            raise ValueError(f"{path.name} has {n_bytes:,} bytes; expected: {self.size:,}")
        for kind, expected in (("sha256", self.sha256), ("md5", self.md5)):
            if expected is not None and (digest := checksum(path, kind)) != expected:
                raise ValueError(f"{path.name} has {kind} {digest}; expected: {expected}")


def checksum(path: Path, kind: str) -> str:
    """Checksum of a file, `sha256` or `md5`, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def download(file: RemoteFile, folder: Path, *, mirror: str | None = None, progress: bool = True) -> Path:
    """Download a file into a folder, going on where an earlier attempt stopped.

    The bytes go to `NAME.part` and get their name when they are complete and checked. A dropped connection is
    resumed by an HTTP Range request, at once and in a later call; from a server that ignores Range, the file is
    read from the start. A file that is already there is checked and not downloaded.

    Args:
        file: What to download.
        folder: Where the file goes; made where missing.
        mirror: Address of a server that has the file as `MIRROR/NAME`, used in place of the file's own.
        progress: Show a bar on stderr.

    Returns:
        The path of the file.

    Raises:
        ValueError: The address is not `http` or `https`, or the bytes are not the expected ones. A wrong download is
            kept as `NAME.rejected`.
        OSError: The server cannot be reached, refuses, or stops sending five times without a new byte.
    """
    url = f"{mirror.rstrip('/')}/{file.name}" if mirror else file.url
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url is {url!r}; accepted: an address that starts with http:// or https://")
    path = folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.exists():
            file.check(path)
            return path
        part = path.with_name(f"{path.name}.part")
        if file.size is not None and part.exists() and part.stat().st_size > file.size:
            part.unlink()
        _transfer(url, part, file.size, progress)
        try:
            file.check(part)
        except ValueError as error:
            rejected = path.with_name(f"{path.name}.rejected")
            part.replace(rejected)
            raise ValueError(
                f"{url}: {error}; what came is kept as {rejected}; try again, or get the file elsewhere"
            ) from None
        part.replace(path)
    return path


def _transfer(url: str, part: Path, size: int | None, progress: bool) -> None:
    """Bring `part` to its full length; a dropped connection is resumed while new bytes come."""
    bar = tqdm(desc=part.stem, total=size, unit="B", unit_scale=True, disable=not progress)
    failures = 0
    problem: Exception | None = None
    with bar:
        while failures < ATTEMPTS:
            start = part.stat().st_size if part.exists() else 0
            try:
                if _read_once(url, part, start, bar):
                    return
                problem = None
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    raise OSError(f"{url}: the server answers {error.code} {error.reason}") from None
                problem = error
            except (http.client.HTTPException, OSError) as error:
                problem = error
            grown = part.exists() and part.stat().st_size > start
            failures = 0 if grown else failures + 1
            time.sleep(PAUSE * failures)
    reason = f": {problem}" if problem else " before the end of the file"
    raise OSError(f"{url}: the connection failed {ATTEMPTS} times{reason}; run again to go on from here")


def _read_once(url: str, part: Path, start: int, bar: "tqdm[None]") -> bool:
    """Ask for the bytes from `start` on and append them; return whether the file is complete."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return True
        part.unlink()
        return False
    with response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        bar.total = total
        bar.n = start
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            while block := response.read(CHUNK):
                file.write(block)
                bar.update(len(block))
            return total is None or file.tell() == total


# --- archives

GROWTH = 100
"""How many times the bytes of an archive its members may have together; real ones have up to about 20, JSON's."""
SMALL = 2**30
"""Bytes that they may have whatever the archive has."""


@dataclass(frozen=True)
class _Member:
    """One entry of an archive; `kind` is `file`, `folder` or another word, which ends the message of refusal."""

    name: str
    kind: str
    content: IO[bytes] | None


def unpack(archive: str | Path, folder: str | Path, *, progress: bool = True) -> Path:
    """Unpack a zip or (compressed) tar archive into a new `folder`, all of it or nothing.

    Members are written as plain files without their permissions. Refused, by name: absolute paths, paths with
    `..`, drive letters or backslashes, links, devices, a second member of the same name, and more bytes than `GROWTH`
    times those of the archive.

    Args:
        archive: The file.
        folder: Must not exist, or be empty.
        progress: Show a bar on stderr.

    Returns:
        `folder`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no archive or a damaged one, a member is refused, or the folder holds something.
    """
    archive, folder = Path(archive), Path(folder)
    if archive.is_dir():
        raise ValueError(f"archive is {archive}, which is a folder; accepted: a zip or tar file")
    if not archive.is_file():
        raise FileNotFoundError(f"archive is {archive}, which does not exist; accepted: a zip or tar file")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder is {folder}, which holds something; accepted: a new or empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        inside = temporary / "inside"
        inside.mkdir()
        left = max(SMALL, GROWTH * archive.stat().st_size)
        with _members(archive) as members:
            for member in tqdm(members, desc=archive.name, unit=" files", disable=not progress):
                left -= _write(archive, member, inside, left)
        inside.replace(folder)
    finally:
        shutil.rmtree(temporary)
    return folder


def _write(archive: Path, member: _Member, folder: Path, limit: int) -> int:
    """Write one member of at most `limit` bytes below `folder`, and return how many it has; or refuse it."""
    parts = PurePosixPath(member.name).parts
    absolute = member.name.startswith("/") or PureWindowsPath(member.name).drive
    if member.kind not in ("file", "folder"):
        reason = f"is a {member.kind}"
    elif absolute or ".." in parts or "\\" in member.name:
        reason = "leaves the folder"
    else:
        target = folder.joinpath(*parts)
        try:
            (target if member.content is None else target.parent).mkdir(parents=True, exist_ok=True)
            if member.content is not None:
                with target.open("xb") as file:
                    while block := member.content.read(CHUNK):
                        if file.tell() + len(block) > limit:
                            raise ValueError(
                                f"{archive}: member {member.name!r} makes it {GROWTH} times as long as the archive; "
                                "accepted: less, as in all real data sets"
                            )
                        file.write(block)
                    return file.tell()
            return 0
        except (FileExistsError, NotADirectoryError):
            reason = "is in the way of another"
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            reason = "has a name that is too long for this disk"
    raise ValueError(f"{archive}: member {member.name!r} {reason}; accepted: files and folders inside the archive")


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    """Open an archive and go through its members, with errors in one form."""
    damaged = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield _zip_members(opened)
        else:
            with tarfile.open(archive) as tar:
                yield _tar_members(tar)
    except (*damaged, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).partition(":\n")[0]
        raise ValueError(
            f"{archive}: no complete zip or tar archive ({reason}); remove it and download it again"
        ) from None


def _zip_members(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir():
            yield _Member(info.filename, "folder", None)
        elif kind in (0, stat.S_IFREG):
            with opened.open(info) as content:
                yield _Member(info.filename, "file", content)
        else:
            yield _Member(info.filename, "link" if kind == stat.S_IFLNK else "special file", None)


def _tar_members(tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        if info.isdir():
            yield _Member(info.name, "folder", None)
        elif info.isreg():
            yield _Member(info.name, "file", tar.extractfile(info))
        else:
            yield _Member(info.name, "link" if info.issym() or info.islnk() else "special file", None)
    require_end(tar)


def require_end(tar: tarfile.TarFile) -> None:
    """Check that the members of a tar archive, gone through before, stop at its end: a block of zeros.

    `tarfile` stops without an error, too, where the file is cut between two members and where a header is damaged.
    What follows is read for the checksum of a compressed archive.

    Raises:
        tarfile.ReadError: They stop elsewhere.
        EOFError, OSError, zlib.error, lzma.LZMAError: The compressed archive is damaged.
    """
    file = cast("IO[bytes]", tar.fileobj)
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end is missing, or the header of a member is damaged")
    while file.read(CHUNK):
        pass
