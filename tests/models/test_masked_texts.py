"""A masked language model writes texts of the lengths that are asked for, without a special token."""

import numpy as np
import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.models.masked_texts import MaskedWriter
from tests.masked import masked_model
from tests.tiny import VOCAB, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "modernbert"])
def test_texts_have_the_lengths_and_well_formed_tokens(kind: str) -> None:
    tokenizer = tiny_tokenizer()
    texts = MaskedWriter(masked_model(kind), tokenizer, passes=3).texts([1, 2, 7, 20], np.random.default_rng(0))

    read = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert [len(ids) for ids in read] == [1, 2, 7, 20]
    assert not {each for ids in read for each in ids} & {*tokenizer.all_special_ids}


def test_equal_seeds_give_equal_texts() -> None:
    writer = MaskedWriter(masked_model(), tiny_tokenizer())
    one, same, other = (writer.texts([9] * 5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same and one != other


def test_a_cold_softmax_writes_what_is_likeliest() -> None:
    model = masked_model()
    bias = dict(model.named_parameters())["cls.predictions.bias"]
    with torch.no_grad():
        bias[VOCAB.index("film")] += 50
    texts = MaskedWriter(model, tiny_tokenizer(), temperature=0.01).texts([3, 3], np.random.default_rng(0))
    assert texts == ["film film film"] * 2


def test_later_passes_see_what_earlier_ones_wrote() -> None:
    seen: list[int] = []
    model = masked_model()
    model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(int((kwargs["input_ids"] == VOCAB.index("[MASK]")).sum())),
        with_kwargs=True,
    )
    MaskedWriter(model, tiny_tokenizer(), passes=4).texts([8], np.random.default_rng(0))
    assert seen == [8, 6, 4, 2]


def test_a_text_is_no_longer_than_the_model_has_room_for() -> None:
    (text,) = MaskedWriter(masked_model(), tiny_tokenizer(), passes=1).texts([500], np.random.default_rng(0))
    assert len(text.split()) == 62


def test_a_classifier_writes_nothing() -> None:
    with pytest.raises(RequestError, match="single_label_classification, and texts are drawn from a masked"):
        MaskedWriter(tiny_model("bert", problem_type="single_label_classification"), tiny_tokenizer())
