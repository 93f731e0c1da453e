"""What csv, tsv and json cannot say, or say in a way of their own; test_files.py has what holds for every file."""

import json
import logging

import pytest

from distilnlp.data.files import read_files
from distilnlp.errors import RequestError


def read(path, content):
    path.write_text(content)
    return read_files([path])


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_half_a_character_is_replaced_and_told(tmp_path, caplog, name):
    r"""A text cut in the middle of an emoji: json writes and reads ``\ud83d``, and UTF-8 cannot hold it."""
    rows = [{"text": "good"}, {"text": "film \ud83d"}, {"text": "bad \U0001f600"}]
    content = json.dumps(rows) if name == "a.json" else "\n".join(map(json.dumps, rows))
    with caplog.at_level(logging.WARNING, logger="distilnlp"):
        assert read(tmp_path / name, content)["text"][:] == ["good", "film \ufffd", "bad \U0001f600"]
    (record,) = caplog.records
    assert "1 texts hold half a character (an emoji that was cut, say), the first in " in record.getMessage()
    assert ("example 2" if name == "a.json" else "line 2") in record.getMessage()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "line 1 is nested too deeply"),
        ('{"text": "a"}\n{"text": ' + "[" * 100_000 + "}", "line 2 is nested too deeply"),
        ('{"text": "a"}\n{"text": ' + "9" * 5000 + "}", "line 2 has a number that is too long"),
        ('{"text": "a"}\n{"text": ' + "9" * 30 + "}", "line 2 has int after str"),
        ('{"text": 1}\n{"text": ' + "9" * 30 + "}", "cannot be read as one kind"),
        ('{"text": {"a": {"b": 1}}}', "the values of 'text' are objects"),
        ('{"text": [["a"]]}', "lists of lists"),
        ('{"text": [{"a": [1]}]}', "or of objects"),
        ('{"text": "a"}\n{"text": ["a"]}', "line 2 has list after str"),
        ('{"text": "a"}\n' * 2000 + '{"text": 1}', "several kinds: string and int64"),
    ],
)
def test_json_that_holds_no_texts_and_labels_is_told_in_one_line(tmp_path, content, said):
    with pytest.raises(RequestError, match=said) as caught:
        read(tmp_path / "a.jsonl", content)
    assert len(str(caught.value)) < 400
    assert str(tmp_path / "a.jsonl") in str(caught.value)


def test_objects_without_any_key_are_rows(tmp_path):
    """Else they would be left out, and labels would meet the texts of other rows."""
    data = read(tmp_path / "a.jsonl", '{"text": "a"}\n' * 1000 + "{}\n" * 1000)
    assert len(data) == 2000
    assert data["text"][1999] is None


def test_a_header_of_a_thousand_columns_makes_no_long_line(tmp_path):
    header = ",".join(f"column{number}" for number in range(1000))
    with pytest.raises(RequestError, match="line 2 has 1 fields where the header has 1000") as caught:
        read(tmp_path / "a.csv", f"{header}\na\n")
    assert len(str(caught.value)) < 2000


def test_a_text_file_has_a_text_a_line_and_none_in_blank_ones(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffa film, good\r\n\r\n  \nein Büch\n".encode())
    data = read_files([tmp_path / "a.txt"])
    assert data.column_names == ["text"] and data["text"][:] == ["a film, good", "ein Büch"]
