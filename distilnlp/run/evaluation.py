"""Measures a model on a task's held-out examples."""

import tempfile
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainingArguments

from distilnlp.data import tokenize
from distilnlp.data.load import Task
from distilnlp.errors import RequestError
from distilnlp.models.labels import align_labels
from distilnlp.models.loading import load_classifier, load_tokenizer
from distilnlp.report.metrics import make_compute_metrics
from distilnlp.training.trainer import DistillationTrainer

__all__ = ["Answers", "answer", "answer_of", "evaluate_model"]


@dataclass(frozen=True)
class Answers:
    """A model's logits on the held-out examples, and the scores there and on the task's further sets."""

    logits: np.ndarray
    metrics: dict[str, float]
    extra: dict[str, dict[str, float]]


def answer(trainer: DistillationTrainer, task: Task, max_length: int | None) -> Answers:
    """Let the trainer's model answer the task's held-out examples.

    Raises:
        RequestError: the task has none.
    """
    tokenizer = trainer.processing_class
    if task.validation is None or not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise RequestError(f"task {task.name} has no held-out examples to be measured on: give a validation set")
    output = trainer.predict(trainer.eval_dataset)  # type: ignore[arg-type]  # one data set, tokenised by the trainer
    logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    extra = {}
    for name, data in task.extra.items():
        tokens = tokenize(data, tokenizer, max_length)
        extra[name] = _scores(task, trainer.predict(tokens).metrics)
    return Answers(np.asarray(logits, dtype=np.float32), _scores(task, output.metrics), extra)


def answer_of(name: str, task: Task, *, max_length: int | None, batch_size: int = 64) -> Answers:
    """The answers of a fine-tuned model, whatever order it counts the labels in.

    Args:
        name: a folder or Hub id.
        task: as `load_task` gives it.
        max_length: tokens that texts are cut to.
        batch_size: examples at a time.
    Raises:
        RequestError: no such model, no head of its own, or one for other labels.
    """
    model = load_classifier(name, require_head=True)
    outputs = task.problem.num_logits(task.label_names)
    if model.config.num_labels != outputs:
        raise RequestError(f"{name} has {model.config.num_labels} outputs and task {task.name} needs {outputs}")
    if task.label_names is not None:
        align_labels(model, task.label_names)
    with tempfile.TemporaryDirectory() as unused:
        trainer = DistillationTrainer(
            model=model,
            args=TrainingArguments(
                output_dir=unused,
                per_device_eval_batch_size=batch_size,
                disable_tqdm=True,
                report_to="none",
                dataloader_pin_memory=torch.accelerator.is_available(),
            ),
            eval_dataset=task.validation,
            processing_class=load_tokenizer(name),
            max_length=max_length,
            compute_metrics=make_compute_metrics(task.metrics, task.problem),
        )
        trainer.remove_callback(PrinterCallback)
        return answer(trainer, task, max_length)


def evaluate_model(
    name: str, task: Task, *, max_length: int | None = None, batch_size: int = 64
) -> dict[str, dict[str, float]]:
    """The scores of a fine-tuned model on each of a task's held-out sets, the first of which is ``validation``.

    Args, Raises: as `answer_of`.
    """
    answers = answer_of(name, task, max_length=max_length, batch_size=batch_size)
    return {"validation": answers.metrics, **answers.extra}


def _scores(task: Task, metrics: dict[str, float] | None) -> dict[str, float]:
    found = metrics or {}
    return {name: float(found[f"test_{name}"]) for name in task.metrics}
