"""Contrastive losses: of many texts, the student's vector has to find the teacher's of the same text."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import register_loss
from distilnlp.losses.checks import check_count, check_positive, require_module, require_teacher
from distilnlp.losses.layers import check_widths
from distilnlp.losses.pooling import unit
from distilnlp.losses.relation.base import RelationalLoss, vector_width
from distilnlp.outputs import ModelInfo

__all__ = ["CRD", "InfoNCE", "Queue"]

# Two texts whose teacher's vectors have a cosine above this are one text that stands twice.
SAME = 1 - 1e-6


class Queue(nn.Module):
    """The teacher's vectors of the latest texts; buffers, so that a checkpoint holds them.

    They are kept as the teacher gave them, before any learned map: the teacher does not change, so they never age,
    and a text that comes again is recognised. An empty place is a row of zeros.

    Args:
        size: how many texts.
        width: of a vector.
    """

    vectors: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, width))

    def push(self, vectors: Tensor) -> None:
        """Take the vectors of a batch in, ``(batch, width)``, and let the oldest go."""
        with torch.no_grad():
            # In place: DistributedDataParallel sends the buffers that it found when it was made to all processes.
            self.vectors.copy_(torch.cat([vectors, self.vectors])[: len(self.vectors)])


class _Contrast(nn.Module):
    """Two maps to vectors of one size, and a queue; each where it is wanted."""

    def __init__(self, student_width: int, teacher_width: int, dimension: int | None, queue: int) -> None:
        super().__init__()
        self.student = nn.Identity() if dimension is None else nn.Linear(student_width, dimension)
        self.teacher = nn.Identity() if dimension is None else nn.Linear(teacher_width, dimension)
        self.queue = Queue(queue, teacher_width) if queue else None


class _NoiseContrast(_Contrast):
    """With the constant ``log Z``, which is not a number until the first batch."""

    log_constant: Tensor

    def __init__(self, student_width: int, teacher_width: int, dimension: int | None, queue: int) -> None:
        super().__init__(student_width, teacher_width, dimension, queue)
        self.register_buffer("log_constant", torch.tensor(torch.nan))


@dataclass(frozen=True)
class _ContrastiveLoss(RelationalLoss):
    """Similarities of the student's vectors to the teacher's: those of the batch, then those of the queue."""

    temperature: float = 0.07
    dimension: int | None = 128
    queue: int = 0

    auxiliary: ClassVar[type[_Contrast]] = _Contrast

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("temperature", self.temperature)
        if self.dimension is not None:
            check_count("dimension", self.dimension)
        if self.queue != 0:
            check_count("queue", self.queue)

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        own, width = (vector_width(each, self.on) for each in (student, require_teacher(self.name, teacher)))
        names = ["logits"] if self.on == "logits" else [str(layer) for layer in self.pairs.student]
        return nn.ModuleDict({name: self.auxiliary(own, width, self.dimension, self.queue) for name in names})

    def compare(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        # With a queue there are negatives for a batch of one.
        return (self.relate if self.queue else super().compare)(student, teacher, module)

    def similarities(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> tuple[Tensor, Tensor]:
        """Cosines over the temperature, and which of them are of another text; both ``(batch, texts)``.

        The first ``batch`` columns are the texts of the batch, in order; the others those of the queue, into which the
        batch goes afterwards.
        """
        texts = teacher
        if isinstance(module, _Contrast) and module.queue is not None:
            # A copy: the queue changes before the backward pass.
            texts = torch.cat([teacher, module.queue.vectors.to(teacher, copy=True)])  # (texts, width)
            if module.training:
                module.queue.push(teacher)
        twice = unit(teacher) @ unit(texts).T > SAME  # (batch, texts), True for the text itself
        negative = ~twice & (texts != 0).any(dim=-1)
        if isinstance(module, _Contrast):
            student, texts = module.student(student), module.teacher(texts)  # (_, dimension)
        check_widths(self.name, student, texts)
        return unit(student) @ unit(texts).T / self.temperature, negative


@register_loss("info_nce")
@dataclass(frozen=True)
class InfoNCE(_ContrastiveLoss):
    """``-log(exp(s_i t_i / tau) / sum_j exp(s_i t_j / tau))`` of unit vectors ``s`` and ``t``, negatives in the batch.

    Depends on which examples meet in a batch: micro-batches have fewer negatives and are another loss; with several
    processes each has the negatives of its own batch. One example without a queue gives 0 and a warning.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        on: ``layers``, or ``logits``: the vectors that the models give a text, whatever their layers.
        temperature: ``tau`` > 0, dimensionless.
        dimension: size of the vectors; the auxiliary module has two linear maps to it, one for each model. None
            compares the states themselves, which must be equally wide.
        queue: how many texts of earlier batches are negatives too; 0 leaves them out.
    Shapes:
        hidden states: ``(batch, tokens, width)``, or logits: ``(batch, width)``; returns ``()``, float32.
    Units: nats per example, mean over examples and layers; ``log(batch + queue)`` where all similarities are equal.
        Not 0 where the models are equal.
    Raises:
        RequestError: ``temperature``, ``dimension`` or ``queue`` not positive; unequal widths with ``dimension=None``;
            a queue and no module.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "van den Oord et al.",
            2018,
            "Representation Learning with Contrastive Predictive Coding",
            "arXiv:1807.03748",
            where="equation 4",
            differs=(
                "A text that stands twice (cosine of the teacher's vectors above 1 - 1e-6) is no negative of itself."
            ),
        ),
        Citation(
            "Tian et al.",
            2020,
            "Contrastive Representation Distillation",
            "arXiv:1910.10699",
            differs="The embeddings, size 128 and temperature 0.07 of the authors' code.",
        ),
        Citation(
            "He et al.",
            2020,
            "Momentum Contrast for Unsupervised Visual Representation Learning",
            "arXiv:1911.05722",
            differs=(
                "A queue as theirs, but of what the teacher gave, which does not change, so that no second encoder is "
                "needed."
            ),
        ),
    )

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return None if self.dimension is None and not self.queue else super().make_module(student, teacher)

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        if self.queue:
            require_module(self.name, module, _Contrast)
        similarities, negative = self.similarities(student, teacher, module)
        itself = _itself(similarities)
        return -F.log_softmax(similarities.masked_fill(~(negative | itself), -torch.inf), dim=-1).diagonal().mean()


