"""Vectors of queries and texts, and the scores that are made of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from distilnlp.errors import RequestError
from distilnlp.problems import get_problem, problem_of_queries
from distilnlp.problems.retrieval import ApartReader, Retrieval
from tests.tiny import tiny_tokenizer

ROWS = {"text": ["the film", "a book"], "text_pair": [["it was great", "a dull meal", "we saw it"], ["the book"]]}
# As a collator lays it out: each query before its texts.
GROUPS = torch.tensor([[0, 1, 2, 3], [4, 5, -1, -1]])


def model_config(**fields: object) -> SimpleNamespace:
    return SimpleNamespace(sentence_modules={"similarity": "cosine", "normalize": False} | fields)


def test_query_and_texts_are_inputs_of_their_own_and_their_likeness_is_the_score() -> None:
    reader = ApartReader(tiny_tokenizer(), 32)
    encoded = reader.encode(ROWS)
    assert encoded.example == [0, 0, 0, 0, 1, 1]
    alone = tiny_tokenizer()(["the film", "it was great", "a dull meal", "we saw it", "a book", "the book"])
    assert encoded.columns["input_ids"] == alone["input_ids"]
    vectors = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    joined = reader.join(encoded, list(vectors))
    first = F.cosine_similarity(torch.tensor(vectors[:1]), torch.tensor(vectors[1:4]))
    np.testing.assert_allclose(joined.rows[0][:, 0], first, rtol=1e-5)
    assert [len(rows) for rows in joined.rows] == [3, 1]
    dots = ApartReader(tiny_tokenizer(), 32, "dot").join(encoded, list(vectors))
    np.testing.assert_allclose(dots.rows[1], [[vectors[4] @ vectors[5]]], rtol=1e-5)


@pytest.mark.parametrize(("similarity", "scale"), [("cosine", 20.0), ("dot", 1.0)])
def test_a_batch_of_vectors_becomes_a_row_for_each_text_in_the_order_of_the_queries(
    similarity: str, scale: float
) -> None:
    vectors = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    scores, batch = Retrieval(similarity, scale).scored(vectors, {"groups": GROUPS})
    if similarity == "cosine":
        vectors = F.normalize(vectors, dim=-1)
    wanted = [vectors[0] @ vectors[1], vectors[0] @ vectors[2], vectors[0] @ vectors[3], vectors[4] @ vectors[5]]
    torch.testing.assert_close(scores[:, 0], scale * torch.stack(wanted))
    assert batch["groups"].tolist() == [[0, 1, 2], [3, -1, -1]]


def test_a_batch_that_does_not_tell_its_queries_is_refused() -> None:
    with pytest.raises(RequestError, match="places of a query and its texts"):
        Retrieval().scored(torch.zeros(2, 3), {})


def test_a_batch_of_pairs_is_refused_before_its_first_text_is_taken_for_the_query() -> None:
    with pytest.raises(RequestError, match="tokens of pairs"):
        Retrieval().scored(torch.zeros(6, 3), {"groups": GROUPS, "labels": torch.zeros(2, 4)})


@pytest.mark.parametrize(
    ("config", "similarity", "scale"),
    [
        (model_config(), "cosine", 20.0),
        (model_config(similarity="dot"), "dot", 1.0),
        (model_config(similarity="dot", normalize=True), "dot", 20.0),  # which is a cosine
        (SimpleNamespace(**vars(model_config()), distilnlp_reading={"similarity": "dot", "scale": 3}), "dot", 3.0),
    ],
)
def test_a_model_says_how_it_compares(config: SimpleNamespace, similarity: str, scale: float) -> None:
    assert problem_of_queries().of_config(config) == Retrieval(similarity, scale)


@pytest.mark.parametrize(
    "reading", [{"similarity": "euclidean"}, {"scale": 0}, {"scale": True}, {"scale": float("inf")}]
)
def test_a_model_that_compares_in_an_unknown_way_is_refused(reading: dict[str, object]) -> None:
    config = SimpleNamespace(**vars(model_config()), distilnlp_reading=reading)
    with pytest.raises(RequestError, match=r"similarity|scale"):
        problem_of_queries().of_config(config)


def test_it_learns_from_who_gives_the_texts_of_a_query_scores() -> None:
    own = problem_of_queries()
    assert own.learns_from(get_problem("ranking")) and own.learns_from(own)
    assert not own.learns_from(get_problem("regression")) and not own.learns_from(get_problem("sentence_embedding"))
