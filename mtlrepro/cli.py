"""The command line, `mtlrepro COMMAND`.

Heavy modules are imported by the subcommand that needs them, so that help is immediate.
"""

import argparse
import difflib
import json
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from mtlrepro import __version__
from mtlrepro.streams import Lasting, discard

if TYPE_CHECKING:
    from mtlrepro.pages.parameters import Value
    from mtlrepro.runs import Store

BENCHMARKS = {
    "noise": "mtlrepro.bench.noise",
    "balancers": "mtlrepro.bench.balancers",
    "data": "mtlrepro.bench.data",
    "models": "mtlrepro.bench.models",
    "train": "mtlrepro.bench.train",
}
SELECTABLE = ("balancers", "models")
"""Benchmarks of which a part can be measured alone."""

PIPE_CLOSED = 128 + 13
"""Exit status where nobody reads the output any more, as shells report a process that SIGPIPE ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0 well, 1 failed or differs, 2 refused, 130 interrupted.

    SIGTERM, with which cluster managers end a job, is like Ctrl-C. Where the reader of the output has gone, as in
    `mtlrepro results | head -1`, the command ends in silence with `PIPE_CLOSED`; where the reader of standard error
    has gone, it goes on. Without a standard output nothing is begun.
    """
    with redirect_stderr(Lasting(sys.stderr)):
        if cast(TextIO | None, sys.stdout) is None:
            return _refuse("mtlrepro", "standard output is closed; accepted: an open one, such as a file or /dev/null")
        try:
            try:
                return _execute(argv)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            discard(sys.stdout)
            return PIPE_CLOSED
        except OSError as error:
            discard(sys.stdout)
            return _refuse("mtlrepro", f"standard output: {_with_notes(error)}")


def _execute(argv: Sequence[str] | None) -> int:
    """Parse and run a command line; what goes wrong in it is one message."""
    args = _parse(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status: int = args.command(args)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, ImportError) as error:
        from mtlrepro.pages.running import RunFailed

        _refuse(f"mtlrepro {args.subcommand}", _with_notes(error))
        return 1 if isinstance(error, RunFailed) else 2
    except KeyboardInterrupt:
        print(f"mtlrepro {args.subcommand}: interrupted", file=sys.stderr)
        return 130
    return status


def _refuse(command: str, message: str) -> int:
    print(f"{command}: {message}", file=sys.stderr)
    return 2


