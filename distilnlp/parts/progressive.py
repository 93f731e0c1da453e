"""Layer by layer: each learns the features of its teacher's while those below stay as they are; then all learn."""

import dataclasses
import functools
import operator
from collections.abc import Mapping
from typing import cast, get_type_hints

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses import Loss, Objective, Term
from distilnlp.losses.base import loss_class
from distilnlp.losses.checks import check_positive
from distilnlp.losses.layers import LayerLoss
from distilnlp.models.capture import model_info
from distilnlp.models.encoder import layer_stack
from distilnlp.outputs import ModelInfo, Needs
from distilnlp.part import Part, Pass, Training, register_part
from distilnlp.typed import typed

__all__ = ["Progressive"]

LOSSES: dict[str, dict[str, object]] = {"mobilebert": {}, "attention_probabilities": {}}


@register_part("progressive")
class Progressive(Part):
    """Trains the student's layers one after the other, from the first, on losses between layers; then all of it.

    The share ``until`` of the training is cut into as many stages as there are layers. In stage ``l`` layer ``l`` (and
    its projection, where the widths differ) learns from the losses between it and the teacher's layer alone: nothing
    else is updated, by no gradient, momentum or decay. The objective is measured meanwhile and trains nothing. After
    the last stage the objective alone trains the whole student.

    Args:
        until: the share of the training that the stages take, 0 < until < 1.
        losses: losses between mapped layers by name, with their settings and ``weight``; None: those of MobileBERT,
            ``mobilebert`` and ``attention_probabilities`` (for equal numbers of heads).
        layer_map: which of the teacher's layers each layer learns from (see `LayerMap.from_spec`).
        weight: of them in the loss, > 0.
    Units: those of the losses.
    Source: Sun et al. 2020, "MobileBERT", arXiv:2004.02984, section 3.5 ("progressive knowledge transfer"). There the
        stages are a training of their own on text without labels, the embeddings are the teacher's, and layers below
        may learn with a small learning rate; here the last is 0, the stages are shares of one training with one
        schedule of the learning rate, and the embeddings are those that the student was made with.
    Raises:
        RequestError: a value out of its range; a loss that compares no layers, or has a layer map of its own; a
            student whose layers share their weights, or one of whose layers no teacher's layer is mapped to.
    """

    name = "progressive"
    uses_teacher = True
    freezes = True

    @typed
    def __init__(
        self,
        until: float = 0.5,
        losses: Mapping[str, Mapping[str, object]] | None = None,
        layer_map: LayerMapSpec = "auto",
        weight: float = 1.0,
    ) -> None:
        if not 0 < until < 1:
            raise RequestError(
                f"until lies between 0 and 1, and what is left after it trains the whole student; got {until!r}",
                key=["until"],
            )
        check_positive("weight", weight)
        self.until, self.weight = float(until), float(weight)
        self._layer_map = layer_map
        self._terms = _layer_terms(LOSSES if losses is None else losses, layer_map)
        self._student: ModelInfo | None = None
        self._teacher: ModelInfo | None = None
        self._of_layers: tuple[Objective, ...] = ()
        self._parameters: list[tuple[nn.Parameter, int | None]] = []
        self._stage: int | None = None
        self._modules = nn.ModuleDict()

    def stage_at(self, progress: float) -> int | None:
        """The layer, from 1, that is trained after a share ``progress`` of the training; None: the whole student."""
        depth = len(self._of_layers)
        return None if progress >= self.until else min(depth, 1 + int(progress / self.until * depth))

    def accept(self, student: PreTrainedModel) -> None:
        """Refuse a student whose layers are one and the same."""
        self._student = model_info(student)
        if len(layer_stack(student)) < self._student.layers:
            raise RequestError(
                f"progressive: the layers of {self._student.name} share their weights, so that none can be trained"
                " alone: take a student with a layer for each"
            )

    def meet(self, teacher: ModelInfo | None) -> None:
        """Find the teacher's layer of each. Raises RequestError where a loss cannot compare the two models."""
        if teacher is None or self._student is None:
            raise RequestError("progressive learns from the layers of a teacher, and there is none: name one")
        self._teacher = teacher
        resolved = [(term.weight, term.loss.resolve(self._student, teacher)) for term in self._terms]
        layers = range(1, self._student.layers + 1)
        self._of_layers = tuple(
            Objective([(weight, _at(loss, layer)) for weight, loss in resolved]).resolve(self._student, teacher)
            for layer in layers
        )

    def needs_student(self) -> Needs:
        """What the losses of all layers read of the student."""
        return functools.reduce(operator.or_, (each.needs_student() for each in self._of_layers), Needs())

    def needs_teacher(self) -> Needs:
        """What they read of the teacher."""
        return functools.reduce(operator.or_, (each.needs_teacher() for each in self._of_layers), Needs())

    def attach(self, training: Training) -> None:
        """Make the projections, where the widths differ."""
        student = training.student
        with torch.random.fork_rng(devices=[]):  # the student's dropout stays as it is
            torch.manual_seed(training.seed)
            made = [each.make_modules(model_info(student), self._teacher) for each in self._of_layers]
        self._modules = nn.ModuleDict({str(layer): own for layer, own in enumerate(made, start=1) if len(own)})
        self.auxiliary_modules = self._modules.to(training.device)
        layer_of = {
            id(parameter): layer
            for layer, module in enumerate(layer_stack(student), start=1)
            for parameter in module.parameters()
        }
        self._parameters = [(each, layer_of.get(id(each))) for each in student.parameters() if each.requires_grad]
        self._stage, self.alone, self.uses_teacher = None, False, True

    def on_pass(self, progress: float) -> None:
        """Freeze all but the layer of this stage; after the last one nothing."""
        stage = self.stage_at(progress)
        self.alone = self.uses_teacher = stage is not None
        if stage != self._stage:
            # Not before the first pass: what is frozen when the training is set up is frozen for good in several
            # processes. Without a gradient an optimizer passes over a weight, decay and momentum included.
            for parameter, layer in self._parameters:
                parameter.requires_grad_(stage in (None, layer))
        self._stage = stage

    def term(self, step: Pass) -> Tensor:
        """The losses of the layer that is trained; 0 after the last stage."""
        if self._stage is None:
            return torch.zeros((), device=next(iter(step.batch.values())).device)
        key = str(self._stage)
        modules = cast("nn.ModuleDict", self._modules[key]) if key in self._modules else None
        total, _ = self._of_layers[self._stage - 1](step.student, step.teacher, step.batch, modules, step.progress)
        return total

    def finish(self) -> None:
        """Leave every weight to be trained again."""
        for parameter, _ in self._parameters:
            parameter.requires_grad_(True)
        self._parameters, self._stage = [], None
        self.uses_teacher = True


