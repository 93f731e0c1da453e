"""Kills a process at random moments, or just before it writes, until it has come to its end all the same."""

import contextlib
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from safetensors.torch import load_file

from distilnlp.checksums import flaw
from tests.savings import save_time

__all__ = [
    "KILLS",
    "Killer",
    "check_checkpoints",
    "half_written",
    "largest_difference",
    "report",
    "starter",
    "until_finished",
    "watched",
]

# What Python tells of before it happens, and where the path stands that is changed.
WRITES = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.truncate": 0, "open": 0}
KILLS = int(os.environ.get("DISTILNLP_KILLS", "3"))
PATIENCE = 120.0  # seconds for one step, on a machine that does much besides


def _run_quietly(function: Callable[..., object], *args: object, **kwargs: object) -> None:
    """Call it with nothing shown; a status that it returns becomes that of the process."""
    save_time()
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
        status = function(*args, **kwargs)
    raise SystemExit(status if isinstance(status, int) else 0)


def starter(function: Callable[..., object], *args: object, **kwargs: object) -> Callable[[], BaseProcess]:
    """Starts processes that call a function, with the libraries loaded: forked off a server that has run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.scripts.train_tiny", "distilnlp.run"])

    def start() -> BaseProcess:
        process = context.Process(target=_run_quietly, args=(function, *args), kwargs=kwargs)
        process.start()
        return process

    return start


def check_checkpoints(folder: Path) -> list[int]:
    """The steps of the visible checkpoints in a stage's folder, each of which must be whole."""
    steps = []
    for checkpoint in folder.glob("checkpoint-*"):
        step = int(checkpoint.name.rpartition("-")[2])
        assert json.loads((checkpoint / "trainer_state.json").read_text())["global_step"] == step
        assert load_file(checkpoint / "model.safetensors")
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "config.json", "tokenizer.json"):
            assert (checkpoint / name).stat().st_size > 0
        steps.append(step)
    return sorted(steps)


def _listed(folder: Path) -> list[str]:
    """What is in a folder; nothing when it has just been deleted, or is a file."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


class Killer:
    """Kills at seeded random moments, by turns between two saves and within one."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.kills = 0
        self.within_a_save = 0

    def folders(self) -> dict[Path, list[str]]:
        """The folder, and those of the stages in it, with what is in them."""
        return {folder: _listed(folder) for folder in (self.root, *(self.root / name for name in _listed(self.root)))}

    def saved(self) -> int:
        """How far the run is, whatever was deleted since: finished stages and the last checkpoint."""
        inside = [name for folder, names in self.folders().items() if folder.name[0] != "." for name in names]
        steps = [int(name.removeprefix("checkpoint-")) for name in inside if name.startswith("checkpoint-")]
        return 1000 * inside.count("metrics.json") + max(steps, default=0)

    def saving(self) -> bool:
        """Whether something is being written, or was when the process died."""
        return any(name.endswith("incomplete") for names in self.folders().values() for name in names)

    def wait(self, process: BaseProcess, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while process.is_alive() and not until():
            assert time.monotonic() < deadline, "the run did not get on"
            time.sleep(0.005)

    def kill(self, process: BaseProcess) -> bool:
        """Kill after some steps; False when the process came to its end before."""
        start, steps = self.saved(), self.random.randint(0, 2)
        self.wait(process, lambda: self.saved() > start + steps)
        delay = self.random.uniform(0.0, 0.03)
        if self.kills % 2:
            self.wait(process, self.saving)
            delay /= 10
        time.sleep(delay)
        process.kill()
        process.join()
        if process.exitcode == 0:
            return False
        assert process.exitcode == -9
        self.kills += 1
        self.within_a_save += self.saving()
        return True


def until_finished(start: Callable[[], BaseProcess], killer: Killer, check: Callable[[], object]) -> None:
    """Start, kill and check `KILLS` times, then let it come to its end."""
    for _ in range(KILLS):
        process = start()
        if not killer.kill(process):
            break
        check()
    process = start()
    process.join()
    assert process.exitcode == 0


def largest_difference(first: Path, second: Path) -> float:
    one, two = load_file(first), load_file(second)
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def report(what: str, killer: Killer, difference: float, record: Callable[[str, object], None]) -> None:
    record("largest difference", difference)
    print(
        f"\n{what}: killed {killer.kills} times, {killer.within_a_save} of them within a save: "
        f"largest difference of any parameter {difference:.3g}",
        file=sys.stderr,
    )


def watched(folder: Path, notes: Path, kill_at: int | None, function: Callable[..., int], *args: object) -> int:
    """Call a function and note what it is about to write in a folder, in the order it does; or die before one of them.

    Args:
        folder: what counts as written.
        notes: gets a line for each write.
        kill_at: the number of the write that never happens, from 0; None: the function comes to its end.
        function, args: what is called.
    """
    count = 0
    written = open(notes, "a", encoding="utf-8", buffering=1)  # noqa: SIM115  # until the process ends

    def note(event: str, given: tuple[object, ...]) -> None:
        nonlocal count
        if event not in WRITES or (event == "open" and not _writes(given[2])):
            return
        path = str(given[WRITES[event]])
        if not path.startswith(str(folder)):
            within = given[-1]  # a folder that is held open, in which the name stands
            if event == "open" or not isinstance(within, int) or within < 0:
                return
            path = f"{os.readlink(f'/proc/self/fd/{within}')}/{path}"
            if not path.startswith(str(folder)):
                return
        if count == kill_at:
            os.kill(os.getpid(), 9)
        count += 1
        written.write(f"{event} {path.removeprefix(str(folder))}\n")

    sys.addaudithook(note)
    return function(*args)


def _writes(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def half_written(run: Path) -> list[str]:
    """The files of a run's folder that are neither hidden nor whole."""
    readers = {
        ".json": lambda path: json.loads(path.read_text()),
        ".yaml": lambda path: yaml.safe_load(path.read_text()),
    }
    readers |= {".safetensors": load_file, ".parquet": pq.read_table}
    broken = []
    for stage in filter(Path.is_dir, run.glob("[!.]*")):
        if (stage / "metrics.json").exists():
            broken += [f"{stage.name} {found}" for found in [flaw(stage)] if found is not None]
        else:
            found = {checkpoint.name: flaw(checkpoint) for checkpoint in stage.glob("checkpoint-*")}
            broken += [f"{stage.name}/{name} {said}" for name, said in found.items() if said is not None]
    for path in (*run.glob("[!.]*"), *run.glob("[!.]*/[!.]*")):
        if path.is_file() and path.suffix in readers:
            try:
                readers[path.suffix](path)
            except Exception as error:  # whatever the reader of this kind says
                broken.append(f"{path.relative_to(run)}: {error}")
    return broken
