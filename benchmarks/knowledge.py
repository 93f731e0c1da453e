"""Every recipe by paper (``tasks/methods``) against the student without a teacher: a leaderboard.

The same teacher, student, examples, batches and number of steps for all; a recipe of two stages has half the epochs in
each. One teacher a task, fine-tuned once on more rows than the students get. Two tasks, so that a method that needs
more than two classes shows it. One seed for all, then two more for the best, the control and ``hinton``, which all
others build on. Each run is a process of its own with one thread, ``--jobs`` of them at a time; the finished ones are
kept in ``results/knowledge.json`` and not made again. ``--family schemes`` does the same with the recipes of
``tasks/schemes``, whose stages before the last one cost what the columns of seconds say: those on the clock, and
those of the processor, which other work on the machine lengthens less; see ``benchmarks.schemes``.

``--costs`` measures time and memory of a step instead, with a live teacher, one method after the other: alone on the
machine. It keeps the quicker of this pass and those before.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks._harness import (
    ROOT,
    SCRATCH,
    Row,
    answer,
    in_process,
    load_data,
    machine,
    make_student,
    make_teacher,
    make_tokenizer,
    make_trainer,
    peak_growth_mb,
    print_table,
    results_folder,
    set_up,
)

CONTROL = "control"
PLAIN = "hinton"  # of the recipes by paper: the teacher's answers and the labels, nothing else
MODULE = "benchmarks.knowledge"  # each run is a process of this
RESULT = {"methods": "knowledge", "schemes": "schemes"}  # the file of each family
BEST = {"methods": 10, "schemes": 5}
Runs = dict[str, dict[str, Any]]


def members(family: str) -> list[str]:
    """The recipes of a family, but for those of several tasks, which have no score on one of them."""
    from distilnlp.recipe import load_recipe

    def has_one_task(name: str) -> bool:
        recipe = load_recipe(f"{family}/{name}")
        tasks = {stage.data.task for stage in recipe.stages.values() if stage.data is not None}
        return not recipe.owners and tasks <= {recipe.data.task, None}

    names = sorted(path.stem for path in (ROOT / "tasks" / family).glob("[a-z]*.yaml"))
    return [name for name in names if has_one_task(name)]


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, print the leaderboard, write it."""
    arguments = _parse(argv)
    set_up(1 if arguments.one or arguments.teacher else arguments.threads)
    if arguments.teacher:
        answer(**train(arguments, "teacher", 42, None))
    elif arguments.one:
        method, task, seed = arguments.one
        arguments.tasks = [task]
        answer(**run(arguments, method, task, int(seed)))
    elif arguments.cost:
        answer(**cost(arguments.cost))
    elif arguments.costs:
        for method in dict.fromkeys([CONTROL, *arguments.methods]):
            made = in_process(MODULE, "--cost", method)
            before = _read("methods")["costs"].get(method, made)
            # Whatever else the machine does only ever slows a step: of several passes the quickest counts.
            _write("methods", costs={method: min(made, before, key=lambda figures: figures["ms/step"])})
        print_table("a step of 32 pairs, live teacher", cost_rows(_read("methods")["costs"]))
    else:
        leaderboard(arguments)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["mrpc", "mnli"], help="(default: %(default)s)")
    parser.add_argument("--family", choices=[*RESULT], default="methods", help="of recipes (default: %(default)s)")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="recipes of the family (default: all)")
    parser.add_argument("--rows", type=int, default=512, help="training examples of a student (default: %(default)s)")
    parser.add_argument("--teacher-rows", type=int, default=5000, help="of a teacher (default: %(default)s)")
    parser.add_argument("--validation-rows", type=int, default=1000, help="at most (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="of the best and of the control (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of --costs (default: %(default)s)")
    parser.add_argument("--costs", action="store_true", help="time and memory of a step, and nothing else")
    parser.add_argument("--one", nargs=3, metavar=("METHOD", "TASK", "SEED"), help=argparse.SUPPRESS)
    parser.add_argument("--teacher", metavar="TASK", help=argparse.SUPPRESS)
    parser.add_argument("--cost", metavar="METHOD", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    arguments.methods = arguments.methods or members(arguments.family)
    return arguments


# ---- one run ----


def teacher_folder(task: str) -> Path:
    """Where a task's teacher is, which both families share."""
    return SCRATCH / "knowledge" / task / "teacher"


def run(arguments: argparse.Namespace, method: str, task: str, seed: int) -> dict[str, Any]:
    """Train one student; its score, and what it took."""
    folder = SCRATCH / "knowledge" / task / f"{arguments.family}-{method}-{seed}"
    try:
        return train(arguments, method, seed, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def recipe_of(family: str, method: str) -> str:
    """The recipe that a run takes its stages from: one teacher for all, and the family's own training of a student."""
    if method in (CONTROL, PLAIN) and family != "methods":
        return str(ROOT / "tasks" / family / "_base.yaml")
    return f"methods/{PLAIN}" if method in ("teacher", CONTROL, PLAIN) else f"{family}/{method}"


def train(arguments: argparse.Namespace, method: str, seed: int, folder: Path | None) -> dict[str, Any]:
    """Run the stages of a recipe that ``method`` asks for: its teacher, its control or the others."""
    from distilnlp.recipe import load_recipe
    from distilnlp.run.folder import RunFolder
    from distilnlp.run.models import Models
    from distilnlp.run.plan import make_plan
    from distilnlp.run.runner import load_tasks
    from distilnlp.run.stage import train_stage

    task_name = arguments.teacher or arguments.tasks[0]
    path = recipe_of(arguments.family, method)
    rows = arguments.teacher_rows if method == "teacher" else arguments.rows
    data = {"task": task_name, "max_train": rows, "max_validation": arguments.validation_rows}
    settings = [*(f"data.{key}={value}" for key, value in data.items()), f"seed={seed}"]
    written, plain = load_recipe(path).stages, load_recipe(f"methods/{PLAIN}", settings).stages
    checkpoints = "@checkpoint-" in str(written)  # which the shared teacher has not kept
    sharded = any(stage.data is not None and stage.data.shard is not None for stage in written.values())
    shares = "teacher" in written and not checkpoints and not sharded
    if shares:  # whatever the recipe's own would be: one teacher for all
        settings += [f"stages.teacher.training.{key}={value}" for key, value in plain["teacher"].training.items()]
    elif "teacher" in written:
        settings.append(f"stages.teacher.data.max_train={arguments.teacher_rows}")
    for name, stage in written.items():  # the score of the last step is all that is asked for
        if stage.kind == "train" and stage.scheme is None:
            settings.append(f"stages.{name}.training.eval_strategy=no")
            settings += [] if checkpoints else [f"stages.{name}.training.save_strategy=no"]
    recipe = load_recipe(path, settings)
    if method == "teacher":
        folder, stages = teacher_folder(task_name).parent, ["teacher"]
    else:  # what is there to compare with, in the recipe itself, is left out
        last = CONTROL if method == CONTROL else next(reversed(recipe.stages))
        wanted = _with_needs(make_plan(recipe), last)
        stages = [name for name in recipe.stages if name in wanted and not (shares and name == "teacher")]
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    place = RunFolder(folder)
    if method != "teacher" and shares:
        shutil.copytree(teacher_folder(task_name), folder / "teacher", copy_function=os.link)
    plan = make_plan(recipe)
    tasks = load_tasks(plan)
    models = Models(plan, tasks, place)

    def train_all() -> None:
        for name in stages:
            train_stage(plan.stages[name], tasks[name], models, place, lambda _: None)

    before = sum(os.times()[:4])
    memory = peak_growth_mb(train_all)
    processor = sum(os.times()[:4]) - before
    made = [place.result(name) for name in stages]
    return {
        "metric": tasks[stages[-1]].main_metric,
        "score": made[-1].score,
        "seconds": sum(each.seconds or 0.0 for each in made),
        "processor_seconds": round(processor, 1),
        "steps": sum(each.steps or 0 for each in made),
        "MB": round(memory),
    }


def _with_needs(plan: Any, stage: str) -> set[str]:
    """A stage, and those that it needs, and those that they need."""
    found, open_ = set[str](), [stage]
    while open_:
        own = plan.stage_of(open_.pop())
        if own is not None and own.name not in found:
            found.add(own.name)
            open_ += own.needs
    return found


# ---- all runs ----


def leaderboard(arguments: argparse.Namespace) -> None:
    """Make the runs that are missing, the best methods' other seeds last."""
    for task in arguments.tasks:
        if not (teacher_folder(task) / "metrics.json").is_file():  # of both families
            options = ("--teacher-rows", arguments.teacher_rows, "--validation-rows", arguments.validation_rows)
            print(f"teacher of {task}: {in_process(MODULE, *options, '--teacher', task)}", flush=True)
    family, tasks = arguments.family, arguments.tasks
    everyone = dict.fromkeys([CONTROL, PLAIN, *arguments.methods])
    _make_all(arguments, [(method, task, 1) for method in everyone for task in tasks])
    runs = _read(family)["runs"]
    best = sorted(arguments.methods, key=lambda method: -_mean_gain(runs, method, tasks))[: BEST[family]]
    seeds = range(2, arguments.seeds + 1)
    again = dict.fromkeys([CONTROL, PLAIN, *best])
    _make_all(arguments, [(method, task, seed) for seed in seeds for method in again for task in tasks])
    for task in tasks:
        print_table(f"{task}, {arguments.rows} training rows", rows_of(_read(family)["runs"], task, family))
    print(f"\nwritten to {results_folder() / RESULT[family]}.json")


def _make_all(arguments: argparse.Namespace, wanted: Sequence[tuple[str, str, int]]) -> None:
    done = _read(arguments.family)["runs"]
    budget = {"rows": arguments.rows, "validation_rows": arguments.validation_rows}
    options = ["--rows", arguments.rows, "--validation-rows", arguments.validation_rows, "--family", arguments.family]

    def make(method: str, task: str, seed: int) -> None:
        started = time.monotonic()
        try:
            made = in_process(MODULE, *options, "--one", method, task, seed)
        except RuntimeError as error:  # the others are worth having
            print(f"{task} {method} {seed}: {error}", file=sys.stderr, flush=True)
            return
        _write(arguments.family, runs={f"{task}/{method}/{seed}": {**made, **budget}})
        print(f"{task} {method} {seed}: {made['score']:.4f}, {time.monotonic() - started:.0f} s", flush=True)

    missing = [each for each in wanted if f"{each[1]}/{each[0]}/{each[2]}" not in done]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda each: make(*each), missing))


def _by_seed(runs: Runs, method: str, task: str) -> Runs:
    return {key.rpartition("/")[2]: each for key, each in runs.items() if key.startswith(f"{task}/{method}/")}


def _mean_gain(runs: Runs, method: str, tasks: Sequence[str]) -> float:
    """Over the control, mean of the tasks; of the first seed."""
    gains = [
        runs[f"{task}/{method}/1"]["score"] - runs[f"{task}/{CONTROL}/1"]["score"]
        for task in tasks
        if f"{task}/{method}/1" in runs
    ]
    return statistics.mean(gains) if gains else float("-inf")


def rows_of(runs: Runs, task: str, family: str = "methods") -> list[Row]:
    """The leaderboard of one task: mean, deviation, seeds, and the gain over the control in the same seeds."""
    control = {
        key.rpartition("/")[2]: each["score"] for key, each in runs.items() if key.startswith(f"{task}/{CONTROL}/")
    }
    rows: list[dict[str, object]] = []
    for method in dict.fromkeys((CONTROL, PLAIN, *members(family))):
        mine = _by_seed(runs, method, task)
        if not mine:
            continue
        scores = [each["score"] for each in mine.values()]
        gains = [each["score"] - control[seed] for seed, each in mine.items() if seed in control]
        metric = next(iter(mine.values()))["metric"]
        seconds = [each["seconds"] for each in mine.values()]
        processor = [each["processor_seconds"] for each in mine.values() if "processor_seconds" in each]
        memory = [each["MB"] for each in mine.values() if "MB" in each]
        rows.append(
            {
                "method": method,
                metric: round(statistics.mean(scores), 4),
                "deviation": round(statistics.stdev(scores), 4) if len(scores) > 1 else "-",
                "seeds": len(scores),
                "over control": round(statistics.mean(gains), 4) if gains else "-",
                "seconds": round(statistics.mean(seconds)),
                "processor s": round(statistics.mean(processor)) if processor else "-",
                "MB": round(statistics.mean(memory)) if memory else "-",
            }
        )
    return sorted(rows, key=lambda row: -float(str(list(row.values())[1])))


# ---- what a step costs ----


def cost(method: str, steps: int = 8, warm_up: int = 2) -> dict[str, Any]:
    """Median milliseconds of a step of 32 pairs, and by how much the memory grew; the mean of a recipe's stages."""
    from transformers import TrainerCallback

    from distilnlp import Objective
    from distilnlp.recipe import load_recipe
    from distilnlp.teachers import CacheSettings, FrozenTeacher

    class Clock(TrainerCallback):
        """Notes how long each step takes."""

        def __init__(self) -> None:
            self.taken: list[float] = []

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.since = time.perf_counter()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.taken.append(time.perf_counter() - self.since)

    task, tokenizer = load_data(32 * (steps + warm_up)), make_tokenizer()
    teacher = make_teacher(task)
    recipe = load_recipe(recipe_of("methods", method))
    names = (
        [CONTROL] if method == CONTROL else [n for n, stage in recipe.stages.items() if stage.objective is not None]
    )
    times, peaks = [], []
    for name in names:
        stage, clock = recipe.stages[name], Clock()
        objective = None if stage.objective is None else Objective.from_dict(stage.objective)
        trainer = make_trainer(
            folder=str(SCRATCH / "knowledge" / "cost"),
            training={"num_train_epochs": 1, "per_device_train_batch_size": 32, "seed": 0},
            model=make_student(teacher),
            teacher=None if stage.teacher is None else FrozenTeacher(teacher, tokenizer),
            objective=objective,
            train_dataset=task.train,
            max_length=128,
            processing_class=tokenizer,
            callbacks=[clock],
            cache=CacheSettings(use="never"),
        )
        peaks.append(peak_growth_mb(trainer.train))
        times.append(1000 * statistics.median(clock.taken[warm_up:]))
    return {"ms/step": statistics.mean(times), "MB": max(peaks)}


def cost_rows(costs: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """Time and memory of a step, and over the control."""
    control = costs[CONTROL]
    return [
        {
            "method": method,
            "ms/step": round(each["ms/step"]),
            "x control": round(each["ms/step"] / control["ms/step"], 2),
            "MB": round(each["MB"]),
        }
        for method, each in costs.items()
    ]


# ---- results ----


def _read(family: str) -> dict[str, Any]:
    path = results_folder() / f"{RESULT[family]}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {"benchmark": RESULT[family], "runs": {}, "costs": {}, **found}


def _write(family: str, **parts: Mapping[str, Any]) -> None:
    """Put what was found beside what is there, so that a broken benchmark goes on."""
    from distilnlp.run.environment import library_versions

    figures = _read(family)
    for name, part in parts.items():
        figures[name] = dict(sorted({**figures[name], **part}.items()))
    figures |= {"machine": machine(), "versions": library_versions()}
    results_folder().mkdir(parents=True, exist_ok=True)
    new = results_folder() / f"{RESULT[family]}.json.new"
    new.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    new.replace(results_folder() / f"{RESULT[family]}.json")


if __name__ == "__main__":
    main()
