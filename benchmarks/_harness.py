"""What every benchmark shares: data, models, measuring in turns, fresh processes, one table, one JSON file."""

import argparse
import contextlib
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"  # of the CPU; those of a GPU are in ``gpu/`` there
SCRATCH = ROOT / "runs" / "benchmarks"  # models and data of the benchmarks, and the results of --quick

Row = Mapping[str, object]
Side = Callable[[], float]


# ---- arguments ----


def make_parser(doc: str | None, *, rows: int = 640, rounds: int = 3, batch_size: int = 32) -> argparse.ArgumentParser:
    """The options that all scripts have; ``doc``: the script's docstring."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds, to see that the script works")
    parser.add_argument("--rows", type=int, default=rows, help="training examples (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=rounds, help="timed turns of each side (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=batch_size, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="(default: %(default)s)")
    return parser


def parse(
    parser: argparse.ArgumentParser, quick: Mapping[str, object], argv: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse; with ``--quick`` the values of ``quick`` are the defaults. Sets the threads, silences the libraries."""
    if parser.parse_known_args(argv)[0].quick:
        parser.set_defaults(**quick)
    arguments = parser.parse_args(argv)
    set_up(arguments.threads)
    return arguments


def set_up(threads: int) -> None:
    """So many threads, here and in the processes started from here; no bars and warnings between the tables."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def device() -> str:
    """What the models run on: ``cuda`` where there is a GPU (``CUDA_VISIBLE_DEVICES=`` hides it), else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def synchronize() -> None:
    """Wait until a GPU has done what it was told to do; before a clock is read."""
    if device() == "cuda":
        import torch

        torch.cuda.synchronize()


# ---- data and models ----


def load_data(rows: int | None = None, seed: int = 0, validation_rows: int | None = None) -> Any:
    """MRPC from DISTILNLP_DATA_DIR, or the excerpt of MNLI inside the package where that is not set; a `Task`."""
    from distilnlp import load_task

    name = "mrpc" if os.environ.get("DISTILNLP_DATA_DIR") else "mnli-sample"
    return load_task(name, max_train=rows, max_validation=validation_rows, seed=seed)


def make_teacher(task: Any) -> Any:
    """MiniLM (6 layers, 384 wide) with a new head for the task's labels: it costs what a trained one does."""
    from distilnlp.models.loading import MINILM, load_classifier

    return load_classifier(MINILM, label_names=task.label_names, problem=task.problem).eval()


def make_student(teacher: Any, layers: int = 3) -> Any:
    """A student of some of the teacher's layers, the same weights each time."""
    from distilnlp import build_student

    return build_student(teacher, layers=layers)


def make_tokenizer() -> Any:
    """MiniLM's."""
    from distilnlp.models.loading import MINILM, load_tokenizer

    return load_tokenizer(MINILM)


def make_trainer(make: Any = None, *, folder: str, training: Mapping[str, Any], **settings: Any) -> Any:
    """A `DistillationTrainer` (or what ``make`` is) on the `device` that neither saves, nor reports, nor prints.

    Args:
        make: a subclass, or another Trainer; None for `DistillationTrainer`.
        folder: its output_dir.
        training: of `TrainingArguments`.
        settings: the rest.
    """
    from transformers import PrinterCallback, TrainingArguments

    from distilnlp import DistillationTrainer

    quiet = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    gpu = device() == "cuda"
    arguments = TrainingArguments(folder, use_cpu=not gpu, dataloader_pin_memory=gpu, **quiet, **training)
    trainer = (make or DistillationTrainer)(args=arguments, **settings)
    trainer.remove_callback(PrinterCallback)
    return trainer


# ---- measuring ----


def timed(work: Callable[[], object]) -> Side:
    """A side that costs what ``work`` takes, in seconds of wall time."""

    def side() -> float:
        start = time.perf_counter()
        work()
        synchronize()
        return time.perf_counter() - start

    return side


