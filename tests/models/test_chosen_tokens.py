"""A head that runs on some tokens gives what it gives for them among all, and makes no logits for the others."""

import pytest
import torch

from distilnlp.models.capture import Capture
from distilnlp.models.chosen_tokens import answering_for
from distilnlp.outputs import Needs
from tests.masked import masked_model, shapes_made
from tests.tiny import BACKBONES, VOCAB

IDS = torch.randint(5, len(VOCAB), (3, 20), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
TOKENS = torch.tensor([[1, 7], [0, 19], [4, 4]])


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_logits_of_some_tokens_are_those_among_all(kind: str) -> None:
    model = masked_model(kind)
    whole = model(IDS, attention_mask=MASK).logits
    with answering_for(model, TOKENS):
        some = model(IDS, attention_mask=MASK).logits
    torch.testing.assert_close(some, whole.gather(1, TOKENS[..., None].expand(-1, -1, whole.shape[-1])))
    torch.testing.assert_close(model(IDS, attention_mask=MASK).logits, whole)  # and it is a plain model again


@pytest.mark.parametrize("kind", BACKBONES)
def test_so_are_the_gradients_of_a_loss_on_them(kind: str) -> None:
    model = masked_model(kind)
    whole = model(IDS, attention_mask=MASK).logits
    whole.gather(1, TOKENS[..., None].expand(-1, -1, whole.shape[-1])).square().sum().backward()
    expected = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    with answering_for(model, TOKENS):
        model(IDS, attention_mask=MASK).logits.square().sum().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", BACKBONES)
def test_no_logits_of_other_tokens_are_made(kind: str) -> None:
    model = masked_model(kind)
    with torch.no_grad(), answering_for(model, TOKENS), shapes_made() as shapes:
        model(IDS, attention_mask=MASK)
    assert (3, 2, len(VOCAB)) in shapes or (6, len(VOCAB)) in shapes
    assert (3, 20, len(VOCAB)) not in shapes and (60, len(VOCAB)) not in shapes


def test_without_rows_nothing_of_the_size_of_the_vocabulary_is_made() -> None:
    model = masked_model()
    with torch.no_grad(), answering_for(model, TOKENS[:, :0]), shapes_made() as shapes:
        assert model(IDS, attention_mask=MASK).logits.shape == (3, 0, len(VOCAB))
    width = model.config.hidden_size
    of_vocabulary = {shape for shape in shapes if len(VOCAB) in shape and 0 not in shape}
    assert of_vocabulary <= {(len(VOCAB), width), (width, len(VOCAB)), (len(VOCAB),)}  # the weights, seen anew


def test_who_captures_hidden_states_sees_all_tokens() -> None:
    model = masked_model()
    capture = Capture(model, Needs(logits=True, hidden_states=frozenset({0, 2})))
    outputs = capture.run({"input_ids": IDS, "attention_mask": MASK, "head_tokens": TOKENS})
    capture.remove()
    assert outputs.logits is not None and outputs.logits.shape == (3, 2, len(VOCAB))
    assert outputs.hidden_states[2].shape == (3, 20, model.config.hidden_size)
    torch.testing.assert_close(outputs.hidden_states[2], model.base_model(IDS, attention_mask=MASK)[0])
