"""Where numbers come from: commit, versions, device and threads of this process."""

import platform
import subprocess
import time
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mtlrepro.distributed import processes

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
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {**provenance(device), "processor": processor(), "processes": processes(), "date": date}


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


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parents[1])]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "--", "."], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown: not a git checkout"
    return commit.stdout.strip() + (" with changes" if changed.stdout.strip() else "")
