"""A file is complete or absent, and what stood in its place stays until the new one is complete."""

import pytest

from distilnlp.whole_files import temporary_name, whole_file, write_text


def test_a_text_is_written_in_utf_8_and_nothing_is_left_beside_it(tmp_path):
    write_text(tmp_path / "card.md", "naïve")
    assert (tmp_path / "card.md").read_bytes() == "naïve".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["card.md"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "report.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \udcff")
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_until_it_is_complete_a_file_has_another_name_in_the_same_folder(tmp_path):
    with whole_file(tmp_path / "report.json") as temporary:
        assert temporary == tmp_path / temporary_name("report.json")
        temporary.write_text("{}")
        assert not (tmp_path / "report.json").exists()
    assert (tmp_path / "report.json").read_text() == "{}"
