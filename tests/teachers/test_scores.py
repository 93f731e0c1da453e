"""A cross-encoder is asked about batches in which queries and texts stand apart, and sees the pairs that it knows."""

import random

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from distilnlp.data import tokenize
from distilnlp.data.collate import make_collator
from distilnlp.errors import RequestError
from distilnlp.outputs import Needs
from distilnlp.problems import problem_of_queries
from distilnlp.teachers import FrozenTeacher, ScoringTeacher
from distilnlp.teachers.scores import PairJoiner
from tests.models.test_sentence_encoder import PLAIN, tiny_encoder
from tests.tiny import VOCAB, tiny_model, tiny_tokenizer
from tests.training.test_ranking import queries

NEEDS = Needs(logits=True)


def apart_batch(count: int = 4) -> dict[str, torch.Tensor]:
    tokens = tokenize(queries(count), tiny_tokenizer(), problem=problem_of_queries())
    return make_collator(tiny_tokenizer())([tokens[place] for place in range(count)])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_cross_encoder_gives_the_scores_that_it_gives_to_pairs(kind: str) -> None:
    model = tiny_model(kind, num_labels=1, problem_type="ranking")
    teacher = ScoringTeacher(FrozenTeacher(model, tiny_tokenizer()))
    teacher.prepare(torch.device("cpu"), NEEDS)
    pairs = [(row["text"], text) for row in queries(4) for text in row["text_pair"]]
    together = tiny_tokenizer()([list(pair) for pair in pairs], padding=True, return_tensors="pt")
    torch.testing.assert_close(teacher(apart_batch()).get_logits(), model(**together).logits)


@torch.no_grad()
def test_a_bi_encoder_gives_the_scores_of_its_vectors() -> None:
    model = tiny_encoder(modules=PLAIN)
    model.config.problem_type = problem_of_queries().name
    teacher, batch = ScoringTeacher(FrozenTeacher(model, tiny_tokenizer())), apart_batch()
    teacher.prepare(torch.device("cpu"), NEEDS)
    vectors = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}).logits
    assert vectors is not None
    torch.testing.assert_close(teacher(batch).get_logits(), problem_of_queries().scored(vectors, batch)[0])


@pytest.mark.parametrize("limit", [9, 10, 40])
def test_a_pair_that_is_too_long_is_cut_as_the_tokenizer_cuts_it(limit: int) -> None:
    tokenizer, rng = tiny_tokenizer(), random.Random(limit)
    joiner = PairJoiner.of(tokenizer, limit)
    for _ in range(50):
        texts = [" ".join(rng.choices(VOCAB[5:], k=rng.randint(1, 12))) for _ in range(2)]
        made = joiner.pair(*(tokenizer(text)["input_ids"] for text in texts))
        whole = tokenizer(*texts, truncation=True, max_length=limit)
        assert made == {name: whole[name] for name in made}


def test_a_tokenizer_that_marks_single_texts_in_another_way_joins_them_as_pairs() -> None:
    """As RoBERTa: two special tokens between the texts, no segments, padding on the left."""
    from tokenizers.processors import TemplateProcessing

    plain = tiny_tokenizer()
    backend = plain.backend_tokenizer
    ids = {name: plain.convert_tokens_to_ids(name) for name in ("[CLS]", "[SEP]")}
    backend.post_processor = TemplateProcessing(
        single="$A [CLS]", pair="$A [SEP] [SEP] $B [SEP] [CLS]", special_tokens=list(ids.items())
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )
    singles = tokenizer(["the film", "it was great on it", "a book"], padding=True, return_tensors="pt")
    joined = PairJoiner.of(tokenizer, 64).pairs({**singles, "groups": torch.tensor([[0, 1, 2]])})
    wanted = tokenizer([["the film", "it was great on it"], ["the film", "a book"]], padding=True, return_tensors="pt")
    assert {name: tensor.tolist() for name, tensor in joined.items()} == {
        name: tensor.tolist() for name, tensor in wanted.items()
    }


def test_a_cross_encoder_without_its_tokenizer_is_refused() -> None:
    with pytest.raises(RequestError, match="comes without a tokenizer"):
        ScoringTeacher(FrozenTeacher(tiny_model("bert", num_labels=1, problem_type="ranking")))
