"""The layers that are compared where there is no layer map."""

import dataclasses

import pytest

from distilnlp.errors import RequestError
from distilnlp.losses import get_loss
from distilnlp.outputs import ModelInfo
from tests.losses.cases import outputs

LAYERS = {"student_layers": [1, 2], "teacher_layers": [1, 2, 3]}


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
