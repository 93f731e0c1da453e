"""Batches from tokenised examples: padded to the longest of the batch, nothing in them but tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from distilnlp.data.columns import EXAMPLE_WEIGHT
from distilnlp.data.nested import flat_rows, is_nested
from distilnlp.data.teacher_inputs import TEACHER_INPUTS, pad_own
from distilnlp.errors import RequestError
from distilnlp.problems import ALIGNMENT, IGNORED, TEACHER_LOGITS, Problem
from distilnlp.problems.masking import Masking

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

__all__ = ["Collator", "Masks", "make_collator"]

Feature = Mapping[str, object]

# Columns with a number for each token that no tokenizer pads, and what stands for padding in them.
BY_TOKEN = {"words": -1, ALIGNMENT: -1, "label_mask": 0}
# Columns with a number for each text of a query; shorter lists are filled up with IGNORED, as by Trainer.
LISTS = ("label", "labels")


def make_collator(
    tokenizer: PreTrainedTokenizerBase,
    num_labels: int | None = None,
    label_padding: int | None = None,
    problem: Problem | None = None,
) -> Collator:
    """A collator that pads each batch to its own longest example, on the side that the tokenizer pads.

    ``length`` and everything that is not a number or a list of numbers (texts, names, None) is left out. ``label``
    comes out as ``labels``: class ids int64; regression targets and multi-hot rows float32. Features without labels
    are fine. ``label_ids``, of several labels the ids of those that hold, come out as ``labels`` too: multi-hot rows,
    of NaN where they are None. ``teacher_logits``, as many numbers in each row, or in a list for each token of
    ``label_mask``, come out float32.

    Args:
        tokenizer: the one that made the features.
        num_labels: how many labels the model has; needed for ``label_ids``.
        label_padding: what stands for the label of a padded token (`Problem.label_padding`); None where labels are not
            by token.
        problem: the kind of task, where the head answers for some tokens only (`Problem.chosen`).

    Shapes:
        input_ids, attention_mask, token_type_ids, words, alignment, label_mask: ``(batch, longest of the batch)``,
        int64; ``words`` and ``alignment`` are padded with -1, which is none, ``label_mask`` with 0;
        labels: ``(batch,)``, ``(batch, labels)`` for multi-label, or ``(batch, longest of the batch)`` by token;
        teacher_logits: ``(batch, labels)``, or ``(batch, longest of the batch, labels)`` by token;
        example_weight: ``(batch,)``, float32, where the features have it.
        Of examples with several inputs each (the texts of a query) every input is a row, and there are ``groups``:
        ``(examples, most inputs of one)``, the row of each input, -1 where an example has no more; labels:
        ``(examples, most inputs of one)``, float32, filled up with -100.
        teacher_input_ids, ...: ``(texts, longest of them)``, and teacher_rows: ``(batch,)``, as
        `distilnlp.data.teacher_inputs.pad_own` makes them, where the teacher reads tokens of its own.
        head_tokens, labels, label_mask of a head that answers for some tokens only: ``(batch, rows)``.

    Raises:
        RequestError: the tokenizer has no padding token; in a batch: ``label_ids`` that are not below ``num_labels``.
    """
    from transformers import DataCollatorWithPadding

    if tokenizer.pad_token is None:
        raise RequestError(
            f"{type(tokenizer).__name__} has no padding token, which batches need: set tokenizer.pad_token"
            " (tokenizer.eos_token is the usual choice) and the model's config.pad_token_id"
        )
    padding = BY_TOKEN if label_padding is None else {**BY_TOKEN, "labels": label_padding}
    return Collator(DataCollatorWithPadding(tokenizer), num_labels, padding, problem)


class Masks:
    """The masks of a training: each input has another one in each epoch, which seed, epoch and input decide.

    So neither the number of processes or workers, nor the micro-batches, nor a break changes them.

    Args:
        masking: draws them.
        seed: of the training.
    """

    def __init__(self, masking: Masking, seed: int) -> None:
        import torch

        self.masking = masking
        self.seed = seed
        # In memory that the workers of a data loader share: those that persist are made once for all epochs.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose masks come next."""
        self._epoch.fill_(epoch)

    def __call__(self, feature: Mapping[str, object]) -> dict[str, object]:
        """The input with words hidden, and labels. Raises RequestError for one without the words of its tokens."""
        if "words" not in feature:
            raise RequestError(
                "the data set holds tokens without a column 'words', and whole words are hidden: give texts, or"
                " tokenize(..., words=True)"
            )
        ids, words = (cast("Sequence[int]", feature[name]) for name in ("input_ids", "words"))
        # 1: no number of a training is that of held-out texts.
        seen, labels = self.masking.draw(ids, words, [1, self.seed, int(self._epoch)], plain=False)
        return {**feature, "input_ids": seen.tolist(), "labels": labels.tolist()}


