"""How much each layer, head, feed-forward unit and dimension of a model matters to its answers on some texts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.models.backend import TorchBackend
from distilnlp.models.chosen_tokens import HEAD_TOKENS
from distilnlp.models.encoder import embeddings, layer_stack
from distilnlp.models.units import own_layers, unit_names
from distilnlp.problems import problem_of_config

__all__ = ["Importance", "important_layers", "measure_importance"]

Batches = Sequence[Mapping[str, Tensor]]


@dataclass(frozen=True)
class Importance:
    """The mean over examples of the squared derivative of the logits by a factor 1 in front of each part.

    Shapes:
        heads: ``(layers, heads)``.
        units: ``(layers, feed-forward units)``.
        hidden: ``(hidden size,)``, a dimension of the hidden states of all layers at once.
    Units: squared logits: about what would change, were the part taken out.
    """

    heads: Tensor
    units: Tensor
    hidden: Tensor


def measure_importance(model: PreTrainedModel, batches: Batches, *, seed: int = 0) -> Importance:
    """The importance of every head, feed-forward unit and dimension of a model, from one pass forward and back.

    No label is read: at a factor of 1 every loss against the model's own logits is at its minimum, and the squared
    derivative of the logits is its curvature there. They are summed by a random sign for each logit, whose square has
    that curvature as its mean.

    Args:
        batches: inputs of the model; ``labels`` among them are not read.
        seed: of the signs.
    Source: Michel et al. 2019, arXiv:1905.10650, section 4.1, who take the derivative of the task's loss by a mask of
        heads; the squared derivative of the outputs is Molchanov et al. 2019, arXiv:1906.10771, equation 8.
    Raises:
        RequestError: an architecture whose parts are not known, or no batch.
    """
    names, layers = unit_names(model.config.model_type), own_layers(model)
    heads_out = [layer.get_submodule(names.heads_out) for layer in layers]
    units_out = [layer.get_submodule(names.units_out) for layer in layers]
    heads = int(model.config.num_attention_heads)
    widths = [heads] * len(layers) + [each.get_parameter("weight").shape[1] for each in units_out]
    hidden, sums = int(model.config.hidden_size), [torch.zeros(width) for width in widths]
    of_hidden, rows = torch.zeros(hidden), 0
    generator = torch.Generator().manual_seed(seed)
    for batch in _checked(batches):
        size = len(batch["input_ids"])
        masks = [torch.ones(size, width, requires_grad=True) for width in widths]
        dimension = torch.ones(size, hidden, requires_grad=True)
        streams = [embeddings(model), *layers]
        with _masked([*heads_out, *units_out], masks, streams, dimension):
            logits = _logits(model, batch)
        signs = torch.randint(0, 2, logits.shape, generator=generator).to(logits) * 2 - 1
        if problem_of_config(model.config).exclusive_classes:
            signs = signs - signs.mean(-1, keepdim=True)  # what is added to all logits alike changes no probability
        *found, by_dimension = torch.autograd.grad((logits * signs).sum(), [*masks, dimension])
        for total, gradient in zip(sums, found, strict=True):
            total += gradient.square().sum(0)
        of_hidden += by_dimension.square().sum(0)
        rows += size
    parts = [total / rows for total in sums]
    return Importance(torch.stack(parts[: len(layers)]), torch.stack(parts[len(layers) :]), of_hidden / rows)


def important_layers(model: PreTrainedModel, count: int, batches: Batches) -> tuple[int, ...]:
    """The layers, counted from 1, that are left when those that matter least are taken out one after the other.

    In each round that layer goes without which the logits, in squared distance, stay nearest to those of the whole
    model.

    Args:
        model: whose layers have weights of their own.
        count: how many are left, 1 to those that there are.
        batches: as for `measure_importance`.
    Source: Peer et al. 2021, "Greedy layer pruning", arXiv:2105.14839, who measure the task's score instead.
    Raises:
        RequestError: no batch.
    """
    stack, depth = layer_stack(model), int(model.config.num_hidden_layers)
    whole, left = list(stack), list(range(1, depth + 1))
    with torch.no_grad():
        answers = [_logits(model, batch) for batch in _checked(batches)]
        try:
            while len(left) > count:
                distances = {}
                for layer in left:
                    _keep(model, stack, [whole[each - 1] for each in left if each != layer])
                    distances[layer] = sum(
                        float((_logits(model, batch) - answer).square().sum())
                        for batch, answer in zip(batches, answers, strict=True)
                    )
                left.remove(min(left, key=lambda layer: distances[layer]))
        finally:
            _keep(model, stack, whole)
    return tuple(left)


def _keep(model: PreTrainedModel, stack: nn.ModuleList, layers: Sequence[nn.Module]) -> None:
    del stack[:]
    stack.extend(layers)
    model.config.num_hidden_layers = len(layers)
    if model.config.model_type == "albert":
        model.config.num_hidden_groups = len(layers)


def _checked(batches: Batches) -> Batches:
    if not batches:
        raise RequestError("importance is measured on texts, and there is none: give at least one batch")
    return batches


def _logits(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """Those of the batch, as in evaluation, in float32; 0 for tokens that are padding."""
    backend = TorchBackend(model)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        logits = backend({name: batch[name] for name in batch if name in backend.columns or name == HEAD_TOKENS})
    finally:
        for module, training in modes:
            module.training = training
    if logits.dim() == 3 and logits.shape[:2] == batch["input_ids"].shape and "attention_mask" in batch:
        logits = logits * batch["attention_mask"][..., None]
    return logits.float()


@contextmanager
def _masked(
    read: Sequence[nn.Module], masks: Sequence[Tensor], streams: Sequence[nn.Module], dimension: Tensor
) -> Iterator[None]:
    """What each module of ``read`` reads is multiplied with a mask, and what each of ``streams`` gives with another.

    Shapes:
        masks: ``(batch, parts)`` for each; a part is so many columns as there are for each.
        dimension: ``(batch, hidden)``.
    """

    def before(mask: Tensor) -> Any:
        def multiply(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            each = args[0].shape[-1] // mask.shape[-1]
            return (args[0] * mask.repeat_interleave(each, dim=-1)[:, None].to(args[0]), *args[1:])

        return multiply

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        if hidden.shape[-1] != dimension.shape[-1]:
            return output  # embeddings that are projected to the layers' width
        hidden = hidden * dimension[:, None].to(hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handles = [module.register_forward_pre_hook(before(mask)) for module, mask in zip(read, masks, strict=True)]
    handles += [module.register_forward_hook(after) for module in streams]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
