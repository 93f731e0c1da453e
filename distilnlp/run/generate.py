"""Makes the texts that a student learns from where no training example is read: drawn, answered, counted, kept."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from accelerate import PartialState
from datasets import Dataset
from torch import nn
from transformers import PreTrainedTokenizerBase

from distilnlp.data.generate import WordTable
from distilnlp.data.load_generated import MakeTexts
from distilnlp.data.task import Task
from distilnlp.errors import RequestError, RunError, unknown
from distilnlp.models.backend import best_device
from distilnlp.models.loading import load_classifier, load_config, load_tokenizer
from distilnlp.models.masked_texts import MaskedWriter
from distilnlp.models.predictor import Predictor
from distilnlp.models.trained_columns import remembered_columns
from distilnlp.problems import Problem, problem_of_config
from distilnlp.recipe import GenerateSpec
from distilnlp.report.escape import one_line
from distilnlp.run.evaluation import texts_of
from distilnlp.run.models import Models
from distilnlp.run.plan import Plan, StagePlan
from distilnlp.whole_files import whole_file, write_text

__all__ = ["GENERATED", "WRITTEN", "check_generated", "generate_file", "generated_texts", "stand_ins"]

GENERATED = "generated.parquet"  # in the folder of a stage: its texts, and what the teacher answers
WRITTEN = (".txt", ".jsonl", ".csv", ".parquet")
ANSWER = "answer"
ROUNDS = 10  # of drawing `count` texts, until each class has its share of them


class Source(Protocol):
    """Whatever gives texts."""

    def texts(self, lengths: Sequence[int], random: np.random.Generator) -> list[str]:
        """A text of each length."""


# ---- in a run ----


def stand_ins(plan: Plan, stage: StagePlan) -> MakeTexts | None:
    """What makes the texts of a stage as far as no model is needed for them; None where it reads examples.

    Where a model writes or sorts them (`generated_texts`), they are random words, for the checks before step 0.
    """
    spec = stage.data.generate
    if spec is None:
        return None
    start = stage.start
    while start in plan.stages:
        start = plan.stages[start].start

    def make(pair: bool, by_word: bool) -> Dataset:
        return _drawn(_table(spec, load_tokenizer(start)), spec, pair, by_word, np.random.default_rng(spec.seed))

    return make


def check_generated(plan: Plan, stage: StagePlan, tasks: Mapping[str, Task]) -> None:
    """Whether the texts of a stage can be written and sorted as its recipe says.

    Args:
        tasks: of the stage and those before it.
    Raises:
        RequestError: with the recipe's line: the model that writes is no masked language model; the texts of a task
            without classes are to be balanced.
    """
    spec, problem = stage.data.generate, tasks[stage.name].problem
    if spec is None:
        return
    key, message = "", ""
    if spec.model is not None:
        own = tasks[spec.model].problem if spec.model in plan.stages else problem_of_config(load_config(spec.model))
        if not own.labels_itself:
            key, message = "model", f"{spec.model} is for {own.name}, and a masked language model is needed to write"
    if spec.balance and not _has_classes(problem):
        key, message = "balance", f"{problem.name} has no classes of which each text is one: leave it out"
    if key:
        paths = (("stages", stage.name, "data", "generate", key), ("data", "generate", key))
        place = plan.recipe.latest(*paths)
        raise plan.recipe.error(place, f"{'.'.join(map(str, place))}: {message}")


def generated_texts(stage: StagePlan, task: Task, models: Models, say: Callable[[str], object]) -> Task:
    """The task with the texts that the stage learns from, now that the models are there that write and answer them.

    They are kept in the stage's folder, so that a stage that goes on after a break learns from the same ones; what
    the teacher answers stands beside them, and how often each answer is said.

    Args:
        stage: which is about to be trained.
        task: with stand-ins for its texts.
        models: of the run; the stages before this one are finished.
        say: shows one line to the user.
    Raises:
        RunError: there is a class to balance that the teacher does not answer once.
    """
    spec = stage.data.generate
    if spec is None or task.train is None or stage.spec.kind != "train":
        return task
    kept, columns = models.folder.stage(stage.name) / GENERATED, list(task.train.column_names)

    def place(name: str) -> str:
        return str(models.folder.stage(name)) if name in models.plan.stages else name

    if PartialState().is_main_process and not kept.is_file():
        teacher = Predictor.load(place(stage.teaching_models[0]), max_length=stage.data.max_length, batch_size=64)
        writer = None if spec.model is None else place(spec.model)
        source = _table(spec, models.tokenizer(stage.name)) if writer is None else _writer(spec, writer)
        pair, by_word = "text_pair" in columns, task.problem.rows == "token"
        rows = _answered_texts(source, spec, pair, by_word, teacher, lambda line: say(f"{stage.name}: {line}"))
        kept.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(kept) as temporary:
            rows.to_parquet(str(temporary))
    PartialState().wait_for_everyone()
    rows = Dataset.from_parquet(str(kept), keep_in_memory=True)
    return replace(task, train=rows.select_columns(columns).cast(task.train.features))


# ---- into a file ----


def generate_file(
    output: Path,
    spec: GenerateSpec,
    *,
    tokenizer: str | None = None,
    pairs: bool = False,
    teacher: str | None = None,
    say: Callable[[str], object],
) -> int:
    """Write texts into a file, to distil from as from any others without labels.

    Args:
        output: a ``.txt`` (single texts, one a line), ``.jsonl``, ``.csv`` or ``.parquet`` file with the columns
            ``text`` and, of pairs, ``text_pair``. It is complete or absent, and the same each time.
        spec: what is made.
        tokenizer: the folder or Hub id whose vocabulary the words are of; default: the teacher.
        pairs: whether two texts are drawn for each row; of a teacher that was trained on pairs they are anyway.
        teacher: whose answers are counted, and balanced where ``spec`` says so.
        say: shows one line to the user.
    Returns:
        How many rows were written.
    Raises:
        RequestError: another kind of file, no model to take words of, no teacher to balance by.
        RunError: as `generated_texts`.
    """
    if output.suffix not in WRITTEN:
        raise unknown("kind of output file", output.suffix or output.name, WRITTEN)
    answering = None if teacher is None else Predictor.load(teacher, batch_size=64)
    if spec.balance and (answering is None or not _has_classes(answering.problem)):
        raise RequestError("texts are balanced by the classes that a teacher answers: give one (--teacher) that has")
    if answering is not None:
        columns = remembered_columns(answering.backend.config)
        pairs = pairs or (columns is not None and columns.text_pair is not None)
    if pairs and output.suffix == ".txt":
        raise RequestError(f"{output}: a txt has one text a line and no pairs: write a .jsonl, .csv or .parquet file")
    by_word = answering is not None and answering.problem.rows == "token"
    if by_word and output.suffix != ".jsonl" and output.suffix != ".parquet":
        raise RequestError(f"{output} has no lists of words, which {teacher} reads: write a .jsonl or .parquet file")
    words_of = tokenizer or teacher
    source: Source
    if spec.model is not None:
        source = _writer(spec, spec.model)
    elif words_of is not None:
        source = _table(spec, load_tokenizer(words_of))
    else:
        raise RequestError(f"{spec.kind} takes the words of a model's vocabulary: give --tokenizer or --teacher")
    rows = _answered_texts(source, spec, pairs, by_word, answering, say)
    rows = rows.select_columns([name for name in rows.column_names if name != ANSWER])
    if by_word:
        rows = rows.rename_column("text", "tokens")
    if output.suffix == ".txt":
        write_text(output, "".join(f"{text}\n" for text in rows["text"]))
        return len(rows)
    with whole_file(output) as temporary:
        if output.suffix == ".parquet":
            rows.to_parquet(str(temporary))
        elif output.suffix == ".csv":
            rows.to_csv(str(temporary), index=False)
        else:
            rows.to_json(str(temporary), lines=True, force_ascii=False)
    return len(rows)


# ---- the texts ----


def _table(spec: GenerateSpec, tokenizer: PreTrainedTokenizerBase) -> WordTable:
    """The words that are drawn; of texts that a model writes, those of their stand-ins."""
    if spec.counts is not None:
        return WordTable.of_file(spec.counts, tokenizer)
    return WordTable.of_vocabulary(tokenizer, ranked=spec.kind == "unigram")


def _writer(spec: GenerateSpec, model: str) -> MaskedWriter:
    loaded = load_classifier(model, require_head=True)
    nn.Module.to(loaded, best_device())
    return MaskedWriter(
        loaded, load_tokenizer(model), temperature=spec.temperature, passes=spec.passes, name=one_line(model)
    )


def _drawn(source: Source, spec: GenerateSpec, pair: bool, by_word: bool, random: np.random.Generator) -> Dataset:
    """So many rows as the recipe says."""
    fewest, most = spec.words
    columns: dict[str, list[str] | list[list[str]]] = {}
    for name in ("text", "text_pair") if pair else ("text",):
        lengths = random.integers(fewest, most, size=spec.count, endpoint=True).tolist()
        texts = source.texts(lengths, random)
        columns[name] = [text.split() for text in texts] if by_word else texts
    return Dataset.from_dict(columns)


def _answered_texts(
    source: Source,
    spec: GenerateSpec,
    pair: bool,
    by_word: bool,
    teacher: Predictor | None,
    say: Callable[[str], object],
) -> Dataset:
    """The rows, with the class that the teacher answers where it has classes; balanced where that is asked."""
    random = np.random.default_rng(spec.seed)
    if teacher is None or not _has_classes(teacher.problem):
        rows = _drawn(source, spec, pair, by_word, random)
        say(f"{len(rows)} texts are made ({spec.kind})")
        return rows
    names = list(teacher.label_names)
    share = -(-spec.count // len(names)) if spec.balance else spec.count
    found: Counter[str] = Counter()
    kept: dict[str, list[str]] = {}
    for _ in range(ROUNDS if spec.balance else 1):
        rows = _drawn(source, spec, pair, by_word, random)
        answers = [names[place] for place in teacher.decide(texts_of(rows)).tolist()]
        for row, answer in zip(rows.to_list(), answers, strict=True):
            if found[answer] < share:
                found[answer] += 1
                for key, value in {**row, ANSWER: answer}.items():
                    kept.setdefault(key, []).append(value)
        if min(found[name] for name in names) >= share:
            break
    histogram = ", ".join(f"{one_line(name)} {found[name]}" for name in names)
    never = [name for name in names if not found[name]]
    if spec.balance and never:
        raise RunError(
            f"texts cannot be balanced: of {ROUNDS * spec.count} ({spec.kind}) the teacher answers none with"
            f" {one_line(never[0])}; it answers {histogram}: make them in another way, or leave 'balance' out"
        )
    alike = "; it answers them all alike, and so teaches next to nothing" if len(never) == len(names) - 1 else ""
    say(f"{len(kept[ANSWER])} texts are made ({spec.kind}); the teacher answers {histogram}{alike}")
    return Dataset.from_dict(kept)


def _has_classes(problem: Problem) -> bool:
    """Whether a text is of one class of several."""
    return problem.rows == "text" and problem.named_labels and not problem.several_labels
