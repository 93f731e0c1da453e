"""What is taken out of a model equals what the model computed, for every backbone and any attention kernel."""

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.models.capture import Capture, model_info
from distilnlp.models.encoder import called_layers, layer_stack
from distilnlp.outputs import Needs, Outputs
from tests.tiny import BACKBONES, tiny_model

every_backbone = pytest.mark.parametrize("kind", BACKBONES)
NEEDS = Needs(logits=True, hidden_states=frozenset({0, 1, 3}), attention=frozenset({2, 3}))


def batch(model: PreTrainedModel) -> dict[str, Tensor]:
    ids = torch.randint(5, 20, (3, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return {"input_ids": ids.masked_fill(mask == 0, model.config.pad_token_id), "attention_mask": mask}


def captured(model: PreTrainedModel, inputs: dict[str, Tensor], needs: Needs = NEEDS) -> Outputs:
    capture = Capture(model, needs)
    capture.start()
    logits = model(**inputs).logits
    out = capture.finish(logits, inputs["attention_mask"])
    capture.remove()
    return out


def eager_attentions(model: PreTrainedModel, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    before = model.config._attn_implementation
    if before != "eager":
        model.set_attn_implementation("eager")
    attentions = model(**inputs, output_attentions=True).attentions
    if before != "eager":
        model.set_attn_implementation(before)
    assert len(attentions) == model.config.num_hidden_layers
    return attentions


@every_backbone
def test_hidden_states_equal_those_that_the_model_returns(kind: str) -> None:
    model = tiny_model(kind, layers=3)
    inputs = batch(model)
    expected = model(**inputs, output_hidden_states=True).hidden_states
    got = captured(model, inputs).hidden_states
    assert sorted(got) == [0, 1, 3]
    for layer, tensor in got.items():
        torch.testing.assert_close(tensor, expected[layer])


@every_backbone
def test_attention_equals_eager_attention_without_asking_for_it(kind: str) -> None:
    """Trap 1: output_attentions=True under the default kernel gives an empty tuple, and a loss of 0."""
    model = tiny_model(kind, layers=3)
    inputs = batch(model)
    expected = eager_attentions(model, inputs)
    out = captured(model, inputs)
    real = inputs["attention_mask"].bool()
    for layer in (2, 3):
        allowed = real[:, None, :, None] & real[:, None, None, :]
        if layer in out.allowed:
            allowed = allowed & out.allowed[layer]
        probabilities = out.get_log_attention(layer, allowed).exp()  # (batch, heads, tokens, tokens)
        rows = real[:, None].expand(-1, probabilities.shape[1], -1)
        torch.testing.assert_close(probabilities[rows], expected[layer - 1][rows], atol=1e-6, rtol=1e-5)


@every_backbone
def test_the_model_computes_the_same_while_and_after_it_is_captured(kind: str) -> None:
    model = tiny_model(kind, layers=3)
    inputs = batch(model)
    before, kernel = model(**inputs).logits, model.config._attn_implementation
    torch.testing.assert_close(captured(model, inputs).logits, before, atol=0, rtol=0)
    torch.testing.assert_close(model(**inputs).logits, before, atol=0, rtol=0)
    assert model.config._attn_implementation == kernel
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@every_backbone
def test_attention_is_taken_before_dropout(kind: str) -> None:
    """Trap: eager attentions come after dropout in training, and their rows sum to 0.74 or 1.11."""
    model = tiny_model(kind, layers=3).train()
    inputs = batch(model)
    out = captured(model, inputs)
    if kind == "deberta-v2":
        sums = out.attentions[2].sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))
    else:
        assert out.queries[2].requires_grad and 2 not in out.attentions


def test_nothing_but_what_is_needed_is_kept() -> None:
    model = tiny_model("bert", layers=3)
    out = captured(model, batch(model), Needs(hidden_states=frozenset({2})))
    assert sorted(out.hidden_states) == [2] and not out.queries and out.logits is None


def test_a_layer_that_does_not_exist_is_refused_before_any_pass() -> None:
    with pytest.raises(RequestError, match=r"layer 4 .* 3 layers"):
        Capture(tiny_model("bert", layers=3), Needs(hidden_states=frozenset({4})))


def test_a_model_that_bypasses_the_attention_interface_is_an_error_not_a_zero() -> None:
    model = tiny_model("bert", layers=3)
    capture = Capture(model, NEEDS)
    capture.start()
    model.set_attn_implementation("eager")  # as a model of an unknown kind would: our function is never called
    logits = model(**batch(model)).logits
    with pytest.raises(RequestError, match=r"attention of layers \[2, 3\]"):
        capture.finish(logits, None)
    capture.remove()


def test_evaluation_is_not_recorded() -> None:
    model = tiny_model("bert", layers=3)
    capture = Capture(model, NEEDS)
    model(**batch(model))
    assert capture._records is None
    capture.remove()


def test_frozen_layers_that_would_train_nothing_are_an_error() -> None:
    model = tiny_model("bert", layers=3).train()
    model.bert.embeddings.requires_grad_(False)
    with pytest.raises(RequestError, match=r"hidden state of layers \[0\]"):
        captured(model, batch(model))


def test_sizes_are_read_from_the_config_and_kept_layers_with_them() -> None:
    model = tiny_model("distilbert", layers=3, hidden=16, heads=2)
    model.config.distilnlp_kept_layers = [1, 4, 6]
    info = model_info(model)
    assert (info.layers, info.width, info.heads, info.num_logits) == (3, 16, 2, 3)
    assert info.kept_layers == (1, 4, 6)


@every_backbone
def test_a_pass_of_its_own_gives_the_same_and_ends_at_the_highest_layer(kind: str) -> None:
    """What no loss reads is not computed: no layer above, no pooler, no head."""
    model = tiny_model(kind, layers=3)
    inputs = batch(model)
    needs = Needs(hidden_states=frozenset({0, 2}), attention=frozenset({1}))
    expected = captured(model, inputs, needs)
    called = calls_of(model)
    capture = Capture(model, needs)
    with torch.no_grad():
        got = capture.run(inputs)
    capture.remove()
    for layer in (0, 2):
        torch.testing.assert_close(got.hidden_states[layer], expected.hidden_states[layer], atol=0, rtol=0)
    assert got.logits is None and (1 in got.queries or 1 in got.attentions)
    assert called["layers"] == 2 and called["outside"] == 0


@every_backbone
def test_the_last_hidden_state_needs_neither_pooler_nor_head(kind: str) -> None:
    model = tiny_model(kind, layers=3)
    inputs = batch(model)
    expected = model(**inputs, output_hidden_states=True).hidden_states[-1]
    pooler = model.base_model._modules.get("pooler")
    called = calls_of(model)
    capture = Capture(model, Needs(hidden_states=frozenset({3})))
    torch.testing.assert_close(capture.run(inputs).hidden_states[3], expected)
    capture.remove()
    assert called["outside"] == 0
    assert model.base_model._modules.get("pooler") is pooler


def test_values_come_only_where_they_are_asked_for() -> None:
    model = tiny_model("bert", layers=3)
    out = captured(model, batch(model), Needs(attention=frozenset({2}), values=frozenset({3})))
    assert sorted(out.queries) == [2] and sorted(out.values) == [3]


def calls_of(model: PreTrainedModel) -> dict[str, int]:
    """Counts, from now on, the calls of layers and of what stands outside of the encoder: pooler and head."""
    called = {"layers": 0, "outside": 0}

    def count(where: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            called[where] += 1

        return hook

    for layer in dict.fromkeys(called_layers(model)):
        layer.register_forward_pre_hook(count("layers"))
    heads = [module for name, module in model.named_children() if name != model.base_model_prefix]
    poolers = [module for name, module in model.base_model.named_children() if name == "pooler"]
    for module in heads + poolers:
        module.register_forward_pre_hook(count("outside"))
    return called


GRADIENTS = Needs(logits=True, input_gradients=True)
LABELS = torch.tensor([2, 0, 1])


def gradients_of(model: PreTrainedModel, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Central differences of each logit along one direction ``(batch, tokens, width)``, and that direction."""
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(3, 12, model.config.hidden_size, generator=generator, dtype=torch.float64)
    first = called_layers(model)[0]

    def logits(step: float) -> Tensor:
        moved = False

        def move(module: object, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> object:
            nonlocal moved
            if moved:  # a layer that is shared is called again
                return None
            moved = True
            if args:
                return (args[0] + step * direction, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": kwargs["hidden_states"] + step * direction}

        handle = first.register_forward_pre_hook(move, with_kwargs=True)
        result: Tensor = model(**inputs).logits
        handle.remove()
        return result.gather(1, LABELS[:, None])[:, 0]

    with torch.no_grad():
        return (logits(1e-5) - logits(-1e-5)) / 2e-5 / direction.norm(), direction / direction.norm()


@every_backbone
def test_input_gradients_are_the_derivative_of_each_texts_own_logit(kind: str) -> None:
    model = tiny_model(kind, layers=2).double()
    inputs = batch(model)
    expected, direction = gradients_of(model, inputs)
    capture = Capture(model.requires_grad_(False), GRADIENTS)
    with torch.no_grad():
        out = capture.run({**inputs, "labels": LABELS})
    capture.remove()
    assert out.input_gradients is not None and not out.input_gradients.requires_grad
    assert out.logits is not None and not out.logits.requires_grad
    torch.testing.assert_close((out.input_gradients * direction).sum(dim=(1, 2)), expected, rtol=1e-6, atol=1e-9)


@every_backbone
def test_input_gradients_of_a_training_model_can_be_differentiated(kind: str) -> None:
    """The fast attention kernels cannot: what they gave would be an error, or a constant."""
    model = tiny_model(kind, layers=2).train()
    inputs, kernel = batch(model), model.config._attn_implementation
    capture = Capture(model, GRADIENTS)
    capture.start()
    logits = model(**inputs).logits
    out = capture.finish(logits, inputs["attention_mask"], LABELS)
    capture.remove()
    assert out.input_gradients is not None
    out.input_gradients.square().sum().backward()
    first = next(parameter for name, parameter in model.named_parameters() if "layer" in name and parameter.ndim == 2)
    assert first.grad is not None and first.grad.abs().sum() > 0
    assert model.config._attn_implementation == kernel


def test_input_gradients_follow_the_labels_to_their_logits() -> None:
    """A teacher that counts its labels in another order has the logit of ours at another place."""
    model = tiny_model("bert", layers=2)
    inputs = batch(model)
    capture = Capture(model, GRADIENTS)
    ours = capture.run({**inputs, "labels": LABELS}, order=[1, 2, 0]).input_gradients
    theirs = capture.run({**inputs, "labels": torch.tensor([0, 1, 2])}).input_gradients
    capture.remove()
    assert ours is not None and theirs is not None and torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "got none"),
        (torch.tensor([0.0, 1.0, 1.0]), "labels of type torch.float32"),
        (torch.tensor([0, 1, 3]), r"0\.\.2; the batch has \[0, 1, 3\]"),
    ],
)
def test_input_gradients_without_one_label_a_text_are_refused(labels: Tensor | None, message: str) -> None:
    model = tiny_model("bert", layers=2)
    capture = Capture(model, GRADIENTS)
    with pytest.raises(RequestError, match=message):
        capture.run({**batch(model), **({} if labels is None else {"labels": labels})})


def test_the_only_logit_of_a_regression_needs_no_label() -> None:
    model = tiny_model("bert", layers=2, num_labels=1)
    capture = Capture(model, GRADIENTS)
    out = capture.run({**batch(model), "labels": torch.tensor([0.5, 1.0, 1.5])})
    assert out.input_gradients is not None and out.input_gradients.abs().sum() > 0


def test_two_models_may_be_in_their_forward_pass_at_once() -> None:
    """One inside the other, as where peers teach each other: each capture gets the tensors of its own model."""
    inner, outer = tiny_model("bert", seed=1), tiny_model("bert", hidden=16, heads=2, seed=2)
    needs = Needs(attention=frozenset({1, 2}), values=frozenset({2}))
    alone = {model: captured(model, batch(model), needs) for model in (inner, outer)}
    captures = {model: Capture(model, needs) for model in (inner, outer)}
    between = {}

    def ask_the_other(*_: object) -> None:
        between["inner"] = captures[inner].run(batch(inner))

    handle = layer_stack(outer)[0].register_forward_hook(ask_the_other)
    got = {outer: captures[outer].run(batch(outer)), inner: between["inner"]}
    handle.remove()
    for model in (inner, outer):
        for layer in (1, 2):
            assert torch.equal(got[model].queries[layer], alone[model].queries[layer])
        assert torch.equal(got[model].values[2], alone[model].values[2])
        captures[model].remove()


def test_two_threads_capture_two_models() -> None:
    needs = Needs(attention=frozenset({2}))
    models = [tiny_model("bert", seed=seed) for seed in (1, 2)]
    alone = [captured(model, batch(model), needs).queries[2] for model in models]
    captures = [Capture(model, needs) for model in models]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            got = list(pool.map(lambda capture: capture.run(batch(capture.model)).queries[2], captures))
            assert all(torch.equal(a, b) for a, b in zip(got, alone, strict=True))


def test_one_model_in_two_captures_of_attention_is_refused() -> None:
    """Teacher and student would note each other's passes."""
    model = tiny_model("bert")
    first = Capture(model, Needs(attention=frozenset({1})))
    with pytest.raises(RequestError, match="captured already: one model cannot be teacher and student at once"):
        Capture(model, Needs(attention=frozenset({1})))
    assert first.run(batch(model)).queries.keys() == {1}
    first.remove()
    assert model.config._attn_implementation == "sdpa"
    Capture(model, Needs(attention=frozenset({1}))).remove()


def test_a_capture_that_nobody_removes_keeps_no_model_in_memory() -> None:
    """As where a training breaks off in a notebook, and is begun anew again and again."""
    model = tiny_model("bert")
    Capture(model, Needs(attention=frozenset({1})))
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_the_hooks_keep_a_capture_while_its_model_is_there() -> None:
    model = tiny_model("bert")
    Capture(model, Needs(attention=frozenset({1})))
    gc.collect()
    with pytest.raises(RequestError, match="captured already"):
        Capture(model, Needs(attention=frozenset({1})))
