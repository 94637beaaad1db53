"""The scripts of the real data sets as a user calls them."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def call(name, *arguments):
    """Run a script in this process and return its exit status."""
    return runpy.run_path(str(ROOT / "data_scripts" / f"{name}.py"))["main"]([*map(str, arguments)])


def start(name, *arguments):
    """Run a script in a process of its own, which must succeed, and return what it wrote to stdout and stderr."""
    command = [sys.executable, str(ROOT / "data_scripts" / f"{name}.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr
