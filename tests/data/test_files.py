import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distilnlp.data.files import find_split, read_files
from distilnlp.errors import RequestError


def read(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_files([path])


def error(path, content):
    with pytest.raises(RequestError) as caught:
        read(path, content)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_csv_with_commas_quotes_line_breaks_and_a_byte_order_mark(tmp_path):
    content = '\ufefftext,label\r\n"good, very good",yes\r\n"he said ""no""\r\nand left",no\r\n\r\nplain,yes\r\n'
    data = read(tmp_path / "a.csv", content)
    assert data["text"][:] == ["good, very good", 'he said "no"\r\nand left', "plain"]
    assert data["label"][:] == ["yes", "no", "yes"]


def test_csv_values_stay_as_written(tmp_path):
    """NA, null and 007 are texts or names here; readers that guess types lose them."""
    data = read(tmp_path / "a.csv", "text,label\nNA,007\nnull,1\n1.50,NA\n")
    assert data["text"][:] == ["NA", "null", "1.50"]
    assert data["label"][:] == ["007", "1", "NA"]


def test_csv_with_a_very_long_text(tmp_path):
    limit = csv.field_size_limit()
    text = "word " * 60_000
    assert read(tmp_path / "a.csv", f"text,label\n{text},x\n")["text"][0] == text
    assert csv.field_size_limit() == limit


def test_tsv_takes_stray_quotes_as_text(tmp_path):
    content = 'text\tlabel\n"good\tx\n5" disc\ty\n"whole ""one"", with comma"\tz\nline\u2028separator\tx\n'
    data = read(tmp_path / "a.tsv", content)
    assert data["text"][:] == ['"good', '5" disc', 'whole "one", with comma', "line\u2028separator"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json_lines_in_either_file(tmp_path, name):
    data = read(tmp_path / name, '{"text": "a", "label": ["x"]}\n\n{"text": "b", "label": []}\n')
    assert data["label"][:] == [["x"], []]


def test_json_list_with_a_key_that_is_missing_once(tmp_path):
    data = read(tmp_path / "a.json", json.dumps([{"text": "a", "label": 1}, {"text": "b"}]))
    assert data["label"][:] == [1, None]


def test_parquet_and_shards(tmp_path):
    for part in range(2):
        pq.write_table(pa.table({"text": [f"row {part}"]}), tmp_path / f"train-0000{part}-of-00002.parquet")
    files = find_split(tmp_path, ["train"])
    assert read_files(files)["text"][:] == ["row 0", "row 1"]
    files[0].unlink()
    with pytest.raises(RequestError, match="1 shards of train"):
        find_split(tmp_path, ["train"])


def test_wrong_encoding_names_file_and_line(tmp_path):
    message = error(tmp_path / "a.csv", "text,label\ngood,x\ncafé,y\n".encode("latin-1"))
    assert "not UTF-8: byte 0xe9 in line 3 (byte 21)" in message
    assert "UTF-16" in error(tmp_path / "b.csv", "text,label\n".encode("utf-16-le"))
    assert "byte 0xff in line 1" in error(tmp_path / "c.csv", "text,label\n".encode("utf-16"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "empty"),
        ("a.jsonl", "\n \n", "empty"),
        ("a.csv", "text,label\n", "no rows"),
        ("a.json", "[]", "no rows"),
        ("a.csv", 'text,label\n"a\nb",x\ngood, very good,x\n', "line 4 has 3 fields where the header has 2"),
        ("a.tsv", "text\tlabel\ngood\n", "line 2 has 1 fields"),
        ("a.csv", 'text,label\nok,x\n"open,x\nmore,y\n', "starts in line 3"),
        ("a.csv", "text,text\na,b\n", "'text' more than once"),
        ("a.csv", "text;label\na;b\n", "separate with commas"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "not JSON in line 2"),
        ("a.json", '[{"text": "a"},\n {"text" "b"}]', "not JSON in line 2, column 10"),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', "example 2 is list"),
        ("a.jsonl", '{"label": "a"}\n{"label": 1}\n', "'label' are of several kinds"),
        ("a.parquet", "no parquet", "not a parquet file"),
        ("a.txt", "text", "unknown kind of file"),
    ],
)
def test_broken_files_are_told_in_one_line(tmp_path, name, content, said):
    assert said in error(tmp_path / name, content)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(RequestError, match="cannot be read: Is a directory"):
        read_files([tmp_path / "a.csv"])


def test_shards_with_other_columns_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    (tmp_path / "b.csv").write_text("text,class\na,b\n")
    with pytest.raises(RequestError, match="differ in their columns"):
        read_files([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_two_files_for_one_split_are_refused(tmp_path):
    (tmp_path / "train.csv").touch()
    (tmp_path / "train.json").touch()
    with pytest.raises(RequestError, match=r"several files for train: train\.csv, train\.json"):
        find_split(tmp_path, ["train"])
    assert find_split(tmp_path, ["validation"]) == []
