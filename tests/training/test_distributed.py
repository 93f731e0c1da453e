"""Two processes learn what one does."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.scripts.train_tiny import CHANGING, FOLLOWING, METRICS, STUDENTS, inputs_file, train_tiny, weights_file

ROOT = Path(__file__).parents[2]
ADAMW = {"optim": "adamw_torch", "num_train_epochs": 2, "save_strategy": "steps", "save_steps": 3}
OF_FOLLOWING = {"branches": "answers", "drawn": "answers"}  # the objective, where it is not `all`
ALIKE = ("scheduled", "jacobian", "rocket", "other tokens", "several tasks")
MASKED = {"objective": "masked words", "rows": 114}  # 48 blocks: whole batches
EPOCHS = 2
WORKERS = {"dataloader_num_workers": 2, "dataloader_persistent_workers": True}

pytestmark = pytest.mark.slow(9)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs of two processes, 4 rows each a step: started once, since starting takes most of it."""
    folder = tmp_path_factory.mktemp("two")
    half = {"per_device_train_batch_size": 4}
    jobs: list[dict[str, Any]] = [
        {"folder": "projected", "dropout": False, "args": {**half, "save_strategy": "epoch"}},
        {"folder": "no logits", "dropout": False, "objective": "no logits", "args": half},
        {"folder": "cached", "dropout": False, "cache": "answers", "args": half},
        *(
            {
                "folder": name,
                "dropout": False,
                "follows": name,
                "objective": OF_FOLLOWING.get(name, "all"),
                "args": half,
            }
            for name in FOLLOWING
        ),
        *({"folder": name, "dropout": False, "objective": name, "args": half} for name in ALIKE),
        *({"folder": name, "dropout": False, "narrow": False, "part": name, "args": half} for name in CHANGING),
        {"folder": "queue", "dropout": False, "objective": "queue", "args": half},
        *({"folder": name, "objective": name, "args": half} for name in STUDENTS),
        {"folder": "masked words", **MASKED, "args": {**half, "num_train_epochs": EPOCHS}},
        {
            "folder": "masked words in parts",
            **MASKED,
            "args": {
                **WORKERS,
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": 2,
                "num_train_epochs": EPOCHS,
            },
        },
        {"folder": "whole", "args": {**half, **ADAMW}},
        # Step 9 of 12: the middle of the second epoch.
        {"folder": "resumed", "resume": "whole/checkpoint-9", "args": {**half, **ADAMW}},
        {"folder": "whole average", "follows": "average", "args": {**half, **ADAMW}},
        {
            "folder": "resumed average",
            "follows": "average",
            "resume": "whole average/checkpoint-9",
            "args": {**half, **ADAMW},
        },
    ]
    # Without --multi_gpu, or with --cpu in its place, it would quietly start one process.
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, "-m", *launch, "-m", "tests.scripts.train_tiny", json.dumps({"jobs": jobs})],
        capture_output=True,
        text=True,
        cwd=folder,
        env=env,
    )
    assert done.returncode == 0, done.stderr  # the first error is far from the end: the launcher's own follows
    return folder


