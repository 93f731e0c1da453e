"""A teacher's answers that stand in the data come out as the same logits, however they are written."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distilnlp.data import load_task
from distilnlp.data.recorded import RecordedColumns
from distilnlp.errors import RequestError
from distilnlp.problems import LEAST_PROBABILITY, TEACHER_LOGITS

ROWS = 20
PROBS = np.random.default_rng(0).dirichlet([1.0, 1.0], size=ROWS).round(6)
TEXTS = [f"text number {row}" for row in range(ROWS)]
LABELS = ["neg" if row % 2 else "pos" for row in range(ROWS)]


def rows(**columns):
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def write(path, records):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(each) + "\n" for each in records))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        sign = "," if path.suffix == ".csv" else "\t"

        def cell(value):
            text = json.dumps(value) if isinstance(value, dict | list) else "" if value is None else str(value)
            return '"' + text.replace('"', '""') + '"'

        lines = [sign.join(records[0]), *(sign.join(cell(value) for value in each.values()) for each in records)]
        path.write_text("\n".join(lines) + "\n")
    return path


def answers(path, *columns, label=LABELS, **settings):
    """Probabilities ``(rows, labels)`` of all rows, in the order of the texts, and the task."""
    task = load_task(path, recorded=RecordedColumns(columns or ("probs",), **settings))
    found = {}
    for split in (task.train, task.validation):
        found.update(zip(split["text"], split[TEACHER_LOGITS], strict=True))
    logits = np.array([found[text] for text in TEXTS if text in found])
    return np.exp(logits), task


mapping = [{"pos": float(p), "neg": float(n)} for n, p in PROBS]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("form", ["mapping", "list", "columns"])
def test_forms_and_files_say_the_same(tmp_path, suffix, form):
    columns = {
        "mapping": {"probs": mapping},
        "list": {"probs": PROBS.tolist()},
        "columns": {"prob_neg": PROBS[:, 0].tolist(), "prob_pos": PROBS[:, 1].tolist()},
    }[form]
    file = write(tmp_path / f"soft{suffix}", rows(text=TEXTS, label=LABELS, **columns))
    probabilities, task = answers(file, *(["prob_*"] if form == "columns" else ["probs"]))

    assert task.label_names == ("neg", "pos")
    np.testing.assert_allclose(probabilities, PROBS, rtol=1e-5)


def test_without_labels_the_names_are_those_of_the_answers(tmp_path):
    file = write(tmp_path / "soft.jsonl", rows(text=TEXTS, probs=mapping))
    probabilities, task = answers(file)

    assert task.label_names == ("pos", "neg") and task.problem.name == "single_label_classification"
    assert "label" not in task.train.column_names and "label" not in task.validation.column_names
    np.testing.assert_allclose(probabilities, PROBS[:, ::-1], rtol=1e-5)


def test_a_list_may_get_names(tmp_path):
    file = write(tmp_path / "soft.jsonl", rows(text=TEXTS, label=LABELS, probs=PROBS[:, ::-1].tolist()))
    np.testing.assert_allclose(answers(file, labels=("POS", "NEG"))[0], PROBS, rtol=1e-5)


@pytest.mark.parametrize("form", ["mapping", "columns", "number"])
def test_names_for_what_is_no_list_are_refused(tmp_path, form):
    columns = {
        "mapping": {"probs": mapping},
        "columns": {"prob_neg": PROBS[:, 0].tolist(), "prob_pos": PROBS[:, 1].tolist()},
        "number": {"probs": PROBS[:, 0].tolist()},
    }[form]
    file = write(tmp_path / "soft.jsonl", rows(text=TEXTS, **columns))
    with pytest.raises(
        RequestError, match=r"name the numbers of a list, and these answers are .*: leave --teacher-labels"
    ):
        answers(file, *(["prob_*"] if form == "columns" else ["probs"]), labels=("yes", "no"))


def test_a_label_with_a_confidence_leaves_the_rest_to_the_others(tmp_path):
    records = rows(text=TEXTS, answer=LABELS, sure=[0.75] * ROWS)
    probabilities, task = answers(write(tmp_path / "soft.csv", records), "answer", confidence="sure")

    assert task.label_names == ("neg", "pos")
    assert probabilities[0].tolist() == pytest.approx([0.25, 0.75])


def test_a_label_alone_is_certain_and_no_logarithm_is_infinite(tmp_path):
    probabilities, _ = answers(write(tmp_path / "soft.csv", rows(text=TEXTS, answer=LABELS)), "answer")
    assert probabilities[0].tolist() == pytest.approx([LEAST_PROBABILITY, 1.0])


def test_logits_stay_as_they_are(tmp_path):
    logits = (PROBS * 7 - 5).astype(np.float32)
    file = write(tmp_path / "soft.jsonl", rows(text=TEXTS, label=LABELS, teacher_logits=logits.tolist()))
    np.testing.assert_allclose(np.log(answers(file, "teacher_logits")[0]), logits, rtol=1e-5, atol=1e-6)


def test_scores_are_the_answers_of_a_regression(tmp_path):
    scores = np.linspace(-1, 4.5, ROWS).tolist()
    _, task = answers(write(tmp_path / "soft.csv", rows(text=TEXTS, score=scores)), "score")

    assert task.problem.name == "regression" and task.label_names is None
    assert len(task.train[0][TEACHER_LOGITS]) == 1


def test_several_labels_need_no_sum(tmp_path):
    file = write(
        tmp_path / "soft.jsonl", rows(text=TEXTS, probs=[{"a": 0.9, "b": 0.8, "c": c} for c in [0.0, 0.5] * 10])
    )
    task = load_task(file, problem_type="multi_label_classification", recorded=RecordedColumns(("probs",)))
    (found,) = (
        row[TEACHER_LOGITS] for split in (task.train, task.validation) for row in split if row["text"] == TEXTS[0]
    )
    assert 1 / (1 + np.exp(-np.array(found))) == pytest.approx([0.9, 0.8, LEAST_PROBABILITY], rel=1e-4)


def test_a_missing_answer_is_left_to_the_label_where_that_is_said(tmp_path):
    holes = [None if row < 4 else each for row, each in enumerate(mapping)]
    file = write(tmp_path / "soft.jsonl", rows(text=TEXTS, label=LABELS, probs=holes))
    with pytest.raises(RequestError, match=r"soft.jsonl, column 'probs': 4 of 20 rows have no answer .* row 1:"):
        answers(file)
    probabilities, task = answers(file, missing="label")

    assert probabilities[0].tolist() == pytest.approx([LEAST_PROBABILITY, 1.0])
    assert not {*task.validation["text"]} & {*TEXTS[:4]}  # a model is measured where there are both


def test_rows_without_a_label_are_trained_on_and_not_held_out(tmp_path):
    labels = [None if row % 4 == 0 else label for row, label in enumerate(LABELS)]
    _, task = answers(write(tmp_path / "soft.jsonl", rows(text=TEXTS, label=labels, probs=mapping)))

    assert len(task.train) + len(task.validation) == ROWS
    assert task.train["label"].count(-100) == 5 and -100 not in task.validation["label"]
    assert len(task.labelled().train) == len(task.train) - 5


def test_a_held_out_file_may_have_labels_and_no_answers(tmp_path):
    file = write(tmp_path / "soft.jsonl", rows(text=TEXTS, probs=mapping, label=LABELS))
    other = write(tmp_path / "dev.csv", rows(text=["one", "two"], label=["pos", "neg"]))
    task = load_task(file, validation=other, recorded=RecordedColumns(("probs",)))

    assert task.validation["label"] == [1, 0] and TEACHER_LOGITS not in task.validation.column_names


def test_of_rows_without_labels_the_held_out_file_may_have_labels_alone(tmp_path):
    """What an API has answered about texts that nobody labelled is measured on the labelled rows that there are."""
    file = write(tmp_path / "soft.jsonl", rows(text=TEXTS, probs=mapping))
    other = write(tmp_path / "dev.csv", rows(text=["one", "two"], label=["pos", "neg"]))
    recorded = {"recorded": RecordedColumns(("probs",)), "optional_labels": True}
    task = load_task(file, validation=other, **recorded)
    assert "label" not in task.train.column_names and TEACHER_LOGITS in task.train.column_names
    assert [task.label_names[label] for label in task.validation["label"]] == ["pos", "neg"]
    neither = write(tmp_path / "texts.csv", rows(text=["one", "two"]))
    with pytest.raises(RequestError, match=r"texts\.csv: no column with a common name for the label"):
        load_task(file, validation=neither, **recorded)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"pos": 0.9, "neg": 0.8},
            r"row 3 has 0.9, 0.8 \(their sum is 1.7\): probabilities from 0 to 1 whose sum is 1",
        ),
        ({"pos": 1.5, "neg": -0.5}, "row 3 has 1.5, -0.5"),
        ({"pos": float("nan"), "neg": 1.0}, "row 3 has nan for 'pos' where a finite number is needed"),
        ({"pos": "high", "neg": 1.0}, "row 3 has 'high' for 'pos'"),
        ({"pos": True, "neg": 0.0}, "row 3 has True for 'pos'"),
        ({"pos": None, "neg": 1.0}, "row 3 has None for 'pos'"),
        ({"pos": 1.0}, "row 3 has pos: a number for each of pos, neg is needed"),
        ({"pos": 0.5, "negative": 0.5}, "row 3 has pos, negative: a number for each of pos, neg"),
        ([0.5, 0.5], "row 3 has"),
        ({}, "row 3"),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_answers_that_cannot_be_are_told_with_file_and_row(tmp_path, wrong, message, suffix):
    records = rows(text=TEXTS, probs=[wrong if row == 2 else each for row, each in enumerate(mapping)])
    file = write(tmp_path / f"soft{suffix}", records)
    with pytest.raises(RequestError, match=message) as raised:
        answers(file)
    assert str(raised.value).startswith(str(file)) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        (
            {"probs": mapping},
            {"columns": ("prosb",)},
            "no column 'prosb' for the teacher's answers: did you mean 'probs'",
        ),
        ({"probs": [[0.5, 0.5, 0.0]] * ROWS}, {"label": LABELS}, "3 numbers a row where .* needs 2"),
        ({"probs": [[0.5, 0.5]] * 19 + [[1.0]]}, {}, "row 20 has .* a list of 2 numbers is needed"),
        (
            {"probs": [{"good": 0.5, "bad": 0.5}] * ROWS},
            {"label": LABELS},
            "answers for good, bad, and the labels are",
        ),
        ({"probs": [[0.5, 0.5]] * ROWS}, {"labels": ("a", "b", "c")}, "2 numbers a row and 3 labels"),
        ({"probs": ["pos"] * ROWS, "sure": [1.2] * ROWS}, {"confidence": "sure"}, "row 1 has the confidence 1.2"),
        ({"probs": ["pos"] * ROWS}, {"confidence": "sure"}, "no column 'sure' for the teacher's confidence"),
        ({"probs": ["maybe", *LABELS[1:]]}, {"label": LABELS}, "label in row 1 .*maybe"),
        ({"probs": [None] * ROWS}, {"missing": "label"}, "no row has an answer"),
        ({"p_a": [0.5] * ROWS, "p_b": [0.5] * 19 + [None]}, {"columns": ("p_*",)}, "row 20 has nothing in 'p_b'"),
        ({"p_a": [0.5] * ROWS, "p_b": ["x"] * ROWS}, {"columns": ("p_a", "p_b")}, "row 1 has 'x' in 'p_b'"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path, columns, settings, message):
    label = settings.pop("label", None)
    records = rows(text=TEXTS, **({} if label is None else {"label": label}), **columns)
    names = settings.pop("columns", ("probs",))
    with pytest.raises(RequestError, match=message):
        answers(write(tmp_path / "soft.jsonl", records), *names, **settings)


@pytest.mark.parametrize("answer", [[0.5, 0.5], {"no": 0.9, "yes": 0.1}, 3.5])
def test_a_teacher_that_answers_all_rows_alike_teaches_nothing(tmp_path, answer):
    path = write(tmp_path / "soft.jsonl", [{"text": f"text {row}", "answer": answer} for row in range(60)])
    with pytest.raises(RequestError, match="column 'answer': the teacher answers every row alike"):
        load_task(path, recorded=RecordedColumns(("answer",)))


def test_a_row_with_neither_label_nor_answer_is_refused(tmp_path):
    records = rows(text=TEXTS, label=[None, *LABELS[1:]], probs=[None, *mapping[1:]])
    with pytest.raises(RequestError, match="row 1 has neither a label nor an answer"):
        answers(write(tmp_path / "soft.jsonl", records), missing="label")


def test_a_task_with_a_name_has_no_columns_to_name():
    with pytest.raises(RequestError, match="recorded= is for your own data"):
        load_task("mnli-sample", recorded=RecordedColumns(("probs",)))


TAGS = ("O", "B-film", "I-film")
SENTENCES = [[*TEXTS[row].split()[: 1 + row % 3], f"w{row}"] for row in range(ROWS)]
OF_WORDS = [np.random.default_rng(row).dirichlet([1.0] * 3, size=len(s)).round(6) for row, s in enumerate(SENTENCES)]


def tagged(**changes):
    """Rows of words with an answer for each; a change is a column."""
    answers_of = [[dict(zip(TAGS, map(float, word), strict=True)) for word in row] for row in OF_WORDS]
    tags = [[TAGS[place] for place in row.argmax(axis=1)] for row in OF_WORDS]
    columns = {"tokens": SENTENCES, "tags": tags, "probs": answers_of, **changes}
    return rows(**{name: values for name, values in columns.items() if values is not None})


def of_words(path, *columns, **settings):
    """The probabilities of each sentence's words, and the task."""
    task = load_task(path, recorded=RecordedColumns(columns or ("probs",), **settings))
    found = {}
    for split in (task.train, task.validation):
        found.update(zip(map(tuple, split["text"]), split[TEACHER_LOGITS], strict=True))
    return [np.exp(found[tuple(sentence)]) for sentence in SENTENCES if tuple(sentence) in found], task


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("form", ["mapping", "list", "text"])
def test_each_word_has_an_answer_however_that_is_written(tmp_path, suffix, form):
    forms = {
        "mapping": {},
        "list": {"probs": [row.tolist() for row in OF_WORDS]},
        "text": {"probs": [json.dumps(row.tolist()) for row in OF_WORDS]},
    }
    probabilities, task = of_words(write(tmp_path / f"soft{suffix}", tagged(**forms[form])))

    assert task.problem.name == "token_classification" and task.label_names == TAGS
    for got, given in zip(probabilities, OF_WORDS, strict=True):
        np.testing.assert_allclose(got, given, rtol=1e-4)


