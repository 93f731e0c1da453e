"""What a part is: something that hangs on the student while it learns, and is gone afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from distilnlp.losses import Objective
from distilnlp.outputs import ModelInfo, Needs, Outputs
from distilnlp.registry import Registry

__all__ = ["PARTS", "Part", "Pass", "Training", "register_part"]


@dataclass(frozen=True)
class Training:
    """What a part is told of the training that begins.

    Args:
        model: the model that the trainer calls: a model of transformers, or a PeftModel around one.
        student: the model of transformers itself (the same, without PEFT).
        device: where both are.
        seed: of the training; draw from a generator of your own, so that the student's dropout stays as it is.
        teacher: who teaches, prepared; None without one.
        objective: what is minimised, resolved; None where a part is attached outside of a trainer.
        arguments: of the trainer; None as well.
        evaluates: whether there are data to evaluate on.
        steps: optimizer steps of the whole training; 0 where that is not known.
    """

    model: nn.Module
    student: PreTrainedModel
    device: torch.device
    seed: int
    teacher: Any = None  # not `Teacher`: a teacher may be a part
    objective: Objective | None = None
    arguments: TrainingArguments | None = None
    evaluates: bool = False
    steps: int = 0


@dataclass(frozen=True)
class Pass:
    """A forward pass of the student in training, as the term of a part sees it.

    Args:
        model: the model that the trainer calls. Called again, it answers as usual, and nothing is captured.
        student: what the student gave: what the objective and all parts need of it; gradients flow into it.
        teacher: what the teacher gave; None without one, or where nobody reads it at this step. Never a tuple: parts
            that read the teacher are refused where it gives one.
        batch: the batch, with the columns that anyone reads.
        progress: the share of the training that is over, 0 <= progress < 1.
    """

    model: nn.Module
    student: Outputs
    teacher: Outputs | None
    batch: Mapping[str, Tensor]
    progress: float


@runtime_checkable
class Part(Protocol):
    """Follows a training. Subclass it and write what you need: every method has a default that does nothing.

    The order: `accept` and `meet` when the trainer is made; then for every training `attach`, `load_state` if it is
    resumed, `on_pass` before each forward pass and `term` in it where ``weight`` is above 0, `on_step` after each
    optimizer step, `on_evaluate` after each evaluation, `state` whenever a checkpoint is written, and `finish`;
    `publish` when the model is saved. A teacher may be a part too (`EMATeacher` is one).

    Attributes:
        name: of the part in checkpoints and messages, unique in a training: letters, digits and underscores.
        auxiliary_modules: modules that are trained with the student; read after `attach`. While the training lasts
            they are a child of the model, so that the optimizer and DistributedDataParallel see their parameters, and
            they are in no model that is saved. Call them within the student's own forward pass (from a hook, or in
            `term`), or the processes of a distributed training drift apart.
        weight: of what `term` gives in the loss; 0: there is no term.
        uses_teacher: whether the teacher's outputs are read, by `term` or otherwise.
        holds_teacher: whether it works with the teacher itself, which need not be asked for that.
        freezes: whether it takes weights of the student out of the training, for a time or altogether. Then hidden
            states without a gradient are no mistake.
        reshapes: whether `finish` leaves a student with fewer weights than it was trained with.
        alone: whether in this pass its term alone trains the student; the objective is no more than measured.
        within: of a teacher that is a part: it is asked within the student's forward pass, as it has to be where it
            learns along.
        of_model: whether its constructor takes, first and by position alone, a model and its tokenizer, both None
            where they are not known yet; a recipe names the model in the part's settings, as ``model``.
        own_tokenizer: that of such a model, where it reads and writes the student's tokens; None without one.
        one_answer: of a teacher that is a part: whether it gives one answer at every step. One that does not gives a
            tuple: of several answers each term is the mean, and where it has none (an empty tuple) the terms that
            read it count as 0; an objective that would train nothing then is refused.
    """

    name: str
    auxiliary_modules: nn.Module | None = None
    weight: float = 0.0
    uses_teacher: bool = False
    holds_teacher: bool = False
    freezes: bool = False
    reshapes: bool = False
    alone: bool = False
    within: bool = False
    of_model: bool = False
    own_tokenizer: PreTrainedTokenizerBase | None = None
    one_answer: bool = True

    def accept(self, student: PreTrainedModel) -> None:
        """Refuse a student that cannot be followed. Raises RequestError."""
        return

    def meet(self, teacher: ModelInfo | None) -> None:
        """Get to know the sizes of the teacher; None without one. Raises RequestError for one that does not fit."""
        return

    def needs_student(self) -> Needs:
        """What `term` reads of the student; asked after `accept` and `meet`."""
        return Needs()

    def needs_teacher(self) -> Needs:
        """What `term` reads of the teacher."""
        return Needs()

    def attach(self, training: Training) -> None:
        """A training begins: hang on the student what is needed. Called again for the new student of every trial.

        Raises:
            RequestError: it cannot work; nothing has been trained yet.
        """
        return

    def term(self, step: Pass) -> Tensor:
        """What the part adds to the loss, ``()``: a mean over the examples of the batch, before its ``weight``."""
        raise RuntimeError(f"{type(self).__name__} has a weight and does not say what it adds to the loss")

    def on_pass(self, progress: float) -> None:
        """A forward pass in training begins, after a share ``progress`` of it, 0 <= progress < 1."""
        return

    def on_step(self, progress: float) -> None:
        """An optimizer step is done, and with it a share ``progress`` of the training, 0 < progress <= 1."""
        return

    def on_evaluate(self, metrics: Mapping[str, float]) -> None:
        """The student was evaluated while it learns. ``metrics``: as Trainer logs them (``eval_accuracy``, ...)."""
        return

    def state(self) -> Mapping[str, Tensor]:
        """All that a resumed training needs besides the student; a number is a tensor of shape ``()``.

        By default that of the auxiliary modules. In several processes it is the first one's that is saved.
        """
        return {} if self.auxiliary_modules is None else self.auxiliary_modules.state_dict()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave, with the same keys and shapes."""
        if self.auxiliary_modules is not None:
            self.auxiliary_modules.load_state_dict(dict(state))

    def finish(self) -> None:
        """The training is over or broken off: leave the student plain. Called once for each `attach`."""
        return

    def hear(self, student: Outputs) -> None:
        """Of a teacher that is asked within the student's pass: what the student gave, just before it is asked."""
        return

    def candidates(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Weights that the student may end with in place of its own, by a name for each; asked after `finish`.

        Parameters and buffers, by their names in the student. Where a part gives any, the trainer scores the student
        and each of them on the evaluation data (``Training.evaluates``), and the student takes those of the best.
        """
        return {}

    def publish(self, folder: Path) -> None:
        """The model was saved into ``folder`` when a training was over: add what the part leaves beside it."""
        return


PARTS: Registry[Part] = Registry("part")
register_part = PARTS.register