def alternate(sides: Mapping[str, Side], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Each side's cost, round by round, in turns A B A B ..., so that a machine that slows down is unfair to none.

    Args:
        sides: name -> does the work once and returns what it cost (seconds, MB).
        rounds: that many are kept.
        warm_up: rounds before, which are not kept.
    """
    costs: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(-warm_up, rounds):
        for name, side in sides.items():
            cost = side()
            if turn >= 0:
                costs[name].append(cost)
    return costs


@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of some values."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(min(values), statistics.median(values), max(values))


def ratio(costs: Sequence[float], reference: Sequence[float]) -> Spread:
    """Ratio of the medians; least and greatest are of the ratios round by round (`alternate` ran them together)."""
    each = [cost / other for cost, other in zip(costs, reference, strict=True)]
    return Spread(min(each), statistics.median(costs) / statistics.median(reference), max(each))


def show(value: Spread, digits: int = 2) -> str:
    """``median (min-max)``."""
    return f"{value.median:.{digits}f} ({value.min:.{digits}f}-{value.max:.{digits}f})"


# ---- processes ----


def in_process(module: str, *arguments: object, python: str | Path = sys.executable) -> dict[str, Any]:
    """Run ``python -m module arguments`` in a process of its own; the last line that it prints is its answer, in JSON.

    Raises:
        RuntimeError: it failed; with the last line of its error.
    """
    command = [str(python), "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise RuntimeError(f"{module}: {last}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def answer(**figures: object) -> None:
    """What a process that `in_process` started has to tell."""
    print(json.dumps(figures))


def rss_mb(which: str = "VmRSS") -> float:
    """Resident memory of this process in MB (1e6 bytes): now (``VmRSS``) or at its peak (``VmHWM``).

    Not `getrusage`, where Linux tells: there a process inherits the peak of the one that started it.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
    match = re.search(rf"^{which}:\s+(\d+) kB", status, re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024 / 1e6


def peak_growth_mb(work: Callable[[], object]) -> float:
    """By how many MB the memory rose above its level at the start, at most, while ``work`` ran.

    Of a GPU the memory of its tensors, else the resident memory of the process.
    """
    if device() == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - held) / 1e6
    # Sets the peak to the level of now. Elsewhere the peak is that of the whole process: do nothing large before.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = rss_mb()
    work()
    return rss_mb("VmHWM") - before


# ---- results ----


def print_table(title: str, rows: Sequence[Row]) -> None:
    """One table, columns in the order of the first row's keys; numbers with three digits, the first column left."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_cell(row.get(name, "-")) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    print(f"\n{title}\n")
    for line in (cells[0], ["-" * width for width in widths], *cells[1:]):
        first, *rest = zip(line, widths, strict=True)
        print("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, Spread):
        return show(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def results_folder(quick: bool = False) -> Path:
    """Where results of this device belong."""
    folder = SCRATCH / "results" if quick else RESULTS
    return folder / "gpu" if device() == "cuda" else folder


def write_results(name: str, arguments: argparse.Namespace, rows: Sequence[Row], **figures: object) -> Path:
    """Write ``results/<name>.json``: the table's rows, further figures, the arguments, the machine, the versions.

    On a GPU ``results/gpu/<name>.json``. With ``--quick`` into the scratch folder, so that real results are not
    written over by a trial.
    """
    from distilnlp.run.environment import library_versions

    folder = results_folder(arguments.quick)
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": name,
        "rows": rows,
        **figures,
        "arguments": vars(arguments),
        "machine": machine(),
        "versions": library_versions(),
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=2, default=_to_json) + "\n", encoding="utf-8")
    print(f"\nwritten to {path.relative_to(ROOT)}")
    return path


def _to_json(value: object) -> object:
    return asdict(value) if isinstance(value, Spread) else str(value)


def machine() -> dict[str, object]:
    """Processor, cores, threads, and the precision that the hardware is fit for."""
    import torch

    from distilnlp.run.environment import choose_precision

    precision = choose_precision("auto")
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or ["cpu"],
        "precision": precision,
        "bf16_in_hardware": precision == "bf16",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
