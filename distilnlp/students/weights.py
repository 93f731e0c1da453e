"""The weights that a student starts with: the teacher's, under the student's names, cut to the student's shapes."""

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.models.encoder import layer_prefix
from distilnlp.students.architectures import common_name, converted_weights, is_classifier
from distilnlp.students.low_rank import factorised
from distilnlp.students.projection import is_projection
from distilnlp.students.spec import group_ends, shares_layers
from distilnlp.students.width import cut

__all__ = ["copy_weights"]

# The part of a weight, by its name in the student, that has the student's shape.
Cut = Callable[[str, Tensor, tuple[int, ...]], Tensor]


@torch.no_grad()
def copy_weights(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    kept: Sequence[int],
    narrowed: Cut = cut,
    batches: Sequence[Mapping[str, Tensor]] = (),
) -> None:
    """Fill ``student`` from ``teacher``: layer j from the teacher's layer ``kept[j - 1]``, all else from its namesake.

    The teacher is only read and shares no memory with the student afterwards. Where shapes are equal the weights are
    the teacher's bit for bit, with two exceptions: position embeddings that take up DistilBERT's missing token types
    (`architectures`), and the first layer of a ModernBERT student that was not the teacher's first (`_without_norm`).

    Args:
        narrowed: gives the part of a weight that a narrower student has; by default the leading one.
        batches: inputs whose tokens tell which directions embeddings of a lower rank keep.
    Raises:
        RequestError: head sizes differ, the student is larger than the teacher, or a weight has no namesake.
    """
    _check_head_size(teacher.config, student.config)
    kind, own_kind = teacher.config.model_type, student.config.model_type
    across = kind != own_kind
    found: dict[str, Tensor] = teacher.state_dict()
    if kind == "modernbert" and kept[0] != 1:
        found = _without_norm(found, teacher.config, layer_prefix(teacher), kept[0])
    prefix, own_prefix = layer_prefix(teacher), layer_prefix(student)
    if across:
        found = converted_weights(found, teacher.config, student.config)
        prefix = common_name(prefix, kind)
        own_prefix = common_name(own_prefix, own_kind)
    found = factorised(found, teacher.config, student.config, batches)
    origins = kept if own_kind != "albert" else [kept[layer - 1] for layer in group_ends(student.config)]
    state = student.state_dict()
    for name, weight in state.items():
        source = common_name(name, own_kind) if across else name
        if not shares_layers(teacher.config):
            source = _in_teacher(source, own_prefix, prefix, origins)
        if source in found:
            weight.copy_(narrowed(name, found[source], tuple(weight.shape)))
        elif not (is_projection(name) or (across and is_classifier(source))):
            raise RequestError(
                f"the {own_kind} student's {name} has no counterpart in {type(teacher).__name__}: "
                "give a sequence classifier as the teacher, or name a checkpoint as the student"
            )


def _in_teacher(name: str, own_prefix: str, prefix: str, kept: Sequence[int]) -> str:
    """``name`` with the number of the student's layer replaced by that of the teacher's layer which it was."""
    return re.sub(
        rf"^{re.escape(own_prefix)}\.(\d+)\.", lambda match: f"{prefix}.{kept[int(match[1])] - 1}.", name, count=1
    )


def _check_head_size(teacher: PreTrainedConfig, student: PreTrainedConfig) -> None:
    sizes = [config.hidden_size / config.num_attention_heads for config in (teacher, student)]
    if sizes[0] != sizes[1]:
        raise RequestError(
            f"heads of size {sizes[1]:g} cannot be copied from a teacher with heads of size {sizes[0]:g}: "
            f"use hidden_size / num_attention_heads = {sizes[0]:g}, or init='random'"
        )


def _without_norm(weights: dict[str, Tensor], config: PreTrainedConfig, prefix: str, layer: int) -> dict[str, Tensor]:
    """``weights`` with the attention norm of ``layer`` (from 1) folded into its query, key and value matrix.

    ModernBERT's first layer has no norm before its attention, since the embeddings end in one; the others do. Their
    norm maps x to ``g * (x - mean(x)) / std(x)``. The mean and ``g`` fold into the matrix exactly. What is left is
    ``std(x)``, which after the embeddings' norm of scale e is close to the root mean square of e for every token, and
    equal to it when e is constant: it is folded in as that.

    Shapes:
        the matrix: ``(3 * hidden, hidden)``.
    Raises:
        RequestError: the norms have biases, which have no place to go.
    """
    if config.norm_bias:
        raise RequestError(
            f"a ModernBERT with norm_bias cannot start with the teacher's layer {layer}: a first layer has no norm to "
            "hold that layer's bias; keep layer 1 (layer_map 'skip' or 'first', or a list)"
        )
    name = f"{prefix}.{layer - 1}.attn.Wqkv.weight"
    embedding_scale = weights["model.embeddings.norm.weight"].float().square().mean().sqrt()
    matrix = weights[name].float() * weights[f"{prefix}.{layer - 1}.attn_norm.weight"].float() / embedding_scale
    return {**weights, name: matrix - matrix.mean(dim=1, keepdim=True)}