@register_loss("crd")
@dataclass(frozen=True)
class CRD(_ContrastiveLoss):
    """``-log h(s_i, t_i) - sum_j log(1 - h(s_i, t_j))``, ``h = e / (e + K)``, ``e = exp(s t / tau) / Z``.

    Each of the ``K`` negatives is told from the text itself by a yes or no. ``s`` and ``t`` are unit vectors out of
    linear maps. The negatives are the other texts of the batch and those of the queue. ``Z`` is the mean of
    ``exp(s t / tau)`` in the first batch, and stays. Maps, queue and ``Z`` are the auxiliary modules, one a layer;
    they live beside the student while it trains, are kept in checkpoints and never saved in it.

    Depends on which examples meet in a batch: micro-batches have other negatives and are another loss; with several
    processes all have the queue of the first.

    Args:
        layer_map: which layers; the last of each by default (see `LayerMap.from_spec`).
        pooling: ``cls``: the first token's state; ``mean``: the mean over the real tokens.
        on: ``layers``, or ``logits``: the vectors that the models give a text, whatever their layers.
        temperature: ``tau`` > 0, dimensionless.
        dimension: size of the vectors. None compares the states themselves, which must be equally wide.
        queue: how many texts of earlier batches are negatives too; 0 leaves them out, and one example then gives 0
            and a warning.
    Shapes:
        hidden states: ``(batch, tokens, width)``, or logits: ``(batch, width)``; returns ``()``, float32.
    Units: nats per example; sum over the negatives, mean over examples and layers. Not 0 where the models are equal.
    Raises:
        RequestError: ``temperature``, ``dimension`` or ``queue`` not positive; no module; unequal widths with
            ``dimension=None``.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Tian et al.",
            2020,
            "Contrastive Representation Distillation",
            "arXiv:1910.10699",
            differs=(
                "With the defaults of the authors' code, and its ``Z`` in place of the number of texts. Their "
                "negatives are drawn from a memory of the whole data set, which needs the number of each text; ours "
                "are the latest texts, as the teacher gave them, mapped anew each time. Their code adds the same loss "
                "with student and teacher exchanged, which needs a memory of the student that ages; ours has not. A "
                "text that stands twice (cosine of the teacher's vectors above 1 - 1e-6) is no negative of itself."
            ),
        ),
    )

    queue: int = 16384

    auxiliary: ClassVar[type[_Contrast]] = _NoiseContrast

    def relate(self, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
        contrast = require_module(self.name, module, _NoiseContrast)
        similarities, negative = self.similarities(student, teacher, module)
        counted = negative | _itself(similarities)
        constant = _log_mean_exp(similarities.detach(), counted)
        constant = torch.where(contrast.log_constant.isnan(), constant, contrast.log_constant).to(similarities)
        if contrast.training:
            with torch.no_grad():
                contrast.log_constant.copy_(constant)
        negatives = negative.sum(dim=-1, keepdim=True)  # (batch, 1)
        # The log odds of h. Without a negative there is nothing to tell apart: such a row is 0 below.
        odds = similarities - constant - negatives.clamp_min(1).log()
        zero = odds.new_zeros(())
        rows = F.softplus(-odds.diagonal()) + F.softplus(odds).where(negative, zero).sum(dim=-1)  # (batch,)
        return rows.where(negatives[:, 0] > 0, zero).mean()


def _itself(similarities: Tensor) -> Tensor:
    """bool, ``(batch, texts)``: True where row and column are one example."""
    return torch.eye(*similarities.shape, dtype=torch.bool, device=similarities.device)


def _log_mean_exp(values: Tensor, counted: Tensor) -> Tensor:
    return values.masked_fill(~counted, -torch.inf).flatten().logsumexp(dim=0) - counted.sum().log()
