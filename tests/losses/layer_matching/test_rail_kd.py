"""RAIL-KD: its formula and its draws."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distilnlp.errors import RequestError
from distilnlp.losses import RAILKD, get_loss
from distilnlp.outputs import ModelInfo
from tests.losses.cases import LENGTHS, outputs


def info(layers: int, width: int = 8) -> ModelInfo:
    return ModelInfo("model", layers, width, 2, 3)


def test_rail_kd_is_its_formula() -> None:
    loss = get_loss("rail_kd", student_layers=[1, 2], teacher_layers=[1, 3], dimension=4)
    student, teacher = outputs(0), outputs(1)
    torch.manual_seed(0)
    module = loss.make_module(info(3), info(3))
    assert module is not None
    p = dict(module.named_parameters())
    expected = []
    for j, i in ((1, 1), (2, 3)):  # two of two: nothing is left to chance
        for n, length in enumerate(LENGTHS):
            s = p[f"student.{j}.weight"] @ student.hidden_states[j][n, :length].mean(0) + p[f"student.{j}.bias"]
            t = p[f"teacher.{i}.weight"] @ teacher.hidden_states[i][n, :length].mean(0) + p[f"teacher.{i}.bias"]
            expected.append((s / s.norm() - t / t.norm()).pow(2).sum())
    torch.testing.assert_close(loss(student, teacher, {}, module), torch.stack(expected).mean())


def rail(**settings: object) -> RAILKD:
    loss = get_loss("rail_kd", **{"dimension": 4, **settings}).resolve(info(3), info(9))
    assert isinstance(loss, RAILKD)
    return loss


def test_rail_kd_draws_every_teacher_layer_but_the_last_in_rising_order() -> None:
    draws = [rail().draw(number) for number in range(200)]
    assert all(len(drawn) == 2 and drawn[0] < drawn[1] for drawn in draws)
    assert {layer for drawn in draws for layer in drawn} == set(range(1, 9))
    assert [rail(seed=1).draw(number) for number in range(200)] != draws


def test_rail_kd_goes_on_with_its_draws_after_a_checkpoint(tmp_path: Path) -> None:
    """Through the file that the trainer writes; in evaluation nothing is drawn."""
    loss = get_loss("rail_kd", student_layers=[1], teacher_layers=[1, 2, 3], dimension=4)
    student, teacher = outputs(0), outputs(1)
    module = loss.make_module(info(3), info(3))
    again = loss.make_module(info(3), info(3))
    assert module is not None and again is not None
    for _ in range(5):
        loss(student, teacher, {}, module)
    module.eval()
    loss(student, teacher, {}, module)
    module.train()
    save_file(dict(module.state_dict()), str(tmp_path / "modules.safetensors"))
    again.load_state_dict(load_file(str(tmp_path / "modules.safetensors")))
    values = [[loss(student, teacher, {}, which).item() for _ in range(8)] for which in (module, again)]
    assert values[0] == values[1] and len(set(values[0])) > 1
    assert again.get_extra_state() == 13


def test_rail_kd_keeps_a_draw_for_as_many_batches_as_asked() -> None:
    loss = get_loss("rail_kd", student_layers=[1], teacher_layers=[1, 2, 3], dimension=4, every=3)
    module = loss.make_module(info(3), info(3))
    values = [loss(outputs(0), outputs(1), {}, module).item() for _ in range(30)]
    assert all(len(set(values[k : k + 3])) == 1 for k in range(0, 30, 3)) and len(set(values)) > 1


def test_rail_kd_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(RequestError, match="may draw from 1"):
        get_loss("rail_kd").resolve(info(3), info(2))
    with pytest.raises(RequestError, match="layers 0 to 1"):
        get_loss("rail_kd").resolve(info(1), info(3))
    for name in ("dimension", "every"):
        with pytest.raises(RequestError, match=name):
            get_loss("rail_kd", **{name: 0})
    with pytest.raises(RequestError, match="make_module"):
        get_loss("rail_kd", student_layers=[1], teacher_layers=[1])(outputs(0), outputs(1), {})