class _Parser(argparse.ArgumentParser):
    """A parser that suggests the name that was meant."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # noqa: ANN401
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            close = difflib.get_close_matches(str(value), known, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{hint}, accepted: {', '.join(known)}")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; what is left over is an error of the subcommand, which shows its own usage."""
    args, rest = _parser().parse_known_args(argv)
    if rest:
        args.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mtlrepro", description="Run, check and measure the book's notebooks.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")

    params = commands.add_parser("params", help="list a notebook's parameters")
    params.add_argument("notebook", type=_path, metavar="NOTEBOOK")
    params.set_defaults(command=_params)

    run = commands.add_parser("run", help="execute a notebook with other parameters")
    run.add_argument("notebook", type=_path, metavar="NOTEBOOK")
    run.add_argument("target", type=_path, nargs="?", metavar="OUT", help="the result (default: STEM.out.ipynb here)")
    run.add_argument("-o", dest="output", type=_path, metavar="OUT", help="the same")
    run.add_argument(
        "-p",
        dest="texts",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter's value; lists as 1,2,3 (may be repeated; see `mtlrepro params`)",
    )
    run.add_argument(
        "-f",
        dest="files",
        type=_path,
        action="append",
        default=[],
        metavar="FILE",
        help="a YAML or JSON file of parameters; those of -y, then of -p take the place of its own",
    )
    run.add_argument("-y", dest="yaml", action="append", default=[], metavar="YAML", help="parameters as YAML text")
    run.add_argument("--dry-run", action="store_true", help="execute nothing, show which runs would be trained")
    run.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="limit for each cell (default: none)")
    run._negative_number_matcher = re.compile(r"-\.?\d")  # lets `-p NAME -1e-4` pass for a value
    run.set_defaults(command=_run)

    normalise = commands.add_parser("normalise", help="bring notebooks into the form in which they are stored")
    normalise.add_argument("notebooks", type=_path, nargs="+", metavar="NOTEBOOK")
    normalise.add_argument("--check", action="store_true", help="change nothing, name those not in stored form")
    normalise.set_defaults(command=_normalise)

    compare = commands.add_parser("compare", help="compare parameters, verdicts and tables of two runs of a notebook")
    compare.add_argument("stored", type=_path, metavar="STORED")
    compare.add_argument("fresh", type=_path, metavar="FRESH")
    compare.add_argument("--all", action="store_true", help="also name every cell of a table that differs")
    compare.set_defaults(command=_compare)

    chapter = commands.add_parser("new-chapter", help="begin a chapter: a notebook, its study and that study's test")
    chapter.add_argument("name", metavar="NAME", help="a new identifier, of the notebook and of its study's folder")
    chapter.set_defaults(command=_new_chapter)

    train = commands.add_parser("train", help="train a configuration, or go on with it, and leave its record")
    train.add_argument(
        "config", type=_path, metavar="CONFIG.json", help="fields of RunConfig; the rest has its defaults"
    )
    train.set_defaults(command=_train)

    weights = commands.add_parser("weights", help="get the encoders' ImageNet weights")
    actions = weights.add_subparsers(dest="action", required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="put checkpoints into torchvision's cache, checked by sha256")
    fetch.add_argument(
        "names", nargs="*", default=["mobilenet_v2"], metavar="NAME", help="an encoder (default: mobilenet_v2)"
    )
    fetch.set_defaults(command=_fetch)

    bench = commands.add_parser("bench", help="measure speed on this machine")
    bench.add_argument("benchmark", choices=list(BENCHMARKS))
    bench.add_argument("--device", default="cpu", help="a torch device (default: cpu)")
    bench.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help=f"what to measure of {' and '.join(SELECTABLE)} (default: all)",
    )
    bench.add_argument(
        "--json", type=_new_file, metavar="FILE", help="also write the rows, and where they come from, to a JSON file"
    )
    bench.set_defaults(command=_bench)
    _add_grids(commands, train)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return parser


def _add_grids(commands: "argparse._SubParsersAction[_Parser]", train: argparse.ArgumentParser) -> None:
    grid = commands.add_parser("grid", help="train the runs of a grid that are not stored, show all")
    grid.add_argument("file", type=_path, metavar="FILE", help='JSON: configurations, or {"base": ..., "vary": ...}')
    grid.add_argument("--jobs", type=_count, default=1, metavar="N", help="runs at a time (default: 1)")
    grid.add_argument("--engine", choices=["local", "snakemake"], default="local", help="what starts the runs")
    grid.add_argument(
        "--profile",
        choices=["local", "slurm", "kubernetes"],
        help="where Snakemake starts them (default: local); SNAKEMAKE_PROFILE may name a profile of your own beside it",
    )
    grid.add_argument("--dry-run", action="store_true", help="train nothing, show what is stored and what is missing")
    grid.set_defaults(command=_grid)

    results = commands.add_parser("results", help="show which runs are stored")
    results.add_argument("--section", metavar="NAME", help="only the runs behind this section of the book")
    results.set_defaults(command=_results)

    verify = commands.add_parser("verify-results", help="retrain the first epochs of stored runs and compare")
    verify.add_argument("--sample", type=_count, default=3, metavar="N", help="how many runs, at random (default: 3)")
    verify.add_argument("--seed", type=int, metavar="S", help="of the sample (default: another one every time)")
    verify.set_defaults(command=_verify)

    for command in (train, grid, verify):
        command.add_argument("--data-root", type=_path, metavar="FOLDER", help="a prepared real data set")
    train.add_argument("--store", type=_path, default="runs", metavar="FOLDER", help="of the records (default: runs)")
    for command in (grid, results, verify):
        command.add_argument(
            "--store",
            type=_path,
            metavar="FOLDER",
            help="of the records (default: the book's; without a book, runs)",
        )


