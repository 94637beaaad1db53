"""Downloads against a real server on this machine, and archives that try to leave their folder."""

import bz2
import gzip
import hashlib
import io
import lzma
import stat
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mtlrepro.data.real import fetching
from mtlrepro.data.real.fetching import RemoteFile, unpack

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Sends CONTENT; `/plain` ignores Range, `/drop` stops halfway, `/dead` sends nothing."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Range")))
        if self.path == "/absent":
            self.send_error(404)
            return
        start = 0
        wanted = self.headers.get("Range")
        if wanted and self.path != "/plain":
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.send_response(200)
        body = CONTENT[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path == "/drop" and len(body) > 100_000:
            body = body[: len(body) // 2]
        self.wfile.write(b"" if self.path == "/dead" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen = []
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def download(url, path, *, progress=False, **published):
    return fetching.download(RemoteFile(path.name, url, **published), path.parent, progress=progress)


def test_a_file_is_downloaded_checked_and_then_left_alone(server, tmp_path):
    for _ in range(2):
        path = download(
            f"{server.address}/a",
            tmp_path / "new" / "a.bin",
            size=len(CONTENT),
            sha256=SHA256,
            md5=MD5,
        )
        assert path.read_bytes() == CONTENT
    assert server.seen == [("/a", None)]
    assert [p.name for p in path.parent.iterdir() if not p.name.startswith(".")] == ["a.bin"]


def test_a_partial_file_is_continued_by_range(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:300_000])
    path = download(f"{server.address}/a", tmp_path / "a.bin", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.seen == [("/a", "bytes=300000-")]


def test_a_server_without_range_is_read_from_the_start(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(b"x" * 300_000)
    path = download(f"{server.address}/plain", tmp_path / "a.bin", sha256=SHA256)
    assert path.read_bytes() == CONTENT


def test_dropped_connections_are_taken_up_again(server, tmp_path):
    path = download(f"{server.address}/drop", tmp_path / "a.bin", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert len(server.seen) > 3
    assert [r for _, r in server.seen[:2]] == [None, f"bytes={len(CONTENT) // 2}-"]


def test_a_complete_part_is_not_sent_again(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    download(f"{server.address}/a", tmp_path / "a.bin", sha256=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_part_that_is_too_long_is_begun_again(server, tmp_path, size):
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"more")
    download(f"{server.address}/a", tmp_path / "a.bin", size=size, sha256=SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("expected", [{"size": 7}, {"sha256": "0" * 64}, {"md5": "0" * 32}])
def test_wrong_bytes_are_refused_and_kept_aside(server, tmp_path, expected):
    with pytest.raises(ValueError, match=r"a\.bin.* has .*; expected: .*kept as .*a\.bin\.rejected") as error:
        download(f"{server.address}/a", tmp_path / "a.bin", **expected)
    assert f"{server.address}/a" in str(error.value)
    assert not (tmp_path / "a.bin").exists()
    assert (tmp_path / "a.bin.rejected").read_bytes() == CONTENT


def test_a_wrong_file_that_is_already_there_is_named_and_kept(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"a\.bin has 4 bytes; expected: 1,048,576"):
        download(f"{server.address}/a", tmp_path / "a.bin", size=len(CONTENT))
    assert (tmp_path / "a.bin").read_bytes() == b"mine"
    assert server.seen == []


def test_an_absent_file_is_not_asked_for_again(server, tmp_path):
    with pytest.raises(OSError, match="/absent: the server answers 404"):
        download(f"{server.address}/absent", tmp_path / "a.bin")
    assert len(server.seen) == 1


def test_a_server_that_sends_nothing_is_given_up(server, tmp_path):
    with pytest.raises(OSError, match="the connection failed 5 times"):
        download(f"{server.address}/dead", tmp_path / "a.bin")
    assert len(server.seen) == 5


def test_only_web_addresses(tmp_path):
    with pytest.raises(ValueError, match="url is 'file:///etc/passwd'; accepted"):
        download("file:///etc/passwd", tmp_path / "a")


def test_progress_goes_to_stderr(server, tmp_path, capsys):
    download(f"{server.address}/a", tmp_path / "a.bin", progress=True)
    captured = capsys.readouterr()
    assert "a.bin: 100%" in captured.err
    assert captured.out == ""


def test_a_mirror_is_used_in_place_of_the_published_address(server, tmp_path):
    file = RemoteFile("sub/a.bin", "http://127.0.0.1:9/nowhere", len(CONTENT), SHA256)
    path = fetching.download(file, tmp_path, mirror=f"{server.address}/", progress=False)
    assert path == tmp_path / "sub" / "a.bin"
    assert server.seen == [("/sub/a.bin", None)]


def test_checksums_by_hand(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    RemoteFile("abc", "", size=3, md5="900150983cd24fb0d6963f7d28e17f72").check(tmp_path / "abc")  # RFC 1321, A.5
    with pytest.raises(ValueError, match=r"abc has sha256 ba7816bf.*; expected: 00"):
        RemoteFile("abc", "", sha256="00").check(tmp_path / "abc")


# --- archives


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if name in ("./", "odd"):
                info.type = content
                info.linkname = "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


GOOD = [("a.txt", b"one"), ("sub/b.txt", b"two")]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives_are_unpacked_whole(tmp_path, kind):
    archive = tmp_path / f"x.{kind}"
    if kind == "zip":
        write_zip(archive, GOOD)
    else:
        write_tar(archive, [("./", tarfile.DIRTYPE), *GOOD], "w:gz" if kind == "tar.gz" else "w")
    folder = unpack(archive, tmp_path / "deep" / "out", progress=False)
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.txt")} == dict(GOOD)
    assert [p.name for p in folder.parent.iterdir()] == ["out"]


BAD = ["../b", "sub/../../b", "/b", "C:/b", "..\\b"]


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_leaves_the_folder_is_named_and_nothing_is_written(tmp_path, kind, name):
    archive = tmp_path / f"x.{kind}"
    (write_zip if kind == "zip" else write_tar)(archive, [*GOOD, (name, b"bad")])
    with pytest.raises(ValueError, match=r"member .*b' leaves the folder"):
        unpack(archive, tmp_path / "in" / "out", progress=False)
    assert list((tmp_path / "in").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", archive.name]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_tar_are_refused(tmp_path, kind):
    write_tar(tmp_path / "x.tar", [*GOOD, ("odd", kind)])
    with pytest.raises(ValueError, match=r"member 'odd' is a (link|special file); accepted"):
        unpack(tmp_path / "x.tar", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_grows_beyond_all_measure_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(fetching, "SMALL", 1000)
    archive, members = tmp_path / f"bomb.{kind}", [("small", b"x"), ("large", bytes(3_000_000))]
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members:
                file.writestr(name, content)
    else:
        write_tar(archive, members, "w:gz")
    assert archive.stat().st_size * fetching.GROWTH < 3_000_000
    with pytest.raises(ValueError, match="member 'large' makes it 100 times as long as the archive; accepted: less"):
        fetching.unpack(archive, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_links_in_zip_are_refused(tmp_path):
    link = zipfile.ZipInfo("odd")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    write_zip(tmp_path / "x.zip", [*GOOD, (link, b"/etc/passwd")])
    with pytest.raises(ValueError, match="member 'odd' is a link"):
        unpack(tmp_path / "x.zip", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a.txt", "a.txt/c"])
def test_a_member_in_the_way_of_another_is_refused(tmp_path, name):
    write_tar(tmp_path / "x.tar", [*GOOD, (name, b"again")])
    with pytest.raises(ValueError, match=r"member 'a\.txt.*' is in the way"):
        unpack(tmp_path / "x.tar", tmp_path / "out", progress=False)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_truncated_archives_are_refused(tmp_path, kind):
    archive = tmp_path / f"x.{kind}"
    members = [("noise", hashlib.shake_128(b"seed").digest(200_000))]
    if kind == "zip":
        write_zip(archive, members)
    else:
        write_tar(archive, members, "w:gz" if kind == "tar.gz" else "w")
    archive.write_bytes(archive.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"x\..*: no complete zip or tar archive .*download it again"):
        unpack(archive, tmp_path / "out", progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == [archive.name]


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "tar.bz2"])
@pytest.mark.parametrize("part", ["before a header", "in a header", "damaged header"])
def test_a_tar_file_that_stops_before_its_end_is_refused(tmp_path, kind, part):
    """Its first members are complete, and `tarfile` stops there without an error."""
    write_tar(tmp_path / "whole.tar", GOOD)
    content = bytearray((tmp_path / "whole.tar").read_bytes())
    second = 1024  # Each member has a header and a block of content, 512 bytes each.
    if part == "damaged header":
        content[second + 150] ^= 1
    else:
        del content[second + (100 if part == "in a header" else 0) :]
    compress = {"tar.gz": gzip.compress, "tar.xz": lzma.compress, "tar.bz2": bz2.compress}.get(kind, bytes)
    archive = tmp_path / f"x.{kind}"
    archive.write_bytes(compress(content))
    with pytest.raises(ValueError, match=r"x\.tar.*: no complete zip or tar archive \(its end is missing.*download it"):
        unpack(archive, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_the_checksum_of_a_compressed_tar_file_is_checked(tmp_path):
    write_tar(tmp_path / "x.tar.gz", GOOD, "w:gz")
    content = bytearray((tmp_path / "x.tar.gz").read_bytes())
    content[-8] ^= 1  # gzip ends with the checksum and the length, 4 bytes each.
    (tmp_path / "x.tar.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"no complete zip or tar archive \(CRC check failed"):
        unpack(tmp_path / "x.tar.gz", tmp_path / "out", progress=False)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_the_disk_does_not_take_is_refused(tmp_path, kind):
    archive = tmp_path / f"x.{kind}"
    (write_zip if kind == "zip" else write_tar)(archive, [*GOOD, ("n" * 300, b"long")])
    with pytest.raises(ValueError, match=r"x\..*: member 'n{300}' has a name that is too long for this disk"):
        unpack(archive, tmp_path / "out", progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == [archive.name]


def test_what_is_no_file_is_named_before_any_work(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"archive is .*x\.tar, which does not exist; accepted: a zip or tar"):
        unpack(tmp_path / "x.tar", tmp_path / "deep/out", progress=False)
    (tmp_path / "x.tar").mkdir()
    with pytest.raises(ValueError, match=r"archive is .*x\.tar, which is a folder; accepted: a zip or tar"):
        unpack(tmp_path / "x.tar", tmp_path / "deep/out", progress=False)
    assert not (tmp_path / "deep").exists()


def test_a_flipped_byte_in_a_zip_is_noticed(tmp_path):
    write_zip(tmp_path / "x.zip", [("noise", b"n" * 1000)])
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[500] ^= 1
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(ValueError, match="Bad CRC"):
        unpack(tmp_path / "x.zip", tmp_path / "out", progress=False)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    write_zip(tmp_path / "x.zip", GOOD)
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "x.zip", tmp_path / "out", progress=False)
    with pytest.raises(ValueError, match=r"folder is .*out, which holds something"):
        unpack(tmp_path / "x.zip", tmp_path / "out", progress=False)
