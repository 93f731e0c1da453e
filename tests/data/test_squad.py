"""Files of questions, nested as SQuAD has them."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from distilnlp.data import load_task
from distilnlp.data.files import read_files
from distilnlp.errors import RequestError

CONTEXT = "The film was good. The book was dull."


def asked(question: str, *answers: tuple[str, int], **more: Any) -> dict[str, Any]:
    return {"question": question, "answers": [{"text": t, "answer_start": s} for t, s in answers], "id": "1", **more}


def articles(*questions: dict[str, Any], context: str = CONTEXT) -> dict[str, Any]:
    return {"version": "2.0", "data": [{"title": "Art", "paragraphs": [{"context": context, "qas": list(questions)}]}]}


def many(*more: dict[str, Any]) -> dict[str, Any]:
    """Enough questions to hold some out."""
    return articles(*more, *(asked(f"how was film {i}", ("good", 13)) for i in range(12)))


def written(folder: Path, content: Any, indent: int | None = None, name: str = "train.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(content, indent=indent), encoding="utf-8")
    return path


@pytest.mark.parametrize("indent", [None, 2])
def test_each_question_of_an_article_is_a_row(tmp_path: Path, indent: int | None) -> None:
    path = written(
        tmp_path, articles(asked("how", ("good", 13), ("dull", 32)), asked("who", is_impossible=True)), indent
    )
    rows = read_files([path])
    assert rows["question"][:] == ["how", "who"]
    assert rows["context"][:] == [CONTEXT] * 2
    assert rows["title"][:] == ["Art"] * 2
    assert rows["answers"][:] == [
        {"text": ["good", "dull"], "answer_start": [13, 32]},
        {"text": [], "answer_start": []},
    ]


def test_answers_that_are_only_plausible_are_none(tmp_path: Path) -> None:
    path = written(tmp_path, articles(asked("how", ("good", 13)), asked("who", ("film", 4), is_impossible=True)))
    assert read_files([path])["answers"][1] == {"text": [], "answer_start": []}


@pytest.mark.parametrize("said", ["false", 0, 1, None, []])
def test_whether_there_is_an_answer_is_true_or_false(tmp_path: Path, said: object) -> None:
    """``bool("false")`` is True, and the answer would be lost without a word."""
    path = written(tmp_path, articles(asked("how", ("good", 13)), asked("who", ("film", 4), is_impossible=said)))
    with pytest.raises(RequestError, match=r"data\[0\]\.paragraphs\[0\]\.qas\[1\]\.is_impossible is .*true or false"):
        read_files([path])


def test_a_question_that_is_said_to_have_an_answer_has_one(tmp_path: Path) -> None:
    path = written(tmp_path, articles(asked("how", ("good", 13)), asked("who", is_impossible=False)))
    with pytest.raises(RequestError, match=r"qas\[1\] has no answers and is_impossible is false"):
        read_files([path])


@pytest.mark.parametrize("form", ["nested", "flat", "lines", "objects", "parquet"])
def test_all_forms_give_the_same_task(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, many(asked("what", ("book", 23), ("The book", 19)), asked("who", is_impossible=True)))
    flat = read_files([path])
    if form in ("flat", "objects"):
        rows = [dict(row) for row in flat]
        if form == "objects":
            for row in rows:
                both = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
                row["answers"] = [{"text": text, "answer_start": start} for text, start in both]
        path = written(tmp_path, rows)
    elif form == "lines":
        path = tmp_path / "train.jsonl"
        flat.to_json(path)
    elif form == "parquet":
        path = tmp_path / "train.parquet"
        flat.to_parquet(path)
    task = load_task(path, validation=path)
    assert task.problem.name == "question_answering"
    assert task.train is not None and task.columns is not None
    assert (task.columns.text, task.columns.text_pair, task.columns.label) == ("question", "context", "answers")
    assert task.train[0] == {
        "text": "what",
        "text_pair": CONTEXT,
        "label": {"text": ["book", "The book"], "answer_start": [23, 19]},
    }
    assert task.train[1]["label"] == {"text": [], "answer_start": []}
    assert task.metrics == ("answer_f1", "exact_match")


def test_another_json_object_is_still_a_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('{"data": "paragraphs", "paragraphs": 1}\n{"data": "x", "paragraphs": 2}\n', encoding="utf-8")
    assert len(read_files([path])) == 2


BROKEN = {
    "context": (
        lambda nested: nested["data"][0]["paragraphs"][0].pop("context"),
        r"data\[0\].paragraphs\[0\].context",
    ),
    "qas": (lambda nested: nested["data"][0]["paragraphs"][0].pop("qas"), r"paragraphs\[0\].qas is missing"),
    "question": (lambda nested: _question(nested).update(question=3), r"qas\[0\].question is a int: a text is needed"),
    "answers": (lambda nested: _question(nested).pop("answers"), r"qas\[0\].answers is missing: a list is needed"),
    "start": (
        lambda nested: _question(nested)["answers"][0].update(answer_start="13"),
        r"answer_start is a str: a whole number",
    ),
}


def _question(nested: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = nested["data"][0]["paragraphs"][0]["qas"][0]
    return found


@pytest.mark.parametrize("part", BROKEN)
def test_a_part_that_is_missing_is_named_by_its_place(tmp_path: Path, part: str) -> None:
    nested = articles(asked("how", ("good", 13)))
    breaks, message = BROKEN[part]
    breaks(nested)
    with pytest.raises(RequestError, match=f"train.json.*{message}"):
        read_files([written(tmp_path, nested)])


WRONG = {
    "elsewhere": (asked("x", ("good", 12)), r"row 1: the answer 'good' does not stand at 12, where ' goo' is.*at 13"),
    "nowhere": (asked("x", ("bad", 13)), "row 1: the answer 'bad' does not stand at 13.*the context does not have it"),
    "past": (
        asked("x", ("dull.", 33)),
        "row 1: the answer 'dull.' is said to stand at 33, past the context, which has 37",
    ),
    "negative": (asked("x", ("good", -1)), "row 1: the answer 'good' is said to stand at -1"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_answer_that_does_not_stand_at_its_place_is_refused_by_row(tmp_path: Path, what: str) -> None:
    question, message = WRONG[what]
    with pytest.raises(RequestError, match=f"train.json.*{message}"):
        load_task(written(tmp_path, many(question)))
    good, bad = written(tmp_path, many(), name="good.json"), written(tmp_path, many(question), name="bad.json")
    with pytest.raises(RequestError, match=r"bad\.json.*row 1"):
        load_task(good, validation=bad)


def test_a_context_without_text_is_refused_by_row(tmp_path: Path) -> None:
    path = written(tmp_path, articles(asked("how"), context="  "))
    with pytest.raises(RequestError, match="1 of 1 rows have no text in column 'context', the first is row 1"):
        load_task(path)


UNEQUAL = {
    "lengths": ({"text": ["good", "dull"], "answer_start": [13]}, "2 answers and 1 places"),
    "fraction": ({"text": ["good"], "answer_start": [13.5]}, "at 13.5"),
    "no number": ({"text": ["good"], "answer_start": ["13"]}, "at '13'"),
    "no text": ({"text": [3], "answer_start": [13]}, "the answer 3 at 13"),
}


@pytest.mark.parametrize("what", UNEQUAL)
def test_answers_without_a_place_each_are_refused_by_row(tmp_path: Path, what: str) -> None:
    answers, message = UNEQUAL[what]
    path = written(tmp_path, [{"question": "how", "context": CONTEXT, "answers": answers}])
    with pytest.raises(RequestError, match=f"column 'answers': row 1 has .*{message}.*answer_start are needed"):
        load_task(path)


def test_answers_without_a_context_are_told_what_is_missing(tmp_path: Path) -> None:
    path = written(tmp_path, [{"question": "how", "answers": {"text": ["good"], "answer_start": [13]}}] * 12)
    with pytest.raises(RequestError, match="needs a question and the context that its answer stands in"):
        load_task(path)


def test_other_objects_are_no_labels(tmp_path: Path) -> None:
    path = written(tmp_path, [{"question": "how", "context": CONTEXT, "label": {"text": "good"}}])
    with pytest.raises(RequestError, match="column 'label'"):
        load_task(path)


def test_two_right_answers_to_one_question_do_not_contradict_each_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    twice = [asked("how", ("good", 13)), asked("how", ("dull", 32))]
    with caplog.at_level(logging.WARNING):
        load_task(written(tmp_path, many(*twice)))
    assert "stand in 2 of the 14 rows" in caplog.text and "contradict" not in caplog.text
    with caplog.at_level(logging.WARNING):
        load_task(written(tmp_path, many(twice[0], asked("how", is_impossible=True))))
    assert "1 of them with labels that contradict each other" in caplog.text


def test_a_subset_keeps_the_share_of_questions_without_an_answer(tmp_path: Path) -> None:
    questions = [asked(f"film {i}", *([("good", 13)] if i % 4 else [])) for i in range(80)]
    path = written(tmp_path, articles(*questions))
    task = load_task(path, max_train=20, max_validation=8)
    for rows, count in ((task.train, 20), (task.validation, 8)):
        assert rows is not None
        assert sum(not label["text"] for label in rows["label"]) == count // 4


def test_the_questions_of_a_context_are_held_out_together(tmp_path: Path) -> None:
    paragraphs = [
        {"context": f"{CONTEXT} {i}", "qas": [asked(f"how was film {i} {j}", ("good", 13)) for j in range(3)]}
        for i in range(30)
    ]
    path = written(tmp_path, {"data": [{"title": "t", "paragraphs": paragraphs}]})
    task = load_task(path)
    assert task.train is not None and task.validation is not None
    assert len(task.validation) == pytest.approx(90 / 5, abs=3)
    assert not {*task.train["text_pair"]} & {*task.validation["text_pair"]}
