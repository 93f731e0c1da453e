"""Ranking: labels, agreement within queries, and what a query's texts are to the model."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from distilnlp.errors import RequestError
from distilnlp.problems import get_problem
from distilnlp.problems.base import LabelColumn
from distilnlp.problems.ranking import PairReader, kendall, rank_order
from tests.tiny import tiny_tokenizer

RANKING = get_problem("ranking")


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=9))
def test_kendall_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(each, dtype=float) for each in zip(*pairs, strict=True))
    expected = scipy.stats.kendalltau(first, second).statistic
    found = kendall(first, second)
    assert found is None if np.isnan(expected) else found == pytest.approx(expected)


def test_agreement_is_a_mean_within_the_queries() -> None:
    """The scores of two queries may stand anywhere to each other."""
    teacher, student = np.array([2.0, 1.0, 9.0, 8.0]), np.array([12.0, 11.0, 3.0, 4.0])
    found = RANKING.agreement(student, teacher, examples=np.array([0, 0, 1, 1]))
    assert found["agreement"] == pytest.approx(0.0)
    assert found["mae"] == pytest.approx((0 + 1) / 2)  # the margins of the first agree, of the second 1 against -1


def test_queries_without_an_order_say_nothing_of_the_agreement() -> None:
    teacher, student = np.array([2.0, 1.0, 5.0]), np.array([3.0, 0.0, 7.0])
    assert RANKING.agreement(student, teacher, examples=np.array([0, 0, 1]))["agreement"] == 1.0
    assert RANKING.agreement(student, teacher, examples=np.arange(3))["agreement"] == 0.0


def test_the_best_text_comes_first_and_equals_keep_their_order() -> None:
    assert rank_order(np.array([1.0, 3.0, 3.0])).tolist() == [1, 2, 0]
    assert rank_order(np.array([1.0, 3.0, 3.0]), np.array([0.0, 1.0, 0.0])).tolist() == [2, 1, 0]


def test_a_query_of_the_answers_has_its_best_text_and_all_scores() -> None:
    found = RANKING.answers_of_texts(np.array([[0.1], [0.9], [4.0]], np.float32), ["x"], np.array([0, 0, 1]), [])
    assert [each.label for each in found] == ["2", "1"]
    assert found[0].scores == pytest.approx((0.1, 0.9))


@pytest.mark.parametrize("bad", [[1, -1], [], [float("nan")], ["a"], "yes", [True]])
def test_what_is_no_relevance_is_refused_with_its_row(bad: object) -> None:
    with pytest.raises(RequestError, match=r"data: row 2 has .* needs a relevance for each text"):
        RANKING.encode(LabelColumn.of([[1.0], bad], None, "data"), None)


def test_every_text_of_a_query_is_an_input_and_its_scores_come_back_together() -> None:
    reader = PairReader(tiny_tokenizer(), 16)
    rows = {"text": ["good film", "blue"], "text_pair": [["the film", "a book"], ["red"]]}
    encoded = reader.encode(rows)
    assert encoded.example == [0, 0, 1]
    alone = reader.encode({"text": ["blue"], "text_pair": [["red"]]})
    assert encoded.columns["input_ids"][2] == alone.columns["input_ids"][0]
    joined = reader.join(encoded, [np.array([value], np.float32) for value in (1.0, 2.0, 3.0)]).rows
    assert [each.tolist() for each in joined] == [[[1.0], [2.0]], [[3.0]]]


def test_the_loss_of_one_relevant_text_is_its_cross_entropy() -> None:
    logits = torch.tensor([[[0.3, -1.0, 2.0]]])
    expected = torch.nn.functional.cross_entropy(logits[:, 0], torch.tensor([2]))
    torch.testing.assert_close(RANKING.row_loss(logits, torch.tensor([[0.0, 0.0, 3.0]]))[0, 0], expected)


def test_of_a_step_on_few_texts_one_is_relevant() -> None:
    rows = {"text": ["a query"], "text_pair": [["one text", "two", "three"]], "label": [[0.0, 0.0, 1.0]]}
    assert RANKING.shortened(rows, 4) == {"text": ["a qu"], "text_pair": [["thre", "one "]], "label": [[1.0, 0.0]]}