def test_tags_of_another_order_or_with_a_confidence_are_put_into_that_of_the_data(tmp_path):
    turned = [row[:, ::-1].tolist() for row in OF_WORDS]
    file = write(tmp_path / "soft.jsonl", tagged(probs=turned))
    np.testing.assert_allclose(of_words(file, labels=TAGS[::-1])[0][3], OF_WORDS[3], rtol=1e-4)
    answer, sure = ([[fixed] * len(row) for row in SENTENCES] for fixed in ("I-film", 0.5))
    answer[-1] = ["O"] * len(answer[-1])  # else nothing is learned
    file = write(tmp_path / "tags.jsonl", tagged(probs=None, answer=answer, sure=sure))
    assert of_words(file, "answer", confidence="sure")[0][0][0].tolist() == pytest.approx([0.25, 0.25, 0.5])


def test_sentences_without_tags_are_trained_on_and_not_held_out(tmp_path):
    _, task = of_words(write(tmp_path / "bare.jsonl", tagged(tags=None)))
    assert "label" not in task.train.column_names and task.label_names == TAGS

    some = [None if row % 4 == 0 else each["tags"] for row, each in enumerate(tagged())]
    _, task = of_words(write(tmp_path / "some.jsonl", tagged(tags=some)))
    bare = [row for row in task.train if set(row["label"]) == {-100}]
    assert len(bare) == 5 and all(len(row["label"]) == len(row["text"]) for row in bare)
    assert len(task.labelled().train) == len(task.train) - 5
    assert all(-100 not in tags for tags in task.validation["label"])


