"""Where numbers come from: commit, versions, device and threads of this process."""

import platform
import subprocess
import time
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mtlrepro.distributed import processes
from mtlrepro.files import PROJECT

PACKAGES = ("mtlrepro", "torch", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "papermill")


def provenance(device: str) -> dict[str, Any]:
    """Commit, versions, device and threads that numbers of this process come from."""
    return {
        "commit": _commit(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else f"CPU, {platform.machine()}",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **_versions(),
    }


@cache
def _versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}


def origin(device: str) -> dict[str, Any]:
    """Where and when numbers of this process are made: `provenance`, with processor, processes and date."""
    return {**provenance(device), "processor": processor(), "processes": processes(), "date": date()}


def date() -> str:
    """Date and time now, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def processor() -> str:
    """Model of the CPU, as far as the system tells.

    A name such as "AMD EPYC" stands for several generations, whose last bits differ; the numbers tell them apart.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    first = {name.strip(): value.strip() for name, _, value in pairs}
    numbers = ", ".join(
        f"{name.removeprefix('cpu ')} {first[name]}" for name in ("cpu family", "model", "stepping") if name in first
    )
    name = first.get("model name", platform.processor())
    return f"{name} ({numbers})" if numbers else name


@cache
def _commit() -> str:
    """Commit that this process has loaded its code from, asked for at its first run."""
    # In containers the checkout often belongs to another user. Its code runs in this process already, so it is trusted.
    git = ["git", "-c", "safe.directory=*", "-C", str(PROJECT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "--", "."], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        if "dubious ownership" in str(getattr(error, "stderr", "")):
            warnings.warn(  # versions before 2.38 take the remedy from a file alone
                f"{PROJECT} belongs to another user, and git does not tell its commit; "
                f"to record it, run: git config --global --add safe.directory {PROJECT}",
                stacklevel=2,
            )
            return "unknown: git refuses a checkout of another user"
        return "unknown: not a git checkout"
    return commit.stdout.strip() + (" with changes" if changed.stdout.strip() else "")
