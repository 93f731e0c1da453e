"""What matters to a model's answers: what cannot matter has importance 0, and what is measured is what changes."""

import copy

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.models.encoder import layer_stack
from distilnlp.models.units import own_layers, unit_names
from distilnlp.students.importance import important_layers, measure_importance
from tests.students.test_build import batch, logits, teacher_of
from tests.tiny import BACKBONES


def halves() -> list[dict[str, Tensor]]:
    whole = batch()
    return [{name: tensor[part] for name, tensor in whole.items()} for part in (slice(0, 2), slice(2, 3))]


@torch.no_grad()
def silenced(kind: str) -> PreTrainedModel:
    """A model of which head 1 and unit 5 of the last layer write nothing."""
    model, names = teacher_of(kind), unit_names(kind)
    last = own_layers(model)[-1]
    last.get_submodule(names.heads_out).weight[:, 8:16] = 0
    last.get_submodule(names.units_out).weight[:, 5] = 0
    return model


@pytest.mark.parametrize("kind", BACKBONES)
def test_what_cannot_matter_has_no_importance_and_all_else_has_some(kind: str) -> None:
    model = silenced(kind)
    found = measure_importance(model, halves())
    layers = len(own_layers(model))
    assert (found.heads.shape, found.units.shape, found.hidden.shape) == ((layers, 4), (layers, 64), (32,))
    assert found.heads[-1, 1] == 0 and found.units[-1, 5] == 0
    assert int((found.heads == 0).sum()) == 1 and int((found.units == 0).sum()) == 1
    assert (found.hidden > 0).all()


def test_importance_leaves_the_model_as_it_was() -> None:
    model = teacher_of("bert").train()
    before, kept = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    first = measure_importance(model, halves())
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert torch.equal(kept, torch.random.get_rng_state())
    assert torch.equal(first.units, measure_importance(model.eval(), halves()).units)  # no dropout, and the same signs


def test_importance_is_the_squared_derivative_of_the_logits_by_a_factor() -> None:
    """One logit: the sign does not matter, and the derivative is told by small steps of the unit's weights."""
    model = teacher_of("bert").double()
    model.config.problem_type = "multi_label_classification"  # no common part of the logits is left out
    weight = layer_stack(model)[2].output.dense.weight
    with torch.no_grad():
        model.classifier.weight[1:] = 0
    found = measure_importance(model, [batch()]).units[2, 7]
    answers, step = [], 1e-5
    for factor in (1 + step, 1 - step):
        changed = copy.deepcopy(model)
        with torch.no_grad():
            layer_stack(changed)[2].output.dense.weight[:, 7] = weight[:, 7] * factor
        answers.append(logits(changed)[:, 0])
    expected = ((answers[0] - answers[1]) / (2 * step)).square().mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_padding_matters_to_nobody() -> None:
    model = teacher_of("bert")
    for wider in (24, 30):
        found = measure_importance(model, [batch(wider)])
        torch.testing.assert_close(found.units, measure_importance(model, [batch(20)]).units)


def test_a_layer_that_adds_nothing_goes_first() -> None:
    model = teacher_of("modernbert")  # has no norm behind the sum, so that such a layer is the identity
    names = unit_names("modernbert")
    with torch.no_grad():
        for part in (names.heads_out, names.units_out):
            own_layers(model)[1].get_submodule(part).weight.zero_()
    assert important_layers(model, 3, halves()) == (1, 3, 4)


@pytest.mark.parametrize("kind", [kind for kind in BACKBONES if kind != "albert"])
def test_a_model_is_whole_again_when_its_layers_are_chosen(kind: str) -> None:
    model = teacher_of(kind)
    before = logits(model)
    assert len(important_layers(model, 2, halves())) == 2
    assert torch.equal(logits(model), before)
    assert model.config.num_hidden_layers == 4


def test_the_layer_goes_without_which_the_answers_change_least() -> None:
    model = teacher_of("bert")
    whole, changes = logits(model), {}
    for layer in range(1, 5):
        cut = copy.deepcopy(model)
        del layer_stack(cut)[layer - 1]
        cut.config.num_hidden_layers = 3
        changes[layer] = float((logits(cut) - whole).square().sum())
    least = min(changes, key=lambda layer: changes[layer])
    assert important_layers(model, 3, halves()) == tuple(layer for layer in range(1, 5) if layer != least)
    assert important_layers(model, 4, halves()) == (1, 2, 3, 4)
    assert len(important_layers(model, 1, halves())) == 1


def test_importance_needs_texts() -> None:
    for measure in (measure_importance, lambda model, batches: important_layers(model, 2, batches)):
        with pytest.raises(RequestError, match="at least one batch"):
            measure(teacher_of("bert"), [])
