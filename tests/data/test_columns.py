import pytest

from distilnlp.data.columns import Columns, find_columns, find_text_columns
from distilnlp.errors import RequestError


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["text", "label"], ("text", None, "label")),
        (["id", "Sentence", "Labels"], ("Sentence", None, "Labels")),
        (["sentence1", "sentence2", "score", "idx"], ("sentence1", "sentence2", "score")),
        (["hypothesis", "premise", "label"], ("premise", "hypothesis", "label")),
        (["question", "sentence", "label"], ("question", "sentence", "label")),
        (["text", "text_pair", "label"], ("text", "text_pair", "label")),
        (["question", "category"], ("question", None, "category")),
    ],
)
def test_common_names_are_found(columns, expected):
    assert find_columns(columns, "data") == Columns(*expected)


def test_named_columns_win_and_one_text_named_is_a_single_text():
    columns = ["premise", "hypothesis", "notes", "label", "score"]
    assert find_columns(columns, "data", text="notes", label="score") == Columns("notes", None, "score")
    assert find_columns(columns, "data", text="hypothesis", text_pair="premise", label="label") == Columns(
        "hypothesis", "premise", "label"
    )


@pytest.mark.parametrize(
    ("columns", "named", "said"),
    [
        (["sentence", "label"], {"text": "sentense"}, "no column 'sentense' for text: did you mean 'sentence'?"),
        (["sentence", "label"], {"label": "zzz"}, "no column 'zzz' for label: columns: sentence, label"),
        (["sentense", "label"], {}, "common name for the text: did you mean 'sentense'?"),
        (["text", "labell"], {}, "common name for the label: did you mean 'labell'?"),
        (["text", "review", "label"], {}, "could be text or review: name it with text="),
        (["premise", "hypothesis", "text", "label"], {}, "could be premise+hypothesis or text"),
        (["text", "label", "score"], {}, "could be label or score: name it with label="),
        (["text", "label"], {"text_pair": "text"}, "without text"),
        (["text", "label"], {"text": "text", "text_pair": "text"}, "named twice"),
        (["text", "label"], {"text": "text", "label": "text"}, "named twice"),
    ],
)
def test_nothing_is_guessed(columns, named, said):
    with pytest.raises(RequestError) as caught:
        find_columns(columns, "my.csv", **named)
    assert said in str(caught.value)
    assert str(caught.value).startswith("my.csv: ")


@pytest.mark.parametrize("label", ["joy,anger", "joy, anger", ["joy", "anger"], ("joy", "anger"), ["joy,anger"]])
def test_several_columns_of_labels(label):
    found = find_columns(["text", "joy", "anger", "label"], "data", label=label)
    assert found == Columns("text", None, ("joy", "anger"))
    assert found.names == ("text", "joy", "anger")


def test_a_column_may_have_a_comma_in_its_name():
    assert find_columns(["text", "a,b"], "data", label="a,b").label == "a,b"


def test_of_several_columns_each_must_be_there_once():
    with pytest.raises(RequestError, match="no column 'angr' for label: did you mean 'anger'"):
        find_columns(["text", "joy", "anger"], "data", label="joy,angr")
    with pytest.raises(RequestError, match="one column is named twice"):
        find_columns(["text", "joy", "anger"], "data", label="joy,joy")


def test_the_texts_of_a_pair_are_two_columns():
    with pytest.raises(RequestError, match="'a' is named for both texts"):
        find_text_columns(["a", "b"], "data", text="a", text_pair="a")
    with pytest.raises(RequestError, match="text_pair='a' without text"):
        find_text_columns(["a"], "data", text_pair="a")
