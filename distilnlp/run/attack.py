"""How well a model answers texts of which a few words are changed so as to mislead it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from distilnlp.data.generate import whole_words
from distilnlp.data.label_sets import label_array
from distilnlp.data.task import Task
from distilnlp.errors import RequestError, unknown
from distilnlp.models.predictor import Predictor
from distilnlp.report.predictions import Predictions
from distilnlp.report.scores import compute_scores
from distilnlp.run.evaluation import predictor_for, texts_of

__all__ = ["ATTACKS", "TRIES", "Neighbours", "attacked_scores", "swapped"]

TRIES = 10  # of changing a text: a hundred texts are a thousand
SHARE = 0.1  # of the words of a text that are changed, at least one
NEAREST = 5  # words of the vocabulary that may stand for one
ATTACKS = ("word-swaps",)

Neighbours = dict[str, list[str]]


def attacked_scores(
    name: str,
    task: Task,
    attack: str,
    *,
    seed: int = 0,
    tries: int = TRIES,
    max_length: int | None = None,
    batch_size: int = 64,
) -> dict[str, float]:
    """The scores of a fine-tuned model on the held-out examples after an attack.

    Each text is changed ``tries`` times by a few words: two that meet change places, one is left out or said twice, or
    one of the vocabulary that lies near it in the model's own embeddings takes its place. What counts is the answer
    with the largest loss against the label, the text as it is among them. No answer is looked at to choose the words,
    so that all models are asked about the same changes but for the near words; a stronger attack would mislead them
    more.

    Args:
        name: a folder or Hub id.
        task: as `load_task` gives it.
        attack: one of `ATTACKS`.
        seed: of the changes.
        tries: 1 or more.
        max_length, batch_size: as for `Predictor`.
    Raises:
        RequestError: no such attack; a task without labels, or of another kind than one answer a text.
    """
    if attack not in ATTACKS:
        raise unknown("attack", attack, ATTACKS)
    data, problem = task.validation, task.problem
    if problem.rows != "text" or problem.vectors:
        raise RequestError(f"{attack} are for tasks with one answer a text or pair, and {task.name} is {problem.name}")
    if data is None or "label" not in data.column_names:
        raise RequestError(f"task {task.name} has no held-out examples with labels: there is nothing to mislead about")
    predictor, task = predictor_for(name, task, max_length=max_length, batch_size=batch_size)
    near = nearest_words(predictor)
    labels = label_array(data, problem)
    texts = [tuple(map(str, text)) for text in texts_of(data)]
    worst = predictor.logits(texts)
    highest = _losses(task, worst, labels)
    for attempt in range(tries):
        random = np.random.default_rng([seed, attempt])
        logits = predictor.logits([swapped(text, near, random) for text in texts])
        losses = _losses(task, logits, labels)
        worse = losses > highest
        worst, highest = np.where(worse[:, None], logits, worst), np.maximum(losses, highest)
    decisions = Predictions.of(labels, worst, predictor.problem.thresholds).decisions(problem)
    return compute_scores(task.metrics, decisions, labels, problem, logits=worst, names=task.label_names)


def nearest_words(predictor: Predictor) -> Neighbours:
    """For each whole word of the vocabulary those that the model's word embeddings put nearest, by cosine."""
    words, model = whole_words(predictor.tokenizer), getattr(predictor.backend, "model", None)
    if model is None or len(words) < 2:
        return {}
    ids = predictor.tokenizer(words, add_special_tokens=False)["input_ids"]
    table = model.get_input_embeddings().weight.detach().float().cpu()
    vectors = torch.nn.functional.normalize(table[torch.tensor(ids)[:, 0]], dim=-1)  # (words, width)
    found: Neighbours = {}
    for start in range(0, len(words), 1024):
        near = vectors[start : start + 1024] @ vectors.T
        near[torch.arange(len(near)), torch.arange(start, start + len(near))] = -torch.inf
        for place, others in enumerate(near.topk(min(NEAREST, len(words) - 1)).indices.tolist(), start=start):
            found[words[place]] = [words[other] for other in others]
    return found


def swapped(text: Sequence[str], near: Neighbours, random: np.random.Generator) -> tuple[str, ...]:
    """A text, or a pair of which one is drawn, with a tenth of its words changed, at least one.

    A text of one word is only exchanged for a near one, so that something is left of it.
    """
    parts = [part.split() for part in text]
    able = [place for place, words in enumerate(parts) if words]
    if not able:
        return tuple(text)
    chosen = able[int(random.integers(len(able)))]
    words = parts[chosen]
    for _ in range(max(1, round(SHARE * len(words)))):
        change = _CHANGES[int(random.integers(len(_CHANGES)))] if len(words) > 1 else _near
        place = int(random.integers(len(words)))
        words = change(words, place, near, random)
    return tuple(" ".join(words) if place == chosen else part for place, part in enumerate(text))


def _near(words: list[str], place: int, near: Neighbours, random: np.random.Generator) -> list[str]:
    others = near.get(words[place]) or near.get(words[place].lower()) or [words[place]]
    return [*words[:place], others[int(random.integers(len(others)))], *words[place + 1 :]]


def _turned(words: list[str], place: int, near: Neighbours, random: np.random.Generator) -> list[str]:
    place = min(place, len(words) - 2)
    return [*words[:place], words[place + 1], words[place], *words[place + 2 :]]


def _dropped(words: list[str], place: int, near: Neighbours, random: np.random.Generator) -> list[str]:
    return [*words[:place], *words[place + 1 :]]


def _doubled(words: list[str], place: int, near: Neighbours, random: np.random.Generator) -> list[str]:
    return [*words[: place + 1], *words[place:]]


_CHANGES: tuple[Callable[[list[str], int, Neighbours, np.random.Generator], list[str]], ...] = (
    _near,
    _turned,
    _dropped,
    _doubled,
)


def _losses(task: Task, logits: NDArray[np.float32], labels: NDArray[np.generic]) -> NDArray[np.float64]:
    """The task's own loss of each text, ``(texts,)``."""
    meant = torch.from_numpy(np.asarray(labels))
    rows = meant if meant.is_floating_point() or meant.ndim > 1 else meant[:, None]
    found = task.problem.row_loss(torch.from_numpy(logits)[:, None], rows)
    losses: NDArray[np.float64] = found.double().numpy().reshape(len(logits), -1).mean(axis=-1)
    return losses