def test_the_tags_of_a_sentence_may_stand_for_its_answers(tmp_path):
    holes = [None if row < 4 else each["probs"] for row, each in enumerate(tagged())]
    probabilities, _ = of_words(write(tmp_path / "soft.jsonl", tagged(probs=holes)), missing="label")
    certain = np.eye(3)[OF_WORDS[2].argmax(axis=1)]
    np.testing.assert_allclose(probabilities[2], certain, atol=1e-6)
    np.testing.assert_allclose(probabilities[5], OF_WORDS[5], rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda row: row["probs"].pop(),
            "row 4 has 2 words and 1 answers of the teacher: one is needed for each word",
        ),
        (lambda row: row["probs"][1].update({"O": 3.0}), r"row 4, word 2 has 3, .*for each word"),
        (lambda row: row["probs"][1].update({"O": float("nan")}), "row 4, word 2 has nan for 'O' where a finite"),
        (lambda row: row["probs"][1].update({"O": None}), "row 4, word 2 has None for 'O'"),
        (lambda row: row["probs"][1].pop("O"), "row 4, word 2 has B-film, I-film: .* as in the first word"),
        (lambda row: row["probs"].__setitem__(1, None), "row 4, word 2 has no answer of the teacher, and other words"),
        (lambda row: row.update(probs=None), "1 of 20 rows have no answer of the teacher, the first is row 4"),
        (lambda row: row.update(probs=7), "row 4 has 2 words and '7' of the teacher"),
        (lambda row: row["tags"].pop(), "row 4 has 2 words and 1 tags"),
        (lambda row: row.update(tokens=[]), "row 4 has no words"),
    ],
)
def test_an_answer_of_a_word_that_cannot_be_is_told_with_row_and_word(tmp_path, change, message):
    records = json.loads(json.dumps(tagged()))
    change(records[3])
    file = write(tmp_path / "soft.jsonl", records)
    with pytest.raises(RequestError, match=message) as raised:
        of_words(file)
    assert str(raised.value).startswith(str(file)) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"probs": [[[0.5, 0.5]] * len(row) for row in SENTENCES]}, {}, "2 numbers a word where .* needs 3"),
        ({"probs": [[0.5] * len(row) for row in SENTENCES]}, {}, "row 1, word 1 has 0.5: a mapping tag -> number"),
        ({"probs": [["X"] * len(row) for row in SENTENCES]}, {}, "label in row 1, word 1 of .*X"),
        ({"probs": [{"O": 1.0}] * ROWS}, {}, "row 1 has 2 words and {'O': 1.0} of the teacher"),
        ({"probs": [["O"] * len(row) for row in SENTENCES], "sure": [[0.5]] * ROWS}, {"confidence": "sure"}, "1 conf"),
        ({"tokens": TEXTS, "tags": LABELS}, {}, "the first row has an answer for each word, and the texts are whole"),
    ],
)
def test_answers_that_do_not_fit_words_are_refused(tmp_path, changes, settings, message):
    with pytest.raises(RequestError, match=message):
        of_words(write(tmp_path / "soft.jsonl", tagged(**changes)), **settings)


def test_entities_by_their_place_have_no_words_to_answer_for(tmp_path):
    entities = [[{"start": 0, "end": 4, "label": "film"}]] * ROWS
    file = write(tmp_path / "soft.jsonl", rows(text=TEXTS, entities=entities, probs=[[[0.1, 0.9]] * 3] * ROWS))
    with pytest.raises(RequestError, match="a teacher's answers are for words"):
        answers(file)


def test_a_pattern_says_what_stands_before_the_labels(tmp_path):
    """Labels that begin with the same word keep it."""
    columns = {f"prob_very {name}": PROBS[:, place].tolist() for place, name in enumerate(("neg", "pos"))}
    path = write(tmp_path / "a.csv", rows(text=TEXTS, label=[f"very {each}" for each in LABELS], **columns))
    found, task = answers(path, "prob_*")
    assert task.label_names == ("very neg", "very pos")
    assert found == pytest.approx(PROBS, abs=1e-4)
