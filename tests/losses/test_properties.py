"""What no shape, no mask and no precision may break, for every registered loss: hypothesis looks for one that does."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distilnlp.outputs import Outputs
from tests.losses.cases import BATCH, CASES, TOKENS, Case, mapped, mask, outputs

every_loss = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
# The same examples on every run, and nothing kept between runs: a failure here is a change of the code.
few = settings(max_examples=3, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True)
class Texts:
    """A batch to compare two models on.

    Args:
        seed: of the models' outputs; the teacher has the next one.
        rows: which of the examples of `outputs`; any number of them, in any order.
        lengths: real tokens of each example.
        tokens: of the batch, padding included.
        size: of all numbers.
        dtype: of all numbers.
    """

    seed: int
    rows: list[int]
    lengths: tuple[int, ...]
    tokens: int
    size: float
    dtype: torch.dtype

    def pair(self, case: Case) -> tuple[Outputs, Outputs]:
        return self._outputs(case, self.seed), self._outputs(case, self.seed + 1)

    def _outputs(self, case: Case, seed: int) -> Outputs:
        def cut(tensor: Tensor, axis: int) -> Tensor:
            chosen = tensor[self.rows]
            return chosen if axis < 0 else chosen.narrow(axis, 0, self.tokens)

        def sized(tensor: Tensor, axis: int) -> Tensor:
            return tensor * self.size if tensor.is_floating_point() else tensor

        whole = mapped(mapped(outputs(seed, case.classes, self.dtype), cut), sized)
        return replace(whole, attention_mask=mask(self.lengths, self.tokens))

    def batch(self, case: Case) -> dict[str, Tensor]:
        return {name: tensor[self.rows] for name, tensor in case.batch().items()}


@st.composite
def texts(draw: st.DrawFn, distinct: bool = True) -> Texts:
    rows = draw(st.lists(st.integers(0, BATCH - 1), min_size=1, max_size=BATCH, unique=distinct))
    tokens = draw(st.integers(1, TOKENS))
    return Texts(
        seed=draw(st.integers(0, 1000)),
        rows=rows,
        lengths=tuple(draw(st.integers(1, tokens)) for _ in rows),
        tokens=tokens,
        size=draw(st.sampled_from([1.0, 0.01, 30.0])),
        dtype=draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16])),
    )


def value(case: Case, student: Outputs, teacher: Outputs, batch: dict[str, Tensor]) -> Tensor:
    return case.make()(student, teacher, batch, case.module(student))


def same(got: Tensor, expected: Tensor) -> None:
    """Up to rounding: float32 at the least, whatever the inputs were."""
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@every_loss
@few
@given(texts=texts(distinct=False))
def test_loss_and_gradient_are_finite_numbers(case: Case, texts: Texts) -> None:
    """Also where one text stands twice in a batch, at a distance of 0 and at no angle to itself."""
    leaves: list[Tensor] = []

    def leaf(tensor: Tensor, axis: int) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        leaves.append(tensor.clone().requires_grad_())
        return leaves[-1]

    student, teacher = texts.pair(case)
    loss = value(case, mapped(student, leaf), teacher, texts.batch(case))
    loss.backward()
    assert loss.shape == () and torch.isfinite(loss)
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    assert gradients and all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


@every_loss
@few
@given(texts=texts(), more=st.integers(1, 4), left=st.booleans(), rubbish=st.sampled_from([1e4, -3.0, float("nan")]))
def test_padding_counts_nowhere(case: Case, texts: Texts, more: int, left: bool, rubbish: float) -> None:
    """Neither how much of it there is, nor on which side, nor what stands in it, be it no number at all."""

    def pad(tensor: Tensor, axis: int) -> Tensor:
        if axis < 0:
            return tensor
        shape = [*tensor.shape[:axis], more, *tensor.shape[axis + 1 :]]
        padding = torch.full(shape, rubbish if tensor.is_floating_point() else 0, dtype=tensor.dtype)
        return torch.cat([padding, tensor] if left else [tensor, padding], dim=axis)

    student, teacher = texts.pair(case)
    batch = texts.batch(case)
    same(value(case, mapped(student, pad), mapped(teacher, pad), batch), value(case, student, teacher, batch))


@every_loss
@few
@given(texts=texts(), data=st.data())
def test_the_order_of_the_examples_does_not_matter(case: Case, texts: Texts, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(texts.rows))))
    other = replace(texts, rows=[texts.rows[i] for i in order], lengths=tuple(texts.lengths[i] for i in order))
    same(value(case, *other.pair(case), other.batch(case)), value(case, *texts.pair(case), texts.batch(case)))
