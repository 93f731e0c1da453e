"""The objective: losses with their weights, summed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.losses.base import Batch, Loss, check_positive, get_loss
from distilnlp.losses.logits import HardLabel
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["Objective", "Term", "hard_label_only"]


@dataclass(frozen=True)
class Term:
    """One loss of an objective.

    Args:
        name: unique in its objective; the name under which it is logged.
        weight: > 0.
        loss: the loss.
    """

    name: str
    weight: float
    loss: Loss


class Objective:
    """A weighted sum of losses: ``Objective([(0.5, HardLabel()), (0.5, SoftTarget(temperature=2.0))])``.

    A term of weight 0 is left out: nothing is captured or computed for it. Two losses of one name are told apart by
    a number (``hidden_state``, ``hidden_state_2``).

    Args:
        terms: pairs ``(weight, loss)``.
    Raises:
        RequestError: a negative or non-finite weight, or nothing left to train on.
    """

    def __init__(self, terms: Sequence[tuple[float, Loss]]) -> None:
        named: list[Term] = []
        for weight, loss in terms:
            if weight == 0:
                continue
            check_positive(f"the weight of {loss.name}", weight)
            count = sum(term.loss.name == loss.name for term in named)
            named.append(Term(loss.name if count == 0 else f"{loss.name}_{count + 1}", float(weight), loss))
        if not named:
            raise RequestError("the objective has no term with a weight above 0: nothing would be trained")
        self.terms = tuple(named)

    @classmethod
    def from_dict(cls, spec: Mapping[str, Mapping[str, object]]) -> "Objective":
        """From a recipe's mapping: loss name to its settings and ``weight`` (1.0 where absent)."""
        terms: list[tuple[float, Loss]] = []
        for name, settings in spec.items():
            rest = dict(settings)
            weight = rest.pop("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, int | float):
                raise RequestError(f"the weight of {name} must be a number; got {weight!r}")
            terms.append((weight, get_loss(name, **rest)))
        return cls(terms)

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)

    def __repr__(self) -> str:
        return f"Objective([{', '.join(f'({term.weight:g}, {term.loss!r})' for term in self.terms)}])"

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> "Objective":
        """The objective with every loss fixed to the two models (see `Loss.resolve`)."""
        return Objective([(term.weight, term.loss.resolve(student, teacher)) for term in self.terms])

    @property
    def uses_teacher(self) -> bool:
        """Whether any term reads the teacher's outputs."""
        return any(term.loss.uses_teacher for term in self.terms)

    @property
    def uses_labels(self) -> bool:
        """Whether any term reads the labels."""
        return any(term.loss.uses_labels for term in self.terms)

    def needs_student(self) -> Needs:
        """What all terms read of the student."""
        return _union(term.loss.needs_student() for term in self.terms)

    def needs_teacher(self) -> Needs:
        """What all terms read of the teacher."""
        return _union(term.loss.needs_teacher() for term in self.terms)

    def make_modules(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.ModuleDict:
        """The modules that are trained along, by term name; terms without one are absent."""
        modules = {term.name: term.loss.make_module(student, teacher) for term in self.terms}
        return nn.ModuleDict({name: module for name, module in modules.items() if module is not None})

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, modules: nn.ModuleDict | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum ``()`` and each term's raw value ``()``, by name."""
        raw: dict[str, Tensor] = {}
        for term in self.terms:
            module = modules[term.name] if modules is not None and term.name in modules else None
            # Losses compute in float32 whatever the models run in (fp16 loses 1e-8, bf16 has 3 digits).
            with torch.autocast(device_type=_device_type(student), enabled=False):
                raw[term.name] = term.loss(student, teacher if term.loss.uses_teacher else None, batch, module)
        total = sum(term.weight * raw[term.name] for term in self.terms)
        assert isinstance(total, Tensor)
        return total, raw


def hard_label_only() -> Objective:
    """The objective of plain fine-tuning."""
    return Objective([(1.0, HardLabel())])


def _union(needs: Iterator[Needs]) -> Needs:
    result = Needs()
    for need in needs:
        result = result | need
    return result


def _device_type(outputs: Outputs) -> str:
    for tensors in (outputs.hidden_states, outputs.queries, outputs.attentions):
        for tensor in tensors.values():
            return tensor.device.type
    return outputs.logits.device.type if outputs.logits is not None else "cpu"
