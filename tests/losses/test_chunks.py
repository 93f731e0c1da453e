"""Attention terms are computed a few examples at a time: the same numbers, and no attention map is kept."""

import dataclasses
import weakref

import pytest
import torch
from torch import Tensor

from distilnlp.losses import chunks, get_loss
from distilnlp.outputs import Outputs
from tests.losses.cases import outputs

PAIRS = [[1, 1], [2, 3]]
attention_losses = pytest.mark.parametrize("name", ["attention_scores", "attention_probabilities"])


class Kept:
    """Lives as long as the graph that holds it for the backward pass."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def with_leaves(dtype: torch.dtype = torch.float64) -> tuple[Outputs, list[Tensor]]:
    student = outputs(0, dtype=dtype)
    queries = {layer: tensor.clone().requires_grad_() for layer, tensor in student.queries.items()}
    keys = {layer: tensor.clone().requires_grad_() for layer, tensor in student.keys.items()}
    leaves = [tensors[layer] for layer in (1, 2) for tensors in (queries, keys)]
    return dataclasses.replace(student, queries=queries, keys=keys), leaves


@attention_losses
@pytest.mark.parametrize("heads", ["match", "mean"])
def test_one_example_at_a_time_gives_what_all_at_once_give(
    name: str, heads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, teacher = get_loss(name, layer_map=PAIRS, heads=heads), outputs(1, dtype=torch.float64)
    results = []
    for size in (2**22, 1):
        monkeypatch.setattr(chunks, "CHUNK", size)
        student, leaves = with_leaves()
        value = loss(student, teacher, {})
        (3 * value).backward()
        results.append([value.detach(), *(leaf.grad for leaf in leaves)])
    torch.testing.assert_close(results[0], results[1])
    with torch.no_grad():
        torch.testing.assert_close(loss(student, teacher, {}), results[0][0])


@attention_losses
def test_nothing_as_large_as_an_attention_map_is_kept_for_the_backward_pass(name: str) -> None:
    """Else peak memory would grow by several maps for every layer that is compared."""
    student, leaves = with_leaves()
    kept: weakref.WeakSet[Kept] = weakref.WeakSet()

    def pack(tensor: Tensor) -> Kept:
        kept.add(held := Kept(tensor))
        return held

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        value = get_loss(name, layer_map=PAIRS)(student, outputs(1, dtype=torch.float64), {})
    examples, heads, tokens, _ = leaves[0].shape
    sizes = [held.tensor.numel() for held in kept]
    assert value.requires_grad and sizes
    assert max(sizes) <= leaves[0].numel() < examples * heads * tokens * tokens


@attention_losses
def test_a_gradient_too_small_for_half_precision_survives_until_it_is_scaled(name: str) -> None:
    """fp16 training scales the loss by 2^16 so that small gradients do not vanish: they must not vanish before."""
    student, leaves = with_leaves(torch.float16)
    value = get_loss(name, layer_map=PAIRS)(student, outputs(1, dtype=torch.float16), {})
    (value * 1e-6 * 2**16).backward()
    assert value.dtype == torch.float32
    assert all(leaf.grad is not None and float(leaf.grad.abs().sum()) > 0 for leaf in leaves)
