"""Queries with their texts: three forms become one, and what is wrong is told with its row."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from distilnlp.data.load import load_task
from distilnlp.data.ranked import RankingColumns, are_ranked, deal, ranking_columns, read_queries
from distilnlp.errors import RequestError
from distilnlp.problems import get_problem

ROWS = [
    {"query": "who", "text": "she", "label": 1},
    {"query": "where", "text": "there", "label": 2},
    {"query": "who", "text": "it", "label": 0},
]
LISTS = [
    {"query": "who", "pos": ["she"], "neg": ["it"], "pos_scores": [9.0], "neg_scores": [1.0]},
    {"query": "where", "pos": ["there"], "neg": []},
]
TRIPLETS = [{"query": "who", "positive": "she", "negative": "it", "score": 3.0}]


def read(rows: list[dict[str, Any]], **options: Any) -> Dataset:
    data = Dataset.from_list(rows)
    optional, scores = options.get("optional", False), options.get("scores", ())
    columns = ranking_columns(data.column_names, "data", other=scores, optional=optional)
    return read_queries(data, "data", columns, **options)[0]


def test_rows_lists_and_triplets_become_a_row_a_query() -> None:
    assert read(ROWS).to_list() == [
        {"text": "who", "text_pair": ["she", "it"], "label": [1.0, 0.0]},
        {"text": "where", "text_pair": ["there"], "label": [2.0]},
    ]
    assert read(LISTS).to_list()[0] == {"text": "who", "text_pair": ["she", "it"], "label": [1.0, 0.0]}
    assert read(TRIPLETS).to_list() == [{"text": "who", "text_pair": ["she", "it"], "label": [1.0, 0.0]}]


def test_columns_are_found_or_named() -> None:
    assert ranking_columns(["q", "d", "rel"], "data", text="q", text_pair="d", label="rel").names == ("q", "d", "rel")
    found = ranking_columns(["query", "pos", "neg", "pos_scores"], "data")
    assert found == RankingColumns("query", "pos", "neg", negatives="neg")
    with pytest.raises(RequestError, match="data: which column has the query"):
        ranking_columns(["a", "b"], "data")
    with pytest.raises(RequestError, match="unknown column for text in data: 'qery': did you mean 'query'"):
        ranking_columns(["query", "text", "label"], "data", text="qery")


CANDIDATES = [
    {"query": "who", "texts": ["she", "it"], "label": [1, 0], "scores": [9.0, 2.0]},
    {"query": "where", "texts": ["there"], "label": [2], "scores": [3.0]},
]


def without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def test_a_row_may_have_all_texts_of_a_query_in_a_list() -> None:
    assert read(without(CANDIDATES, "scores")).to_list() == read(ROWS).to_list()
    scored = read(without(CANDIDATES, "label"), scores=["scores"], optional=True).to_list()
    assert [each["teacher_logits"] for each in scored] == [[9.0, 2.0], [3.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": [1]}, r"row 3 has \[1\] in column 'label' for 2 texts: a list with a relevance for each"),
        ({"texts": []}, "row 3 has nothing in column 'texts'"),
        ({"texts": None}, "row 3 has nothing in column 'texts'"),
        ({"texts": ["she", " "]}, "row 3 has no text in column 'texts'"),
        ({"label": [1, -1]}, "row 3 has -1 in column 'label'.*scores below 0"),
    ],
)
def test_what_is_wrong_in_a_list_of_candidates_is_told_with_its_row(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read([*without(CANDIDATES, "scores"), {"query": "when", "texts": ["a", "b"], "label": [1, 0], **change}])


@pytest.mark.parametrize("rows", [ROWS, CANDIDATES])
def test_queries_need_no_relevance_where_that_is_said(rows: list[dict[str, Any]]) -> None:
    bare = without(rows, "label", "scores")
    assert read(bare, optional=True).to_list() == [
        {"text": "who", "text_pair": ["she", "it"]},
        {"text": "where", "text_pair": ["there"]},
    ]
    empty = [{**row, "label": None} for row in bare]
    assert read(empty, optional=True).column_names == ["text", "text_pair"]


def test_of_queries_some_of_which_have_relevance_the_others_have_none_at_all() -> None:
    rows = [*ROWS, {"query": "when", "text": "then", "label": None}, {"query": "when", "text": "now", "label": None}]
    found = read(rows, optional=True)["label"][:]
    assert found[:2] == [[1.0, 0.0], [2.0]] and all(map(math.isnan, found[2]))
    rows[-1]["label"] = 1
    with pytest.raises(RequestError, match="row 4: 1 of the 2 texts of the query 'when' have no relevance"):
        read(rows, optional=True)


def test_queries_of_one_text_each_have_no_order_to_learn() -> None:
    with pytest.raises(RequestError, match="no query has two different texts"):
        read([{"query": f"q{i}", "text": "t"} for i in range(4)], optional=True)


def test_only_lists_of_a_query_tell_the_kind() -> None:
    assert are_ranked(["query", "pos", "neg"])
    assert not are_ranked(["query", "positive", "negative"]) and not are_ranked(["query", "text", "label"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label": -1}, "data: row 4 has -1 in column 'label'.*scores below 0 are a model's"),
        ({"label": float("nan")}, "data: row 4 has nan in column 'label'"),
        ({"label": None}, "data: row 4 has None in column 'label'"),
        ({"text": " "}, "data: row 4 has no text in column 'text'"),
        ({"query": None}, "data: row 4 has no text in column 'query'"),
        ({"query": "when", "label": 0}, "data: row 4: none of the 1 texts of the query 'when' is relevant"),
    ],
)
def test_what_is_wrong_is_told_with_its_row(row: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read([*ROWS, {"query": "who", "text": "he", "label": 1, **row}])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"pos": [], "neg": ["it"]}, "row 2: none of the 1 texts of the query 'when' is relevant"),
        ({"pos": None, "neg": ["it"]}, "row 2 has nothing in column 'pos'"),
        ({"pos": ["then", None], "neg": []}, "row 2 has no text in column 'pos'"),
    ],
)
def test_what_is_wrong_in_lists_is_told_with_its_row(row: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read([LISTS[0], {"query": "when", **row}])


@pytest.mark.parametrize(
    "rows",
    [
        [{"query": f"q{i}", "pos": ["p", "r"], "neg": []} for i in range(12)],
        [{"query": f"q{i % 4}", "text": f"p{i}", "label": 2} for i in range(12)],
        [{"query": f"q{i}", "text": "p", "label": 1} for i in range(12)],
    ],
)
def test_texts_that_are_all_as_relevant_have_no_order(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(RequestError, match="all texts are equally relevant"):
        read(rows)


def test_queries_without_a_relevant_text_are_left_out_where_that_is_said() -> None:
    rows = [*ROWS, {"query": "when", "text": "then", "label": 0}]
    data = Dataset.from_list(rows)
    columns = ranking_columns(data.column_names, "data")
    kept, note = read_queries(data, "data", columns, "leave_out")
    assert kept["text"][:] == ["who", "where"]
    assert note == "1 of 3 queries without a relevant text are left out"
    with pytest.raises(RequestError, match="no query has a relevant text"):
        read_queries(data.select([3]), "data", columns, "leave_out")
    with pytest.raises(RequestError, match="unknown value of without_relevant: 'drop'"):
        read_queries(data, "data", columns, "drop")


def query(grades: list[int]) -> Dataset:
    texts = [str(i) for i in range(len(grades))]
    return Dataset.from_list([{"text": "q", "text_pair": texts, "label": grades}], features=read(ROWS).features)


@pytest.mark.slow
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40).filter(any), st.integers(2, 12))
def test_texts_are_dealt_out_whole_and_each_part_has_a_relevant_one(grades: list[int], size: int) -> None:
    parts = deal(query(grades), size)[0].to_list()
    assert {text for part in parts for text in part["text_pair"]} == {str(i) for i in range(len(grades))}
    for part in parts:
        assert len(part["text_pair"]) == len(set(part["text_pair"])) <= size
        assert max(part["label"]) > 0
        assert part["label"] == [grades[int(text)] for text in part["text_pair"]]


def test_a_query_that_fits_stays_one_and_a_note_tells_of_others() -> None:
    assert deal(query([1, 0, 0]), 3)[1] is None
    parts, note = deal(query([1, 0, 0, 0, 0]), 3)
    assert [part["text_pair"] for part in parts] == [["0", "1", "3"], ["0", "2", "4"]]
    assert note == (
        "1 of 1 queries have more than 3 texts, which are dealt out to several training examples (2 in all;"
        " group_size)"
    )
    with pytest.raises(RequestError, match="group_size is 1"):
        deal(query([1, 0]), 1)


def test_texts_without_relevance_are_dealt_out_in_their_order() -> None:
    parts, _ = deal(Dataset.from_list([{"text": "q", "text_pair": ["a", "b", "c", "d", "e"]}]), 2)
    assert [part["text_pair"] for part in parts] == [["a", "d"], ["b", "e"], ["c"]]
    assert parts.column_names == ["text", "text_pair"]


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def many(count: int) -> list[dict[str, Any]]:
    return [{"query": f"q{i % count}", "text": f"t{i}", "label": int(i < count)} for i in range(4 * count)]


def test_a_file_is_a_ranking_where_it_is_said_and_lists_say_it_themselves(tmp_path: Path) -> None:
    task = load_task(written(tmp_path / "rows.jsonl", many(12)), problem_type="ranking")
    assert task.problem.rows == "list" and task.main_metric == "ndcg@10" and task.label_names is None
    assert task.train is not None and task.validation is not None
    assert len(task.train) + len(task.validation) == 12
    assert not set(task.train["text"][:]) & set(task.validation["text"][:])
    lists = [{"query": f"q{i}", "pos": [f"p{i}"], "neg": [f"n{i}", f"m{i}"]} for i in range(12)]
    told = load_task(written(tmp_path / "lists.jsonl", lists))
    assert told.problem == task.problem
    assert load_task(written(tmp_path / "again.jsonl", lists), max_train=3).train.num_rows == 3


def test_only_training_queries_are_dealt_out(tmp_path: Path) -> None:
    train, held_out = written(tmp_path / "train.jsonl", many(2)), written(tmp_path / "dev.jsonl", many(1))
    task = load_task(train, validation=held_out, problem_type="ranking", group_size=2)
    assert [len(texts) for texts in task.train["text_pair"]] == [2] * 6
    assert [len(texts) for texts in task.validation["text_pair"]] == [4]
    assert "1 of the 1 held-out queries are trained on too" in task.source


MEASURED: dict[str, Any] = {"problem_type": "ranking", "optional_labels": True}


def test_queries_without_relevance_are_never_held_out_where_others_have_some(tmp_path: Path) -> None:
    rows = [{**row, "label": None if int(row["query"][1:]) % 2 else row["label"]} for row in many(24)]
    path = written(tmp_path / "rows.jsonl", rows)
    task = load_task(path, problem_type="ranking", optional_labels=True)
    assert "12 of 24 queries have no relevance and learn from the teacher alone" in task.source
    assert all(int(query[1:]) % 2 == 0 for query in task.validation["text"])
    assert len(task.train) == 24 - len(task.validation) and len(task.labelled().train) == len(task.train) - 12
    held = load_task(written(tmp_path / "train.jsonl", without(rows, "label")), **MEASURED, validation=path)
    assert not held.is_labelled and len(held.validation) == 12 and len(held.train) == 24
    assert "12 held-out queries without relevance are left out" in held.source


def test_held_out_queries_with_relevance_may_be_of_another_form(tmp_path: Path) -> None:
    train = written(tmp_path / "train.jsonl", without(many(12), "label"))
    dev = written(tmp_path / "dev.jsonl", [{"question": "q", "pos": ["a"], "neg": ["b"]}])
    task = load_task(train, **MEASURED, validation=dev)
    assert not task.is_labelled and task.validation["label"][:] == [[1.0, 0.0]]


def test_without_labels_the_teacher_tells_that_texts_are_ranked(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", without(many(12), "label"))
    ranks, classes = get_problem("ranking"), get_problem("single_label_classification")
    assert load_task(path, optional_labels=True, known=lambda: (ranks, None)).problem == ranks
    with pytest.raises(RequestError, match="the text could be"):
        load_task(path, optional_labels=True, known=lambda: (classes, ("no", "yes")))


@pytest.mark.parametrize("option", [{"group_size": 4}, {"without_relevant": "leave_out"}])
@pytest.mark.parametrize("kind", [None, "masked_lm", "sentence_embedding"])
def test_what_is_said_of_queries_is_refused_where_there_are_none(
    tmp_path: Path, option: dict[str, Any], kind: str | None
) -> None:
    path = written(tmp_path / "rows.jsonl", [{"text": f"text {i}", "label": i % 2} for i in range(60)])
    with pytest.raises(RequestError, match=f"{next(iter(option))} is of queries with their texts"):
        load_task(path, problem_type=kind, **option)


def test_a_group_of_no_texts_is_no_default(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="group_size is 0: an order is learned of 2 texts or more"):
        load_task(written(tmp_path / "rows.jsonl", many(12)), problem_type="ranking", group_size=0)


def test_weights_of_queries_are_refused(tmp_path: Path) -> None:
    rows = [{**row, "w": 1.0} for row in many(12)]
    with pytest.raises(RequestError, match="every query counts alike: leave out weight"):
        load_task(written(tmp_path / "rows.jsonl", rows), problem_type="ranking", weight="w")


def scored(rows: list[dict[str, Any]], *scores: str) -> list[dict[str, Any]]:
    data = Dataset.from_list(rows)
    columns = ranking_columns(data.column_names, "data", label="label" if "label" in data.column_names else None)
    return read_queries(data, "data", columns, scores=scores)[0].to_list()


def test_scores_of_a_teacher_come_with_the_texts() -> None:
    lists = [{"query": "who", "neg": ["it", "he"], "pos": ["she"], "neg_scores": [1.0, 2.0], "pos_scores": [9.0]}]
    (found,) = scored(lists, "neg_scores", "pos_scores")
    assert found["text_pair"] == ["she", "it", "he"] and found["teacher_logits"] == [9.0, 1.0, 2.0]
    assert [each["teacher_logits"] for each in scored(TRIPLETS, "score")] == [[3.0, 0.0]]
    rows = [{**row, "t": float(i)} for i, row in enumerate(ROWS)]
    assert [each["teacher_logits"] for each in scored(rows, "t")] == [[0.0, 2.0], [1.0]]


def test_scores_are_dealt_out_with_their_texts() -> None:
    rows = [{"query": "q", "text": str(i), "label": int(i == 0), "t": float(i)} for i in range(9)]
    data = Dataset.from_list(rows)
    queries = read_queries(data, "data", ranking_columns(data.column_names, "data", label="label"), scores=["t"])[0]
    for part in deal(queries, 3)[0].to_list():
        assert part["teacher_logits"] == [float(text) for text in part["text_pair"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neg_scores": [1.0, 2.0]}, "data: row 2 has 2 scores in column 'neg_scores' for 1 texts"),
        ({"pos_scores": [float("nan")]}, "data: row 2 has nan in pos_scores, neg_scores: a teacher's score is needed"),
        ({"pos_scores": None}, "data: row 2 has None in pos_scores"),
    ],
)
def test_scores_that_are_none_or_too_many_are_told_with_their_row(change: dict[str, Any], message: str) -> None:
    row = {"query": "who", "pos": ["she"], "neg": ["it"], "pos_scores": [9.0], "neg_scores": [1.0]}
    with pytest.raises(RequestError, match=message):
        scored([row, {**row, **change}], "pos_scores", "neg_scores")
    with pytest.raises(RequestError, match="2 columns of a teacher's scores"):
        scored(ROWS, "a", "b")
