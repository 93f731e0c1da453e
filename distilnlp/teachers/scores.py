"""A teacher that scores the texts of a query, for a student that reads queries and texts apart."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.models.checks import token_limit
from distilnlp.outputs import Needs, Outputs
from distilnlp.teachers.frozen import FrozenTeacher

__all__ = ["PairJoiner", "ScoringTeacher"]


class ScoringTeacher:
    """Gives a row of logits for each text of a query, of batches in which queries and texts are inputs of their own.

    A cross-encoder reads each query and text as the pair that its tokenizer makes of both; a bi-encoder reads the
    batch as it is.

    Args:
        teacher: whatever it is asked by itself.
        tokenizer: the student's, which makes the batches; needed where the teacher comes without its own.
    Raises:
        RequestError: a tokenizer that joins two texts in a way of its own, or none.
    """

    def __init__(self, teacher: FrozenTeacher, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        self.teacher = teacher
        self.info, self.tokenizer, self.label_names = teacher.info, teacher.tokenizer, teacher.label_names
        self.columns = frozenset(
            {"input_ids", "attention_mask", *(teacher.columns if self.info.problem.apart else ())}
        )
        self._joiner: PairJoiner | None = None
        if not self.info.problem.apart:
            tokenizer = teacher.tokenizer or tokenizer
            if tokenizer is None:
                raise RequestError(
                    f"{self.info.name} reads pairs and comes without a tokenizer: give processing_class="
                )
            self._joiner = PairJoiner.of(tokenizer, token_limit(teacher.model.config, tokenizer, None))

    @property
    def model(self) -> PreTrainedModel:
        """The model that answers."""
        model: PreTrainedModel = self.teacher.model
        return model

    def prepare(self, where: torch.device, needs: Needs) -> None:
        """As the teacher's."""
        self.teacher.prepare(where, needs)

    def release(self) -> None:
        """As the teacher's."""
        self.teacher.release()

    def reorder_labels(self, order: tuple[int, ...]) -> None:
        """As the teacher's."""
        self.teacher.reorder_labels(order)

    def __call__(self, batch: Mapping[str, Tensor]) -> Outputs:
        """The scores, ``(texts of all queries, 1)``, of a batch as `distilnlp.problems.retrieval.Retrieval` has it."""
        if self._joiner is not None:
            return self.teacher(self._joiner.pairs(batch))
        outputs = self.teacher(batch)
        logits, _ = self.info.problem.scored(outputs.get_logits(), batch)
        return dataclasses.replace(outputs, logits=logits)


@dataclass(frozen=True)
class PairJoiner:
    """Makes of the tokens of two texts those of their pair, special ones included.

    Args:
        tokenizer: of both.
        limit: tokens of a pair; one that has more loses the ends of its texts, the longer one's first.
        around: special tokens before, between and after the two texts.
        single: how many stand before and after a text alone.
        types: of each of ``around`` and, in between, of the first and of the second text; None where the model has no
            segments.
    """

    tokenizer: PreTrainedTokenizerBase
    limit: int
    around: tuple[list[int], list[int], list[int]]
    single: tuple[int, int]
    types: tuple[list[int], int, list[int], int, list[int]] | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, limit: int) -> "PairJoiner":
        """Learned from what the tokenizer makes of two short texts.

        Raises:
            RequestError: what it makes of other texts is not what was learned; a tokenizer in Python.
        """
        if not tokenizer.is_fast:
            raise RequestError(f"{type(tokenizer).__name__} does not tell its special tokens: use a fast tokenizer")
        one, two = tokenizer("a"), tokenizer("a", "b")
        alone, texts = one.sequence_ids(0), two.sequence_ids(0)
        first, second = (texts.index(0), texts.index(1))
        ends = (len(texts) - texts[::-1].index(0), len(texts) - texts[::-1].index(1))
        parts = (slice(0, first), slice(ends[0], second), slice(ends[1], None))
        ids, kinds = two["input_ids"], two.get("token_type_ids")
        made = cls(
            tokenizer,
            limit,
            (ids[parts[0]], ids[parts[1]], ids[parts[2]]),
            (alone.index(0), alone[::-1].index(0)),
            None
            if kinds is None
            else (kinds[parts[0]], kinds[first], kinds[parts[1]], kinds[second], kinds[parts[2]]),
        )
        sample = ("who is it?", "It is she, and not he.")
        ours = made.pair(*(tokenizer(text)["input_ids"] for text in sample))
        theirs = tokenizer(*sample, truncation=True, max_length=limit)
        if any(ours[name] != theirs[name] for name in ours):
            raise RequestError(
                f"{type(tokenizer).__name__} makes other tokens of a pair than of its two texts alone: a teacher that"
                " reads pairs cannot be asked with it, record its scores (distilnlp label) and learn from those"
            )
        return made

    def pair(self, first: list[int], second: list[int]) -> dict[str, list[int]]:
        """The inputs of a pair, from those of each text alone, special tokens included."""
        before, after = self.single
        first, second = first[before : len(first) - after], second[before : len(second) - after]
        room = self.limit - sum(map(len, self.around))
        if len(first) + len(second) > room:
            shorter = min(len(first), len(second), room // 2)
            if len(first) > len(second):
                first, second = first[: room - shorter], second[:shorter]
            else:
                first, second = first[:shorter], second[: room - shorter]
        start, middle, end = self.around
        found = {"input_ids": [*start, *first, *middle, *second, *end]}
        if self.types is not None:
            start, of_first, middle, of_second, end = self.types
            of_texts = [of_first] * len(first), [of_second] * len(second)
            found["token_type_ids"] = [*start, *of_texts[0], *middle, *of_texts[1], *end]
        return found

    def pairs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A padded batch with a row for each text of each query, in their order.

        Shapes:
            batch["input_ids"], batch["attention_mask"]: ``(inputs, tokens)``;
            batch["groups"]: ``(queries, 1 + texts)``, the place of the query and of each of its texts, -1 where it has
            no more.
        """
        device = batch["input_ids"].device
        real = batch["attention_mask"].bool().cpu()
        inputs = [ids[own].tolist() for ids, own in zip(batch["input_ids"].cpu(), real, strict=True)]
        rows = [
            self.pair(inputs[query], inputs[text])
            for query, *texts in batch["groups"].tolist()
            for text in texts
            if text >= 0
        ]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        padded = self.tokenizer.pad(columns, padding=True, return_tensors="pt", verbose=False)
        return {name: tensor.to(device) for name, tensor in padded.items()}
