"""How fast a model answers, exported and not, on one thread: one text at a time, and 32.

python -m benchmarks.serving [--quick] [--run RUN]

The teacher and its student in PyTorch, and the student's files of ONNX and OpenVINO in fp32 and int8, on the same
texts in turns, batch by batch. Of each batch the shortest time counts that the processor worked (with several
``--threads``, that passed), which other work on the machine does not lengthen; the spread is that of thirds of the
rounds. Beside it the median, and the score of each. Without ``--run`` the models are MiniLM and three of its layers
with new heads: they cost what trained ones do, and their scores say nothing.

Goals, on a processor without VNNI: int8 of one of the formats at least 12 times as fast as the teacher with one text,
and 8 times with 32, at 98 % of its score.
"""

import contextlib
import math
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._harness import (
    Row,
    Spread,
    load_data,
    make_parser,
    make_student,
    make_teacher,
    make_tokenizer,
    parse,
    print_table,
    write_results,
)

QUICK: dict[str, object] = {"rounds": 2, "texts": 32}
GOALS = {1: 12.0, 32: 8.0}
TEACHER, STUDENT, FP32, INT8 = "teacher, PyTorch", "student, PyTorch", "student, ONNX fp32", "student, ONNX int8"
FORMATS = {"onnx": (FP32, INT8), "openvino": ("student, OpenVINO fp32", "student, OpenVINO int8")}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = make_parser(__doc__, rounds=7)
    parser.add_argument("--run", type=Path, help="folder of a run with the stages teacher and student")
    parser.add_argument("--check", help="the task of the run, where that is not MRPC")
    parser.add_argument("--texts", type=int, default=256, help="held-out texts (default: %(default)s)")
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=[*FORMATS], help="of the files (default: all)"
    )
    parser.set_defaults(threads=1)
    arguments = parse(parser, QUICK, argv)
    if arguments.check and not arguments.run:
        parser.error("--check is the task of a --run: name both")
    with tempfile.TemporaryDirectory() as folder:
        models, scores = _models(arguments, Path(folder))
        rows: list[Row] = []
        met = {}
        texts = _texts(arguments)
        for batch in GOALS:
            batches = _batches(models[STUDENT], texts, batch)
            turns = _turns(models, batches, arguments)
            for name, seconds in turns.seconds.items():
                each = len(batches) / len(texts) * 1000
                least, greatest = turns.spread(name, TEACHER)
                rows.append(
                    {
                        "batch": batch,
                        "model": name,
                        "ms a text": each * turns.best(name),
                        "x teacher": Spread(least, turns.speedup(name, TEACHER), greatest),
                        "median ms": each * statistics.median(seconds.mean(axis=1)),
                        **scores[name],
                    }
                )
            fastest = max(turns.speedup(FORMATS[name][1], TEACHER) for name in arguments.formats)
            met[f"batch {batch}"] = fastest >= GOALS[batch]
    measured = f"{len(texts)} texts, {arguments.threads} thread(s), {arguments.rounds} rounds"
    print_table(f"{measured}, forward pass without tokenising", rows)
    arguments.run = arguments.run and arguments.run.name
    print(f"\ngoals without VNNI: {', '.join(f'{goal:g}x at batch {batch}' for batch, goal in GOALS.items())}")
    write_results("serving", arguments, rows, goals=GOALS, met=met, processor=_variant(), load=os.getloadavg())


def _variant() -> str:
    from distilnlp.export.quantise import processor_of
    from distilnlp.run.environment import cpu_flags

    return processor_of(cpu_flags())


def _models(arguments: Any, folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, object]]]:
    """Teacher, student and its files, each ready for texts; and of each its score and size."""
    import torch

    from distilnlp.models import Predictor
    from distilnlp.report.cost import disk_mb
    from distilnlp.run.export import ExportSettings, export_model

    task = _task(arguments)
    places = {name: arguments.run / name for name in ("teacher", "student")} if arguments.run else {}
    if not places:
        teacher = make_teacher(task)
        for name, model in (("teacher", teacher), ("student", make_student(teacher))):
            places[name] = folder / name
            model.save_pretrained(places[name])
            make_tokenizer().save_pretrained(places[name])
    where: dict[str, Path] = dict(zip((TEACHER, STUDENT), places.values(), strict=True))
    for name in arguments.formats:
        settings = ExportSettings(format=name, int8=True, max_drop=0.02 if arguments.run else 10.0, seconds=0)
        made = export_model(str(places["student"]), folder / name, task, settings)
        files = [made.folder / row.exported.file for row in made.files if row.exported is not None]
        where |= dict(zip(FORMATS[name], files, strict=True))
    models = {name: Predictor.load(place, device=torch.device("cpu")) for name, place in where.items()}
    scores: dict[str, dict[str, object]] = {}
    for name, place in where.items():
        scores[name] = {task.main_metric: _score(place, task) if arguments.run else "-", "MB": disk_mb(place)}
    return models, scores


def _score(place: Path, task: Any) -> float:
    from distilnlp.run import evaluate_model

    return evaluate_model(str(place), task)["validation"][task.main_metric]


def _task(arguments: Any) -> Any:
    from distilnlp.run.measured_task import load_measured_task

    if arguments.check:
        return load_measured_task(str(arguments.run / "teacher"), arguments.check)
    return load_data(seed=arguments.seed, validation_rows=arguments.texts)


def _texts(arguments: Any) -> list[Any]:
    from distilnlp.run.evaluation import texts_of

    task = _task(arguments)
    texts = texts_of(task.validation.select(range(min(arguments.texts, len(task.validation)))))
    if not task.problem.vectors:
        return texts
    return [(text,) for pair in texts for text in pair][: arguments.texts]  # each has a vector of its own


def _batches(model: Any, texts: Sequence[Any], size: int) -> list[Any]:
    """All texts, of like length together, as every model reads them."""
    ordered = sorted(texts, key=lambda text: sum(map(len, text)))
    return [model.encode(ordered[start : start + size]) for start in range(0, len(ordered), size)]


def _turns(models: Mapping[str, Any], batches: Sequence[Any], arguments: Any) -> Any:
    from distilnlp.report.timing import take_turns

    with contextlib.ExitStack() as stack:
        for model in models.values():
            stack.enter_context(model.backend.evaluating())
        work = {name: [partial(model.backend, batch) for batch in batches] for name, model in models.items()}
        clock = time.thread_time if arguments.threads == 1 else time.perf_counter
        return take_turns(work, rounds=(arguments.rounds,) * 2, seconds=math.inf, clock=clock)


if __name__ == "__main__":
    main()
