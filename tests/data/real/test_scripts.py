"""The command line that the data scripts share."""

from types import SimpleNamespace

import pandas as pd
import pytest

from mtlrepro.data.real.scripts import MIRROR, Script, option


@pytest.fixture
def calls():
    """What the commands of the script were called with."""
    return []


@pytest.fixture
def script(calls):
    """A script whose commands note their arguments."""

    def act(**arguments):
        calls.append(arguments)
        if str(arguments.get("target")) == "bad":
            raise ValueError("size is bad; accepted: good")
        if str(arguments.get("target")) == "stop":
            raise KeyboardInterrupt

    def findings(target, *, strict=False):
        return pd.DataFrame({"what": ["a", "b"], "found": [1, 2], "expected": [1, 2], "ok": [True, not strict]})

    return Script(
        "demo.py",
        "A demonstration.",
        SimpleNamespace(TERMS="Only for friends.", fetch=act, prepare=act, verify=findings),
        fetch_help="get it",
        size_help="default: as is",
        fetch=[MIRROR],
        verify=[option("--strict", "be strict", action="store_true")],
    )


def test_prepare_passes_its_arguments(script, calls):
    assert script(["prepare", "in", "out", "--size", "288x384"]) == 0
    (arguments,) = calls
    assert {key: str(value) for key, value in arguments.items()} == {
        "source": "in",
        "target": "out",
        "size": "(288, 384)",
    }


@pytest.mark.parametrize("size", ["288", "0x5", "axb", "-1x5", "288x", "288x384x3"])
def test_sizes_are_height_x_width(script, size, capsys):
    with pytest.raises(SystemExit):
        script(["prepare", "in", "out", f"--size={size}"])
    assert f"size is '{size}'; accepted: HEIGHTxWIDTH" in capsys.readouterr().err


def test_fetch_wants_the_terms_accepted(script, calls, capsys):
    assert script(["fetch", "here"]) == 2
    assert "Only for friends." in capsys.readouterr().err
    assert calls == []
    assert script(["fetch", "here", "--accept-licence", "--mirror", "http://x"]) == 0
    assert calls[0]["mirror"] == "http://x"


def test_an_error_is_one_line_and_status_2(script, capsys):
    assert script(["prepare", "in", "bad"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "demo.py prepare: size is bad; accepted: good\n"
    assert captured.out == ""


def test_an_interrupt_is_said(script, capsys):
    assert script(["prepare", "in", "stop"]) == 130
    assert "interrupted; run it again to go on" in capsys.readouterr().err


def test_verify_prints_the_findings_and_returns_1_if_one_is_wrong(script, capsys):
    assert script(["verify", "out"]) == 0
    assert capsys.readouterr().out.endswith("out: all well\n")
    assert script(["verify", "out", "--strict"]) == 1
    assert capsys.readouterr().out.endswith("out: 1 of 2 checks failed\n")
