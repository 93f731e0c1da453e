"""Whatever the shapes, lengths and dtypes: finite, blind to padding, indifferent to the order of the batch."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distilnlp.outputs import Outputs
from tests.losses.cases import CASES, WIDTH, Case, mapped, mask

LAYERS = range(1, 4)

every_loss = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
few = settings(max_examples=8, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True)
class Shape:
    """Of a batch, and of the heads that the width is cut into."""

    lengths: tuple[int, ...]
    padding: int
    heads: int
    classes: int
    dtype: torch.dtype
    seed: int

    def outputs(self, case: Case, of: int) -> Outputs:
        """Random outputs of the student (0) or the teacher (1), the same each time."""
        generator = torch.Generator().manual_seed(2 * self.seed + of)
        batch, tokens = len(self.lengths), max(self.lengths) + self.padding

        def random(*sizes: int) -> Tensor:
            return torch.randn(*sizes, generator=generator, dtype=torch.float64).to(self.dtype)

        def heads() -> dict[int, Tensor]:
            return {layer: random(batch, self.heads, tokens, WIDTH // self.heads) for layer in LAYERS}

        return Outputs(
            logits=random(batch, 1 if case.problem_type == "regression" else self.classes),
            hidden_states={layer: random(batch, tokens, WIDTH) for layer in (0, *LAYERS)},
            queries=heads(),
            keys=heads(),
            values=heads(),
            attention_mask=mask(self.lengths, tokens),
        )

    def labels(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randint(self.classes, (len(self.lengths),), generator=generator)


shapes = st.builds(
    Shape,
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6).map(tuple),
    padding=st.integers(0, 3),
    heads=st.sampled_from((1, 2, 4)),
    classes=st.integers(3, 5),
    dtype=st.sampled_from((torch.float32, torch.float64, torch.bfloat16)),
    seed=st.integers(0, 1000),
)


def value(case: Case, student: Outputs, teacher: Outputs, labels: Tensor) -> Tensor:
    return case.make()(student, teacher, {"labels": labels}, case.module(student))


@every_loss
@given(shape=shapes)
@few
def test_a_loss_is_finite_and_blind_to_more_padding(case: Case, shape: Shape) -> None:
    def pad(tensor: Tensor, axis: int) -> Tensor:
        if axis < 0:
            return tensor
        more = list(tensor.shape)
        more[axis] = 2
        return torch.cat([tensor, torch.full(more, 1e3 if tensor.is_floating_point() else 0).to(tensor)], dim=axis)

    student, teacher = shape.outputs(case, 0), shape.outputs(case, 1)
    loss = value(case, student, teacher, shape.labels())
    assert loss.shape == () and torch.isfinite(loss)
    padded = value(case, mapped(student, pad), mapped(teacher, pad), shape.labels())
    torch.testing.assert_close(padded, loss, rtol=1e-4, atol=1e-5)


@every_loss
@given(shape=shapes, order=st.randoms(use_true_random=False))
@few
def test_a_loss_does_not_know_the_order_of_the_batch(case: Case, shape: Shape, order) -> None:
    rows = list(range(len(shape.lengths)))
    order.shuffle(rows)
    student, teacher = shape.outputs(case, 0), shape.outputs(case, 1)
    shuffled = [mapped(out, lambda tensor, _: tensor[rows]) for out in (student, teacher)]
    loss = value(case, student, teacher, shape.labels())
    torch.testing.assert_close(value(case, *shuffled, shape.labels()[rows]), loss, rtol=1e-4, atol=1e-5)
