import csv
import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset

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
    assert "UTF-16" in error(tmp_path / "c.csv", "text,label\n".encode("utf-16"))
    assert "byte 0xff in line 2" in error(tmp_path / "d.csv", b"text,label\n\xff,x\n")


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
        ("a.jsonl", '{"text": "a"}\n["b"]\n', "line 2 is list"),
        ("a.jsonl", '{"label": "a"}\n{"label": 1}\n', "'label' are of several kinds"),
        ("a.parquet", "no parquet", "not a parquet file"),
        ("a.doc", "text", "unknown kind of file"),
    ],
)
def test_broken_files_are_told_in_one_line(tmp_path, name, content, said):
    assert said in error(tmp_path / name, content)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(RequestError, match="it is a folder, and a regular file is needed"):
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


@pytest.mark.parametrize("total", ["train-00005-of-00002.csv", "train-00001-of-00003.csv", "train-0-of-2.csv"])
def test_shards_that_are_no_whole_set_are_refused(tmp_path, total):
    for name in ("train-00000-of-00002.csv", total):
        (tmp_path / name).write_text("text,label\na,b\n")
    with pytest.raises(RequestError, match="shards") as caught:
        find_split(tmp_path, ["train"])
    assert str(tmp_path) in str(caught.value)


def test_shards_with_a_digest_in_their_names_are_one_set(tmp_path):
    names = [f"train-0000{part}-of-00002-0123456789abcdef.csv" for part in range(2)]
    for name in names:
        (tmp_path / name).write_text("text,label\na,b\n")
    assert [path.name for path in find_split(tmp_path, ["train"])] == names


def label_and_text(names):
    return [name for name in names if name in ("text", "label")]


def test_of_many_columns_only_those_that_are_needed_are_read(tmp_path):
    """What nobody needs may have any type, and names that are not its own."""
    unused = {
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        "uuid": pa.array([b"0123456789abcdef"], pa.binary(16)),
        "twice": pa.array(["a"]),
    }
    columns = [pa.array(["a"]), pa.array(["b"]), *unused.values(), pa.array(["c"])]
    table = pa.Table.from_arrays(columns, names=["text", "label", *unused, "twice"])
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("text,,label,\na,x,b,y\n")
    (tmp_path / "a.jsonl").write_text(
        '{"text": "a", "label": "b", "mixed": 1}\n{"text": "c", "label": "d", "mixed": {}}\n'
    )
    for name in ("a.parquet", "a.csv", "a.jsonl"):
        data = read_files([tmp_path / name], label_and_text)
        assert data.column_names == ["text", "label"]
        assert data[0] == {"text": "a", "label": "b"}


def test_whoever_chooses_sees_the_names_of_all_columns(tmp_path):
    """Also of a key that no object of the first batch has."""
    rows = [{"text": f"row {row}"} for row in range(1500)] + [{"text": "last", "label": "x"}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    data = read_files([tmp_path / "a.jsonl"], label_and_text)
    assert data.column_names == ["text", "label"]
    assert data[1500] == {"text": "last", "label": "x"}

    def insist(names):
        if "label" not in names:
            raise RequestError("no label")
        return names

    assert read_files([tmp_path / "a.jsonl"], insist).column_names == ["text", "label"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_needed_column_that_is_there_twice_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["text", "label", "label"]), path)
    else:
        path.write_text(
            {"csv": "text,label,label\na,b,c\n", "jsonl": '{"text": "a", "label": 1, "label": 2}\n'}[suffix]
        )
    with pytest.raises(RequestError, match="'label' more than once"):
        read_files([path], label_and_text)


def test_a_needed_column_of_a_type_that_is_no_label_is_refused(tmp_path):
    columns = {"text": ["a"], "label": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(RequestError, match=r"the values of 'label' are map<string, int64.*: texts, numbers or lists"):
        read_files([tmp_path / "a.parquet"])


def test_the_names_of_the_classes_are_kept_and_a_broken_description_is_not(tmp_path):
    data = Dataset.from_dict({"text": ["a"], "label": [1], "other": [1.5]})
    data = data.cast_column("label", ClassLabel(names=["no", "yes"]))
    data.to_parquet(tmp_path / "a.parquet")
    assert read_files([tmp_path / "a.parquet"], label_and_text).features["label"].names == ["no", "yes"]
    for broken in (b"[]", b"no json", b'{"info": {"features": {"label": {"_type": "Nosuch"}}}}'):
        table = data.with_format("arrow")[:].replace_schema_metadata({b"huggingface": broken})
        pq.write_table(table, tmp_path / "b.parquet")
        assert read_files([tmp_path / "b.parquet"])[0] == {"text": "a", "label": 1, "other": 1.5}


def test_what_is_no_regular_file_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "train.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(RequestError, match=r"train\.csv: cannot be read: it is a pipe, a socket or a device"):
        find_split(tmp_path, ["train"])
    for path in (tmp_path / "train.csv", tmp_path / "folder.csv", Path("/dev/null").resolve()):
        link = tmp_path / "link.csv"
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        with pytest.raises(RequestError, match="a regular file is needed"):
            read_files([link])


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "a\0b.csv", "missing.csv"])
def test_what_can_be_no_name_is_no_file(tmp_path, name):
    with pytest.raises(RequestError, match=r"cannot be read|no such file"):
        read_files([tmp_path / name])


def test_compressed_files_are_told_by_name_and_by_content(tmp_path):
    packed = gzip.compress(b"text,label\na,b\n")
    assert "compressed" in error(tmp_path / "a.csv.gz", packed)
    assert "compressed (gzip)" in error(tmp_path / "a.csv", packed)
    assert "spreadsheet" in error(tmp_path / "b.csv", b"PK\x03\x04...")
    (tmp_path / "train.csv.gz").write_bytes(packed)
    with pytest.raises(RequestError, match=r"train\.csv\.gz: a compressed file"):
        find_split(tmp_path, ["train"])
