"""Vectors of texts: pairs are two inputs and one cosine, and a vector of zeros is told."""

import numpy as np
import pytest

from distilnlp.errors import RequestError
from distilnlp.problems import get_problem, problem_of_vectors
from distilnlp.problems.sentence_embedding import pair_cosines
from tests.tiny import tiny_tokenizer

KIND = get_problem("sentence_embedding")


def test_it_is_the_kind_whose_answers_are_vectors() -> None:
    assert problem_of_vectors() is KIND


def test_the_texts_of_a_pair_are_two_inputs_of_one_example_and_its_row_their_cosine() -> None:
    reader = KIND.reader(tiny_tokenizer(), 16, {})
    encoded = reader.encode({"text": ["a film", "it"], "text_pair": ["a book", "we saw it"]})
    assert encoded.example == [0, 0, 1, 1]
    assert encoded.columns["input_ids"][1] == tiny_tokenizer()("a book")["input_ids"]
    vectors = np.array([[1, 0], [1, 1], [0, 2], [0, -1]], dtype=np.float32)
    joined = reader.join(encoded, list(vectors)).rows
    np.testing.assert_allclose(np.concatenate(joined), [[0.5**0.5], [-1]], atol=1e-6)


def test_a_text_alone_is_an_input_and_its_row_the_vector() -> None:
    reader = KIND.reader(tiny_tokenizer(), 16, {})
    encoded = reader.encode({"text": ["a film", "it"]})
    vectors = [np.array([1, 2, 3], dtype=np.float32), np.array([4, 5, 6], dtype=np.float32)]
    assert [row.tolist() for row in reader.join(encoded, vectors).rows] == [[[1, 2, 3]], [[4, 5, 6]]]


def test_a_pair_that_was_cut_is_counted_once() -> None:
    reader = KIND.reader(tiny_tokenizer(), 5, {})
    long = "the film was very very great"
    assert reader.encode({"text": [long, "it"], "text_pair": [long, "it"]}).cut == [0]


def test_the_texts_of_a_batch_of_pairs_stand_one_after_the_other() -> None:
    logits = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 2.0]])
    rows, labels, examples = KIND.answered_rows(logits, np.array([3.0, 3.0, 5.0, 5.0]))
    np.testing.assert_allclose(rows, [[0], [1]], atol=1e-6)
    assert labels.tolist() == [3.0, 5.0] and examples.tolist() == [0, 1]


def test_a_vector_of_zeros_has_no_cosine() -> None:
    with pytest.raises(RequestError, match="pair 2 is all zeros"):
        pair_cosines(np.ones((2, 3)), np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))


def test_cosines_of_very_long_and_very_short_vectors_are_right() -> None:
    np.testing.assert_allclose(
        pair_cosines(np.array([[1e30, 0]]), np.array([[1e-30, 1e-30]])), [[0.5**0.5]], rtol=1e-6
    )


def test_vectors_are_no_answers_to_measure() -> None:
    with pytest.raises(RequestError, match="pairs of texts with a score"):
        KIND.decide(np.ones((2, 3)))


def test_one_score_for_all_pairs_is_refused() -> None:
    from distilnlp.data.read_labels import read_labels

    with pytest.raises(RequestError, match="every score is 1"):
        read_labels([1, 1, 1], None, "data", problem=KIND)


def test_a_reader_sees_the_first_numbers_of_a_vector_and_the_cosine_of_a_pair() -> None:
    assert KIND.answers(np.arange(6.0)[None], ())[0].label == "[0.0000 1.0000 2.0000 3.0000 ...] (6 numbers)"
    assert KIND.answers(np.array([[0.5]]), ())[0].label == "0.5000"
