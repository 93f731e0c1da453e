"""Instance relation graphs: golden number, reference, invariances."""

import math

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.losses import IRG
from distilnlp.outputs import Outputs
from tests.losses.cases import ONE, TWO, Case, outputs, points, random

RIGHT, SMALL = [[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]


def test_the_edges_of_irg_give_the_golden_number() -> None:
    edges = IRG(ONE, transformation_weight=0.0)
    assert float(edges(points(SMALL), points(RIGHT), {})) == pytest.approx(0.008711, abs=1e-6)


def test_irg_is_its_written_definition() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    assert student.logits is not None and teacher.logits is not None

    def relative(values: list[float]) -> list[float]:
        return [value / max(values) for value in values]

    def gap(ours: list[list[float]]) -> float:
        s, t = map(relative, ours)
        return sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / len(s)

    first = [  # the first token's states, by model and mapped layer
        [out.hidden_states[layer][:, 0].tolist() for layer in layers]
        for out, layers in ((student, (1, 2)), (teacher, (1, 3)))
    ]
    edges = [gap([[math.dist(a, b) ** 2 for a in model[k] for b in model[k]] for model in first]) for k in (0, 1)]
    moves = gap([[math.dist(a, b) ** 2 for a, b in zip(*model, strict=True)] for model in first])
    vertices = float((student.logits - teacher.logits).square().mean())
    pairs = [(1, 1), (2, 3)]
    assert float(IRG(pairs, "cls", 1.0, 0.0, 0.0)(student, teacher, {})) == pytest.approx(sum(edges) / 2)
    assert float(IRG(pairs, "cls", 0.0, 0.0, 1.0)(student, teacher, {})) == pytest.approx(moves)
    expected = 2 * sum(edges) / 2 + 3 * vertices + 5 * moves
    assert float(IRG(pairs, "cls", 2.0, 3.0, 5.0)(student, teacher, {})) == pytest.approx(expected)


def test_a_model_that_is_turned_shifted_and_scaled_has_the_same_graph() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    rotation = torch.linalg.qr(random(2, 8, 8)).Q
    moved = Outputs(hidden_states={layer: 7 * h @ rotation + 3 for layer, h in student.hidden_states.items()})
    torch.testing.assert_close(IRG(TWO)(moved, teacher, {}), IRG(TWO)(student, teacher, {}))


def test_irg_asks_for_logits_only_where_it_compares_them() -> None:
    case = Case("irg")
    assert not IRG(TWO).needs_student().logits and IRG(TWO, vertex_weight=1.0).needs_teacher().logits
    IRG(TWO).resolve(case.info(num_logits=2), case.info())
    with pytest.raises(RequestError, match="the student has 2"):
        IRG(TWO, vertex_weight=1.0).resolve(case.info(num_logits=2), case.info())


def test_irg_refuses_what_would_train_nothing() -> None:
    with pytest.raises(RequestError, match="one pair only"):
        IRG(ONE)
    with pytest.raises(RequestError, match="nothing would train"):
        IRG(TWO, "cls", 0.0, 0.0, 0.0)
    with pytest.raises(RequestError, match="edge_weight"):
        IRG(TWO, edge_weight=-1.0)


def test_texts_that_lie_on_one_point_give_a_finite_gradient() -> None:
    same = torch.ones(4, 1, 3, requires_grad=True)
    student, teacher = Outputs(hidden_states={1: same, 2: same}), outputs(0)
    IRG(TWO)(student, teacher, {}).backward()
    assert same.grad is not None and torch.isfinite(same.grad).all()
