"""Exits at inner layers that learn from the deepest: while the whole model trains, or beside one that is frozen."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, HiddenState, Loss, Response
from distilnlp.losses.checks import check_positive
from distilnlp.models.capture import model_info
from distilnlp.models.exits import POOLINGS, Exits, check_has_answers, own_pooling, write_exits
from distilnlp.outputs import Needs
from distilnlp.part import Part, Pass, Training, register_part
from distilnlp.typed import typed

__all__ = ["EarlyExits"]


@register_part("early_exits")
class EarlyExits(Part):
    """Adds ``sum_i (1 - a) CE_i + a T^2 KL(p_L || p_i) + h MSE(F_i, F_L)`` over the exits ``i`` to the loss.

    ``CE_i`` is the task's own loss of an exit, ``p_L`` the answer of the model's own head and ``F_L`` its last hidden
    state, both without a gradient: the deepest learns from the objective alone, and nothing from an exit. For several
    labels the KL is that of each, summed. With ``freeze`` the model does not change at all, answers without dropout,
    and the exits learn ``T^2 KL(p_L || p_i)`` from it.

    Each exit is a layer with tanh and the logits, on the vector of the text that the model's own head reads. They are
    saved beside the model (``exits.safetensors``), which stays a plain one: see `distilnlp.models.exits`.

    Args:
        layers: after which layers, ascending, counted from 1; None: after each but the last.
        alpha: ``a``, 0 to 1; None: 0.5, or 1 with ``freeze``, where it cannot be anything else.
        temperature: ``T`` > 0, dimensionless.
        hint: ``h`` >= 0, in nats by squared hidden units; the mean squared error is that of `HiddenState`. It moves
            the model, not the exits.
        pooling: ``cls`` or ``mean`` (over real tokens); None: as the model's own head does.
        freeze: train the exits alone.
        weight: of all of it in the loss, > 0.
    Units: nats per example, summed over the exits.
    Source: Zhang et al. 2019, "Be Your Own Teacher", arXiv:1905.08094, equations 2 to 4 (their exits are stacks of
        convolutions); frozen: Liu et al. 2020, "FastBERT", arXiv:2004.02178, section 3.3.2 (their exits have an
        attention of their own). The exits of Xin et al. 2020, "DeeBERT", arXiv:2004.12993, learn from labels.
    Raises:
        RequestError: a value out of its range; ``alpha`` or ``hint`` with ``freeze``.
    """

    name = "early_exits"

    @typed
    def __init__(
        self,
        layers: Sequence[int] | None = None,
        alpha: float | None = None,
        temperature: float = 1.0,
        hint: float = 0.0,
        pooling: str | None = None,
        freeze: bool = False,
        weight: float = 1.0,
    ) -> None:
        if layers is not None and (not layers or list(layers) != sorted(set(layers)) or layers[0] < 1):
            raise RequestError(f"layers are counted from 1 and ascend, as [2, 4]; got {list(layers)}", key=["layers"])
        if alpha is not None and not 0 <= alpha <= 1:
            raise RequestError(f"alpha lies in 0..1; got {alpha!r}", key=["alpha"])
        if not 0 <= hint < float("inf"):
            raise RequestError(f"hint is 0 or more, and finite; got {hint!r}", key=["hint"])
        if pooling is not None and pooling not in POOLINGS:
            raise RequestError(f"pooling is {' or '.join(POOLINGS)}; got {pooling!r}", key=["pooling"])
        check_positive("temperature", temperature)
        check_positive("weight", weight)
        if freeze and (alpha not in (None, 1.0) or hint):
            key = "hint" if hint else "alpha"
            raise RequestError(
                f"with freeze the exits learn from the deepest one alone, and {key} says something else: leave {key}"
                " out",
                key=[key],
            )
        self.layers = None if layers is None else tuple(layers)
        self.alpha = (1.0 if freeze else 0.5) if alpha is None else float(alpha)
        self.temperature = float(temperature)
        self.hint = float(hint)
        self.pooling = pooling
        self.freezes = freeze
        self.weight = float(weight)
        self.exits: Exits | None = None
        self._at: tuple[int, ...] = ()
        self._deepest = 0
        self._losses: dict[str, Loss] = {}
        self._training: Training | None = None
        self._frozen: list[torch.nn.Parameter] = []

    def accept(self, student: PreTrainedModel) -> None:
        """Refuse a kind of task without an answer for each text, and layers that the student has not."""
        info = model_info(student)
        check_has_answers(info.problem)
        inner = tuple(range(1, info.layers))
        self._at, self._deepest = inner if self.layers is None else self.layers, info.layers
        if not self._at or self._at[-1] >= info.layers:
            raise RequestError(
                f"early_exits: an exit stands after one of the layers 1 to {info.layers - 1} of {info.layers}, before"
                f" the model's own head; got {list(self._at)}"
            )
        self._losses = {"soft": Response(temperature=self.temperature).resolve(info, info)}
        if self.alpha < 1:
            self._losses["hard"] = HardLabel().resolve(info, None)

    def needs_student(self) -> Needs:
        """The hidden states at the exits, and what they are compared with."""
        last = {self._deepest} if self.hint else set()
        return Needs(logits=True, hidden_states=frozenset({*self._at, *last}))

    def attach(self, training: Training) -> None:
        """Make the exits anew, and freeze the rest if it is to be."""
        student = training.student
        with torch.random.fork_rng(devices=[]):  # the student's dropout stays as it is
            torch.manual_seed(training.seed)
            info = model_info(student)
            exits = Exits(self._at, info.width, info.num_logits, self.pooling or own_pooling(student))
        self.auxiliary_modules = self.exits = exits.to(training.device)
        self._training = training
        if self.freezes:
            self._frozen = [each for each in student.parameters() if each.requires_grad]
            for parameter in self._frozen:
                parameter.requires_grad_(False)

    def on_pass(self, progress: float) -> None:
        """What is frozen answers as it will when it is used."""
        if self.freezes and self._training is not None:
            for module in self._training.student.children():
                if module is not self.exits:
                    module.eval()

    def term(self, step: Pass) -> Tensor:
        """The sum over the exits."""
        exits, own = self.exits, step.student
        if exits is None:
            raise RuntimeError("there are no exits before a training")
        deepest = own.detached()
        total = torch.zeros((), device=own.get_logits().device)
        for layer in self._at:
            hidden = own.get_hidden_state(layer)
            answer = dataclasses.replace(own, logits=exits(layer, hidden, own.attention_mask))
            total = total + self.alpha * self._losses["soft"](answer, deepest, step.batch)
            if "hard" in self._losses:
                total = total + (1 - self.alpha) * self._losses["hard"](answer, None, step.batch)
            if self.hint:
                total = total + self.hint * HiddenState(layer_map=[(layer, self._deepest)])(own, deepest, step.batch)
        return total

    def finish(self) -> None:
        """Let go of the student; the exits stay, to be saved with it."""
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._frozen, self._training = [], None

    def publish(self, folder: Path) -> None:
        """Put the exits beside a whole model; adapters alone, which stand on a base, get none."""
        if self.exits is not None and (folder / "config.json").is_file():
            write_exits(folder, self.exits)
