"""Distilling MiniLM from 6 to 3 layers with distilnlp, and with what a user would take instead.

The same work on all sides: one teacher, fine-tuned once and saved; one student to start from; the same pairs of texts,
batch size, epochs, learning rate and schedule; logits, hidden states and attention of the same pairs of layers. In
turns, each run in a process of its own: tokenising, training, evaluation. The score that was reached stands beside the
time.

distilnlp runs with its defaults, so its epochs after the first use the teacher's cache. Attention is compared as
scores by distilnlp and the bare loop, as maps by the others, which get no scores from the models.

Goals, end to end: 6x TextBrewer as documented, 3x its best, 3x torchdistill, 3x the Trainer recipe, at no lower score.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks._harness import (
    ROOT,
    SCRATCH,
    Row,
    Spread,
    in_process,
    load_data,
    make_parser,
    make_student,
    make_teacher,
    make_tokenizer,
    make_trainer,
    parse,
    print_table,
    ratio,
    show,
    write_results,
)

REFERENCE = "distilnlp"
SIDES: dict[str, tuple[str, ...]] = {  # name in the table -> module and its options
    REFERENCE: ("distilnlp_trainer",),
    "bare loop, like-length": ("bare", "--like-length"),
    "bare loop": ("bare",),
    "Trainer recipe": ("recipe",),
    "TextBrewer, dynamic": ("textbrewer_distiller", "--dynamic"),
    "TextBrewer, as its examples": ("textbrewer_distiller",),
    "torchdistill": ("torchdistill_box",),
}
GOALS = {"TextBrewer, as its examples": 6.0, "TextBrewer, dynamic": 3.0, "torchdistill": 3.0, "Trainer recipe": 3.0}
QUICK: dict[str, object] = {
    "rows": 32,
    "validation_rows": 32,
    "epochs": 2,
    "seeds": 1,
    "batch_size": 16,
    "teacher_rows": 32,
    "teacher_epochs": 1,
}

TORCHDISTILL = ROOT / ".venv-torchdistill"
TORCHDISTILL_PYTHON = TORCHDISTILL / "bin" / "python"
TORCHDISTILL_PACKAGES = ("torch==2.14.1", "torchvision==0.29.1", "torchdistill==1.1.5")
TORCHDISTILL_GB = 7  # torch and torchvision are built for CUDA there


def main(argv: Sequence[str] | None = None) -> None:
    """Run all sides and print the table."""
    arguments = parse(make_arguments(), QUICK, argv)
    if arguments.set_up_torchdistill:
        set_up_torchdistill()
    folder, teacher_score = prepare(arguments)
    job = make_job(arguments, folder)
    results, failed = run(arguments, job)
    rows = [row(name, results[name], results[REFERENCE]) for name in SIDES if name in results]
    task = "MRPC" if "f1" in teacher_score else "the MNLI excerpt"
    print_table(
        f"{job['rows']} pairs of {task}, {arguments.epochs} epochs, batch {arguments.batch_size}, "
        f"{arguments.seeds} seeds; the teacher's score: {show_score([teacher_score])}",
        rows,
    )
    print("\nseconds: median (min-max) over the seeds; x distilnlp: ratio of medians; scores: mean (min-max)")
    for name, why in failed.items():
        print(f"{name}: not run: {why}")
    write_results(
        "throughput",
        arguments,
        rows,
        job={**job, "folder": str(folder.relative_to(ROOT))},
        teacher_score=teacher_score,
        runs=results,
        failed=failed,
        goals=goals(results),
        peers=peer_versions(),
    )


def make_arguments() -> argparse.ArgumentParser:
    """The options of this script."""
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each side; takes the place of --rounds")
    parser.add_argument("--epochs", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--validation-rows", type=int, help="(default: all)")
    parser.add_argument("--max-length", type=int, default=128, help="tokens (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2e-4, help="(default: %(default)s)")
    parser.add_argument("--teacher-rows", type=int, default=1600, help="(default: %(default)s)")
    parser.add_argument("--teacher-epochs", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="(default: auto)")
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES), help="(default: all)")
    parser.add_argument(
        "--set-up-torchdistill",
        action="store_true",
        help=f"first make {TORCHDISTILL.name}, {TORCHDISTILL_GB} GB, where torchdistill runs; it is left out without",
    )
    return parser


# ---- what all sides start from ----


def prepare(arguments: argparse.Namespace) -> tuple[Path, dict[str, float]]:
    """A folder with teacher, student and texts, made once for the same settings; and the teacher's score."""
    task = load_data(arguments.rows, validation_rows=arguments.validation_rows)
    name = f"{task.name}-{arguments.teacher_rows}x{arguments.teacher_epochs}-{arguments.max_length}"
    folder = SCRATCH / "throughput" / name
    scores = folder / "teacher" / "score.json"
    if not scores.is_file():
        print(f"fine-tuning the teacher on {arguments.teacher_rows} examples", flush=True)
        scored = train_teacher(arguments, folder / "teacher")
        scores.write_text(json.dumps(scored), encoding="utf-8")
    for split, data in (("train", task.train), ("validation", task.validation)):
        (folder / f"{split}.json").write_text(json.dumps(data.to_list()), encoding="utf-8")
    scored = json.loads(scores.read_text(encoding="utf-8"))
    return folder, scored


