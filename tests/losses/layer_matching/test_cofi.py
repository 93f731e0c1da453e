"""CoFi: the best of all maps that keep the order."""

import dataclasses
import itertools

import torch
from torch import Tensor

from distilnlp.losses import get_loss
from distilnlp.outputs import ModelInfo, Outputs
from tests.losses.cases import LENGTHS, outputs


def distance(h_s: Tensor, h_t: Tensor) -> Tensor:
    """Squared error over the real tokens, example by example."""
    return torch.stack([(h_s[n, :k] - h_t[n, :k]).pow(2).mean() for n, k in enumerate(LENGTHS)])


def test_cofi_is_the_least_of_all_maps_that_keep_the_order() -> None:
    """Against a search through all of them, for many batches."""
    for seed in range(0, 40, 2):
        student, teacher = outputs(seed, dtype=torch.float64), outputs(seed + 1, dtype=torch.float64)
        d = [
            [distance(student.hidden_states[j], teacher.hidden_states[i]).mean() for j in (1, 2, 3)] for i in (1, 2, 3)
        ]
        least = min(
            sum(d[i][j] for i, j in enumerate(choice)) / 3
            for choice in itertools.product(range(3), repeat=3)
            if list(choice) == sorted(choice)
        )
        got = get_loss("cofi", student_layers=[1, 2, 3], teacher_layers=[1, 2, 3])(student, teacher, {})
        torch.testing.assert_close(got, torch.as_tensor(least))


def levels(*numbers: float) -> Outputs:
    """A model whose layers hold one number each; layer 1 comes first."""
    return Outputs(hidden_states={k: torch.full((1, 1, 1), float(x)) for k, x in enumerate(numbers, 1)})


def test_cofi_does_not_cross_layers() -> None:
    """Each teacher layer has an equal among the student's layers, but in the wrong order."""
    got = get_loss("cofi", student_layers=[1, 2], teacher_layers=[1, 2])(levels(3.0, 0.0), levels(0.0, 3.0), {})
    assert got.item() == 4.5  # both take one layer: (0 + 9) / 2; crossed it would be 0


def test_cofi_leads_only_the_layers_that_are_taken() -> None:
    student = outputs(0)
    leaves = {k: h.clone().requires_grad_() for k, h in student.hidden_states.items()}
    teacher = Outputs(hidden_states={2: student.hidden_states[3] + 0.1}, attention_mask=student.attention_mask)
    loss = get_loss("cofi", student_layers=[1, 2, 3], teacher_layers=[2])
    loss(dataclasses.replace(student, hidden_states=leaves), teacher, {}).backward()
    assert leaves[3].grad is not None and float(leaves[3].grad.abs().sum()) > 0
    assert all(leaves[k].grad is None or not leaves[k].grad.any() for k in (1, 2))


def info(layers: int, width: int = 8) -> ModelInfo:
    return ModelInfo("model", layers, width, 2, 3)


def test_cofi_matches_four_teacher_layers_by_default() -> None:
    assert get_loss("cofi").resolve(info(6), info(12)).needs_teacher().hidden_states == {3, 6, 9, 12}
    assert get_loss("cofi").resolve(info(2), info(3)).needs_teacher().hidden_states == {1, 2, 3}


LAYERS = {"student_layers": [1, 2], "teacher_layers": [1, 2, 3]}


def test_cofi_starts_from_the_states_themselves() -> None:
    """The map is the identity at the start: with it and without it the loss is one number."""
    loss = get_loss("cofi", **LAYERS)
    student, teacher = outputs(0), outputs(1)
    torch.testing.assert_close(
        loss(student, teacher, {}, loss.make_module(info(3), info(3))), loss(student, teacher, {})
    )
