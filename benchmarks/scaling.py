"""Time and memory for an example from 1 to 64 thousand examples, and two processes over one.

SST-2 from DISTILNLP_DATA_DIR, or the excerpt of MNLI, repeated, where that is not set. Goals: time and peak memory of
64 thousand examples within 10 % of those of a thousand; 2 processes of one thread 1.7 times as fast as 1.

python -m benchmarks.scaling [--quick]
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks._harness import (
    SCRATCH,
    Spread,
    alternate,
    in_process,
    make_parser,
    parse,
    print_table,
    ratio,
    write_results,
)
from benchmarks._scaling_work import WARM_UP

WORK = "benchmarks._scaling_work"
DATA = ("read_s", "tokenise_s", "sample_s")


def main() -> None:
    """Measure, print two tables, write the results."""
    parser = make_parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 4_000, 16_000, 64_000])
    parser.add_argument("--steps", type=int, default=60, help="training steps timed, where the rows last")
    arguments = parse(parser, {"sizes": [500, 2_000], "steps": 4, "rounds": 1, "rows": 320, "batch_size": 8})
    files = write_files(arguments.sizes, arguments.seed)
    growth = measure_growth(files, arguments)
    processes = measure_processes(arguments)
    print_table("examples: microseconds and MB as median (min-max); ratios to the smallest size", growth)
    print_table("processes of one thread each, examples a second", processes)
    write_results("scaling", arguments, growth, processes=processes)


def write_files(sizes: list[int], seed: int) -> dict[int, Path]:
    """A parquet file of each size, and one with the validation set, in a folder of their own."""
    import numpy as np
    from datasets import concatenate_datasets

    from distilnlp import load_task

    task = load_task("sst2" if os.environ.get("DISTILNLP_DATA_DIR") else "mnli-sample")
    times = -(-max(sizes) // len(task.train))
    order = np.random.default_rng(seed).permutation(times * len(task.train))
    rows = concatenate_datasets([task.train] * times).select(order)
    folder = SCRATCH / "scaling"
    folder.mkdir(parents=True, exist_ok=True)
    task.validation.to_parquet(folder / "validation.parquet")
    files = {size: folder / f"{size}.parquet" for size in sizes}
    for size, path in files.items():
        rows.select(range(size)).to_parquet(path)
    return files


def measure_growth(files: dict[int, Path], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A table row a size; every round measures each size once, in a new process."""
    found: dict[int, list[dict[str, Any]]] = {size: [] for size in files}
    steps = min(arguments.steps, min(files) // arguments.batch_size - WARM_UP)
    options = ("--steps", steps, "--batch-size", arguments.batch_size, "--threads", arguments.threads)
    for _ in range(arguments.rounds):
        for size, path in files.items():
            found[size].append(in_process(WORK, "data", path, *options))
    smallest = found[min(files)]
    return [
        {
            "examples": size,
            "read us": Spread.of([_us(run, "read_s") for run in runs]),
            "tokenise us": Spread.of([_us(run, "tokenise_s") for run in runs]),
            "sample us": Spread.of([_us(run, "sample_s") for run in runs]),
            "data, ratio": ratio(*([_us(run, *DATA) for run in each] for each in (runs, smallest))),
            "step ms": Spread.of([1e3 * run["step_s"] for run in runs]),
            "step, ratio": ratio(*([run["step_s"] for run in each] for each in (runs, smallest))),
            "data MB": Spread.of([run["data_mb"] for run in runs]),
            "peak MB": Spread.of([run["peak_mb"] for run in runs]),
            "peak, ratio": ratio(*([run["peak_mb"] for run in each] for each in (runs, smallest))),
        }
        for size, runs in found.items()
    ]


def _us(run: dict[str, Any], *names: str) -> float:
    """Microseconds for one example."""
    return 1e6 * sum(run[name] for name in names) / float(run["rows"])


def measure_processes(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One process; two that share its batch, or have as large a one each; two that know nothing of each other.

    The last is what the machine can do at most: two of its processors may be one core.
    """
    batch = arguments.batch_size
    launch = ("--standalone", "--local_addr=127.0.0.1", "--nproc_per_node=2", "-m", WORK)

    def work(per_process: int) -> tuple[object, ...]:
        return "train", arguments.rows, "--steps", arguments.steps // 2, "--threads", 1, "--batch-size", per_process

    def one() -> float:
        return float(in_process(WORK, *work(batch))["examples_per_s"])

    def two(per_process: int) -> float:
        done = in_process("torch.distributed.run", *launch, *work(per_process))
        assert done["processes"] == 2
        return float(done["examples_per_s"])

    def apart() -> float:
        with ThreadPoolExecutor(2) as pool:
            return sum(pool.map(lambda _: one(), range(2)))

    sides = {
        f"1 x {batch}": one,
        f"2 x {batch // 2}": lambda: two(batch // 2),
        f"2 x {batch}": lambda: two(batch),
        f"2 x {batch}, apart": apart,
    }
    speeds = alternate(sides, arguments.rounds, warm_up=0)
    alone = speeds[f"1 x {batch}"]
    return [
        {"processes x batch": name, "examples a second": Spread.of(each), "over one": ratio(each, alone)}
        for name, each in speeds.items()
    ]


if __name__ == "__main__":
    main()
