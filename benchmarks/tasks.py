"""Every kind of task on real data: teacher, control and student, and what share of the score the student keeps.

An entry is a recipe with its data; a run of it, with one seed, is a process of its own with one thread. Finished runs
are kept in ``results/tasks.json`` and not made again. The data are those of ``DISTILNLP_DATA_DIR`` (GLUE) and
``DISTILNLP_MORE_DIR`` (WNUT17, GoEmotions, TREC-QA, XQuAD).
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._harness import SCRATCH, Row, answer, in_process, machine, print_table, results_folder, set_up

MODULE = "benchmarks.tasks"
Runs = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """A kind of task in the table.

    Args:
        recipe: the name of a shipped one.
        settings: as ``--set`` takes them, with the seed; called in the process that runs it.
        seeds: how many runs there are.
        goal: the share of the teacher's score that the student is to keep, on the mean of the seeds.
    """

    recipe: str
    settings: Callable[[int], list[str]]
    seeds: int
    goal: float


# ---- sentence embeddings ----

PAIR = ("sentence1", "sentence2")
# All texts of GLUE but those of STS-B, whose validation pairs measure; the labels are not read.
TEXTS = {
    "cola": ("sentence",),
    "mnli": ("premise", "hypothesis"),
    "mrpc": PAIR,
    "qnli": ("question", "sentence"),
    "qqp": ("question1", "question2"),
    "rte": PAIR,
    "sst2": ("sentence",),
}


def glue_texts() -> Path:
    """A text file of all of them, each once; made where it is not there."""
    path = SCRATCH / "tasks" / "glue-texts.parquet"
    if not path.is_file():
        import pyarrow as pa
        import pyarrow.parquet as pq

        data = Path(os.environ["DISTILNLP_DATA_DIR"])
        texts: dict[str, None] = {}
        for task, columns in TEXTS.items():
            table = pq.read_table(data / task / "train.parquet", columns=[*columns])
            texts |= dict.fromkeys(text for name in columns for text in table[name].to_pylist())
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": [*texts]}), path)
    return path


def embeddings(seed: int, rows: int = 10_000, *more: str) -> list[str]:
    """MiniLM as it is packaged teaches; Spearman on the validation pairs of STS-B."""
    return [f"data.task={glue_texts()}", "data.validation=stsb", f"data.max_train={rows}", f"data.seed={seed}", *more]


NARROW = "stages.student.student.config={hidden_size: 192}"  # the control too, which is like the student
SHORT = "stages.student.student.dimension=128"

# ---- data of DISTILNLP_MORE_DIR ----


def more(name: str, *settings: str) -> list[str]:
    """A data set with training and validation files, and what else its recipe is told."""
    folder = Path(os.environ["DISTILNLP_MORE_DIR"]) / name
    files = {"task": folder / "train.parquet", "validation": folder / "validation.parquet"}
    return [*(f"data.{key}={path}" for key, path in files.items()), *settings]


# What WNUT17's teacher tags beside posts: questions and sentences of GLUE, so many of each.
TAGGED = {"qqp": 20_000, "mnli": 6_000, "qnli": 5_000, "mrpc": 3_000, "stsb": 3_000}
LETTERS = 400  # at most; what is longer is no post


def tagged_texts() -> Path:
    """GoEmotions' posts, sentences of GLUE, and WNUT17's own, each once; made where they are not there."""
    path = SCRATCH / "tasks" / "texts-to-tag.parquet"
    if not path.is_file():
        import random

        import pyarrow as pa
        import pyarrow.parquet as pq

        drawn = random.Random(0)
        folder = Path(os.environ["DISTILNLP_MORE_DIR"])
        own = pq.read_table(folder / "wnut17" / "train.parquet", columns=["tokens"])["tokens"].to_pylist()
        posts = pq.read_table(folder / "go_emotions" / "train.parquet", columns=["text"])["text"].to_pylist()
        texts = dict.fromkeys([*(" ".join(words) for words in own), *posts])
        for task, count in TAGGED.items():
            source = Path(os.environ["DISTILNLP_DATA_DIR"]) / task / "train.parquet"
            table = pq.read_table(source, columns=[*TEXTS.get(task, PAIR)])
            found = sorted({text for name in table.column_names for text in table[name].to_pylist()} - texts.keys())
            short = [text for text in found if len(text) < LETTERS]
            texts |= dict.fromkeys(drawn.sample(short, count))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": [*texts]}), path)
    return path


def entities(seed: int, layers: int = 3) -> list[str]:
    """WNUT17: entities of texts from the net, most of which no other sentence names."""
    folder = Path(os.environ["DISTILNLP_MORE_DIR"]) / "wnut17"
    data = {"validation": folder / "validation.parquet", "label_names": folder / "labels.json", "max_length": 96}
    return [
        *(f"{place}.{key}={value}" for place in ("data", "stages.student.data") for key, value in data.items()),
        f"data.task={folder / 'train.parquet'}",
        f"stages.student.data.task={tagged_texts()}",
        f"stages.student.student.layers={layers}",
    ]


ENTRIES: dict[str, Entry] = {
    "entities": Entry("entities/more-texts", entities, seeds=1, goal=0.96),
    "entities, 2 layers": Entry("entities/more-texts", lambda seed: entities(seed, 2), seeds=1, goal=0.0),
    "several labels": Entry(
        "_several-labels.yaml", lambda seed: more("go_emotions", "data.max_train=3000"), seeds=1, goal=0.0
    ),
    "ranking": Entry(
        "_ranking.yaml",
        lambda seed: more("trecqa", "data.problem_type=ranking", "data.without_relevant=leave_out"),
        seeds=1,
        goal=0.0,
    ),
    "questions": Entry(
        "_questions.yaml", lambda seed: more("xquad/en", "accept_weak_teacher=true"), seeds=1, goal=0.0
    ),
    "embeddings": Entry("embeddings/texts", embeddings, seeds=3, goal=0.97),
    "embeddings, 2 layers": Entry(
        "embeddings/texts", lambda seed: embeddings(seed, 10_000, "stages.student.student.layers=2"), seeds=1, goal=0.0
    ),
    "embeddings, 128 numbers": Entry(
        "embeddings/texts", lambda seed: embeddings(seed, 10_000, SHORT), seeds=1, goal=0.0
    ),
    "embeddings, 192 wide": Entry(
        "embeddings/texts", lambda seed: embeddings(seed, 10_000, NARROW), seeds=1, goal=0.0
    ),
}


# ---- one run ----


def run(name: str, seed: int) -> dict[str, Any]:
    """The scores of one run's models, by their role, and what the training took."""
    import shutil

    from distilnlp.recipe import load_recipe
    from distilnlp.run import run_recipe

    entry = ENTRIES[name]
    folder = SCRATCH / "tasks" / f"{name}-{seed}".replace(" ", "-").replace(",", "")
    report = run_recipe(load_recipe(entry.recipe, [*entry.settings(seed), f"seed={seed}"]), folder, fresh=True)
    assert report is not None
    shutil.rmtree(folder, ignore_errors=True)
    made: dict[str, Any] = {"metric": report.main_metric}
    for stage in report.stages:
        role = str(stage.role)
        made[role] = {"score": stage.score, "seconds": stage.seconds, "steps": stage.steps}
        if stage.fidelity is not None:
            made[role]["agreement"] = stage.fidelity.agreement
        if stage.cost is not None:
            made[role]["parameters"] = stage.cost.parameters
            made[role]["texts/s"] = stage.cost.throughput_per_s
    return made


