"""Words with tags, in the forms that people have them in."""

import json
from pathlib import Path

import pytest
from datasets import Dataset

from distilnlp.data import load_task
from distilnlp.errors import RequestError

CONLL = """-DOCSTART- -X- O O

Ann NNP B-NP B-person
Lee NNP I-NP I-person
# a comment
sings VBZ B-VP O

# NN O O
Rome NNP B-NP B-place
"""


def conll(folder: Path, text: str, name: str = "train.conll") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(texts: list[object], entities: list[object]) -> str:
    return "\n".join(json.dumps({"text": t, "entities": e}) for t, e in zip(texts, entities, strict=True))


def test_a_conll_file_is_sentences_of_words_with_the_last_column_as_tags(tmp_path: Path) -> None:
    path = conll(tmp_path, CONLL)
    task = load_task(path, validation=path)
    assert task.train is not None and task.train["text"][:] == [["Ann", "Lee", "sings"], ["#", "Rome"]]
    assert task.label_names == ("O", "B-person", "I-person", "B-place")
    assert task.train["label"][:] == [[1, 2, 0], [0, 3]]
    assert task.main_metric == "entity_f1"


def test_another_column_can_be_named_and_tabs_divide_too(tmp_path: Path) -> None:
    path = conll(tmp_path, CONLL)
    task = load_task(path, validation=path, label="column_2")
    assert task.label_names == ("NN", "NNP", "VBZ") and task.main_metric == "accuracy"
    tabs = conll(tmp_path, "New York\tB-place\nis\tO\n", "tabs.bio")
    assert load_task(tabs, validation=tabs).train["text"][0] == ["New York", "is"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Ann\nLee\n", "the first line has 1 column"),
        ("Ann B-a\nLee\n", "line 2 has 1 columns and the first one 2"),
        ("Ann B-a\nLee I a\n", "line 2 has 3 columns and the first one 2"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(RequestError, match=f"train.conll: {why}"):
        load_task(conll(tmp_path, text))


def test_entities_by_their_places_become_tags(tmp_path: Path) -> None:
    path = conll(
        tmp_path,
        rows(
            ["Ann Lee sings in Rome.", "nobody", "pre-Rome days"],
            [
                [{"start": 0, "end": 7, "label": "person"}, {"start": 17, "end": 21, "label": "place"}],
                [],
                [{"start": 4, "end": 8, "label": "place"}],
            ],
        ),
        "train.jsonl",
    )
    task = load_task(path, validation=path)
    assert task.train is not None and task.label_names is not None
    tags = [[task.label_names[each] for each in row] for row in task.train["label"]]
    assert task.train["text"][0] == ["Ann", "Lee", "sings", "in", "Rome", "."]
    assert tags[0] == ["B-person", "I-person", "O", "O", "B-place", "O"]
    assert tags[1:] == [["O"], ["O", "O", "B-place", "O"]]


def test_weights_stay_beside_entities(tmp_path: Path) -> None:
    entities = [{"start": 0, "end": 3, "label": "film"}]
    lines = [json.dumps({"text": f"one {row}", "entities": entities, "trust": row + 1}) for row in range(20)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    train = load_task(tmp_path / "train.jsonl", weight="trust").train
    weights = dict(zip(map(" ".join, train["text"]), train["example_weight"], strict=True))
    assert all(weight == int(text.split()[1]) + 1 for text, weight in weights.items())


def test_a_word_is_cut_where_an_entity_ends_in_it(tmp_path: Path) -> None:
    path = conll(tmp_path, rows(["Romeward"], [[{"start": 0, "end": 4, "label": "place"}]]), "train.jsonl")
    task = load_task(path, validation=path)
    assert task.train["text"][:] == [["Rome", "ward"]]  # type: ignore[index]


@pytest.mark.parametrize(
    ("entity", "why"),
    [
        ({"start": 0, "end": 99, "label": "a"}, "from 0 to 99 and its text 8 characters"),
        ({"start": 3, "end": 3, "label": "a"}, "from 3 to 3"),
        ({"start": 3, "end": 4, "label": "a"}, "where no word is"),
        ({"start": 0, "end": 3, "label": None}, "whole numbers start and end and a label"),
        ({"start": 0.5, "end": 3, "label": "a"}, "whole numbers"),
    ],
)
def test_an_entity_that_cannot_be_is_refused_with_its_row(tmp_path: Path, entity: dict[str, object], why: str) -> None:
    good = {"start": 0, "end": 3, "label": "a"}
    path = conll(tmp_path, rows(["Ann sings", "Ann sang"], [[good], [entity]]), "train.jsonl")
    with pytest.raises(RequestError, match=rf"train.jsonl: row [12] .*{why}"):
        load_task(path)


def test_a_text_whose_entities_nobody_gave_is_not_one_without_any(tmp_path: Path) -> None:
    path = conll(tmp_path, rows(["Ann", "Lee"], [[{"start": 0, "end": 3, "label": "a"}], None]), "train.jsonl")
    with pytest.raises(RequestError, match=r"train.jsonl: row 2 has no entities: write \[\] for a text without any"):
        load_task(path)


@pytest.mark.parametrize("tag", ["", " ", "B-a "])
def test_an_empty_tag_is_no_entity(tmp_path: Path, tag: str) -> None:
    tagged = [{"tokens": ["Ann"], "tags": ["B-a"]}, {"tokens": ["it", "was"], "tags": ["O", tag]}]
    path = conll(tmp_path, "\n".join(map(json.dumps, tagged)), "train.jsonl")
    with pytest.raises(RequestError, match=r"column 'tags': row 2 has an empty tag"):
        load_task(path)


def test_overlapping_entities_are_refused_by_row(tmp_path: Path) -> None:
    entities = [{"start": 0, "end": 7, "label": "a"}, {"start": 4, "end": 7, "label": "b"}]
    path = conll(tmp_path, rows(["Ann Lee"], [entities]), "train.jsonl")
    with pytest.raises(RequestError, match=r"train.jsonl: row 1: the entity b overlaps another one"):
        load_task(path)


@pytest.mark.parametrize(
    ("words", "tags", "why"),
    [
        ([["a", "b"], ["c"]], [["O", "B-x"], ["O", "O"]], "row 2 has 1 words and 2 tags"),
        ([["a", "b"], []], [["O", "B-x"], []], "row 2 has no words"),
        ([["a", "b"], ["c"]], [["O", "B-x"], None], "row 2 has 1 words and no list of tags"),
    ],
)
def test_words_and_tags_that_do_not_fit_are_refused(
    tmp_path: Path, words: list[object], tags: list[object], why: str
) -> None:
    path = tmp_path / "train.parquet"
    Dataset.from_dict({"tokens": words, "ner_tags": tags}).to_parquet(path)
    with pytest.raises(RequestError, match=f"train.parquet: {why}"):
        load_task(path)


def test_ids_are_named_by_a_list_or_a_file(tmp_path: Path) -> None:
    path, names = tmp_path / "train.parquet", tmp_path / "labels.json"
    Dataset.from_dict({"tokens": [["a", "b"], ["c"]], "ner_tags": [[0, 1], [2]]}).to_parquet(path)
    names.write_text(json.dumps(["O", "B-x", "I-x"]))
    for given in (names, ["O", "B-x", "I-x"]):
        task = load_task(path, validation=path, label_names=given)
        assert task.label_names == ("O", "B-x", "I-x") and task.main_metric == "entity_f1"
    with pytest.raises(RequestError, match="row 2 has 2, and label_names are for the ids 0 to 1"):
        load_task(path, validation=path, label_names=["O", "B-x"])


def test_texts_are_no_words(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"text": "New York is big", "tags": ["B-x", "I-x", "O", "O"]}) + "\n")
    with pytest.raises(
        RequestError, match="column 'text' holds texts, and token_classification needs a list of words"
    ):
        load_task(path, validation=path, problem_type="token_classification")
    with pytest.raises(RequestError, match=r"missing\.conll: no such file"):
        load_task("missing.conll")


def test_the_entities_that_predict_writes_can_be_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    entity = {"start": 0, "end": 13, "type": "person", "probability": 0.97}
    rows = [
        {"text": "Angela Merkel spoke.", "label": "person", "probability": None, "entities": [entity]},
        {"text": "Nothing here.", "label": "", "probability": None, "entities": []},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RequestError, match="the label could be label or entities"):
        load_task(path, validation=path)
    task = load_task(path, validation=path, label="entities")
    assert task.train is not None and task.label_names == ("O", "B-person", "I-person")
    assert task.train["label"][:] == [[1, 2, 0, 0], [0, 0, 0]]  # a full stop is a word


def test_a_tag_that_the_training_data_lack_is_refused(tmp_path: Path) -> None:
    train, other = conll(tmp_path, "a B-x\nb O\n"), conll(tmp_path, "a B-y\n", "other.conll")
    with pytest.raises(RequestError, match=r"label in row 1 of .*not in the training data: 'B-y'"):
        load_task(train, validation=other)
