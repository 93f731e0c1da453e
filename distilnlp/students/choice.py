"""Cutting a model to a narrower one by what matters most in it, and not by what comes first."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.models.units import STACKED, own_layers, unit_names
from distilnlp.students.architectures import field_name
from distilnlp.students.importance import Importance
from distilnlp.students.layers import IMPORTANCE
from distilnlp.students.spec import is_narrower, shares_layers
from distilnlp.students.width import check_smaller

__all__ = ["Choice", "check_measured"]


def check_measured(
    teacher: PreTrainedConfig,
    layers: int | Sequence[int] | None,
    layer_map: str | None,
    choose: str | None,
    config: Mapping[str, object] | None,
    architecture: str | None,
    init: str,
) -> None:
    """Whether importance, where it is asked for, can be measured and decides something.

    Args:
        teacher: its config.
        layers, layer_map, choose, config, architecture, init: as of `build_student`.
    Raises:
        RequestError: there is nothing to choose, or no way to.
    """
    if layer_map == IMPORTANCE and not isinstance(layers, int):
        raise RequestError("layer_map 'importance' chooses as many layers as 'layers' says: give a number")
    if layer_map == IMPORTANCE and shares_layers(teacher):
        raise RequestError("the teacher's layers share their weights, so that none matters most: leave layer_map out")
    if init != "teacher":
        raise RequestError(f"importance says which weights of the teacher are kept, and init '{init}' keeps none")
    if choose != IMPORTANCE:
        return
    changes = config or {}
    if not is_narrower(changes):
        raise RequestError(
            "choose 'importance' has nothing to choose from: give a smaller intermediate_size or hidden_size in config"
        )
    kind = architecture or teacher.model_type
    if not unit_names(kind).heads_in and "hidden_size" in changes:
        raise RequestError(
            f"the layers of {kind} share a table with a column for each head, so that they cannot keep different "
            "heads: leave hidden_size as it is, or take the leading ones (choose: leading)"
        )


class Choice:
    """Which heads and feed-forward units of each layer, and which dimensions of all, a narrower student keeps.

    Called as `distilnlp.students.width.cut` is, with a weight of the wider model, it gives the student's. What is kept
    stays in its order, so that a student as wide as the model is the model, bit for bit.

    Args:
        model: the wider one, of the student's architecture and with its layers.
        student: the narrower config.
        importance: of the parts of ``model``.
    Raises:
        RequestError: an architecture whose parts are not known.
    """

    def __init__(self, model: PreTrainedModel, student: PreTrainedConfig, importance: Importance) -> None:
        kind, wide, narrow = model.config.model_type, model.config.to_dict(), student.to_dict()
        sizes = {
            field: (wide[field_name(field, kind)], narrow[field_name(field, kind)])
            for field in ("hidden_size", "num_attention_heads", "intermediate_size")
        }
        self._names = unit_names(kind)
        self._width = sizes["hidden_size"]
        self._heads = sizes["num_attention_heads"][0]
        self.hidden = _best(importance.hidden, sizes["hidden_size"][1])
        self.heads = [_best(each, sizes["num_attention_heads"][1]) for each in importance.heads]
        self.units = [_best(each, sizes["intermediate_size"][1]) for each in importance.units]
        found = {id(module): name for name, module in model.named_modules(remove_duplicate=False)}
        self._layers = [f"{found[id(layer)]}." for layer in own_layers(model)]
        self._tables = {f"{name}.weight" for name, each in model.named_modules() if isinstance(each, nn.Embedding)}

    def __call__(self, name: str, weight: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The chosen part of ``weight`` that fills ``shape``. Raises RequestError where that is larger."""
        check_smaller(name, weight, shape)
        for axis, size in enumerate(shape):
            weight = weight.index_select(axis, self._kept(name, axis, weight.shape[axis], size))
        return weight

    def _kept(self, name: str, axis: int, old: int, new: int) -> Tensor:
        """The places along an axis that stay."""
        layer = next((place for place, prefix in enumerate(self._layers) if name.startswith(prefix)), None)
        if layer is not None:
            inner, names = name.removeprefix(self._layers[layer]), self._names
            parts = next((parts for part, parts in STACKED.items() if _is(inner, [part])), 1)
            if _is(inner, names.heads_in if axis == 0 else [names.heads_out] if axis == 1 else []):
                return _blocks(self.heads[layer], old, parts if axis == 0 else 1, self._heads)
            if _is(inner, [names.units_in] if axis == 0 else [names.units_out] if axis == 1 else []):
                parts = parts if axis == 0 else 1
                return _blocks(self.units[layer], old, parts, old // parts)
        wide, narrow = self._width
        of_a_table = axis == 0 and name in self._tables
        if not of_a_table and old % wide == 0 and new == old // wide * narrow:
            return torch.cat([self.hidden + start for start in range(0, old, wide)])
        return torch.arange(new)


def _is(inner: str, modules: Sequence[str]) -> bool:
    return any(inner == name or inner.startswith(f"{name}.") for name in modules)


def _best(importance: Tensor, count: int) -> Tensor:
    """The places of the ``count`` most important, ascending; of equal ones the first."""
    return importance.argsort(descending=True, stable=True)[:count].sort().values


def _blocks(chosen: Tensor, size: int, parts: int, blocks: int) -> Tensor:
    """The places, along an axis of ``parts`` stretches of equal blocks, of those ``chosen`` in each stretch."""
    each = size // (parts * blocks)
    of_part = (chosen[:, None] * each + torch.arange(each)).flatten()
    return torch.cat([of_part + part * (size // parts) for part in range(parts)])
