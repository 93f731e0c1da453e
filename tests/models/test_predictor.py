"""Texts become batches in one way: like lengths together, cut to what the model takes, answers in the texts' order."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerBase

from distilnlp.errors import RequestError, RunError
from distilnlp.models.backend import TorchBackend
from distilnlp.models.checks import token_limit
from distilnlp.models.heads import model_from_config
from distilnlp.models.predictor import Predictor
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
    batches = list(predictor._batches(predictor.checked(TEXTS)))
    places = [sorted(places) for places, _ in batches]
    assert places == [[0, 2], [1, 3]]
    assert [max(map(len, encoded.columns["input_ids"])) for _, encoded in batches] == [4, 16]


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


@pytest.mark.parametrize(
    "kind",
    [
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "longformer",
        "luke",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    ],
)
def test_positions_that_begin_behind_the_padding_are_not_run_out_of(
    kind: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A token more than the limit is an index error; the published models have 514 positions for 512 tokens."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    own = {"attention_window": 4} if kind == "longformer" else {}
    config = AutoConfig.for_model(kind, vocab_size=50, max_position_embeddings=20, pad_token_id=1, **sizes, **own)
    if kind == "xmod":
        config.default_language = config.languages[0]
    model = AutoModelForSequenceClassification.from_config(config).eval()
    tokenizer.model_max_length = int(1e30)
    limit = token_limit(config, tokenizer)
    assert limit == 18
    model(input_ids=torch.full((1, limit), 7), attention_mask=torch.ones(1, limit, dtype=torch.long))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, limit + 1), 7), attention_mask=torch.ones(1, limit + 1, dtype=torch.long))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_length": 0}, "max_length=0: a text has 2 special tokens, give 3 or more"),
        ({"max_length": -1}, "max_length=-1: .* give 3 or more"),
        ({"max_length": 2}, "max_length=2: .* give 3 or more"),
        ({"batch_size": 0}, "batch_size=0: .* give 1 or more"),
        ({"batch_size": -1}, "batch_size=-1: .* give 1 or more"),
    ],
)
def test_settings_that_leave_nothing_to_read_are_refused(
    settings: dict[str, int], message: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A tokenizer that is asked for fewer tokens than the special ones leaves the text uncut, without a word."""
    with pytest.raises(RequestError, match=f"^{message}$"):
        Predictor(TorchBackend(tiny_model("bert")), tokenizer, **settings)


