"""Labels for new texts, in the order of the texts."""

import csv
import io
import json

import pytest
from transformers import AutoModelForTokenClassification

from distilnlp.data.columns import Columns
from distilnlp.errors import RequestError
from distilnlp.run.predict import Prediction, predict, read_query_texts, read_texts, write_predictions
from tests.tiny import tiny_model, tiny_tokenizer

TEXTS = [("good",), ("the film was very bad and dull",), ("a great book",), ("it",)]


def saved(folder, **settings) -> str:
    tiny_model("bert", **settings).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def test_answers_come_in_the_order_of_the_texts_whatever_the_batch(tmp_path):
    model = saved(tmp_path, label_names=["no", "yes"])
    together, one_by_one = predict(model, TEXTS, batch_size=3), predict(model, TEXTS, batch_size=1)
    for text, first, second in zip(TEXTS, together, one_by_one, strict=True):
        assert first.texts == text
        assert first.label == second.label
        assert first.probability == pytest.approx(second.probability, abs=1e-6)
        assert first.probability == max(first.probabilities.values())
        assert first.probability == first.probabilities[first.label]
        assert sum(first.probabilities.values()) == pytest.approx(1)


def test_a_pair_is_read_as_one(tmp_path):
    model = saved(tmp_path, label_names=["no", "yes"])
    (pair,), (single,) = predict(model, [("good", "bad")]), predict(model, [("good",)])
    assert pair.texts == ("good", "bad")
    assert pair.probability != single.probability


def test_a_regression_gives_a_number(tmp_path):
    (answer,) = predict(saved(tmp_path, num_labels=1, problem_type="regression"), TEXTS[:1])
    assert answer.probability is None
    float(answer.label)


def test_several_labels_are_joined(tmp_path):
    model = saved(tmp_path, label_names=["a", "b", "c"], problem_type="multi_label_classification")
    (answer,) = predict(model, TEXTS[:1])
    assert answer.label == ",".join(name for name, value in answer.probabilities.items() if value > 0.5)


def test_long_texts_are_cut(tmp_path):
    assert len(predict(saved(tmp_path, label_names=["no", "yes"]), [("good " * 500,)])) == 1


def test_lists_of_words_that_a_csv_holds_as_text_are_no_texts_for_a_tagger(tmp_path):
    config = tiny_model("bert", label_names=("O", "B-film"), problem_type=None).config
    AutoModelForTokenClassification.from_config(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(RequestError, match=r"every text is a list that is written as text, as .*good.*conll files"):
        predict(str(tmp_path), [("['good', 'film']",), ("['it']",)])
    assert len(predict(str(tmp_path), [("['good', 'film']",), ("it",)])) == 2


def test_lists_of_texts_that_a_csv_holds_as_text_are_not_one_text_of_a_query(tmp_path):
    (tmp_path / "asked.csv").write_text("query,pos,neg\nwho,\"['she', 'he']\",it\n")
    with pytest.raises(RequestError, match=r"asked.csv: column 'pos' holds lists that are written as text"):
        read_query_texts(tmp_path / "asked.csv")


@pytest.mark.parametrize(
    ("header", "options", "expected"),
    [
        ("text", {}, ("one, two",)),
        ("sentence1,sentence2", {}, ("one, two", "x")),
        ("what,comment2", {"text": "what"}, ("one, two",)),
        ("what,other", {"text": "what", "text_pair": "other"}, ("one, two", "x")),
        ("strange", {}, ("one, two",)),
    ],
)
def test_columns_are_found_or_named(tmp_path, header, options, expected):
    path = tmp_path / "in.csv"
    path.write_text(f'{header}\n"one, two"{",x" if "," in header else ""}\n')
    assert read_texts(path, **options) == [expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "txet"}, "did you mean 'text1'"),
        ({"text_pair": "b"}, "without --text"),
        ({}, "which column is the text"),
    ],
)
def test_columns_that_are_not_there_are_refused(tmp_path, options, message):
    path = tmp_path / "in.csv"
    path.write_text("text1x,b\nfoo,bar\n".replace("text1x", "text1" if options else "a"))
    with pytest.raises(RequestError, match=message):
        read_texts(path, **options)


def test_the_columns_of_the_training_come_before_common_names(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("question,answer,text\nq,a,t\n")
    single, pair = Columns("question", None, "label"), Columns("answer", "question", "label")
    assert read_texts(path, trained=single) == [("q",)]
    assert read_texts(path, trained=pair) == [("a", "q")]
    assert read_texts(path, "text", trained=single) == [("t",)]
    with pytest.raises(RequestError, match="no column 'body', which the model was trained on: give --text; columns"):
        read_texts(path, trained=Columns("body", None, "label"))
    path.write_text("anything\nx\n")
    assert read_texts(path, trained=single) == [("x",)]
    with pytest.raises(RequestError, match="no column 'answer'"):
        read_texts(path, trained=pair)


def test_a_model_of_pairs_is_not_asked_of_single_texts(tmp_path):
    columns = {"text": "premise", "text_pair": "hypothesis", "label": "label"}
    model = saved(tmp_path, label_names=["no", "yes"], distilnlp_columns=columns)
    with pytest.raises(RequestError, match="was trained on pairs"):
        predict(model, TEXTS)
    assert len(predict(model, [("good", "bad")])) == 1


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RequestError, match="no such file"):
        read_texts(tmp_path / "none.csv")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_what_is_written_can_be_read(tmp_path, suffix):
    predictions = predict(saved(tmp_path / "m", label_names=["no", "yes"]), [('say "a, b"\nnow',), ("good",)])
    path = tmp_path / f"out{suffix}"
    write_predictions(path, predictions)
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert rows[0]["probabilities"].keys() == {"no", "yes"}
    else:
        rows = list(csv.DictReader(io.StringIO(path.read_text(), newline="")))
    assert [row["text"] for row in rows] == ['say "a, b"\nnow', "good"]
    assert [row["label"] for row in rows] == [each.label for each in predictions]


FORMULAS = ["=1+1", '=HYPERLINK("http://x","y")', "+1 for this film", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1+1"]
PLAIN = ["-1", "+3.5", "-1e-5", "-.5", "=", "+", "-", "good = bad", "'quoted", "", " =1"]


def answered(texts, labels=None):
    labels = labels or ["good"] * len(texts)
    return [
        Prediction(label=label, probability=0.5, probabilities={label: 0.5}, texts=(text,))
        for text, label in zip(texts, labels, strict=True)
    ]


def cells(path, column="text"):
    return [row[column] for row in csv.DictReader(io.StringIO(path.read_bytes().decode(), newline=""))]


def test_no_text_of_somebody_else_is_computed_by_a_spreadsheet(tmp_path, caplog):
    path = tmp_path / "out.csv"
    write_predictions(path, answered(FORMULAS, ["=x"] * len(FORMULAS)))
    assert cells(path) == [f"'{text}" for text in FORMULAS]
    assert cells(path, "label") == ["'=x"] * len(FORMULAS)
    (said,) = caplog.messages
    assert said.startswith(f"{2 * len(FORMULAS)} cells of {path} would be taken for a formula")


def test_numbers_signs_and_other_texts_stay_as_they_are(tmp_path, caplog):
    path = tmp_path / "out.csv"
    write_predictions(path, answered(PLAIN, PLAIN))
    assert cells(path) == cells(path, "label") == PLAIN
    assert not caplog.messages


def test_jsonl_is_exact(tmp_path, caplog):
    path = tmp_path / "out.jsonl"
    write_predictions(path, answered(FORMULAS))
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == FORMULAS
    assert not caplog.messages