def train_teacher(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Fine-tune and save the teacher, and beside it the student that is cut from it."""
    from distilnlp.report.metrics import make_compute_metrics

    task = load_data(arguments.teacher_rows, validation_rows=arguments.validation_rows)
    trainer = make_trainer(
        folder=str(folder),
        training={
            "num_train_epochs": arguments.teacher_epochs,
            "per_device_train_batch_size": 32,
            "per_device_eval_batch_size": 64,
            "learning_rate": 1e-4,
            "weight_decay": 0.01,
            "warmup_steps": 0.1,
        },
        model=make_teacher(task),
        train_dataset=task.train,
        eval_dataset=task.validation,
        processing_class=make_tokenizer(),
        max_length=arguments.max_length,
        compute_metrics=make_compute_metrics(task.metrics, task.problem),
    )
    trainer.train()
    result = trainer.evaluate()
    trainer.save_model(str(folder))
    make_student(trainer.student).save_pretrained(folder.parent / "student")
    return {name: result[f"eval_{name}"] for name in task.metrics}


def make_job(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What every side is told; see `benchmarks.sides._work.Job`."""
    from distilnlp.run.environment import choose_precision

    rows = len(json.loads((folder / "train.json").read_text(encoding="utf-8")))
    return {
        "folder": str(folder),
        "rows": rows,
        "validation_rows": arguments.validation_rows,
        "seed": arguments.seed,
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
        "weight_decay": 0.01,
        "max_length": arguments.max_length,
        "temperature": 2.0,
        "pairs": [[1, 2], [2, 4], [3, 6]],
        "precision": choose_precision(arguments.precision),
        "threads": arguments.threads,
    }


# ---- running ----


def run(arguments: argparse.Namespace, job: Mapping[str, Any]) -> tuple[dict[str, list[dict]], dict[str, str]]:
    """Each side's figures seed by seed, sides in turns; and why a side could not run."""
    results: dict[str, list[dict]] = {}
    failed: dict[str, str] = {}
    sides = {name: SIDES[name] for name in SIDES if name in {*arguments.sides, REFERENCE}}
    if "torchdistill" in sides and not TORCHDISTILL_PYTHON.is_file():
        failed["torchdistill"] = "it has no environment yet: --set-up-torchdistill, or make bench-torchdistill"
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        for name, (module, *options) in sides.items():
            if name in failed:
                continue
            python = TORCHDISTILL_PYTHON if name == "torchdistill" else sys.executable
            work = json.dumps({**job, "seed": seed})
            try:
                figures = in_process(f"benchmarks.sides.{module}", work, *options, python=python)
            except RuntimeError as error:
                if name == REFERENCE:
                    raise
                failed[name] = str(error)
                continue
            results.setdefault(name, []).append(figures)
            print(f"seed {seed}, {name}: {figures['total']:.1f} s, {show_score([figures['scores']])}", flush=True)
    return {name: runs for name, runs in results.items() if name not in failed}, failed


def row(name: str, runs: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]) -> Row:
    """A side's line of the table."""
    own, other = ([each["total"] for each in side] for side in (runs, reference))
    step, other_step = ([each["step"] for each in side] for side in (runs, reference))
    return {
        "side": name,
        "precision": runs[0]["precision"],
        "end to end s": show(Spread.of(own), 1),
        "x distilnlp": show(ratio(own, other)),
        **{part: statistics.median(each[part] for each in runs) for part in ("tokenise", "train", "evaluate")},
        "epochs s": epochs(runs),
        "step ms": 1000 * statistics.median(step),
        "step x": show(ratio(step, other_step)),
        "score": show_score([each["scores"] for each in runs]),
    }


