"""Stands in for `python -m mtlrepro train`: same arguments, files and lock, but no network and no PyTorch.

STAND_IN, a JSON object, makes it misbehave: `fail`, seeds that end in an error; `kill`, seeds that are killed;
`silent`, seeds that leave no record; `seconds`, how long an epoch takes. The file `log` in the store gets a line
when a training begins, and one when it ends well.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from filelock import FileLock

ALGORITHM = 1


def record(config, hash_, algorithm=ALGORITHM):
    history = [
        {"epoch": epoch, "losses": {"depth": 1 / epoch + config["seed"]}, "seconds": 0.5}
        for epoch in range(1, config["epochs"] + 1)
    ]
    metrics = {task: {"main": config["seed"] + 0.25, "other": config["lr"]} for task in config["tasks"]}
    provenance = {"commit": "0123456789ab", "device": "CPU, stand-in", "threads": os.environ.get("OMP_NUM_THREADS")}
    provenance |= {"date": "2026-01-02T03:04:05Z", "seconds": 0.5 * config["epochs"]}
    common = {"config": config, "hash": hash_, "algorithm": algorithm, "provenance": provenance}
    return {**common, "status": "complete", "history": history, "metrics": metrics}


def write(path, content):
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)


def note(store, *words):
    with (store / "log").open("a") as log:
        log.write(f"{' '.join(words)}\n")


def main(source, option, store, *rest):
    assert option == "--store"
    assert not rest or rest[0] == "--data-root"
    behaviour = json.loads(os.environ.get("STAND_IN", "{}"))
    config = json.loads(Path(source).read_text())
    hash_, store = Path(source).stem, Path(store)
    checkpoints = store / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    with FileLock(checkpoints / f"{hash_}.lock"):
        if (store / f"{hash_}.json").exists():
            return 0
        note(store, "begin", hash_, *rest)
        seed = config["seed"]
        print(f"epoch 1 of seed {seed}\n", file=sys.stderr)
        if seed in behaviour.get("kill", ()):
            os.kill(os.getpid(), signal.SIGKILL)
        if seed in behaviour.get("silent", ()):
            return 0
        if seed in behaviour.get("fail", ()):
            message = f"epoch 1, step 3: the loss of depth is not finite, seed {seed}"
            write(store / f"{hash_}.failed.json", record(config, hash_) | {"status": "failed", "error": message})
            print(f"mtlrepro train: {message}", file=sys.stderr)
            return 1
        for epoch in range(config["epochs"]):
            time.sleep(behaviour.get("seconds", 0))
            write(checkpoints / f"{hash_}-{epoch + 1}.pt", epoch)
        write(store / f"{hash_}.json", record(config, hash_))
        for path in checkpoints.glob(f"{hash_}-*.pt"):
            path.unlink()
        note(store, "end", hash_)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
