"""Texts become batches in one way: like lengths together, cut to what the model takes, answers in the texts' order."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.models.predictor import Predictor, TorchBackend, token_limit
from tests.tiny import BACKBONES, POSITIONS, tiny_model, tiny_tokenizer

NAMES = ("bad", "good", "mixed")
TEXTS = ["a film", "the film was good and the book was quite dull but we saw it", "good", "they saw the red film"]


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    return tiny_tokenizer()


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_logits_are_those_of_each_text_alone_in_the_order_of_the_texts(
    kind: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = tiny_model(kind, label_names=NAMES)
    got = Predictor(TorchBackend(model), tokenizer, batch_size=3).logits(TEXTS)
    with torch.no_grad():
        columns = [name for name in tokenizer.model_input_names if kind != "distilbert" or name != "token_type_ids"]
        alone = [tokenizer(text, return_tensors="pt") for text in TEXTS]
        expected = [model(**{name: each[name] for name in columns}).logits[0] for each in alone]
    np.testing.assert_allclose(got, torch.stack(expected).numpy(), atol=1e-5)
    assert got.dtype == np.float32


def test_texts_of_like_length_meet_in_a_batch(tokenizer: PreTrainedTokenizerBase) -> None:
    """Padding is work for nothing: the two short texts share a batch, whatever stands between them."""
    predictor = Predictor(TorchBackend(tiny_model("bert")), tokenizer, batch_size=2)
    places = [sorted(places) for places, _ in predictor.batches(TEXTS)]
    assert places == [[0, 2], [1, 3]]
    assert [batch["input_ids"].shape[1] for _, batch in predictor.batches(TEXTS)] == [4, 16]


def test_a_pair_is_read_as_a_pair(tokenizer: PreTrainedTokenizerBase) -> None:
    predictor = Predictor(TorchBackend(tiny_model("bert")), tokenizer)
    (ids,) = predictor.encode([("a film", "good")])["token_type_ids"].tolist()
    assert ids == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("kind", "asked", "limit"),
    [
        ("bert", None, POSITIONS),
        ("bert", 10, 10),
        ("bert", 10_000, POSITIONS),
        ("roberta", None, POSITIONS),  # has a position more, and counts from behind the padding's
        ("distilbert", None, POSITIONS),
    ],
)
def test_no_text_is_longer_than_model_and_tokenizer_take(
    kind: str, asked: int | None, limit: int, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A tokenizer without a limit of its own lets any text through, which is an index error deep in the model."""
    tokenizer.model_max_length = int(1e30)
    model = tiny_model(kind)
    assert token_limit(model.config, tokenizer, asked) == limit
    predictor = Predictor(TorchBackend(model), tokenizer, max_length=asked)
    assert predictor.encode(["good " * 500])["input_ids"].shape[1] == limit
    assert np.isfinite(predictor.logits(["good " * 500])).all()


def test_decisions_have_names_and_probabilities(tokenizer: PreTrainedTokenizerBase) -> None:
    predictor = Predictor(TorchBackend(tiny_model("bert", label_names=NAMES)), tokenizer)
    logits = predictor.logits(TEXTS)
    assert predictor.label_names == NAMES
    assert predictor.decide(TEXTS).tolist() == logits.argmax(axis=1).tolist()
    for answer, row in zip(predictor.answers(TEXTS), logits, strict=True):
        assert answer.label == NAMES[int(row.argmax())]
        assert answer.probability == max(answer.probabilities.values())
        assert sum(answer.probabilities.values()) == pytest.approx(1)


def test_any_backend_will_do(tokenizer: PreTrainedTokenizerBase) -> None:
    """The interface for an exported model: it is asked with the inputs that it reads, and for nothing else."""

    class Lengths:
        config = tiny_model("bert", num_labels=2).config
        columns = frozenset({"attention_mask"})
        device = torch.device("cpu")
        dtype = "int8"

        @contextmanager
        def evaluating(self) -> Iterator[None]:
            yield

        def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
            assert batch.keys() == {"attention_mask"}
            length = batch["attention_mask"].sum(dim=1).float()
            return torch.stack([length, -length], dim=1)

        def wait(self) -> None: ...

        def count_parameters(self) -> tuple[int, int]:
            return 0, 0

    assert Predictor(Lengths(), tokenizer, batch_size=2).logits(TEXTS)[:, 0].tolist() == [4, 16, 3, 7]


def test_adapters_answer_with_the_model_that_they_are_on(tokenizer: PreTrainedTokenizerBase) -> None:
    model = tiny_model("bert", label_names=NAMES)
    plain = Predictor(TorchBackend(model), tokenizer).logits(TEXTS)
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    got = Predictor(TorchBackend(adapted), tokenizer).logits(TEXTS)
    np.testing.assert_allclose(got, plain, atol=1e-6)  # an adapter begins as nothing


def test_without_texts_there_is_nothing_to_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(RequestError, match="give at least one text"):
        Predictor(TorchBackend(tiny_model("bert")), tokenizer).logits([])