def epochs(runs: Sequence[Mapping[str, Any]]) -> str:
    """Median seconds of each epoch; ``-`` for a side that does not tell."""
    return " ".join(f"{statistics.median(each):.1f}" for each in zip(*(r["epochs"] for r in runs), strict=True)) or "-"


def show_score(scores: Sequence[Mapping[str, float]]) -> str:
    """The mean, and the spread of several, of F1 where there is one, and accuracy."""
    shown = []
    for name in ("f1", "accuracy"):
        values = [each[name] for each in scores if name in each]
        if values:
            spread = f" ({min(values):.3f}-{max(values):.3f})" if len(values) > 1 else ""
            shown.append(f"{name} {statistics.mean(values):.3f}{spread}")
    return ", ".join(shown)


def goals(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Whether each goal was met, in time and in score."""
    totals = {name: [each["total"] for each in runs] for name, runs in results.items()}
    means = {
        name: statistics.mean(each["scores"].get("f1", each["scores"]["accuracy"]) for each in runs)
        for name, runs in results.items()
    }
    return {
        name: {
            "goal": goal,
            "ratio": asdict(ratio(totals[name], totals[REFERENCE])),
            "met": ratio(totals[name], totals[REFERENCE]).median >= goal,
            "score_not_below": means[REFERENCE] >= means[name],
        }
        for name, goal in GOALS.items()
        if name in results
    }


# ---- torchdistill's environment ----


def set_up_torchdistill() -> None:
    """Make the environment, once. Pinned like ours where it can be: its torch is another one."""
    if TORCHDISTILL_PYTHON.is_file():
        return
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < 2 * TORCHDISTILL_GB:
        sys.exit(
            f"torchdistill's environment takes {TORCHDISTILL_GB} GB and as much while it is made; {free:.0f} GB free"
        )
    from distilnlp.run.environment import library_versions

    versions = library_versions()
    ours = [f"{name}=={versions[name]}" for name in ("transformers", "tokenizers", "numpy")]
    subprocess.run([sys.executable, "-m", "venv", str(TORCHDISTILL)], check=True)
    try:
        command = [str(TORCHDISTILL_PYTHON), "-m", "pip", "install", "--quiet"]
        subprocess.run([*command, *TORCHDISTILL_PACKAGES, *ours], check=True)
    except BaseException:
        shutil.rmtree(TORCHDISTILL)  # a half-made one would be taken for ready
        raise


def peer_versions() -> dict[str, str]:
    """The versions of what distilnlp is compared with."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        versions = {"textbrewer": version("textbrewer")}
    except PackageNotFoundError:
        versions = {}
    if TORCHDISTILL_PYTHON.is_file():
        versions |= dict(package.split("==") for package in TORCHDISTILL_PACKAGES)
    return versions


if __name__ == "__main__":
    main()
