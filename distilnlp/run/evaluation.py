"""Measures a model on a task's held-out examples."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from transformers import PreTrainedConfig

from distilnlp.data.arrow import column_array
from distilnlp.data.columns import Columns
from distilnlp.data.label_sets import label_array
from distilnlp.data.load_measured import has_queries
from distilnlp.data.task import Task
from distilnlp.errors import RequestError
from distilnlp.models.exits import check_threshold
from distilnlp.models.labels import label_names_of
from distilnlp.models.load_backend import load_backend, with_exits
from distilnlp.models.loading import load_config, load_tokenizer
from distilnlp.models.predictor import Predictor
from distilnlp.models.task_heads import check_one_task
from distilnlp.models.trained_columns import check_parts, remembered_columns
from distilnlp.problems import TEACHER_LOGITS, Problem, get_problem, problem_of_config, problem_of_queries
from distilnlp.report.baseline import measure_baseline
from distilnlp.report.predictions import Predictions
from distilnlp.report.schema import Baseline
from distilnlp.report.scores import compute_scores
from distilnlp.run.inputs import data_entry
from distilnlp.teachers import Combination

__all__ = [
    "Answers",
    "answer",
    "answer_of",
    "check_asked",
    "check_head",
    "columns_of",
    "combined_answers",
    "digest_of",
    "evaluate_model",
    "head_of",
    "kind_of",
    "kind_that_ranks",
    "kind_to_order",
    "measured",
    "predictor_for",
    "recorded_answers",
    "texts_of",
]

_TEXTS_TO_COUNT = 10_000  # of the training, for the commonest token: more change nothing

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """A model's answers to the held-out examples, and the scores there and on the task's further sets.

    Args:
        predictions: on the held-out examples; ``further``: on each further set.
        metrics: of the held-out examples, none where they have no labels; ``extra``: of each further set.
        held_out: a digest of the held-out examples (see `distilnlp.report.schema.StageResult`).
        baseline: what needs no text, on the held-out examples; None without training rows.
    """

    predictions: Predictions
    metrics: dict[str, float]
    further: dict[str, Predictions]
    extra: dict[str, dict[str, float]]
    held_out: str
    baseline: Baseline | None


def answer(predictor: Predictor, task: Task) -> Answers:
    """Let a model answer the task's held-out examples; its labels are in the task's order.

    Raises:
        RequestError: the task has none.
        RunError: the model answers with numbers that are not finite.
    """
    if task.validation is None:
        raise RequestError(f"task {task.name} has no held-out examples to be measured on: give a validation set")
    predictions, metrics = measured(predictor, task, task.validation)
    further = {name: measured(predictor, task, data) for name, data in task.extra.items()}
    return Answers(
        predictions,
        metrics,
        {name: answers for name, (answers, _) in further.items()},
        {name: scores for name, (_, scores) in further.items()},
        digest_of(task, task.validation),
        _baseline(predictions, task, task.validation, predictor),
    )


def recorded_answers(task: Task) -> Answers | None:
    """The recorded answers of a teacher to the held-out examples; None where they have none."""
    data = task.validation
    if data is None or TEACHER_LOGITS not in data.column_names:
        return None
    if task.problem.rows in ("list", "token"):  # several rows of logits an example
        lists = [np.asarray(own, np.float32).reshape(len(own), -1) for own in data[TEACHER_LOGITS][:]]
        logits, examples = np.concatenate(lists), np.repeat(np.arange(len(lists)), list(map(len, lists)))
    else:
        logits = column_array(data, TEACHER_LOGITS).astype(np.float32)
        examples = np.arange(len(logits))
    predictions = Predictions.of(_labels(data, task, len(logits)), logits, rows=examples)
    scores, baseline = _scores(predictions, task, data), _baseline(predictions, task, data)
    return Answers(predictions, scores, {}, {}, digest_of(task, data), baseline)


def combined_answers(members: Mapping[str, Predictions], combination: Combination, task: Task) -> Answers | None:
    """What several models answer together on the held-out examples.

    Args:
        members: what each has answered there, by its name.
        combination: how that is put together.
        task: of the examples.
    Returns:
        None where there is no such answer without the label: one that is drawn, or weighed by it; or where what was
        kept of the models' answers are no logits.
    """
    problem, data = task.problem, task.validation
    no_logits = problem.labels_itself or problem.vectors or problem.rows == "span"
    drawn = combination.combine in ("stochastic", "noisy_vote")
    if data is None or no_logits or drawn or combination.reads_labels:
        return None
    (name, first), *others = members.items()
    matched = [first, *(first.matched(other, (name, of))[1] for of, other in others)]
    asked = combination.asked(len(matched), 0, 0)
    logits = combination.logits([torch.from_numpy(matched[place].logits) for place in asked], problem, None, asked)
    predictions = Predictions.of(first.labels, logits.numpy(), rows=first.rows)
    scores, baseline = _scores(predictions, task, data), _baseline(predictions, task, data)
    return Answers(predictions, scores, {}, {}, digest_of(task, data), baseline)


def digest_of(task: Task, data: Dataset) -> str:
    """A digest of texts and labels; whoever has answered them before does not make them other ones."""
    plain = data.select_columns([name for name in data.column_names if name != TEACHER_LOGITS])
    return str(data_entry(task, plain)["digest"])


def _baseline(
    predictions: Predictions, task: Task, data: Dataset, predictor: Predictor | None = None
) -> Baseline | None:
    without = predictions.labels.dtype.kind == "f" and np.isnan(predictions.labels).all()
    if task.train is None or not task.is_labelled or without:
        return None
    if task.problem.labels_itself and predictor is not None:
        some = np.sort(np.random.default_rng(0).permutation(len(task.train))[:_TEXTS_TO_COUNT])
        labels = predictor.reader.measuring().tokens({"text": task.train.select(some)["text"]})
    else:
        labels = label_array(task.labelled().train, task.problem)
    names, texts = task.label_names, texts_of(data)
    return measure_baseline(predictions, labels, task.problem, task.metrics, task.main_metric, names, texts)


def texts_of(data: Dataset) -> list[tuple[Any, ...]]:
    """The texts of a data set, as a `Predictor` takes them: ``(text,)`` or ``(text, pair)``."""
    columns = [data[name] for name in ("text", "text_pair") if name in data.column_names]
    return [tuple(row) for row in zip(*columns, strict=True)]


def answer_of(
    name: str,
    task: Task,
    *,
    max_length: int | None,
    batch_size: int = 64,
    pooling: str | None = None,
    exit_threshold: float | None = None,
) -> Answers:
    """The answers of a fine-tuned model, whatever order it counts the labels in.

    Args:
        name: a folder or Hub id.
        task: as `load_task` gives it.
        max_length: tokens that texts are cut to.
        batch_size: examples at a time.
        pooling: as for `load_classifier`.
        exit_threshold: as for `Predictor.load`.
    Raises:
        RequestError: no such model, no head of its own, or one for other labels; no exits where a threshold is given.
    """
    predictor, task = predictor_for(
        name, task, max_length=max_length, batch_size=batch_size, pooling=pooling, exit_threshold=exit_threshold
    )
    return answer(predictor, task)


def predictor_for(
    name: str,
    task: Task,
    *,
    max_length: int | None,
    batch_size: int = 64,
    pooling: str | None = None,
    exit_threshold: float | None = None,
) -> tuple[Predictor, Task]:
    """A fine-tuned model that counts its labels as a task does, and the task as the model is asked about it.

    Args, Raises: as `answer_of`.
    """
    if exit_threshold is not None:
        check_threshold(exit_threshold)
    asked = task.problem.asked_as(load_config(name, pooling=pooling))
    task = task if asked is None else replace(task, problem=asked)
    backend = load_backend(name, problem=asked, pooling=pooling)
    check_head(backend.config, task, name)
    if task.label_names is not None:
        backend.align(task.label_names)
    if exit_threshold is not None:
        backend = with_exits(backend, name, exit_threshold)
    return Predictor(backend, load_tokenizer(name), max_length=max_length, batch_size=batch_size), task


def check_head(config: PreTrainedConfig, task: Task, name: str) -> None:
    """Raise RequestError where the head of a model is not one for a task.

    Args:
        config: of the model.
        task: as `load_task` gives it.
        name: of the model.
    """
    if task.problem.fits_head(config, task.label_names):
        return
    check_one_task(config, name)
    own = problem_of_config(config)
    if own.auto_class != task.problem.auto_class:
        raise RequestError(
            f"{name} is a model for {own.name} and task {task.name} is {task.problem.name}: take one that was trained "
            "for it"
        )
    needed = task.problem.num_logits(task.label_names)
    raise RequestError(f"{name} has {config.num_labels} outputs and task {task.name} needs {needed}")


def head_of(name: str) -> tuple[Problem, tuple[str, ...] | None]:
    """The kind of task of a fine-tuned model's head, and its labels in order; None where they have no names at all.

    Args:
        name: a folder or Hub id.
    """
    config = load_config(name)
    problem = get_problem(problem_of_config(config).name)  # without the model's own thresholds
    if not problem.named_labels:
        return problem, None
    return problem, tuple(
        str(label) for _, label in sorted((int(key), label) for key, label in (config.id2label or {}).items())
    )


def evaluate_model(
    name: str,
    task: Task,
    *,
    max_length: int | None = None,
    batch_size: int = 64,
    exit_threshold: float | None = None,
) -> dict[str, dict[str, float]]:
    """The scores of a fine-tuned model on each of a task's held-out sets, the first of which is ``validation``.

    Args, Raises: as `answer_of`. A warning where the model's labels have no names, so that their order is a guess.
    """
    check_asked(name, task)
    answers = answer_of(name, task, max_length=max_length, batch_size=batch_size, exit_threshold=exit_threshold)
    return {"validation": answers.metrics, **answers.extra}


def check_asked(name: str, task: Task) -> None:
    """Whether a model was trained on as many texts as a task gives it; and warn of labels without names.

    Args:
        name: a folder or Hub id.
        task: as `load_task` gives it.
    Raises:
        RequestError: single texts for a model that was trained on pairs, or the reverse.
    """
    config = load_config(name)
    if task.validation is not None:
        check_parts(remembered_columns(config), 1 + ("text_pair" in task.validation.column_names), name)
    if task.label_names is not None and label_names_of(config) is None:
        logger.warning(
            "the labels of %s have no names: its logits are taken to be %s, in this order",
            name,
            ", ".join(task.label_names),
        )


def columns_of(name: str) -> Columns | None:
    """The columns that a model was trained on, for `load_task`; None where it does not tell.

    Args:
        name: a folder or Hub id.
    """
    found = remembered_columns(load_config(name))
    return None if found is None else Columns(found.text, found.text_pair, found.label)


def kind_of(name: str) -> str | None:
    """The kind of task that a model's data are of, where no columns tell it and the model does; else None.

    Args:
        name: a folder or Hub id.
    """
    problem = problem_of_config(load_config(name))
    return problem.name if problem.rows == "list" else None


def kind_that_ranks(name: str) -> Problem:
    """The kind of task as which a model puts texts in order. Raises RequestError for a model that does not."""
    problem = problem_of_config(load_config(name))
    if problem.vectors:
        return problem_of_queries()
    if problem.rows != "list":
        raise RequestError(
            f"{name} is for {problem.name}, which has no query: give --text (and --text-pair), or a model that ranks"
        )
    return problem


def kind_to_order(name: str, path: Path, text: str | None = None) -> Problem | None:
    """The kind of task as which a model puts the texts of a file's queries in order; None where it does not.

    Args:
        name: of the model, a folder or Hub id. A sentence encoder does where the file has a column ``query``, or those
            that it was trained on.
        path: the file.
        text: the column that is named; what an encoder gives for that are vectors, or cosines of pairs.
    """
    problem = problem_of_config(load_config(name))
    if problem.vectors:
        return problem_of_queries() if text is None and has_queries(path, columns_of(name)) else None
    return problem if problem.rows == "list" else None


def measured(predictor: Predictor, task: Task, data: Dataset) -> tuple[Predictions, dict[str, float]]:
    """A model's answers to some of a task's examples, and their scores, decided by its own thresholds if it has any.

    Args:
        predictor: its labels are in the task's order.
        task: whose metrics are asked for.
        data: the examples.
    """
    thresholds = task.problem.of_config(predictor.backend.config).thresholds
    found = predictor.answered(texts_of(data))
    if found.labels is not None:
        labels = found.labels
    else:
        labels = _labels(data, task, len(found.logits))
    predictions = Predictions.of(labels, found.logits, thresholds, found.example, found.found)
    return predictions, _scores(predictions, task, data)


def _labels(data: Dataset, task: Task, rows: int) -> NDArray[Any]:
    """Of so many rows of logits; NaN where the examples have no labels."""
    return label_array(data, task.problem) if "label" in data.column_names else np.full(rows, np.nan)


def _scores(predictions: Predictions, task: Task, data: Dataset) -> dict[str, float]:
    """None of them without labels."""
    if "label" not in data.column_names and not task.problem.labels_itself:
        return {}
    decisions = predictions.decisions(task.problem)
    scores = compute_scores(
        task.metrics,
        decisions,
        predictions.labels,
        task.problem,
        logits=predictions.logits,
        examples=predictions.rows,
        names=task.label_names,
    )
    return scores | task.problem.details(
        decisions, predictions.labels, predictions.rows, task.label_names, predictions.logits
    )
