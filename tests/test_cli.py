import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas
import papermill
import pytest
from nbformat import v4

from mtlrepro import __version__
from mtlrepro.cli import PIPE_CLOSED, main
from mtlrepro.pages.notebook import TABLE
from mtlrepro.pages.plan import Part, Plan

DECLARED = """\
seed: int = 3  # where the noise starts [0..]
rate: float = 0.1  # step
device: str = "cpu"  # place {cpu, cuda}
"""


def save(path: Path, source: str = "print(seed, rate)", rows: tuple[float, ...] = ()) -> Path:
    outputs = [v4.new_output("display_data", {TABLE: {"name": "t", "rtol": 0.1, "atol": 0, "columns": {"x": [*rows]}}})]
    cells = [
        v4.new_code_cell(DECLARED, metadata={"tags": ["parameters"]}),
        v4.new_code_cell(source, outputs=outputs if rows else []),
    ]
    nbformat.write(v4.new_notebook(cells=cells), path)
    return path


def test_params(tmp_path, capsys):
    assert main(["params", str(save(tmp_path / "n.ipynb"))]) == 0
    assert capsys.readouterr().out == (
        "name    type   default  accepted                 help\n"
        "seed    int    3        a whole number in [0..]  where the noise starts\n"
        "rate    float  0.1      a finite number          step\n"
        "device  str    'cpu'    one of {cpu, cuda}       place\n"
    )