@dataclass(frozen=True)
class Collator:
    """Makes batches (see `make_collator`). A class, not a closure: workers that are spawned have to pickle it."""

    pad: DataCollatorWithPadding
    num_labels: int | None
    padding: Mapping[str, int]
    problem: Problem | None = None
    masks: Masks | None = None
    teacher: PreTrainedTokenizerBase | None = None

    def with_teacher(self, tokenizer: PreTrainedTokenizerBase) -> Collator:
        """The same, where rows have inputs of a teacher with this tokenizer beside those of the student."""
        return replace(self, teacher=tokenizer)

    def hiding(self, masks: Masks) -> Collator:
        """The same, which hides words of its inputs."""
        return replace(self, masks=masks)

    def __call__(self, features: Sequence[Feature]) -> dict[str, Tensor]:
        if self.masks is not None:
            features = [self.masks(feature) for feature in features]
        if features and is_nested(features[0]):
            return self._lists(features)
        kept = [{key: value for key, value in feature.items() if _is_numeric(key, value)} for feature in features]
        sets = [feature["label_ids"] for feature in features if "label_ids" in feature]
        for feature in kept:
            feature.pop("label_ids", None)
        has_own = self.teacher is not None and bool(kept) and not TEACHER_INPUTS.keys().isdisjoint(kept[0])
        own = pad_own(kept, self.teacher) if has_own and self.teacher is not None else {}
        # The tokenizer would not pad them.
        answers = [feature.pop(TEACHER_LOGITS) for feature in kept if {TEACHER_LOGITS, "label_mask"} <= feature.keys()]
        rows = {name: [feature.pop(name) for feature in kept if name in feature] for name in self.padding}
        batch = dict(self.pad(kept))
        for name, values in rows.items():
            if values:
                by_token = cast("list[Sequence[int]]", values)
                batch[name] = self._padded(by_token, batch["input_ids"].shape[1], self.padding[name])
        if answers:
            batch[TEACHER_LOGITS] = _at_tokens(answers, batch["label_mask"])
        if sets:
            batch["labels"] = self._multi_hot(cast("list[Sequence[int]]", sets))
        if "labels" in batch and batch["labels"].is_floating_point():
            batch["labels"] = batch["labels"].float()  # float64 columns would not meet float32 logits
        if EXAMPLE_WEIGHT in batch:
            batch[EXAMPLE_WEIGHT] = _checked_weights(batch[EXAMPLE_WEIGHT].float())
        if self.problem is not None and "labels" in batch:
            batch.update(self.problem.chosen(batch["labels"]))
        return batch | own

    def _lists(self, features: Sequence[Feature]) -> dict[str, Tensor]:
        """Of examples with several inputs each: every input a row, and where the inputs of each example are."""
        import torch

        sizes = [len(cast("list[list[int]]", feature["input_ids"])) for feature in features]
        starts = [sum(sizes[:place]) for place in range(len(sizes))]
        places = [[*range(start, start + size)] for start, size in zip(starts, sizes, strict=True)]
        # First, for the length of what stands first is taken for the number of examples.
        batch = {"groups": _filled(places, -1)} | self(flat_rows(features))
        for name in LISTS:
            values = [cast("list[float]", each[name]) for each in features if each.get(name) is not None]
            if values:
                batch["labels" if name == "label" else name] = _filled(values, IGNORED).to(torch.float32)
        scores = [cast("list[float]", each[TEACHER_LOGITS]) for each in features if TEACHER_LOGITS in each]
        if scores:  # as a live teacher gives them, a row for each input
            batch[TEACHER_LOGITS] = torch.tensor([[score] for own in scores for score in own])
        return batch

    def _multi_hot(self, sets: Sequence[Sequence[int]]) -> Tensor:
        import torch

        from distilnlp.data.label_sets import as_zeros_and_ones

        if self.num_labels is None:
            raise RequestError(
                "the examples have several labels, and how many there are in all is not said: give"
                " make_collator(tokenizer, num_labels=len(task.label_names))"
            )
        hot = torch.from_numpy(as_zeros_and_ones([each or () for each in sets], self.num_labels)).float()
        hot[[each is None for each in sets]] = torch.nan  # no label is known, which is not that none holds
        return hot

    def _padded(self, rows: Sequence[Sequence[int]], length: int, padding: int) -> Tensor:
        import torch

        left = self.pad.tokenizer.padding_side == "left"
        gaps = [[padding] * (length - len(row)) for row in rows]
        return torch.tensor([[*gap, *row] if left else [*row, *gap] for gap, row in zip(gaps, rows, strict=True)])


def _at_tokens(answers: Sequence[object], mask: Tensor) -> Tensor:
    """Recorded answers at the tokens that they are for, ``(batch, tokens, tags)``, and 0 elsewhere.

    Args:
        answers: of each example a list of numbers for each token that ``mask`` holds.
        mask: ``(batch, tokens)``.
    """
    import torch

    numbers = torch.tensor([row for own in cast("Sequence[list[list[float]]]", answers) for row in own])
    found = torch.zeros(*mask.shape, numbers.shape[-1])
    found[mask.bool()] = numbers
    return found


def _checked_weights(weights: Tensor) -> Tensor:
    """Those of a stream are seen here first."""
    if not bool((weights.isfinite() & (weights >= 0)).all()):
        raise RequestError(
            f"the {EXAMPLE_WEIGHT} of an example is a number of 0 or more; got {weights.tolist()!r:.200}"
        )
    return weights


def _filled(rows: Sequence[Sequence[float]], filling: int) -> Tensor:
    """The rows as one tensor, as wide as the longest."""
    import torch

    width = max(map(len, rows))
    return torch.tensor([[*row, *[filling] * (width - len(row))] for row in rows])


def _is_numeric(key: str, value: object) -> bool:
    if key == "length" or value is None or isinstance(value, (str, bytes, Mapping)):
        return False
    if isinstance(value, (list, tuple)):
        return bool(value) and not isinstance(value[0], (str, bytes, Mapping))
    return True
