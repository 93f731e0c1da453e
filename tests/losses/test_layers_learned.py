"""Losses without a fixed layer map against their formulas, written out for one example at a time."""

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.losses import get_loss
from distilnlp.outputs import ModelInfo, Outputs
from tests.losses.cases import LENGTHS, outputs

LAYERS = {"student_layers": [1, 2], "teacher_layers": [1, 2, 3]}


def distance(h_s: Tensor, h_t: Tensor) -> Tensor:
    """Squared error over the real tokens, example by example."""
    return torch.stack([(h_s[n, :k] - h_t[n, :k]).pow(2).mean() for n, k in enumerate(LENGTHS)])


def levels(*numbers: float) -> Outputs:
    """A model whose layers hold one number each; layer 1 comes first."""
    return Outputs(hidden_states={k: torch.full((1, 1, 1), float(x)) for k, x in enumerate(numbers, 1)})


def info(layers: int, width: int = 8) -> ModelInfo:
    return ModelInfo("model", layers, width, 2, 3)


@pytest.mark.parametrize("name", ["alp_kd", "semckd", "cofi"])
class TestLayers:
    def test_all_blocks_of_the_student_are_compared_by_default(self, name: str) -> None:
        resolved = get_loss(name).resolve(info(2), info(6))
        assert resolved.needs_student().hidden_states == {1, 2}

    def test_layers_that_depend_on_the_models_are_refused_before_they_are_known(self, name: str) -> None:
        with pytest.raises(RequestError, match="resolve"):
            get_loss(name).needs_student()

    @pytest.mark.parametrize("layers", [[], [2, 1], [1, 1], [-1, 2]])
    def test_layers_in_another_order_are_refused(self, name: str, layers: list[int]) -> None:
        with pytest.raises(RequestError, match="rising order"):
            get_loss(name, student_layers=layers)

    def test_a_layer_that_does_not_exist_is_refused_before_training(self, name: str) -> None:
        with pytest.raises(RequestError, match="layers 0 to 3"):
            get_loss(name, teacher_layers=[1, 4]).resolve(info(2), info(3))

    def test_two_tokenizations_or_widths_are_refused(self, name: str) -> None:
        """[CLS] states have only a width."""
        loss = get_loss(name, **LAYERS)
        module = loss.make_module(info(3), info(3))
        teacher = outputs(1)
        narrow = dataclasses.replace(teacher, hidden_states={k: h[..., :5] for k, h in teacher.hidden_states.items()})
        with pytest.raises((RequestError, RuntimeError)):
            loss(outputs(0), narrow, {}, module)


def test_alp_kd_is_its_formula() -> None:
    student, teacher = outputs(0, dtype=torch.float64), outputs(1, dtype=torch.float64)
    expected = []
    for n, j in itertools.product(range(4), (1, 2)):
        s = student.hidden_states[j][n, 0]
        t = [teacher.hidden_states[i][n, 0] for i in (1, 2, 3)]
        e = [float(torch.exp(s @ x)) for x in t]
        context = sum(weight / sum(e) * x for weight, x in zip(e, t, strict=True))
        expected.append((s - context).pow(2).mean())
    torch.testing.assert_close(get_loss("alp_kd", **LAYERS)(student, teacher, {}), torch.stack(expected).mean())


def test_alp_kd_with_one_hot_attention_is_a_fixed_map() -> None:
    """Large states: all attention goes to the layer of the largest product."""
    h = torch.eye(3)[:, None, None, :] * 100.0  # three orthogonal states
    student = Outputs(hidden_states={1: h[0] * 0.5, 2: h[2] * 0.5})
    teacher = Outputs(hidden_states={1: h[0], 2: h[1], 3: h[2]})
    got = get_loss("alp_kd", **LAYERS)(student, teacher, {})
    assert got.item() == pytest.approx(50.0**2 / 3)  # layers 1 and 3, each at half the size


def test_alp_kd_with_one_teacher_layer_is_the_squared_error_of_cls() -> None:
    student, teacher = outputs(0), outputs(1)
    expected = (student.hidden_states[2][:, 0] - teacher.hidden_states[3][:, 0]).pow(2).mean()
    got = get_loss("alp_kd", student_layers=[2], teacher_layers=[3])(student, teacher, {})
    torch.testing.assert_close(got, expected)


def test_alp_kd_learns_a_map_where_the_widths_differ_and_only_there() -> None:
    loss = get_loss("alp_kd", **LAYERS)
    assert loss.make_module(info(3), info(3)) is None
    module = loss.make_module(info(3), info(3, width=12))
    assert module is not None and {p.shape for p in module.parameters()} == {(12, 8), (12,)}


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


def test_cofi_matches_four_teacher_layers_by_default() -> None:
    assert get_loss("cofi").resolve(info(6), info(12)).needs_teacher().hidden_states == {3, 6, 9, 12}
    assert get_loss("cofi").resolve(info(2), info(3)).needs_teacher().hidden_states == {1, 2, 3}


def test_cofi_starts_from_the_states_themselves() -> None:
    """The map is the identity at the start: with it and without it the loss is one number."""
    loss = get_loss("cofi", **LAYERS)
    student, teacher = outputs(0), outputs(1)
    torch.testing.assert_close(
        loss(student, teacher, {}, loss.make_module(info(3), info(3))), loss(student, teacher, {})
    )


def test_semckd_is_its_formula() -> None:
    student, teacher = outputs(0), outputs(1)
    loss = get_loss("semckd", **LAYERS, dimension=4)
    torch.manual_seed(0)
    module = loss.make_module(info(3), info(3))
    assert module is not None
    parameters = dict(module.named_parameters())

    def linear(name: str, x: Tensor) -> Tensor:
        return parameters[f"{name}.weight"] @ x + parameters[f"{name}.bias"]

    expected = torch.zeros(())
    for n, length in enumerate(LENGTHS):
        for j in (1, 2):
            h_s = student.hidden_states[j][n, :length]
            q = linear(f"queries.{j}", h_s.mean(dim=0))
            k = [linear(f"keys.{i}", teacher.hidden_states[i][n, :length].mean(dim=0)) for i in (1, 2, 3)]
            e = [torch.exp(q @ x / 2) for x in k]  # sqrt(4)
            for i in (1, 2, 3):
                mapped = torch.stack([linear(f"maps.{j}_{i}", x) for x in h_s])
                error = (mapped - teacher.hidden_states[i][n, :length]).pow(2).mean()
                expected = expected + e[i - 1] / sum(e) * error / (4 * 2)
    torch.testing.assert_close(loss(student, teacher, {}, module), expected)


def test_semckd_without_its_module_says_where_to_get_it() -> None:
    with pytest.raises(RequestError, match="make_module"):
        get_loss("semckd", **LAYERS)(outputs(0), outputs(1), {})
    with pytest.raises(RequestError, match="dimension"):
        get_loss("semckd", dimension=0)
