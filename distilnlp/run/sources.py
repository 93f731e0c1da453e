"""Models from outside of a run: each is loaded once, whoever starts from it or learns from it."""

import copy
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.data.inspect import label_counts
from distilnlp.data.task import Task
from distilnlp.label_names import match_names
from distilnlp.models.labels import label_names_of, start_at_shares
from distilnlp.models.loading import load_config, load_model, load_tokenizer
from distilnlp.problems import Problem

__all__ = ["Sources", "plain_copy", "start_for"]


class Sources:
    """Models and tokenizers by folder or Hub id.

    What is still to be used is kept in memory, and nobody may change it: a stage trains a copy.

    Args:
        uses: how often each model is still to be used, by starts and teachers together.
        poolings: how the tokens of a model become a vector, by its name, where the recipe says it.
    """

    def __init__(self, uses: Mapping[str, int], poolings: Mapping[str, str] = MappingProxyType({})) -> None:
        self._uses = dict(uses)
        self._poolings = poolings
        self._kept: dict[tuple[object, ...], PreTrainedModel] = {}
        self._tokenizers: dict[str, PreTrainedTokenizerBase] = {}

    def tokenizer(self, name: str) -> PreTrainedTokenizerBase:
        """The tokenizer of a model."""
        if name not in self._tokenizers:
            self._tokenizers[name] = load_tokenizer(name)
        return self._tokenizers[name]

    def start(self, name: str, task: Task, seed: int) -> PreTrainedModel:
        """A model with a head for a task: its own where that has the task's labels, in whatever order, else a new one.

        Args:
            name: a folder or Hub id.
            task: whose labels it gets.
            seed: of what is made new.
        """
        labels = task.label_names
        config = load_config(name, problem=task.problem, pooling=self._poolings.get(name))
        fits = task.problem.fits_head(config, labels)
        if labels is not None and fits:
            own = label_names_of(config)
            fits = fits and own is not None and match_names(labels, own) is not None
        new: tuple[object, ...] = (name, seed, labels, task.problem.name, *_shares(task))
        key = _whole(name, task.problem) if fits else new
        if key not in self._kept and (name, seed) in self._kept:
            key = (name, seed)
        if key not in self._kept:
            if fits:
                return self._own((name, seed), seed=seed, require_head=False, asked=task.problem.asked_as(config))
            self._kept[key] = start_for(name, task, seed)
        return self._kept[key]

    def teacher(self, name: str, task: Task, *, head: bool = True) -> PreTrainedModel:
        """A fine-tuned model as it is.

        Args:
            name: a folder or Hub id.
            task: of whoever learns from it.
            head: whether its head is read; False takes a bare encoder too.
        Raises:
            RequestError: it has no head of its own, and one is read.
        """
        # Not what a start left under its seed: that may have a head made new.
        own = (name, "teacher" if head else "body")
        asked = task.problem.asked_as(load_config(name))
        for key in (_whole(name, asked), own):
            if key in self._kept:
                return self._kept[key]
        return self._own(own, seed=0, require_head=head, asked=asked)

    def _own(
        self, key: tuple[str, object], seed: int, *, require_head: bool, asked: Problem | None
    ) -> PreTrainedModel:
        """A model with its own head; kept for every use where all of it came from the file, else under ``key``."""
        # Vectors or words are asked for: what gives none is told how it would, and not to have a classifier trained.
        pooling = self._poolings.get(key[0]) if asked is None or asked.vectors else None
        model, whole = load_model(key[0], problem=asked, seed=seed, require_head=require_head, pooling=pooling)
        self._kept[_whole(key[0], asked) if whole else key] = model
        return model

    def used(self, name: str) -> None:
        """A use is over; after the last one the model is let go."""
        self._uses[name] = self._uses.get(name, 0) - 1
        if self._uses[name] <= 0:
            self._kept = {key: model for key, model in self._kept.items() if key[0] != name}


def _whole(name: str, asked: Problem | None) -> tuple[object, ...]:
    """The key of a model all of which came from its files: one encoder gives vectors here and reads pairs there."""
    return (name, "vectors") if asked is not None and asked.vectors else (name,)


def start_for(name: str | Path, task: Task, seed: int) -> PreTrainedModel:
    """A model with a head for a task; of several labels a new one starts at their shares."""
    model, whole = load_model(name, label_names=task.label_names, problem=task.problem, seed=seed)
    if not whole and (shares := _shares(task)):
        start_at_shares(model, *shares)
    return model


def _shares(task: Task) -> tuple[()] | tuple[tuple[int, ...], int]:
    """In how many training rows each of several labels holds, and how many there are; empty for another kind."""
    if task.train is None or not task.problem.several_labels or not task.is_labelled:
        return ()
    positives, rows = label_counts(task.labelled().train)
    return tuple(positives), rows


def plain_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy to be trained, whatever the model itself has been used for."""
    made = copy.deepcopy(model)
    made.requires_grad_(True)
    return made
