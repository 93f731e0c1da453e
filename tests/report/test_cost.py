"""What is counted and timed, on which texts, and that a model is left as it was."""

import time

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.models import Predictor, TorchBackend
from distilnlp.report import cost
from distilnlp.report.cost import disk_mb, measure_cost, measure_costs
from tests.tiny import BACKBONES, tiny_model, tiny_tokenizer

PAIRS = [("the film was good", "they saw it"), ("a dull book", "it is on the meal and in the film")]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def predictor(model, tokenizer, **settings):
    return Predictor(TorchBackend(model), tokenizer, **settings)


@pytest.fixture
def few_runs(monkeypatch):
    monkeypatch.setattr(cost, "LATENCY_RUNS", (4, 4))
    monkeypatch.setattr(cost, "THROUGHPUT_RUNS", (2, 2))


def test_disk_adds_the_weights_and_nothing_else(tmp_path):
    """A sharded model is the sum of its shards; tokenizer and optimizer are not weights."""
    for name, size in {"model-1-of-2.safetensors": 1500, "model-2-of-2.safetensors": 500, "vocab.txt": 9}.items():
        (tmp_path / name).write_bytes(b"0" * size)
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / "model.safetensors").write_bytes(b"0" * 777)
    assert disk_mb(tmp_path) == pytest.approx(0.002)
    with pytest.raises(RequestError, match="no weights"):
        disk_mb(tmp_path / "checkpoint-1" / "none")


def test_measure_cost_reports_all_of_it(tmp_path, tokenizer):
    model = tiny_model("bert")
    model.save_pretrained(tmp_path)
    got = measure_cost(predictor(model, tokenizer), PAIRS, folder=tmp_path)
    assert got.disk_mb == (tmp_path / "model.safetensors").stat().st_size / 1e6
    assert 0 < got.latency_p50_ms <= got.latency_p95_ms
    assert got.throughput_per_s > 0
    assert got.latency_runs >= 30
    assert got.throughput_batches >= 3
    assert (got.threads, got.device, got.dtype) == (torch.get_num_threads(), "cpu", "float32")
    assert measure_cost(predictor(model, tokenizer), PAIRS, budget_seconds=0).disk_mb is None


def test_batches_are_1_and_32_of_the_given_texts_in_turns(tokenizer, few_runs):
    """Two models see the same shapes one after the other: A B A B, never A A B B."""
    models = {name: tiny_model("bert") for name in ("teacher", "student")}
    seen = []
    for name, model in models.items():
        model.register_forward_pre_hook(
            lambda _, args, inputs, name=name: seen.append((name, *inputs["input_ids"].shape)), with_kwargs=True
        )
    measure_costs({name: predictor(model, tokenizer) for name, model in models.items()}, PAIRS)
    timed = {size: [(name, tokens) for name, rows, tokens in seen if rows == size] for size in (1, 32)}
    assert {rows for _, rows, _ in seen} == {1, 32}
    latency, throughput = timed[1][2 * cost.WARM_UP :][:8], timed[32]
    assert [name for name, _ in latency] == ["teacher", "student"] * 4
    assert [tokens for _, tokens in latency[::2]] == [tokens for _, tokens in latency[1::2]]
    assert [name for name, _ in throughput[-4:]] == ["teacher", "student"] * 2


def test_both_texts_of_a_pair_and_different_texts_are_timed(tokenizer, few_runs):
    lengths = {1 + 4 + 1 + 3 + 1, 1 + 3 + 1 + 9 + 1}  # [CLS] text [SEP] pair [SEP]
    model, seen = tiny_model("bert"), set()
    model.register_forward_pre_hook(lambda _, args, inputs: seen.add(inputs["input_ids"].shape), with_kwargs=True)
    measure_cost(predictor(model, tokenizer), PAIRS)
    assert {tokens for rows, tokens in seen if rows == 1} == lengths
    assert {tokens for rows, tokens in seen if rows == 32} == {max(lengths)}


def test_texts_are_cut_to_the_length_asked_for_or_to_the_model(tokenizer, few_runs):
    """Without the cut a text longer than the position table is an index error deep in the model."""
    model, long = tiny_model("roberta"), [("good " * 500,)]
    assert measure_cost(predictor(model, tokenizer, max_length=10), long).tokens_per_text == 10
    assert measure_cost(predictor(model, tokenizer), long).tokens_per_text <= model.config.max_position_embeddings


@pytest.mark.parametrize("kind", BACKBONES)
def test_every_backbone_can_be_timed(kind, tokenizer, few_runs):
    """DistilBERT among them, which knows no token types though the tokenizer gives them."""
    assert (
        measure_cost(predictor(tiny_model(kind), tokenizer), ["one single text"], budget_seconds=0).throughput_per_s
        > 0
    )


def test_a_model_is_left_as_it_was(tokenizer, few_runs):
    """A frozen part in evaluation mode stays so while the rest goes on training, and gradients flow again."""
    model = tiny_model("modernbert").train()
    model.classifier.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    requires = {name: p.requires_grad for name, p in model.named_parameters()}
    measure_cost(predictor(model, tokenizer), PAIRS)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {name: p.requires_grad for name, p in model.named_parameters()} == requires
    model(**tokenizer("a film", return_tensors="pt")).logits.sum().backward()
    assert any(p.grad is not None for p in model.parameters())


def test_what_a_model_keeps_of_its_first_call_can_be_trained_with(tokenizer, few_runs):
    """Under inference_mode a table made on the first call, as of positions, breaks the training that comes after."""
    model, kept = tiny_model("bert"), {}

    def scale(_, args, output):
        output.logits = output.logits * kept.setdefault("table", torch.ones(3))
        return output

    model.register_forward_hook(scale)
    measure_cost(predictor(model, tokenizer), PAIRS)
    model(**tokenizer("a film", return_tensors="pt")).logits.sum().backward()
    assert model.classifier.weight.grad is not None


def test_a_model_is_left_as_it_was_when_it_fails(tokenizer):
    model = tiny_model("bert").train()
    model.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure_cost(predictor(model, tokenizer), PAIRS)
    assert model.training
    assert torch.is_grad_enabled()


def test_no_gradients_are_kept_while_timing(tokenizer, few_runs):
    model, graphs = tiny_model("bert").train(), []
    model.register_forward_hook(lambda _, args, output: graphs.append((output.logits.requires_grad, model.training)))
    measure_cost(predictor(model, tokenizer), PAIRS)
    assert set(graphs) == {(False, False)}


def test_a_slow_model_does_not_wait_for_all_runs(tokenizer):
    model = tiny_model("bert")
    model.register_forward_pre_hook(lambda *_: time.sleep(0.02))
    got = measure_cost(predictor(model, tokenizer), PAIRS, budget_seconds=0.02)
    assert 1 <= got.latency_runs < 30
    assert 1 <= got.throughput_batches <= 3


def test_nothing_to_measure_is_refused(tokenizer):
    with pytest.raises(RequestError, match="at least one text"):
        measure_cost(predictor(tiny_model("bert"), tokenizer), [])