def test_two_machines_train_one_student(tmp_path: Path) -> None:
    """The config file of docs/distributed.md, with a process on this machine in the place of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = ROOT / "docs" / "two-machines.yaml"
    jobs = json.dumps({"jobs": [{"folder": "run", "args": {"per_device_train_batch_size": 4}}]})
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        f"--config_file={config}",
        f"--main_process_port={port}",
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    machines = [
        subprocess.Popen(
            [*launch, f"--machine_rank={rank}", "-m", "tests.scripts.train_tiny", jobs],
            cwd=tmp_path,
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for machine in machines:
        _, said = machine.communicate(timeout=300)
        assert machine.returncode == 0, said[-4000:]
    assert difference(weights_file(tmp_path / "run", 0), weights_file(tmp_path / "run", 1)) == 0.0


def difference(first: Path, second: Path) -> float:
    """The largest of any parameter, those of the projections included."""
    one, two = load_file(first), load_file(second)
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one)


@pytest.mark.parametrize("name", ["projected", "no logits", "cached", *FOLLOWING, *ALIKE])
def test_two_processes_equal_one_at_the_same_global_batch(
    runs: Path, tmp_path: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    """Trap 14: losses outside of the student's forward would leave the ranks with gradients of their own.

    Without a term on the logits the head gets no gradient, for which DistributedDataParallel would wait. An average of
    the student, and peers, are among the weights that are compared.
    """
    train_tiny(
        str(tmp_path),
        dropout=False,
        objective=name if name in (*ALIKE, "no logits") else OF_FOLLOWING.get(name, "all"),
        cache=str(tmp_path / "answers") if name == "cached" else None,
        follows=name if name in FOLLOWING else None,
        args={"per_device_train_batch_size": 8},
    )
    assert difference(weights_file(runs / name, 0), weights_file(runs / name, 1)) == 0.0
    learned = load_file(weights_file(runs / name))
    assert any("distilnlp_modules" in key for key in learned) == (name not in ("jacobian", *FOLLOWING))
    assert any(key.startswith("average.") for key in learned) == (name == "average")
    for several in ("peers", "branches"):
        assert any(f"distilnlp_{several}" in key for key in learned) == (name == several)
    largest = difference(weights_file(runs / name), weights_file(tmp_path))
    record_property("largest difference of any parameter", largest)
    print(f"\n1 against 2 processes, {name}: largest difference of any parameter {largest:.3g}")
    assert largest < 1e-6


@pytest.mark.parametrize("name", CHANGING)
def test_two_processes_change_a_student_as_one_does(runs: Path, tmp_path: Path, name: str) -> None:
    """What is frozen for a time, and trained later, has its gradients summed over the processes all the same.

    In int8 each process rounds activations by the range of its own rows.
    """
    args = {"per_device_train_batch_size": 8}
    train_tiny(str(tmp_path), dropout=False, narrow=False, part=name, args=args)
    assert difference(weights_file(runs / name, 0), weights_file(runs / name, 1)) == 0.0
    assert difference(weights_file(runs / name), weights_file(tmp_path)) < (3e-5 if name == "int8" else 1e-6)


@pytest.mark.parametrize("name", STUDENTS)
def test_two_processes_over_whole_queries_equal_one_and_measure_the_same_order(
    runs: Path, tmp_path: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    """Queries of 2 to 5 texts, 4 a process: a mean over texts would weigh them by where they happen to be."""
    train_tiny(str(tmp_path), objective=name, args={"per_device_train_batch_size": 8})
    assert difference(weights_file(runs / name, 0), weights_file(runs / name, 1)) == 0.0
    largest = difference(weights_file(runs / name), weights_file(tmp_path))
    record_property("largest difference of any parameter", largest)
    print(f"\n1 against 2 processes, {name}: largest difference of any parameter {largest:.3g}")
    assert largest < 1e-6
    one, two = (json.loads((folder / METRICS).read_text()) for folder in (tmp_path, runs / name))
    for metric in ("eval_ndcg@10", "eval_mrr@10", "eval_map"):
        assert two[metric] == pytest.approx(one[metric], abs=1e-9)


def test_two_processes_with_a_queue_train_one_student(runs: Path) -> None:
    """Each contrasts its part of the batch with the queue of the first, so one process would learn something else."""
    assert difference(weights_file(runs / "queue", 0), weights_file(runs / "queue", 1)) == 0.0


def test_the_logged_terms_are_means_over_the_processes(runs: Path, tmp_path: Path) -> None:
    """Each process sees half of every batch; what is logged is that of both, as if one had seen it whole."""
    one = train_tiny(str(tmp_path), dropout=False, args={"per_device_train_batch_size": 8}).state.log_history
    two = json.loads((runs / "projected" / "checkpoint-6" / "trainer_state.json").read_text())["log_history"]
    logged = [[{key: log[key] for key in log if "/" in key} for log in logs if "loss" in log] for logs in (one, two)]
    assert len(logged[0]) == 3 and len(logged[0][0]) == 8
    for expected, got in zip(*logged, strict=True):
        # abs: the divergence of two models that hardly differ, 2e-5, is a difference of sums near 1 in float32.
        assert got == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_two_processes_fill_one_cache_with_what_one_process_fills_it(runs: Path, tmp_path: Path) -> None:
    """Each asks the teacher about its part of the examples, and both read all of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in those processes: the last bits of a product depend on it
    try:
        train_tiny(str(tmp_path), cache=str(tmp_path / "answers"), args={"per_device_train_batch_size": 8})
    finally:
        torch.set_num_threads(before)
    one, two = (
        {file.name: file.read_bytes() for file in (run / "answers").rglob("*.bin")} for run in (tmp_path, runs)
    )
    assert {"logits.bin", "hidden_states.2.bin", "queries.2.bin", "progress.bin"} <= one.keys()
    assert one == two
    assert len([*(runs / "answers").glob("*/complete")]) == 1


@pytest.mark.parametrize("name", ["", " average"])
def test_two_processes_resume_in_the_middle_of_an_epoch(runs: Path, name: str) -> None:
    """Trap 19: each process its dropout and its part of the batches, in the order of the second epoch."""
    for rank in (0, 1):
        whole, resumed = (weights_file(runs / f"{run}{name}", rank) for run in ("whole", "resumed"))
        assert difference(whole, resumed) == 0.0
    assert {path.name for path in (runs / f"whole{name}" / "checkpoint-9").glob("rng_state_*")} == {
        "rng_state_0.pth",
        "rng_state_1.pth",
    }


def masked_inputs(folder: Path, *ranks: int) -> list[tuple[int, ...]]:
    """What the student read in each process, without padding; and the teacher has read the same."""
    found = []
    for rank in ranks:
        seen = load_file(inputs_file(folder, rank))
        read = {who: [seen[f"{who}.{n}"] for n in range(len(seen) // 2)] for who in ("teacher", "student")}
        assert all(torch.equal(*both) for both in zip(*read.values(), strict=True))
        found += [tuple(row[row != 0].tolist()) for batch in read["student"] for row in batch]
    return found


@pytest.mark.parametrize("name", ["masked words", "masked words in parts"])
def test_two_processes_hide_the_words_that_one_hides(runs: Path, tmp_path: Path, name: str) -> None:
    """Also where workers read the texts and several micro-batches make a step; others in each epoch."""
    args = {"per_device_train_batch_size": 8, "num_train_epochs": EPOCHS}
    train_tiny(str(tmp_path), **MASKED, args=args)
    one, two = masked_inputs(tmp_path, 0), masked_inputs(runs / name, 0, 1)
    assert sorted(two) == sorted(one)
    assert len({*one}) > 0.9 * len(one)
    assert difference(weights_file(runs / name, 0), weights_file(runs / name, 1)) == 0.0
    assert difference(weights_file(runs / name), weights_file(tmp_path)) < 1e-6