def _layer_terms(losses: Mapping[str, Mapping[str, object]], layer_map: LayerMapSpec) -> list[Term]:
    """The losses as terms, mapped as the part says. Raises RequestError for one that compares no layers."""
    for name, settings in losses.items():
        if not issubclass(loss_class(name), LayerLoss) or "layer_map" not in get_type_hints(loss_class(name)):
            raise RequestError(f"{name} compares no mapped layers: progressive learns from losses that do", ["losses"])
        if "layer_map" in settings:
            raise RequestError(f"{name} has a layer_map: give progressive one, for all of its losses", ["losses"])
    mapped = {name: {**own, "layer_map": layer_map} for name, own in losses.items()}
    terms: list[Term] = []
    for key, spec in (("losses", losses), ("layer_map", mapped)):
        try:
            terms = list(Objective.from_dict(spec))
        except RequestError as error:
            raise RequestError(str(error), key=[key]) from error
    return terms


def _at(loss: Loss, layer: int) -> Loss:
    """A loss between one of the student's layers and the teacher's alone."""
    if not isinstance(loss, LayerLoss):  # which `_layer_terms` has refused
        raise RuntimeError(f"{loss.name} compares no layers")
    pairs = dict(loss.pairs)
    if layer not in pairs:
        raise RequestError(
            f"progressive trains every layer, and the layer map of {loss.name} has none for layer {layer}: take"
            " 'uniform', or pairs for all layers"
        )
    return dataclasses.replace(loss, layer_map=LayerMap(((layer, pairs[layer]),)))
