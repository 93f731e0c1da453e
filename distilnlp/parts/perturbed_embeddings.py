"""The student answers, of texts moved a little in its embedding space, what the teacher answers of the texts."""

import dataclasses
import inspect
import math
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.losses import Loss, get_loss
from distilnlp.models.capture import model_info
from distilnlp.models.encoder import moved_words, word_table
from distilnlp.models.heads import head_logits
from distilnlp.outputs import Needs, Outputs
from distilnlp.part import Part, Pass, Training, register_part
from distilnlp.problems import problem_of_config
from distilnlp.typed import typed

__all__ = ["PerturbedEmbeddings"]


@register_part("perturbed_embeddings")
class PerturbedEmbeddings(Part):
    """Adds ``weight * L(S(x + delta), T(x))``, with the ``delta`` of a small norm that makes it large.

    ``L`` is the loss between logits that fits the head (``response``: for classes ``T^2 KL``). ``delta`` is added to
    the word embeddings of the real tokens of each text; it starts at 0 and takes ``steps`` steps of ``step_size``
    along the gradient of the loss, scaled to length 1 for each text, and is scaled back where its norm over all tokens
    of the text passes ``epsilon``. The teacher reads the texts as they are.

    With ``hard_label: {weight: 1 - a}`` as the objective and ``weight: a`` it is adversarially robust distillation.

    Args:
        weight: of the term, above 0.
        epsilon: 0 or more, in units of the embeddings: the largest norm of ``delta``. At 0 the student's own answers
            are compared, and the training is plain distillation to the bit.
        steps: of the ascent, 1 or more; each is a forward and a backward pass of the student more, beside the pass
            that is learned from.
        step_size: above 0, in units of the embeddings; default: ``1.5 * epsilon / steps``.
        temperature: of the soft targets, as for ``response``.
    Source: Goldblum et al. 2020, "Adversarially Robust Distillation", arXiv:1905.09747, equation 4, whose ``delta`` is
        in a box of pixels and raises the loss of the label; here it is of words and raises what is learned. The scaled
        steps in the embeddings are those of Zhu et al. 2020 (FreeLB), arXiv:1909.11764, who start at random.
    Raises:
        RequestError: a setting out of its range; a student that reads queries and texts apart, or hidden words.
    """

    name = "perturbed_embeddings"
    uses_teacher = True

    @typed
    def __init__(
        self,
        weight: float = 0.5,
        epsilon: float = 0.5,
        steps: int = 1,
        step_size: float | None = None,
        temperature: float | None = None,
    ) -> None:
        for key, value in (("weight", weight), ("epsilon", epsilon), ("step_size", step_size)):
            lowest = key == "epsilon"
            if value is not None and (not math.isfinite(value) or value < 0 or (value == 0 and not lowest)):
                raise RequestError(f"{key} must be {'0 or more' if lowest else 'above 0'}; got {value!r}", key=[key])
        if steps < 1:
            raise RequestError(f"steps must be 1 or more; got {steps!r}", key=["steps"])
        self.weight = float(weight)
        self.epsilon = float(epsilon)
        self.steps = steps
        self.step_size = 1.5 * self.epsilon / steps if step_size is None else float(step_size)
        self._loss: Loss = get_loss("response", temperature=temperature)
        self._student: PreTrainedModel | None = None
        self._columns: frozenset[str] = frozenset()

    def accept(self, student: PreTrainedModel) -> None:
        """Refuse what has no answers of its own to a text."""
        problem = problem_of_config(student.config)
        if problem.apart or problem.labels_itself:
            raise RequestError(
                f"{self.name} moves texts that a head answers, and the student is for {problem.name}: leave it out"
            )
        info = model_info(student)
        self._loss = self._loss.resolve(info, info)

    def needs_student(self) -> Needs:
        """Its logits."""
        return Needs(logits=True)

    def needs_teacher(self) -> Needs:
        """Its logits."""
        return Needs(logits=True)

    def attach(self, training: Training) -> None:
        """Note whose word embeddings are moved."""
        self._student = training.student
        self._columns = frozenset(inspect.signature(training.student.forward).parameters) - {"labels"}

    def finish(self) -> None:
        """Let go of the student."""
        self._student = None

    def term(self, step: Pass) -> Tensor:
        """The loss of the moved texts, ``()``."""
        if self.epsilon == 0:
            return self._compared(step, step.student.get_logits())
        delta = self.perturbation(step)
        return self._compared(step, self._answers(step, delta))

    def perturbation(self, step: Pass) -> Tensor:
        """``delta``, ``(batch, tokens, width)``, with a norm of at most ``epsilon`` for each text; no gradient."""
        real = step.batch["attention_mask"].bool()[..., None]  # (batch, tokens, 1)
        delta = self._still(step)
        for _ in range(self.steps):
            moved = delta.requires_grad_()
            # The gradient of each text is scaled to length 1, so that it moves as it would alone in its batch.
            alone = dataclasses.replace(step.student, weights=None)
            value = self._compared(dataclasses.replace(step, student=alone), self._answers(step, moved))
            (gradient,) = torch.autograd.grad(value, moved)
            gradient = gradient.where(real, 0.0)
            size = torch.linalg.vector_norm(gradient, dim=(1, 2), keepdim=True)
            delta = moved.detach() + self.step_size * gradient / size.clamp_min(torch.finfo(gradient.dtype).tiny)
            norm = torch.linalg.vector_norm(delta, dim=(1, 2), keepdim=True)
            delta = delta * (self.epsilon / norm.clamp_min(torch.finfo(delta.dtype).tiny)).clamp_max(1.0)
        return delta

    def _still(self, step: Pass) -> Tensor:
        """Zeros of the shape of the word embeddings."""
        ids = step.batch["input_ids"]
        return torch.zeros(*ids.shape, word_table(self._attached).shape[-1], device=ids.device)

    def _answers(self, step: Pass, delta: Tensor) -> Tensor:
        """The student's logits of the texts moved by ``delta``."""
        inputs: Mapping[str, Tensor] = {name: step.batch[name] for name in step.batch if name in self._columns}
        with moved_words(self._attached, delta):
            return head_logits(step.model(**inputs))

    @property
    def _attached(self) -> PreTrainedModel:
        if self._student is None:
            raise RuntimeError("attach() the part before its first term")
        return self._student

    def _compared(self, step: Pass, logits: Tensor) -> Tensor:
        moved: Outputs = dataclasses.replace(step.student, logits=logits)
        return self._loss(moved, step.teacher, step.batch)