def test_a_pair_needs_more_tokens_than_a_text(tokenizer: PreTrainedTokenizerBase) -> None:
    predictor = Predictor(TorchBackend(tiny_model("bert")), tokenizer, max_length=3)
    assert predictor.encode(["a film"])["input_ids"].shape == (1, 3)
    with pytest.raises(RequestError, match="max_length=3: a pair has 3 special tokens, give 4 or more"):
        predictor.encode([("a film", "good")])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("good", "texts is one string, which would be read letter by letter: give a list"),
        (["good", ("a", "b")], r"texts\[1\] is a pair and texts\[0\] is not: give single texts only"),
        ([("a", "b"), "good"], r"texts\[1\] is one text and texts\[0\] is not: give single texts only"),
        ([("a", "b", "c")], r"texts\[0\] is \('a', 'b', 'c'\): a string, \(text,\) or \(text, pair\) is needed"),
        ([()], r"texts\[0\] is \(\): a string"),
        (["good", None], r"texts\[1\] is None: a string"),
        (["good", float("nan")], r"texts\[1\] is nan: a string"),
        ([("good", None)], r"texts\[0\]\[1\] is None: a string"),
        ([(["a", "film"],)], r"texts\[0\] is \['a', 'film'\]: a string is needed"),
    ],
)
def test_what_is_no_list_of_texts_of_one_kind_is_refused_before_the_model_is_asked(
    texts: list[str], message: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = tiny_model("bert")
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model was asked"))
    with pytest.raises(RequestError, match=f"^{message}"):
        Predictor(TorchBackend(model), tokenizer, batch_size=1).logits(texts)


def test_the_tokenizer_of_a_larger_vocabulary_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    """On an accelerator an id that is not in the table breaks the whole process."""
    model = tiny_model("bert")
    model.resize_token_embeddings(20)
    with pytest.raises(RequestError, match="the token 'five' with id 46 and the model knows 20 tokens"):
        Predictor(TorchBackend(model), tokenizer)


def test_a_token_that_appears_later_is_refused_too(tokenizer: PreTrainedTokenizerBase) -> None:
    predictor = Predictor(TorchBackend(tiny_model("bert")), tokenizer)
    tokenizer.add_tokens(["xphone"])
    with pytest.raises(RequestError, match="token 47 and the model knows 47, counted from 0: it is another model's"):
        predictor.logits(["xphone"])


def test_a_pair_for_a_model_of_one_token_type_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    predictor = Predictor(TorchBackend(tiny_model("bert", type_vocab_size=1)), tokenizer)
    assert predictor.logits(["a film"]).shape == (1, 3)
    with pytest.raises(RequestError, match="up to 1 and the model knows 1 token types"):
        predictor.logits([("a film", "good")])


def test_a_model_in_half_precision_answers_in_float32(tokenizer: PreTrainedTokenizerBase) -> None:
    """numpy has no bfloat16."""
    model = tiny_model("bert")
    expected = Predictor(TorchBackend(model), tokenizer).logits(TEXTS)
    backend = TorchBackend(model.bfloat16())
    got = Predictor(backend, tokenizer).logits(TEXTS)
    assert (backend.dtype, got.dtype) == ("bfloat16", np.float32)
    np.testing.assert_allclose(got, expected, atol=5e-3)


def test_answers_that_are_no_numbers_are_an_error(tokenizer: PreTrainedTokenizerBase) -> None:
    model = tiny_model("bert", label_names=NAMES)
    torch.nn.init.constant_(model.classifier.bias, float("nan"))
    predictor = Predictor(TorchBackend(model), tokenizer)
    for ask in (predictor.logits, predictor.decide, predictor.answers):
        with pytest.raises(RunError, match="4 of 4 examples have logits that are not finite"):
            ask(TEXTS)


def test_every_module_is_left_in_the_mode_it_was_in(tokenizer: PreTrainedTokenizerBase) -> None:
    """A trainer's model is asked in the middle of a training, with parts of it that are frozen."""
    model = tiny_model("bert").train()
    model.bert.embeddings.eval()
    before = [module.training for module in model.modules()]
    predictor = Predictor(TorchBackend(model), tokenizer)
    assert np.array_equal(predictor.logits(TEXTS), predictor.logits(TEXTS))  # no dropout
    assert [module.training for module in model.modules()] == before
    model.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predictor.logits(TEXTS)
    assert [module.training for module in model.modules()] == before


def predictor_of(kind: str, names: tuple[str, ...] = NAMES, **config: object) -> Predictor:
    """Of a kind of task with a head of its own."""
    settings = tiny_model("bert", label_names=names, problem_type=kind, **config).config
    return Predictor(TorchBackend(model_from_config(settings)), tiny_tokenizer())


@pytest.mark.parametrize(
    ("kind", "names", "texts", "message"),
    [
        ("question_answering", NAMES[:2], ["how"], "reads two texts, give the second of each too"),
        ("ranking", NAMES[:1], ["how"], "reads two texts"),
        ("token_classification", NAMES, [("we saw it", "good")], "reads single texts, leave the second out"),
        ("question_answering", NAMES[:2], [("how", ["good"])], r"texts\[0\]\[1\] is \['good'\]: a string is needed"),
        ("ranking", NAMES[:1], [(["how"], "good")], r"texts\[0\]\[0\] is \['how'\]: a string is needed"),
        ("masked_lm", NAMES, [(["a", "[MASK]"],)], r"texts\[0\] is \['a', '\[MASK\]'\]: a string is needed"),
        ("ranking", NAMES[:1], [("how", [])], r"texts\[0\]\[1\] is \[\]: a string, or a list of strings, is needed"),
    ],
)
def test_each_kind_takes_texts_pairs_and_lists_as_it_reads_them(
    kind: str, names: tuple[str, ...], texts: list[Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        predictor_of(kind, names).answers(texts)


@pytest.mark.parametrize("texts", [["", "we saw it"], ["", " "], [""]])
def test_a_text_without_a_word_has_no_entity(texts: list[str]) -> None:
    answers = predictor_of("token_classification", ("O", "B-a", "I-a")).answers(texts)
    assert len(answers) == len(texts) and answers[0].entities == ()


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


def test_a_runtime_may_write_each_answer_over_the_last(tokenizer: PreTrainedTokenizerBase) -> None:
    class OneBuffer(TorchBackend):
        buffer = torch.empty(1, 3)

        def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
            return self.buffer.copy_(super().__call__(batch))

    model = tiny_model("bert")
    expected = Predictor(TorchBackend(model), tokenizer, batch_size=1).logits(TEXTS)
    assert np.array_equal(Predictor(OneBuffer(model), tokenizer, batch_size=1).logits(TEXTS), expected)


def test_adapters_answer_with_the_model_that_they_are_on(tokenizer: PreTrainedTokenizerBase) -> None:
    model = tiny_model("bert", label_names=NAMES)
    plain = Predictor(TorchBackend(model), tokenizer).logits(TEXTS)
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    got = Predictor(TorchBackend(adapted), tokenizer).logits(TEXTS)
    np.testing.assert_allclose(got, plain, atol=1e-6)  # an adapter begins as nothing


def test_without_texts_there_is_nothing_to_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(RequestError, match="give at least one text"):
        Predictor(TorchBackend(tiny_model("bert")), tokenizer).logits([])
