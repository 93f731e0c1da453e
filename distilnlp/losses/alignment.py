"""Outputs of two models that read other tokens, made comparable by the pieces of text that both cut alike."""

import dataclasses
from functools import cached_property

import torch
from torch import Tensor

from distilnlp.losses.base import Batch, Loss, without_padding
from distilnlp.outputs import Outputs, at_least_float32
from distilnlp.problems import ALIGNMENT, IGNORED, TEACHER_ALIGNMENT

__all__ = ["Comparable", "at_students_tokens", "mean_pieces"]

Sides = tuple[Outputs, Outputs | None, Batch]


class Comparable:
    """The outputs of two models for one batch, as each loss can compare them.

    Where both read the same tokens that is as they are. Where the batch has an alignment
    (`distilnlp.data.alignment.align_tokens`), a loss that compares hidden states token by token gets the mean of each
    piece's tokens, of both models, and the piece in place of the token; a head by token is compared at each of the
    student's tokens with what the teacher says at the first token of the same piece.

    Args:
        student, teacher, batch: as for a `Loss`; ``batch["alignment"]``: ``(batch, student's tokens)``,
            ``batch["teacher_alignment"]``: ``(batch, teacher's tokens)``.
    """

    def __init__(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> None:
        self.student, self.teacher, self.batch = student, teacher, batch

    def of(self, loss: Loss) -> Sides:
        """What a loss is called with: the two outputs and the batch; no teacher where it reads none."""
        if not loss.uses_teacher:
            return self.student, None, self.batch
        if self.teacher is None or TEACHER_ALIGNMENT not in self.batch:
            return self.student, self.teacher, self.batch
        if loss.by_token and self.student.hidden_states:
            return self._by_piece
        if self.teacher.logits is not None and self.teacher.logits.ndim == 3:
            return self._at_students_tokens
        return self.student, self.teacher, self.batch

    @property
    def _alignments(self) -> tuple[Tensor, Tensor]:
        return self.batch[ALIGNMENT], self.batch[TEACHER_ALIGNMENT]

    @cached_property
    def _by_piece(self) -> Sides:
        own, theirs = self._alignments
        # No more than either has tokens; how many there are, nobody has to look up on the device.
        count = min(own.shape[1], theirs.shape[1])
        numbers = torch.arange(count, device=own.device)
        real = (own[:, None] == numbers[:, None]).any(dim=-1)  # (batch, pieces)
        sides = []
        for outputs, alignment in ((self.student, own), (self.teacher, theirs)):
            states = outputs.hidden_states.items() if outputs is not None else ()
            sides.append(
                Outputs(
                    logits=outputs.logits if outputs is not None and _of_texts(outputs.logits) else None,
                    hidden_states={layer: mean_pieces(each, alignment, count) for layer, each in states},
                    attention_mask=real.long(),
                    words=torch.where(real, numbers, -1),
                    weights=self.student.weights,
                    problem=self.student.problem,
                )
            )
        return sides[0], sides[1], self.batch

    @cached_property
    def _at_students_tokens(self) -> Sides:
        if self.teacher is None or self.teacher.logits is None:
            return self.student, self.teacher, self.batch
        logits, counts = at_students_tokens(self.teacher.logits, self.batch)
        labels = self.batch.get("labels")
        if "label_mask" in self.batch:
            counts = counts & self.batch["label_mask"].bool()
        elif labels is not None and labels.shape == counts.shape:
            counts = counts & (labels != IGNORED)
        teacher = dataclasses.replace(self.teacher, logits=logits)
        return self.student, teacher, {**self.batch, "label_mask": counts}


def at_students_tokens(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """What a teacher of other tokens says at each of the student's: that of its first token of the same piece.

    Args:
        logits: ``(batch, teacher's tokens, classes)``.
        batch: with the alignment.
    Returns:
        ``(batch, student's tokens, classes)``; and of which of these the teacher has read anything,
        ``(batch, student's tokens)``.
    """
    own, theirs = batch[ALIGNMENT], batch[TEACHER_ALIGNMENT]
    same = (own[:, :, None] == theirs[:, None]) & (own >= 0)[:, :, None]  # (batch, tokens, teacher's tokens)
    first = same.int().argmax(dim=-1)[..., None].expand(-1, -1, logits.shape[-1])
    return logits.gather(1, first), same.any(dim=-1)


def mean_pieces(states: Tensor, alignment: Tensor, pieces: int) -> Tensor:
    """The mean state of each piece's tokens, ``(batch, pieces, width)``, at least float32; 0 for one without a token.

    Args:
        states: ``(batch, tokens, width)``.
        alignment: ``(batch, tokens)``, the number of each token's piece; below 0 for none.
        pieces: how many are numbered at most.
    """
    numbers = torch.arange(pieces, device=alignment.device)
    tokens = alignment[:, None] == numbers[:, None]  # (batch, pieces, tokens)
    shares = tokens / tokens.sum(dim=-1, keepdim=True).clamp_min(1)
    kept = without_padding(at_least_float32(states), alignment >= 0)
    return shares.to(kept.dtype) @ kept


def _of_texts(logits: Tensor | None) -> bool:
    return logits is not None and logits.ndim == 2
