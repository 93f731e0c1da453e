"""Teachers that learn along: other students of the same task, each taught by all others."""

import copy
import dataclasses
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.losses import Objective
from distilnlp.models.capture import Capture, model_info
from distilnlp.models.chosen_tokens import HEAD_TOKENS, answering_for
from distilnlp.models.heads import head_logits, model_from_config
from distilnlp.models.labels import label_names_of
from distilnlp.outputs import Answers, ModelInfo, Needs, Outputs
from distilnlp.part import Part, Pass, Training
from distilnlp.problems import problem_of_config
from distilnlp.teachers.base import register_teacher
from distilnlp.teachers.collaborate import COMBINATIONS, Combination
from distilnlp.teachers.student_copy import check_count, check_teaches, load_tensors, tensors_of
from distilnlp.typed import typed

__all__ = ["Peers"]

# Optimizer steps that are done, the share of the training that they are, and after which the copies were made last.
_AT_FIRST: Mapping[str, float] = {"steps": 0, "progress": 0, "copied": 0}


@register_teacher("peers")
class Peers(Part):
    """Other students that learn along: all learn from the labels and from one another.

    Each minimises the student's own objective with the answers of all others in the teacher's place, of which a term
    is the mean; no gradient goes from one into another. With ``hard_label`` and ``soft_target`` of temperature 1, both
    of weight 1, that is deep mutual learning. Each peer reads a batch once, beside the student, in training mode.

    With ``refresh`` all learn from copies of the others that are some steps old (co-distillation); each copy reads a
    batch once too, in evaluation mode.

    Peers are trained by the student's optimizer and kept in checkpoints. After the training `models` are the peers,
    plain models of transformers.

    Args:
        models: the peers, by position: models of your own with the student's labels and tokens. Empty: ``count``
            models of the student's config.
        count: how many peers, 1 or more.
        start: of peers that are made: ``head`` takes the student's weights and draws the head anew; ``random`` draws
            all weights. Each peer has a seed of its own.
        refresh: optimizer steps after which the copies that teach are made anew; None: the peers themselves teach.
        burn_in: the share of the training in which nobody teaches anybody, 0 <= burn_in < 1.
        combine: None: each learns from every other (the terms are a mean). Else all learn from one target, made for
            each text of the logits of all, the learner's own too, and the label (KDCL): ``naive``, those of the least
            cross-entropy; ``linear``, the mixture of the least; ``min_logit``, the least logit of each class, counted
            from that of the label. For one class a text; a text without a label has the mean of all.
        saved: ``first``: the student is the model that is saved. ``best``: it ends with the weights of the one that
            scores best on the evaluation data, by ``metric_for_best_model``.
    Source: Zhang et al. 2018, "Deep Mutual Learning", arXiv:1706.00384, equations 5 to 7; they update the networks in
        turn, here all step at once. Anil et al. 2018, "Large scale distributed neural network training through online
        distillation", arXiv:1804.03235, for ``refresh`` and ``burn_in``; they train each network in processes of its
        own, here every process trains all of them. Guo et al. 2020, "Online Knowledge Distillation via Collaborative
        Learning", CVPR 2020, for ``combine``; they also distort the images of each network in another way.
    Raises:
        RequestError: a number out of its range; when a training begins: an objective of terms that compare with the
            teacher alone (peers would agree on anything), adapters, peers that share weights with the student or one
            another, other labels or sizes than can be compared, or ``saved: best`` without data to evaluate on.
    """

    of_others = False
    name = "peers"
    weight = 1.0
    within = True
    one_answer = False

    info: ModelInfo
    columns: frozenset[str]

    @typed
    def __init__(
        self,
        models: Sequence[PreTrainedModel] = (),
        /,
        count: int | None = None,
        start: Literal["head", "random"] = "head",
        refresh: int | None = None,
        burn_in: float = 0.0,
        combine: Combination | None = None,
        saved: Literal["first", "best"] = "first",
    ) -> None:
        if count is not None:
            check_count("count", count)
            if models:
                raise RequestError(
                    "count says how many peers are made, and models are given: leave one of the two out"
                )
        if refresh is not None:
            check_count("refresh", refresh)
        if not 0 <= burn_in < 1:
            raise RequestError(f"burn_in is a share of the training, in [0, 1); got {burn_in!r}", key=["burn_in"])
        self.given = tuple(models)
        self.count = len(self.given) or count or 1
        self.start = start
        self.refresh = refresh
        self.burn_in = float(burn_in)
        self.combine = combine
        self.saved = saved
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.label_names: tuple[str, ...] | None = None
        self.models: tuple[PreTrainedModel, ...] = ()
        self._needs = Needs()
        self._objective: Objective | None = None
        self._members: list[_Member] = []
        self._stale: list[_Member] = []  # copies of the student and of each peer
        self._student: PreTrainedModel | None = None
        self._notes = dict(_AT_FIRST)
        self._heard: Outputs | None = None
        self._of_pass: list[Outputs] = []
        self._told: list[tuple[Outputs, ...]] = []  # what the student and each peer are told

    # ---- as a teacher ----

    def prepare(self, where: torch.device, needs: Needs) -> None:
        """Note what is needed; the peers are made when the training begins."""
        self._needs = needs

    def reorder_labels(self, order: tuple[int, ...]) -> None:
        """Their labels are the student's. Raises RuntimeError."""
        raise RuntimeError("peers count their labels as the student does")

    def release(self) -> None:
        """Take the captures off the peers."""
        while self._members:
            self._members.pop().capture.remove()
        while self._stale:
            self._stale.pop().capture.remove()

    def __call__(self, batch: Mapping[str, Tensor]) -> Answers:
        """The answers of all peers, or of the copies that teach for them, cut off from their gradients.

        Or the one target that they make together. Empty in the burn-in, and with ``refresh`` until the first copies
        are made.
        """
        if not self._members or self._heard is None:
            raise RuntimeError("peers answer while their student trains")
        self._of_pass = [member.learn(batch) for member in self._members]
        if not self.teaches:
            self._told = [()] * (1 + len(self._members))
        elif self._stale:
            self._told = self._tell([member.capture.run(batch) for member in self._stale], batch)
        else:
            self._told = self._tell([self._heard, *(answer.detached() for answer in self._of_pass)], batch)
        return self._told[0]

    def hear(self, student: Outputs) -> None:
        """Note what the student gave, from which its peers learn."""
        self._heard = student.detached()

    def _tell(self, answers: list[Outputs], batch: Mapping[str, Tensor]) -> list[tuple[Outputs, ...]]:
        """What each of those who answered is told: the others' answers, or what is made of all."""
        if self.combine is None:
            return [tuple(answers[:place] + answers[place + 1 :]) for place in range(len(answers))]
        logits, labels = torch.stack([answer.get_logits() for answer in answers]), batch["labels"]
        known = labels >= 0  # (batch,)
        combined = COMBINATIONS[self.combine](logits, labels.clamp_min(0))
        target = combined.where(known[:, None], logits.mean(dim=0))
        return [(dataclasses.replace(answers[0], logits=target),)] * len(answers)

    @property
    def teaches(self) -> bool:
        """Whether anybody teaches anybody at this step."""
        return self._notes["copied"] > 0 if self.refresh is not None else self._notes["progress"] >= self.burn_in

    # ---- as a part of the training ----

    @staticmethod
    def info_of(student: ModelInfo, others: Sequence[ModelInfo]) -> ModelInfo:
        """Their sizes are the student's."""
        return dataclasses.replace(student, name=f"peers of {student.name}")

    def accept(self, student: PreTrainedModel) -> None:
        """Read and answer what the student does. Raises RequestError for models that it cannot learn with."""
        own = model_info(student)
        self.info = self.info_of(own, ())
        self.columns = frozenset(inspect.signature(student.forward).parameters)
        self.label_names = label_names_of(student)
        seen = {id(weight) for weight in student.parameters()}
        for model in self.given:
            weights = {id(weight) for weight in model.parameters()}
            if seen & weights:
                raise RequestError(
                    "a peer shares weights with the student or another peer: give each a model of its own, by "
                    "copy.deepcopy(model) or build_student"
                )
            seen |= weights
            info = model_info(model)
            if info.num_logits != own.num_logits or type(info.problem) is not type(own.problem):
                raise RequestError(
                    f"the peer {info.name} has {info.num_logits} logits for {info.problem.name}, and the student "
                    f"{own.num_logits} for {own.problem.name}: give peers of the same task"
                )
            if label_names_of(model) != self.label_names:
                raise RequestError(
                    f"the peer {info.name} counts its labels in another way than the student: put them in one order "
                    "with distilnlp.models.align_labels(model, label_names)"
                )

    def attach(self, training: Training) -> None:
        """Make the peers, or take those that were given. Raises RequestError as the class says."""
        self.release()
        self._objective = self._check(training)
        self._student = training.student
        self._notes = dict(_AT_FIRST)
        needs = self._objective.needs_student() | self._needs
        made = copy.deepcopy(self.given) or tuple(self._made(training, number) for number in range(self.count))
        self.models = tuple(_put(model, training.device).train() for model in made)
        if self.refresh is not None:
            for model in (training.student, *self.models):
                self._stale.append(_Member(Capture(copy.deepcopy(model).eval().requires_grad_(False), self._needs)))
        for model in self.models:
            with torch.random.fork_rng(devices=[]):  # a projection must not change the student's dropout
                torch.manual_seed(training.seed)
                modules = self._objective.make_modules(model_info(model), self.info).to(training.device)
            self._members.append(_Member(Capture(model, needs), modules))
        own = nn.ModuleList([member.modules for member in self._members if member.modules is not None])
        self.auxiliary_modules = nn.ModuleDict({"models": nn.ModuleList(self.models), "of_losses": own})

    def _check(self, training: Training) -> Objective:
        objective = training.objective
        if objective is None or training.teacher is not self:
            raise RequestError("peers are the teacher of their student, and no other part: give them as teacher=")
        late = math.ceil(self.burn_in * training.steps - 1e-9)
        check_teaches(f"burn_in={self.burn_in:g}", late if self.refresh is None else max(1, late), training.steps)
        if training.model is not training.student:
            raise RequestError("peers are whole models, and this student trains adapters: leave lora (peft) out")
        if self.saved == "best" and not training.evaluates:
            raise RequestError("saved is best, and there are no data to find the best by: give an evaluation set")
        if self.combine is not None:
            problem, needs = self.info.problem, self._needs
            if problem.rows != "text" or not problem.exclusive_classes or self.info.num_logits < 2:
                raise RequestError(
                    f"combine makes a target of logits and one label a text, and this is {problem.name}: leave it out"
                )
            if needs != Needs(logits=True):
                raise RequestError("combine makes a target of logits, and the objective compares more: leave it out")
        sizes = {(info.layers, info.width, info.heads) for info in map(model_info, (training.student, *self.given))}
        if len(sizes) > 1 and (objective.needs_student().layers or self._needs.layers):
            raise RequestError(
                "the objective compares layers, and the peers have other sizes than the student: compare logits "
                "alone, or give peers of one size"
            )
        if self.saved == "best" and len(sizes) > 1:
            raise RequestError("saved is best, and the peers have other sizes than the student: set saved to first")
        return objective

    def _made(self, training: Training, number: int) -> PreTrainedModel:
        """A peer of the student's config, with a start of its own."""
        student = training.student
        with torch.random.fork_rng(devices=[]):  # the student's dropout stays as it is
            torch.manual_seed(training.seed + 1 + number)
            made = model_from_config(copy.deepcopy(student.config))
        if self.start == "head":
            made.base_model.load_state_dict(student.base_model.state_dict())
        trained = {name: weight.requires_grad for name, weight in student.named_parameters()}
        for name, weight in made.named_parameters():
            weight.requires_grad_(trained[name])
        return _put(made, student.dtype)

    def needs_student(self) -> Needs:
        """What the peers compare themselves with."""
        return self._needs

    def term(self, step: Pass) -> Tensor:
        """The sum of the peers' own losses."""
        if self._objective is None:
            raise RuntimeError("peers learn in a training")
        if not self._of_pass:  # the student's objective reads no teacher at this step
            self.hear(step.student)
            self(step.batch)
        losses = []
        for member, own, told in zip(self._members, self._of_pass, self._told[1:], strict=True):
            own = dataclasses.replace(own, words=step.student.words, weights=step.student.weights)
            losses.append(self._objective(own, told, step.batch, member.modules, step.progress)[0])
        self._forget_pass()
        return torch.stack(losses).sum()

    def _forget_pass(self) -> None:
        self._heard, self._of_pass, self._told = None, [], []

    def on_step(self, progress: float) -> None:
        """Make the copies anew when it is time: at the end of the burn-in, and every ``refresh`` steps."""
        self._notes["steps"] += 1
        self._notes["progress"] = progress
        if self.refresh is None or progress < self.burn_in:
            return
        if self._notes["copied"] == 0 or self._notes["steps"] - self._notes["copied"] >= self.refresh:
            self._notes["copied"] = self._notes["steps"]
            for old, model in zip(self._stale, (self._student, *self.models), strict=True):
                load_tensors(old.model, tensors_of(model))

    def state(self) -> Mapping[str, Tensor]:
        """Peers and their auxiliary modules, the copies that teach, and the numbers that say when."""
        notes = {f"note.{name}": torch.tensor(each, dtype=torch.float64) for name, each in self._notes.items()}
        return {**self._tensors(), **notes}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        for name, tensor in self._tensors().items():
            tensor.copy_(state[name])
        self._notes = {name: float(state[f"note.{name}"]) for name in self._notes}

    def _tensors(self) -> dict[str, Tensor]:
        copies = nn.ModuleDict({"copies": nn.ModuleList([member.model for member in self._stale])})
        return {**tensors_of(self.auxiliary_modules), **tensors_of(copies)}

    def finish(self) -> None:
        """Let go of the student; the peers stay."""
        self.release()
        for model in self.models:
            model.eval()
        self._student = self._objective = self.auxiliary_modules = None
        self._forget_pass()

    def candidates(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The weights of the peers, where the best is to be saved."""
        if self.saved == "first":
            return {}
        return {f"peer_{place}": tensors_of(model) for place, model in enumerate(self.models, start=1)}


class _Member:
    """A model that learns along, or an old copy of one.

    Args:
        capture: on the model.
        modules: the auxiliary modules of the objective that are its own; None of a copy.
    """

    def __init__(self, capture: Capture, modules: nn.ModuleDict | None = None) -> None:
        self.capture = capture
        self.modules = modules
        self._columns = inspect.signature(self.model.forward).parameters

    @property
    def model(self) -> PreTrainedModel:
        """The model."""
        return self.capture.model

    def learn(self, batch: Mapping[str, Tensor]) -> Outputs:
        """A pass in training mode, from which gradients flow back."""
        known = {name: tensor for name, tensor in batch.items() if name in self._columns and name != "labels"}
        self.capture.start()
        with answering_for(self.model, batch.get(HEAD_TOKENS)):
            output = self.model(**known)
        logits, batch = problem_of_config(self.model.config).scored(head_logits(output), batch)
        return self.capture.finish(logits, batch.get("attention_mask"), batch.get("labels"))


def _put(model: PreTrainedModel, where: torch.device | torch.dtype) -> PreTrainedModel:
    """The model, on a device or in a precision."""
    nn.Module.to(model, where)  # upstream's own has no types
    return model
