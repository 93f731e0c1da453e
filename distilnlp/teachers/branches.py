"""A teacher that the student grows: more branches on its lower layers, and a gate that mixes the answers of all."""

import copy
import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, Loss, Objective
from distilnlp.losses.checks import check_positive
from distilnlp.losses.pooling import pool
from distilnlp.models.capture import Capture, model_info
from distilnlp.models.encoder import layer_prefix, layer_stack
from distilnlp.models.heads import head_logits, model_from_config
from distilnlp.models.labels import label_names_of
from distilnlp.outputs import ModelInfo, Needs, Outputs
from distilnlp.part import Part, Pass, Training
from distilnlp.teachers.base import register_teacher
from distilnlp.teachers.student_copy import check_count, load_tensors, tensors_of
from distilnlp.typed import typed

__all__ = ["Branches", "mixed"]


@register_teacher("branches")
class Branches(Part):
    """Branches of the student that teach one another, by way of a gate that mixes their answers (ONE).

    Each branch has last layers and a head of its own, on lower layers that all share; the student's own are one of
    them. ``z_e = sum_i g_i z_i`` is the teacher's answer, with ``g`` the softmax of a linear map of the mean state of
    the last shared layer. Every branch minimises the student's objective against it, and the loss has the task's own
    loss of ``z_e`` besides, from which the gate learns. With ``hard_label`` and ``response`` of temperature 3, both of
    weight 1, that is ``sum_i CE(z_i) + CE(z_e) + T^2 sum_i KL(p_e || p_i)``, ``p_e`` without a gradient.

    All are trained by the student's optimizer and kept in checkpoints. The model that is saved has one branch and is
    as large as ever. After the training `models` are all branches as plain models, and `ensemble` answers by the gate.

    Args:
        count: branches beside the student's own, 1 or more.
        layers: how many of the last layers each branch has for its own, 1 or more; one layer at least is shared.
        start: ``head``: a branch begins with the student's layers and a head that is drawn anew; ``random``: all that
            is its own is drawn.
        ensemble_weight: of the loss of ``z_e``, > 0.
        saved: ``first``: the student is the model that is saved. ``best``: it ends with the branch that scores best on
            the evaluation data, by ``metric_for_best_model``.
    Source: Lan et al. 2018, "Knowledge Distillation by On-the-Fly Native Ensemble", arXiv:1806.04606, equations 3 to
        8, whose gate is of convolution features and has a batch norm and a ReLU before the softmax.
    Raises:
        RequestError: a number out of its range; a student that learns no answers from labels (hidden words, vectors),
            whose layers share their weights, or that has none to share; when a training begins: adapters, an objective
            that compares more than logits or has no term on the labels, ``saved: best`` without data to evaluate on.
    """

    of_others = False
    name = "branches"
    weight = 1.0
    within = True

    info: ModelInfo
    columns: frozenset[str]

    @typed
    def __init__(
        self,
        count: int = 2,
        layers: int = 1,
        start: Literal["head", "random"] = "head",
        ensemble_weight: float = 1.0,
        saved: Literal["first", "best"] = "first",
    ) -> None:
        check_count("count", count)
        check_count("layers", layers)
        check_positive("ensemble_weight", ensemble_weight)
        self.count = count
        self.layers = layers
        self.start = start
        self.ensemble_weight = float(ensemble_weight)
        self.saved = saved
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.label_names: tuple[str, ...] | None = None
        self._needs = Needs()
        self._objective: Objective | None = None
        self._of_labels: Loss = HardLabel()
        self._student: PreTrainedModel | None = None
        self._branches: list[PreTrainedModel] = []  # with nothing of what is shared
        self._of_losses: list[nn.ModuleDict] = []
        self._gate: nn.Linear | None = None
        self._shared: dict[str, Any] = {}  # what the shared modules gave in this pass, by their names
        self._handles: list[RemovableHandle] = []
        self._heard: Outputs | None = None
        self._of_pass: list[Outputs] = []
        self._mixed: Outputs | None = None
        self._left: list[dict[str, Tensor]] = []  # the weights of each branch as a whole model, the student's first
        self._config: PreTrainedConfig | None = None
        self._models: tuple[PreTrainedModel, ...] = ()

    @property
    def models(self) -> tuple[PreTrainedModel, ...]:
        """Each branch as a whole model, the student's own first, as they were when the training ended."""
        if self._config is None:
            raise RuntimeError("there are no branches before the end of a training")
        if not self._models:
            self._models = tuple(_whole(self._config, weights) for weights in self._left)
        return self._models

    @torch.no_grad()
    def ensemble(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The logits that the gate mixes of all branches, ``(batch, classes)`` or as the head has them."""
        capture = Capture(self.models[0].eval(), self._needs_of_gate())
        try:
            first = capture.run(batch)
        finally:
            capture.remove()
        known = {name: tensor for name, tensor in batch.items() if name in self.columns and name != "labels"}
        others = [head_logits(model.eval()(**known)) for model in self.models[1:]]
        return mixed([first.get_logits(), *others], self._gates(first))

    # ---- as a teacher ----

    def prepare(self, where: torch.device, needs: Needs) -> None:
        """Note what is needed; the branches are made when the training begins."""
        self._needs = needs

    def reorder_labels(self, order: tuple[int, ...]) -> None:
        """Their labels are the student's. Raises RuntimeError."""
        raise RuntimeError("branches count their labels as the student does")

    def release(self) -> None:
        """Nothing was taken before the training."""
        return

    def hear(self, student: Outputs) -> None:
        """Note what the student's own branch gave."""
        self._heard = student

    def __call__(self, batch: Mapping[str, Tensor]) -> Outputs:
        """What the gate mixes of all branches, cut off from their gradients."""
        if self._heard is None:
            raise RuntimeError("branches answer while their student trains")
        own = self._heard
        known = {name: tensor for name, tensor in batch.items() if name in self.columns and name != "labels"}
        self._of_pass = [dataclasses.replace(own, logits=head_logits(each(**known))) for each in self._branches]
        answers = [each.get_logits() for each in (own, *self._of_pass)]
        self._mixed = dataclasses.replace(own, logits=mixed(answers, self._gates(own)))
        return self._mixed.detached()

    def _gates(self, own: Outputs) -> Tensor:
        """How much each branch counts in each text, ``(batch, branches)``: a softmax."""
        if self._gate is None:
            raise RuntimeError("there is no gate before a training")
        (layer,) = self._needs_of_gate().hidden_states
        gates: Tensor = self._gate(pool(own, layer, "mean").to(self._gate.weight.dtype))
        return gates.float().softmax(dim=-1)

    def _needs_of_gate(self) -> Needs:
        return Needs(logits=True, hidden_states=frozenset({self.info.layers - self.layers}))

    # ---- as a part of the training ----

    @staticmethod
    def info_of(student: ModelInfo, others: Sequence[ModelInfo]) -> ModelInfo:
        """Their sizes are the student's."""
        return dataclasses.replace(student, name=f"branches of {student.name}")

    def accept(self, student: PreTrainedModel) -> None:
        """Read and answer what the student does. Raises RequestError for one that has no place for branches."""
        own = model_info(student)
        self.info = self.info_of(own, ())
        self.columns = frozenset(inspect.signature(student.forward).parameters)
        self.label_names = label_names_of(student)
        problem = own.problem
        if problem.labels_itself or problem.vectors or problem.apart:
            raise RequestError(
                f"branches mix the answers that heads give to labelled texts, and the student is for {problem.name}:"
                " take another teacher"
            )
        if len(layer_stack(student)) < own.layers:
            raise RequestError(
                f"branches have layers of their own, and those of {own.name} share their weights: take a student with"
                " weights for each"
            )
        if self.layers >= own.layers:
            way_out = (
                f"set layers to {own.layers - 1} or less" if own.layers > 1 else "take peers, which share nothing"
            )
            raise RequestError(
                f"branches with {self.layers} of their own share no layer of {own.name}, which has {own.layers}:"
                f" {way_out}",
                key=["layers"],
            )
        self._of_labels = HardLabel().resolve(own, None)

    def needs_student(self) -> Needs:
        """Its logits, and what the gate reads."""
        return self._needs_of_gate()

    def attach(self, training: Training) -> None:
        """Make the branches and the gate. Raises RequestError as the class says."""
        student = training.student
        self._objective = self._check(training)
        self._student, self._models, self._left, self._config = student, (), [], None
        lower = _lower_modules(student, self.info.layers - self.layers)
        self._branches = [self._made(training, number, lower) for number in range(self.count)]
        self._handles = [module.register_forward_hook(self._noting(name)) for name, module in lower.items()]
        with torch.random.fork_rng(devices=[]):  # the student's dropout stays as it is
            torch.manual_seed(training.seed)
            self._gate = nn.Linear(self.info.width, 1 + self.count).to(training.device)
            self._of_losses = [
                self._objective.make_modules(self.info, self.info).to(training.device) for _ in self._branches
            ]
        self.auxiliary_modules = nn.ModuleDict(
            {
                "models": nn.ModuleList(self._branches),
                "gate": self._gate,
                "of_losses": nn.ModuleList(self._of_losses),
            }
        )

    def _check(self, training: Training) -> Objective:
        objective = training.objective
        if objective is None or training.teacher is not self:
            raise RequestError("branches are the teacher of their student, and no other part: give them as teacher=")
        if training.model is not training.student:
            raise RequestError("branches have whole layers, and this student trains adapters: leave lora (peft) out")
        if self.saved == "best" and not training.evaluates:
            raise RequestError("saved is best, and there are no data to find the best by: give an evaluation set")
        if self._needs != Needs(logits=True) or objective.needs_student().layers:
            raise RequestError("branches answer with logits, and the objective compares more: leave the rest out")
        objective.check_trains_alone()
        return objective

    def _made(self, training: Training, number: int, lower: Mapping[str, nn.Module]) -> PreTrainedModel:
        """A branch: a copy of the student in which what is shared is what the student's modules gave."""
        student = training.student
        stand_ins = {id(module): _Shared(module, name, self._shared) for name, module in lower.items()}
        made = copy.deepcopy(student, stand_ins)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed + 1 + number)
            drawn = tensors_of(model_from_config(copy.deepcopy(student.config)))
        kept = f"{student.base_model_prefix}." if self.start == "head" else ()
        own = tensors_of(made)
        load_tensors(made, {name: own[name] if name.startswith(kept) else drawn[name] for name in own})
        made.train()
        return made

    def _noting(self, name: str) -> Any:
        def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if module.training and self._student is not None and self._student.training:
                self._shared[name] = output

        return note

    def term(self, step: Pass) -> Tensor:
        """The other branches' losses, summed, and that of what the gate mixes."""
        if self._objective is None:
            raise RuntimeError("branches learn in a training")
        if self._mixed is None:  # the student's objective reads no teacher at this step
            self.hear(step.student)
            self(step.batch)
        told = self._mixed
        if told is None:
            raise RuntimeError("branches have answered")
        total = self.ensemble_weight * self._of_labels(told, None, step.batch)
        for own, modules in zip(self._of_pass, self._of_losses, strict=True):
            total = total + self._objective(own, told.detached(), step.batch, modules, step.progress)[0]
        self._forget_pass()
        return total

    def _forget_pass(self) -> None:
        self._heard, self._of_pass, self._mixed = None, [], None
        self._shared.clear()

    def finish(self) -> None:
        """Keep the branches as whole models, and let go of the student."""
        while self._handles:
            self._handles.pop().remove()
        if self._student is not None and len(self._branches) == self.count:
            first = {name: tensor.detach().clone() for name, tensor in tensors_of(self._student).items()}
            self._left = [first, *({**first, **tensors_of(branch)} for branch in self._branches)]
            self._config = copy.deepcopy(self._student.config)
        self._student = self._objective = self.auxiliary_modules = None
        self._branches, self._of_losses = [], []
        self._forget_pass()

    def candidates(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The weights of the student with each other branch, where the best is to be saved."""
        if self.saved == "first":
            return {}
        return {f"branch_{place}": weights for place, weights in enumerate(self._left[1:], start=1)}


class _Shared(nn.Module):
    """Stands in a branch for a module that it shares with the student, and gives what that gave.

    Args:
        stands_for: the module; what the model reads of it beside its parameters is kept.
        name: of the module in the student.
        given: what the student's modules gave, by name.
    """

    def __init__(self, stands_for: nn.Module, name: str, given: Mapping[str, Any]) -> None:
        super().__init__()
        self.__dict__.update(
            {key: value for key, value in vars(stands_for).items() if not key.startswith("_") and key != "training"}
        )
        self._name = name
        self._given = given

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._given[self._name]


def mixed(logits: Sequence[Tensor], gates: Tensor) -> Tensor:
    """``sum_i g_i z_i``, float32.

    Args:
        logits: of each branch, ``(batch, ...)``.
        gates: ``(batch, branches)``.
    """
    stacked = torch.stack([each.float() for each in logits])  # (branches, batch, ...)
    return (gates.float().T.reshape(*stacked.shape[:2], *[1] * (stacked.ndim - 2)) * stacked).sum(dim=0)


def _lower_modules(student: PreTrainedModel, shared: int) -> dict[str, nn.Module]:
    """What the branches have in common: the embeddings, whatever fits them to the layers, and the first layers."""
    base = student.base_model
    before = "" if base is student else f"{student.base_model_prefix}."
    lower = {before + name: child for name, child in base.named_children() if name.startswith("embedding")}
    stack, prefix = layer_stack(student), layer_prefix(student)
    return lower | {f"{prefix}.{place}": stack[place] for place in range(shared)}


def _whole(config: PreTrainedConfig, weights: Mapping[str, Tensor]) -> PreTrainedModel:
    """A model with these weights, where they are and as precise as they are."""
    with torch.random.fork_rng(devices=[]):
        made = model_from_config(copy.deepcopy(config))
    some = next(iter(weights.values()))
    nn.Module.to(made, device=some.device, dtype=some.dtype)  # upstream's own has no types
    load_tensors(made, weights)
    made.eval()
    return made
