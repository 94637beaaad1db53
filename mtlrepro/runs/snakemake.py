"""Training of a grid's missing runs by Snakemake: on this machine, on a Slurm cluster, or on Kubernetes.

One job trains one run that has no record yet; a job that is repeated goes on at its run's last checkpoint.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from mtlrepro.runs.store import Store
from mtlrepro.runs.workers import last_line, package_path, stop, train_command
from mtlrepro.training.config import RunConfig

WORKFLOW = Path(__file__).parent / "workflow"
PROFILES = {
    "local": ("snakemake",),
    "slurm": ("snakemake", "snakemake-executor-plugin-slurm"),
    "kubernetes": ("snakemake", "snakemake-executor-plugin-kubernetes", "snakemake-storage-plugin-fs"),
}
"""Profile to the packages that it needs."""


def train_by_snakemake(
    configs: Mapping[str, RunConfig],
    store: Store,
    *,
    jobs: int,
    progress: bool,
    data_root: str | Path | None,
    profile: str = "local",
    dry_run: bool = False,
) -> dict[str, str]:
    """Train runs that a store lacks, `jobs` at a time, each up to three times.

    Snakemake also reads the user's own profile that the variable `SNAKEMAKE_PROFILE` names: the place for what
    belongs to a cluster, such as account and partition, or container image and volumes.

    Args:
        configs: Hash to configuration.
        store: The store; jobs must see its folder under the same path.
        jobs: Number of jobs at a time.
        progress: Let Snakemake report jobs on stderr.
        data_root: Folder of a prepared real data set, for which the same holds.
        profile: One of `PROFILES`.
        dry_run: Let Snakemake say on stderr what it would do, and train nothing.

    Returns:
        Hash of each run that failed, and its message; none after a dry run that went well.

    Raises:
        ValueError: The profile is unknown, or a package is not installed.
    """
    check_profile(profile)
    records = store.folder.resolve()
    (records / ".snakemake").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="grid-", dir=records / ".snakemake") as folder:
        plan = _write_plan(Path(folder), configs, records, data_root)
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(WORKFLOW / "Snakefile")]
        command += ["--directory", str(records), "--configfile", str(plan), "--forceall", "--jobs", str(jobs)]
        command += ["--workflow-profile", str(WORKFLOW / "profiles" / profile)]
        if profile == "local":
            cores = jobs * max(config.threads for config in configs.values())
            command += ["--cores", str(cores), "--resources", f"gpu={jobs}"]
        if profile == "kubernetes":
            command += ["--default-storage-prefix", str(records / ".snakemake" / "storage")]
        command += ["--dry-run"] if dry_run else []
        log = Path(folder) / "snakemake.log"
        with log.open("wb") as quiet:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=2 if progress or dry_run else quiet,
                stderr=2 if progress else quiet,
                env={**os.environ, "PYTHONPATH": package_path()},
                start_new_session=True,
            )
            try:
                process.wait()
            except BaseException:
                os.killpg(process.pid, signal.SIGTERM)  # Snakemake alone would wait for the runs that it has started
                raise
            finally:
                stop([process])
        said = last_line(log)
    if dry_run and process.returncode == 0:
        return {}
    fallback = said or f"Snakemake ended with status {process.returncode}"
    failed = [hash_ for hash_, config in configs.items() if config not in store]
    return {hash_: last_line(_log(records, hash_)) or fallback for hash_ in failed}


def check_profile(profile: str) -> None:
    """Raise ValueError if a profile is unknown, or if the package that it needs is not installed."""
    if profile not in PROFILES:
        raise ValueError(f"profile is {profile!r}; accepted: {', '.join(PROFILES)}")
    for package in PROFILES[profile]:
        if find_spec(package.replace("-", "_")) is None:
            raise ValueError(f"engine 'snakemake', profile {profile!r}: {package} is missing; pip install {package}")


def _write_plan(folder: Path, configs: Mapping[str, RunConfig], store: Path, data_root: str | Path | None) -> Path:
    runs = {}
    for hash_, config in configs.items():
        source = folder / f"{hash_}.json"
        source.write_text(config.to_json(), encoding="utf-8")
        command = train_command(source, store, data_root and Path(data_root).resolve())
        runs[hash_] = {"command": command, "threads": config.threads, "cuda": config.device == "cuda"}
        _log(store, hash_).unlink(missing_ok=True)
    plan = folder / "grid.json"
    plan.write_text(json.dumps({"runs": runs}), encoding="utf-8")
    return plan


def _log(store: Path, hash_: str) -> Path:
    return store / ".snakemake" / "runs" / f"{hash_}.log"
