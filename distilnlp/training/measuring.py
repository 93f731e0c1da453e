"""The scores of an evaluation while training, of whole examples: the windows of a long text are joined first."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from distilnlp.data.arrow import BATCH_ROWS
from distilnlp.data.label_sets import label_array
from distilnlp.data.tokenize import reader_for
from distilnlp.errors import RunError
from distilnlp.problems import Problem
from distilnlp.report.scores import compute_scores

__all__ = ["joined_scores", "joins"]

UNSET = (0.5,)  # the threshold of a model that is to have one and whose own is chosen after the training


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
