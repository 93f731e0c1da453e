"""An evaluation while training: the loss of a batch, and the scores of whole examples, whose windows are joined."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from distilnlp.data.arrow import BATCH_ROWS
from distilnlp.data.label_sets import label_array
from distilnlp.data.tokenize import reader_for
from distilnlp.errors import RunError
from distilnlp.losses import HardLabel
from distilnlp.outputs import Outputs
from distilnlp.problems import Problem
from distilnlp.report.scores import compute_scores

__all__ = ["joined_scores", "joins", "logits_alone", "means_of_tasks", "measured"]

Logits = Tensor | tuple[Tensor, ...]

UNSET = (0.5,)  # the threshold of a model that is to have one and whose own is chosen after the training


def measured(problem: Problem, logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The task's own loss of a batch against its labels, ``()``, and the logits that are kept of it.

    Args:
        problem: the kind of task.
        logits: what the student gives for the inputs of the batch.
        batch: as the collator makes it.
    Returns:
        the loss is no number for vectors that are learned without labels: what is no number is the best of nothing.
    """
    logits, batch = problem.scored(logits, batch)
    problem = problem.of_batch(batch)
    loss = (
        logits.new_full((), torch.nan)
        if problem.taught_alone
        else HardLabel()(Outputs(logits=logits, problem=problem), None, batch)
    )
    kept = problem.kept(logits, batch.get("labels"))
    if "groups" in batch:  # a row for each example, as for any other kind
        kept = kept[:, 0][batch["groups"].clamp_min(0)]
    return loss, kept


def logits_alone(then: Callable[[Any, Any], Any] | None) -> Callable[[Logits, Any], Any]:
    """Of what a student returns for texts without labels, hidden states say, only the logits are gathered.

    Args:
        then: what Trainer's ``preprocess_logits_for_metrics`` is to do with them.
    """

    def take(logits: Logits, labels: Any) -> Any:
        alone = logits[0] if isinstance(logits, tuple) else logits
        return alone if then is None else then(alone, labels)

    return take


def means_of_tasks(metrics: Mapping[str, float], tasks: Sequence[str], prefix: str) -> dict[str, float]:
    """Of several tasks the mean of their losses and, where each has one, of their main scores, which come first.

    Args:
        metrics: of all, as Trainer calls them: ``eval_<task>_loss``, ``eval_<task>_accuracy``.
        tasks: those that were measured.
        prefix: ``eval``.
    """
    told = ("loss", "runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
    losses, scores = [], []
    for task in tasks:
        start = f"{prefix}_{task}_"
        # Of names that begin alike, as `mnli` and `mnli_2`, the longer one has its own.
        longer = tuple(f"{prefix}_{each}_" for each in tasks if each != task and f"{prefix}_{each}_".startswith(start))
        own = {
            k.removeprefix(start): v for k, v in metrics.items() if k.startswith(start) and not k.startswith(longer)
        }
        losses += [own["loss"]] if "loss" in own else []
        scores += [value for name, value in own.items() if name not in told][:1]
    means = {f"{prefix}_loss": losses, f"{prefix}_mean": scores}
    return {name: sum(each) / len(each) for name, each in means.items() if len(each) == len(tasks)}


def joins(problem: Problem, texts: Dataset, inputs: int) -> bool:
    """Whether the scores of these texts, which became so many inputs, are those of joined inputs."""
    whole = problem.rows in ("text", "token", "span") and not problem.labels_itself and not problem.vectors
    return whole and "label" in texts.column_names and (not problem.metrics_in_training or inputs != len(texts))


def joined_scores(
    logits: NDArray[Any],
    texts: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    problem: Problem,
    config: PreTrainedConfig,
    settings: Mapping[str, Any],
    names: Sequence[str] | None,
) -> dict[str, float]:
    """The metrics of the kind of task, as `Predictor` and the report tell them.

    Args:
        logits: of each input in the order of the texts, ``(inputs, classes)`` or padded ``(inputs, tokens, classes)``.
        texts: with the columns ``text``, maybe ``text_pair``, and ``label``.
        tokenizer, max_length, settings: that the inputs were made with (see `distilnlp.data.tokenize.tokenize`).
        problem: the kind of task.
        config: of the model, for its thresholds. Where the kind wants one for these labels and the model has none yet,
            it is 0.5.
        names: of the classes.
    Raises:
        RunError: another number of inputs than the texts make.
    """
    reader = reader_for(texts, tokenizer, max_length, problem, settings, held_out=True)
    rows: list[NDArray[Any]] = []
    found: list[str] = []
    at = 0
    for start in range(0, len(texts), BATCH_ROWS):
        batch = texts[start : start + BATCH_ROWS]
        encoded = reader.encode(batch)
        own = [
            _unpadded(each, len(ids), tokenizer.padding_side)
            for each, ids in zip(logits[at : at + len(encoded.example)], encoded.columns["input_ids"], strict=False)
        ]
        at += len(encoded.example)
        if len(own) < len(encoded.example):
            break
        joined = reader.join(encoded, own)
        rows += joined.rows
        pairs = [batch[name] for name in ("text", "text_pair") if name in batch]
        found += problem.found(list(zip(*pairs, strict=True)), joined.spans) or []
    if at != len(logits):
        raise RunError(f"{len(logits)} inputs were evaluated, and the texts make others: they cannot be joined")
    labels = label_array(texts, problem)
    decided = problem.of_config(config)
    if decided.thresholds is None and problem.wants_thresholds(lambda: labels) and not problem.several_labels:
        decided = problem.decided_by(UNSET)
    together, examples = np.concatenate(rows), np.repeat(np.arange(len(rows)), list(map(len, rows)))
    decisions = decided.decisions(together, found or None)
    metrics = problem.metrics_for(names)
    scores = compute_scores(metrics, decisions, labels, problem, logits=together, examples=examples, names=names)
    return {**scores, **problem.details(decisions, labels, examples, names, together)}


def _unpadded(logits: NDArray[Any], tokens: int, side: str) -> NDArray[Any]:
    if logits.ndim == 1:
        return logits
    return logits[-tokens:] if side == "left" else logits[:tokens]