# ---- all runs ----


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", nargs="+", choices=[*ENTRIES], default=[*ENTRIES], help="(default: all)")
    parser.add_argument("--one", nargs=2, metavar=("ENTRY", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    set_up(1)
    if arguments.one:
        name, seed = arguments.one
        answer(**run(name, int(seed)))
        return
    for name in arguments.entries:
        for seed in range(1, ENTRIES[name].seeds + 1):
            key = f"{name}/{seed}"
            if key in _read():
                continue
            made = in_process(MODULE, "--one", name, seed)
            _write({key: made})
            print(f"{key}: {made['student']['score']:.4f} of {made['teacher']['score']:.4f}", flush=True)
    print_table("kinds of task", rows_of(_read()))


def rows_of(runs: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """An entry a row, the means of its seeds."""
    rows: list[Row] = []
    for name, entry in ENTRIES.items():
        mine = [made for key, made in runs.items() if key.rpartition("/")[0] == name]
        if not mine:
            continue
        teacher, control, student = (
            [made[role]["score"] for made in mine] for role in ("teacher", "control", "student")
        )
        ratios = [own / theirs for own, theirs in zip(student, teacher, strict=True)]
        rows.append(
            {
                "task": name,
                "metric": mine[0]["metric"],
                "teacher": round(statistics.mean(teacher), 4),
                "control": round(statistics.mean(control), 4),
                "student": round(statistics.mean(student), 4),
                "ratio": round(statistics.mean(ratios), 4),
                "least": round(min(ratios), 4),
                "seeds": len(mine),
                "goal": entry.goal or "-",
                "seconds": round(statistics.mean(made["student"]["seconds"] for made in mine)),
            }
        )
    return rows


def _read() -> Runs:
    path = results_folder() / "tasks.json"
    found: Runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else {}
    return found


def _write(runs: Runs) -> None:
    """Put a run beside those that are there, so that a broken benchmark goes on."""
    from distilnlp.run.environment import library_versions

    figures = {
        "benchmark": "tasks",
        "runs": dict(sorted({**_read(), **runs}.items())),
        "machine": machine(),
        "versions": library_versions(),
    }
    results_folder().mkdir(parents=True, exist_ok=True)
    new = results_folder() / "tasks.json.new"
    new.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    new.replace(results_folder() / "tasks.json")


if __name__ == "__main__":
    main()