def test_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "book").mkdir()
    save(tmp_path / "book" / "n.ipynb")
    monkeypatch.chdir(tmp_path)
    assert main(["run", "book/n.ipynb", "-p", "seed", "7", "-p", "rate", "-1e-4"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'n.out.ipynb'}\n"
    assert err == (
        "n.ipynb: cell 1/3: seed: int = 3 # where the noise starts [0..]\n"
        "n.ipynb: cell 2/3: # Parameters\n"
        "n.ipynb: cell 3/3: print(seed, rate)\n"
    )
    assert nbformat.read("n.out.ipynb", as_version=4).cells[-1].outputs[0].text == "7 -0.0001\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.ipynb"], "mtlrepro run: nothing.ipynb: no such notebook"),
        (["n.ipynb", "-p", "sed", "1"], "mtlrepro run: n.ipynb: no parameter 'sed' (did you mean 'seed'?), accepted: "),
        (["n.ipynb", "-p", "seed", "1.5"], "mtlrepro run: parameter 'seed': found '1.5', accepted: a whole number in"),
        (["n.ipynb", "-p", "device", "tpu"], "mtlrepro run: parameter 'device': found 'tpu', accepted: one of {cpu, c"),
        (["n.ipynb", "-p", "seed", "1", "-p", "seed", "2"], "mtlrepro run: parameter 'seed' is given twice"),
        (
            ["n.ipynb", "a.ipynb", "-o", "b.ipynb"],
            "mtlrepro run: the result is named twice, a.ipynb and b.ipynb; accept",
        ),
        (["n.ipynb", "-f", "no.yaml"], "mtlrepro run: no.yaml: no such file or directory\n"),
        (["n.ipynb", "-y", "[1, 2]"], "mtlrepro run: -y: accepted: a mapping of parameters to values"),
        (["n.ipynb", "-y", "a: [1"], "mtlrepro run: -y: not readable as YAML: "),
        (["n.ipynb", "-y", "{seed: 1, seed: 2}"], "mtlrepro run: -y: not readable as YAML: 'seed' is given twice"),
        (["n.ipynb", "-y", "[" * 5000], "mtlrepro run: -y: not readable as YAML: brackets are nested too deep"),
        (["deep.ipynb"], "mtlrepro run: deep.ipynb: not a readable notebook: "),
        (["n.ipynb", "-y", "sed: 1"], "mtlrepro run: n.ipynb: no parameter 'sed' (did you mean 'seed'?), accepted: "),
        (["n.ipynb", "-y", "seed: 1.5"], "mtlrepro run: parameter 'seed': found 1.5, accepted: a whole number in"),
        (["n.ipynb", "-o", "out"], "mtlrepro run: output out: accepted is a name ending in .ipynb"),
        (["n.ipynb", "-o", "no/out.ipynb", "--dry-run"], "mtlrepro run: output no/out.ipynb: accepted is a name end"),
        (
            ["n.ipynb", "-o", "n.ipynb", "-p", "seed", "4"],
            "mtlrepro run: output n.ipynb: is the notebook itself, and s",
        ),
    ],
)
def test_refused_input_is_one_message_and_status_2(tmp_path, monkeypatch, capsys, arguments, message):
    started = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *a, **k: started.append(a))
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "n.ipynb")
    (tmp_path / "deep.ipynb").write_text("[" * 100_000)
    assert main(["run", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert not started


@pytest.mark.parametrize("device", ["foo", "meta", "mps:0", ""])
@pytest.mark.parametrize("benchmark", ["noise", "balancers", "data", "models", "train"])
def test_a_device_that_is_not_measured_is_one_message_and_status_2(capsys, benchmark, device):
    assert main(["bench", benchmark, "--device", device]) == 2
    assert capsys.readouterr().err == f"mtlrepro bench: device is {device!r}; accepted: 'cpu', 'cuda', 'cuda:N'\n"


def test_a_package_that_is_missing_is_one_message_and_status_2(tmp_path, monkeypatch, capsys):
    def train(config, **options):
        raise ImportError("encoder pnasnet5 needs timm; to get it, run: pip install 'mtlrepro[timm]'")

    monkeypatch.setattr("mtlrepro.training.run.train", train)
    (tmp_path / "config.json").write_text("{}")
    assert main(["train", str(tmp_path / "config.json")]) == 2
    assert capsys.readouterr().err.startswith("mtlrepro train: encoder pnasnet5 needs timm; to get it, run: pip")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["run", "n.ipynb", "--timeout", "0"], "'0' is not a whole number of seconds from 1"),
        (["bench", "noise", "--json", "nowhere/x.json"], "there is no folder nowhere"),
        (["bench", "everything"], "invalid choice: 'everything'"),
        (["runn", "n.ipynb"], "invalid choice: 'runn' (did you mean 'run'?), accepted: params, run, "),
        (["bench", "balancer"], "(did you mean 'balancers'?)"),
        (["xyz"], "invalid choice: 'xyz', accepted: params, "),
        (["run", "n.ipynb", "--dryrun"], "usage: mtlrepro run [-h]"),
        (["run", "n.ipynb", "--dryrun"], "mtlrepro run: error: unrecognized arguments: --dryrun"),
        (["weights", "fetch", "--fast"], "usage: mtlrepro weights"),
        (["--fast", "run", "n.ipynb"], "unrecognized arguments: --fast"),
    ],
)
def test_malformed_command_lines_have_status_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"mtlrepro {__version__}\n"


