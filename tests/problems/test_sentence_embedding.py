"""Vectors of texts: pairs are two inputs and one cosine, and a vector of zeros is told."""

import numpy as np
import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.problems import get_problem, problem_of_vectors
from distilnlp.problems.sentence_embedding import (
    SentenceEmbedding,
    pair_cosines,
    translation_accuracies,
    translation_labels,
)
from distilnlp.report.fidelity import fidelity
from distilnlp.report.scores import compute_scores
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


def test_a_vector_alone_decides_nothing() -> None:
    assert KIND.decide(np.ones((2, 3))).tolist() == [0, 0]
    with pytest.raises(RequestError, match="the cosines of pairs"):
        KIND.decide(np.ones((2, 3, 4)))


def parallel_vectors(sentences: int = 30, languages: int = 3, noise: float = 1.2) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    of_sentence = generator.normal(size=(1, sentences, 8))
    vectors = of_sentence + noise * generator.normal(size=(languages, sentences, 8))
    return vectors.reshape(-1, 8).astype(np.float32), translation_labels(sentences, languages)


def test_translations_are_found_as_often_as_the_evaluator_of_sentence_transformers_finds_them() -> None:
    from sentence_transformers.sentence_transformer.evaluation import TranslationEvaluator

    vectors, labels = parallel_vectors()

    class Evaluator(TranslationEvaluator):
        """Theirs, of vectors whose place among ours is the text."""

        def embed_inputs(self, model: object, sentences: list[str], **_: object) -> list[torch.Tensor]:
            return [torch.tensor(vectors[int(text)]) for text in sentences]

        def store_metrics_in_model_card_data(self, *_: object) -> None:
            """There is no model."""

    found = translation_accuracies(vectors, labels)
    for language, accuracy in enumerate(found, start=1):
        places = [[str(30 * block + row) for row in range(30)] for block in (0, language)]
        theirs = Evaluator(*places)(None)
        assert 0 < accuracy < 1 and accuracy == pytest.approx(theirs["mean_accuracy"])
    assert len(found) == 2
    scores = compute_scores(["translation_accuracy"], KIND.decide(vectors), labels, KIND, logits=vectors)
    assert scores["translation_accuracy"] == pytest.approx(np.mean(found))


def test_the_order_of_parallel_texts_changes_nothing() -> None:
    vectors, labels = parallel_vectors()
    order = np.random.default_rng(1).permutation(len(labels))
    assert translation_accuracies(vectors[order], labels[order]) == translation_accuracies(vectors, labels)


def test_each_language_has_an_accuracy_by_its_name_where_there_are_several() -> None:
    vectors, labels = parallel_vectors()
    details = SentenceEmbedding(("de", "es")).details(np.zeros(90), labels, np.arange(90), None, vectors)
    de, es = translation_accuracies(vectors, labels)
    assert details == {"translation_accuracy[de]": de, "translation_accuracy[es]": es}
    one, two = parallel_vectors(languages=2)
    assert SentenceEmbedding(("de",)).details(np.zeros(60), two, np.arange(60), None, one) == {}


def test_a_sentence_that_a_language_lacks_is_refused() -> None:
    vectors, labels = parallel_vectors()
    with pytest.raises(RequestError, match="each sentence in all of them"):
        translation_accuracies(vectors[:-1], labels[:-1])


def test_vectors_that_are_turned_or_of_another_width_agree_by_their_cosines() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 6))
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    wider = np.hstack([3 * vectors @ turned, np.zeros((40, 2))])
    assert fidelity(wider, vectors, KIND)["agreement"] == pytest.approx(1.0)
    assert fidelity(np.random.default_rng(2).normal(size=(40, 9)), vectors, KIND)["agreement"] < 0.5
    with pytest.raises(RequestError, match="of one shape"):
        fidelity(wider[:20], vectors, KIND)


def test_of_a_translation_the_teacher_is_asked_for_the_source() -> None:
    """Its own vector of a text that it cannot read says nothing."""
    source = np.random.default_rng(0).normal(size=(20, 6))
    labels = translation_labels(20, 2)
    teacher = np.vstack([source, np.random.default_rng(1).normal(size=(20, 6))])
    student = np.vstack([source, source])
    examples = KIND.examples_of(labels, np.arange(40))
    assert fidelity(student, teacher, KIND, examples=examples) == {"agreement": 1.0, "mae": 0.0}
    assert fidelity(student, teacher, KIND)["agreement"] < 0.9


def test_one_score_for_all_pairs_is_refused() -> None:
    from distilnlp.data.read_labels import read_labels

    with pytest.raises(RequestError, match="every score is 1"):
        read_labels([1, 1, 1], None, "data", problem=KIND)


def test_a_reader_sees_the_first_numbers_of_a_vector_and_the_cosine_of_a_pair() -> None:
    assert KIND.answers(np.arange(6.0)[None], ())[0].label == "[0.0000 1.0000 2.0000 3.0000 ...] (6 numbers)"
    assert KIND.answers(np.array([[0.5]]), ())[0].label == "0.5000"