def _params(args: argparse.Namespace) -> int:
    from mtlrepro.pages.parameters import declared_parameters

    rows = [("name", "type", "default", "accepted", "help")]
    rows += [(p.name, p.type, repr(p.default), p.accepted, p.help) for p in declared_parameters(args.notebook)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    return 0


def _run(args: argparse.Namespace) -> int:
    from mtlrepro.pages.parameters import assign
    from mtlrepro.pages.plan import plan_of
    from mtlrepro.pages.running import run_notebook, settle_for

    def show(number: int, total: int, line: str) -> None:
        print(f"{args.notebook.name}: cell {number}/{total}: {line}", file=sys.stderr, flush=True)

    if args.target and args.output:
        raise ValueError(f"the result is named twice, {args.target} and {args.output}; accepted: one name")
    values = {**_given(args), **assign(args.notebook, args.texts)}
    output = args.target or args.output or Path(f"{args.notebook.stem}.out.ipynb")
    if args.dry_run:
        print("\n".join(plan_of(args.notebook, settle_for(args.notebook, output, values)).lines()))
        return 0
    print(run_notebook(args.notebook, output, values, timeout=args.timeout, progress=show, log=sys.stderr))
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text in UTF-8: {error.reason} at byte {error.start}") from None


def _given(args: argparse.Namespace) -> "dict[str, Value]":
    """Values of parameters that files and YAML texts give; later ones take the place of earlier ones."""
    from mtlrepro.pages.parameters import parameters_by_name
    from mtlrepro.pages.yaml_text import parse_yaml

    texts = [(str(path), _text(path)) for path in args.files]
    values: dict[str, Value] = {}
    for source, text in [*texts, *(("-y", text) for text in args.yaml)]:
        try:
            content = parse_yaml(text)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
        if not isinstance(content, dict):
            raise ValueError(f"{source}: accepted: a mapping of parameters to values, `name: value`")
        declared = parameters_by_name(args.notebook, [str(name) for name in content])
        for name, value in content.items():
            parameter = declared[str(name)]
            # YAML takes 1e-4, for one, for text.
            values[str(name)] = parameter.parse(value) if isinstance(value, str) else parameter.check(value)
    return values


def _normalise(args: argparse.Namespace) -> int:
    from mtlrepro.pages.stored import normalise_file

    changed = [path for path in args.notebooks if not normalise_file(path, check=args.check)]
    for path in changed:
        print(f"{path}: {'not in stored form' if args.check else 'rewritten'}")
    return 1 if args.check and changed else 0


def _compare(args: argparse.Namespace) -> int:
    from mtlrepro.pages.comparing import compare_runs

    lines, same = compare_runs(args.stored, args.fresh, cells=args.all)
    print("\n".join(lines))
    return 0 if same else 1


def _new_chapter(args: argparse.Namespace) -> int:
    from mtlrepro.pages.new_chapter import new_chapter

    print("\n".join(map(str, new_chapter(args.name))))
    return 0


def _train(args: argparse.Namespace) -> int:
    from mtlrepro.distributed import local_rank
    from mtlrepro.training.config import RunConfig
    from mtlrepro.training.run import out_of_memory, train

    config = RunConfig.from_json(args.config)
    try:
        record = train(config, store=args.store, data_root=args.data_root)
    except Exception as error:
        if not isinstance(error, FloatingPointError) and not out_of_memory(error):
            raise
        print(f"mtlrepro train: {_with_notes(error)}", file=sys.stderr)
        return 1
    if local_rank() == 0:
        print(args.store / f"{config.hash}.json")
        for task, metrics in record["metrics"].items():
            values = ", ".join(f"{name} {'-' if v is None else format(v, '.4g')}" for name, v in metrics.items())
            print(f"{task}: {values}")
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from mtlrepro.models.weights import fetch

    for name in args.names:
        print(fetch(name))
    return 0


def _bench(args: argparse.Namespace) -> int:
    from mtlrepro import files
    from mtlrepro.training.provenance import processor, provenance

    if args.only is not None and args.benchmark not in SELECTABLE:
        raise ValueError(f"--only is {' '.join(args.only)!r}; accepted with: {', '.join(SELECTABLE)}")
    chosen = {} if args.only is None else {"only": args.only}
    frame = getattr(import_module(BENCHMARKS[args.benchmark]), args.benchmark)(device=args.device, **chosen)
    print(frame.to_string())
    if args.json is not None:
        rows = json.loads(frame.to_json(orient="records", double_precision=15))
        record = {
            "benchmark": args.benchmark,
            "provenance": {**provenance(args.device), "processor": processor()},
            "rows": rows,
        }
        files.write(args.json, json.dumps(record, indent=1) + "\n")
    return 0


def _grid(args: argparse.Namespace) -> int:
    from mtlrepro.runs import read_grid
    from mtlrepro.runs.grids import train_grid
    from mtlrepro.runs.summary import describe_store

    if args.profile is not None and args.engine == "local":
        raise ValueError(f"--profile is {args.profile!r}; accepted with --engine snakemake only")
    configs, store = read_grid(args.file), _store(args)
    table, problems = train_grid(
        configs,
        store=store,
        jobs=args.jobs,
        data_root=args.data_root,
        engine=args.engine,
        profile=args.profile or "local",
        dry_run=args.dry_run,
    )
    print(describe_store(store, configs))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 0 if args.dry_run or (table["status"] == "complete").all() else 1


def _results(args: argparse.Namespace) -> int:
    from mtlrepro.runs.summary import describe_store, section

    configs = None if args.section is None else section(args.section)
    store = _existing(_store(args))
    print(describe_store(store, configs))
    for problem in store.problems():
        print(problem, file=sys.stderr)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from mtlrepro.runs.verify import verify_records

    passed = True
    for check in verify_records(_existing(_store(args)), sample=args.sample, seed=args.seed, data_root=args.data_root):
        prefix = {True: "passed: ", False: "failed: ", None: ""}[check.passed]
        print(f"{prefix}{check.message}", flush=True)
        passed &= check.passed is not False
    return 0 if passed else 1


def _with_notes(error: Exception) -> str:
    """Message of an error; that of the operating system without its number."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        reason = f"{error.strerror[:1].lower()}{error.strerror[1:]}"
        text = reason if error.filename is None else f"{error.filename}: {reason}"
    return "; ".join([text, *getattr(error, "__notes__", ())])


def _store(args: argparse.Namespace) -> "Store":
    """Open the folder that is asked for, else the book's, else that into which `mtlrepro train` writes."""
    from mtlrepro import files
    from mtlrepro.runs import Store

    if args.store is not None:
        if args.store.exists() and not args.store.is_dir():
            raise ValueError(f"--store is {str(args.store)!r}; accepted: a folder")
        return Store(args.store)
    try:
        folder = files.book("results", "runs")
    except FileNotFoundError:
        folder = Path("runs")
    return Store(folder)


def _existing(store: "Store") -> "Store":
    if not store.folder.is_dir():
        raise ValueError(f"--store is {str(store.folder)!r}; accepted: an existing folder of records")
    return store


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _seconds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of seconds from 1")
    return int(text)


def _path(text: str) -> Path:
    if not text:  # such as an unset variable of the shell: Path("") is the current folder
        raise argparse.ArgumentTypeError("it is empty, accepted: a path")
    return Path(text)


def _new_file(text: str) -> Path:
    path = _path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    if path.exists():
        raise argparse.ArgumentTypeError(f"there is {path} already, accepted: a new file")
    return path