def test_run_takes_its_result_and_parameters_as_papermill_does(tmp_path, monkeypatch, capsys):
    """Values of a file, then of YAML, then of -p; YAML's 1e-4 is a number, whatever YAML thinks of it."""
    monkeypatch.chdir(tmp_path)
    save(Path("n.ipynb"))
    Path("values.yaml").write_text("seed: 5\nrate: 0.5\n")
    assert main(["run", "n.ipynb", "mine.ipynb", "-f", "values.yaml", "-y", "rate: 1e-4", "-p", "seed", "7"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'mine.ipynb'}\n"
    assert nbformat.read("mine.ipynb", as_version=4).cells[-1].outputs[0].text == "7 0.0001\n"
    Path("values.json").write_text('{"seed": 9}')
    assert main(["run", "n.ipynb", "mine.ipynb", "-f", "values.yaml", "-f", "values.json"]) == 0
    assert nbformat.read("mine.ipynb", as_version=4).cells[-1].outputs[0].text == "9 0.5\n"


def test_dry_run_shows_the_plan_and_starts_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(papermill, "execute_notebook", None)
    notebook = nbformat.read(save(Path("n.ipynb")), as_version=4)
    notebook.metadata.mtlrepro = {"plan": "a_study"}
    nbformat.write(notebook, "n.ipynb")
    parts = (Part(name="all", scale="cpu", runs=3, missing=2, hours=1.0),)

    def plan(seed, **values):
        if seed == 4:
            raise ValueError("seed is 4; accepted: another one")
        return Plan(parts=parts, jobs="jobs", store="FOLDER")

    monkeypatch.setitem(sys.modules, "a_study", SimpleNamespace(plan=plan))
    assert main(["run", "n.ipynb", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 of 3 runs are missing and will be trained into FOLDER: about 1.0 core-hours")
    assert "-p jobs N trains N at a time" in out
    for more in ([], ["--dry-run"]):
        assert main(["run", "n.ipynb", "-p", "seed", "4", *more]) == 2
        assert capsys.readouterr().err == "mtlrepro run: n.ipynb: seed is 4; accepted: another one\n"
    assert [path.name for path in tmp_path.iterdir()] == ["n.ipynb"]


def test_nothing_is_said_when_the_reader_has_gone(tmp_path):
    """The output is cut off as by `head`, before anything is written."""
    (tmp_path / "runs").mkdir()
    code = "import sys\nfrom mtlrepro.cli import main\nsys.stdin.read()\nsys.exit(main(['results', '--store', 'runs']))"
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == PIPE_CLOSED


@pytest.mark.parametrize("arguments", ["params n.ipynb", "--help", "results --store .", "normalise n.ipynb"])
def test_a_closed_output_is_said_before_anything_is_done(tmp_path, arguments):
    save(tmp_path / "n.ipynb")
    before = (tmp_path / "n.ipynb").read_bytes()
    command = f"{sys.executable} -m mtlrepro {arguments} >&-"
    done = subprocess.run(command, shell=True, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "mtlrepro: standard output is closed; accepted: an open one, such as a file or /dev/null\n",
    )
    assert (tmp_path / "n.ipynb").read_bytes() == before


def test_a_run_goes_on_where_the_reader_of_its_messages_has_gone(tmp_path):
    """As with `2>&1 | head -1`: the result is there, and the status is that of an output that nobody reads."""
    save(tmp_path / "n.ipynb")
    command = [sys.executable, "-m", "mtlrepro", "run", "n.ipynb"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=subprocess.STDOUT) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait() == PIPE_CLOSED
    assert nbformat.read(tmp_path / "n.out.ipynb", as_version=4).cells[-1].outputs[0].text == "3 0.1\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_an_output_that_cannot_be_written_is_one_message_and_status_2(tmp_path):
    save(tmp_path / "n.ipynb")
    command = f"{sys.executable} -m mtlrepro params n.ipynb > /dev/full"
    done = subprocess.run(command, shell=True, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("mtlrepro")
    assert done.stderr.endswith(": no space left on device\n")
    assert done.stderr.count("\n") == 1


def test_a_failed_run_is_one_message_and_status_1(tmp_path, monkeypatch, capsys):
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("no kernel today")

    monkeypatch.setattr(papermill, "execute_notebook", fail)
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "n.ipynb")
    assert main(["run", "n.ipynb"]) == 1
    assert capsys.readouterr().err == (
        "mtlrepro run: n.ipynb: the kernel did not start: no kernel today. "
        f"The notebook so far is kept as {tmp_path / 'n.out.failed.ipynb'}\n"
    )


def test_normalise(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    one, two = save(Path("one.ipynb")), save(Path("two.ipynb"))
    assert main(["normalise", str(one)]) == 0
    assert capsys.readouterr().out == "one.ipynb: rewritten\n"
    assert main(["normalise", "--check", str(one), str(two)]) == 1
    assert capsys.readouterr().out == "two.ipynb: not in stored form\n"
    assert main(["normalise", str(one), str(two)]) == 0
    assert main(["normalise", "--check", str(one), str(two)]) == 0


def test_compare(tmp_path, capsys):
    stored, near, far = (
        str(save(tmp_path / f"{name}.ipynb", rows=rows))
        for name, rows in {"stored": (1.0, 2.0), "near": (1.05, 2.0), "far": (1.0, 3.0)}.items()
    )
    assert main(["compare", stored, near]) == 0
    assert capsys.readouterr().out == "1 of 1 tables agree\n"
    assert main(["compare", stored, far]) == 1
    assert capsys.readouterr().out == "table 't': 1 of 2 cells differ\n0 of 1 tables agree\n"
    assert main(["compare", "--all", stored, far]) == 1
    assert capsys.readouterr().out.startswith(
        "table 't', column 'x', row 1: stored 2.0, fresh 3.0, accepted within 0.2\n"
    )


def test_bench(tmp_path, monkeypatch, capsys):
    def noise(device: str) -> pandas.DataFrame:
        return pandas.DataFrame({"device": [device], "seconds": [0.125]})

    monkeypatch.setitem(sys.modules, "mtlrepro.bench.noise", SimpleNamespace(noise=noise))
    target = tmp_path / "rows.json"
    assert main(["bench", "noise", "--device", "meta", "--json", str(target)]) == 0
    assert capsys.readouterr().out == "  device  seconds\n0   meta    0.125\n"
    stored = json.loads(target.read_text())
    assert (stored["benchmark"], stored["rows"]) == ("noise", [{"device": "meta", "seconds": 0.125}])
    assert {"commit", "device", "threads", "torch", "processor"} <= stored["provenance"].keys()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_a_benchmark_does_not_write_over_what_is_there(tmp_path, capsys, make):
    """Found before anything is measured."""
    target = tmp_path / "rows.json"
    make(target)
    with pytest.raises(SystemExit):
        main(["bench", "noise", "--json", str(target)])
    assert f"there is {target} already, accepted: a new file" in capsys.readouterr().err


def test_an_empty_path_is_refused(tmp_path, monkeypatch, capsys):
    """Such as that of a variable which is not set: it would be the current folder."""
    monkeypatch.chdir(tmp_path)
    for arguments in (["train", "a.json", "--store", ""], ["results", "--store", ""], ["run", ""]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "it is empty, accepted: a path" in capsys.readouterr().err


def test_a_store_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "store").touch()
    assert main(["grid", "book/grids/first.json", "--dry-run", "--store", str(tmp_path / "store")]) == 2
    assert f"--store is '{tmp_path / 'store'}'; accepted: a folder" in capsys.readouterr().err


def test_a_file_of_parameters_that_is_no_text_is_named(tmp_path, capsys):
    (tmp_path / "p.yaml").write_bytes(b"scale: \xff\xfe")
    assert main(["run", "book/toys.ipynb", "--dry-run", "-f", str(tmp_path / "p.yaml")]) == 2
    assert f"{tmp_path / 'p.yaml'}: not a text in UTF-8" in capsys.readouterr().err


def test_bench_measures_what_is_named(monkeypatch, capsys):
    def balancers(device: str, only: list[str]) -> pandas.DataFrame:
        return pandas.DataFrame({"device": [device], "only": [" ".join(only)]})

    monkeypatch.setitem(sys.modules, "mtlrepro.bench.balancers", SimpleNamespace(balancers=balancers))
    assert main(["bench", "balancers", "--only", "mtsgd", "mgda"]) == 0
    assert "mtsgd mgda" in capsys.readouterr().out
    assert main(["bench", "noise", "--only", "mtsgd"]) == 2
    assert "--only is 'mtsgd'; accepted with: balancers, models" in capsys.readouterr().err


def test_help_is_light():
    """The module runs, names its subcommands, and imports nothing heavy on the way."""
    code = (
        "import runpy, sys\n"
        "sys.argv = ['mtlrepro', '--help']\n"
        "try:\n    runpy.run_module('mtlrepro', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "print(sorted({'torch', 'papermill', 'nbformat', 'pandas'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *help_, loaded = result.stdout.splitlines()
    assert loaded == "[]"
    assert all(any(line.strip().startswith(name) for line in help_) for name in ("params", "run", "compare", "bench"))
