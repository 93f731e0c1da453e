"""Several processes in the folder of one search. Each lock is held by an open file, so one process stands for two."""

from pathlib import Path

import pytest

from distilnlp.errors import RequestError
from distilnlp.run.search_company import Company


def test_who_comes_first_is_alone_and_lets_others_in_when_it_is_ready(tmp_path: Path):
    first, second = Company(tmp_path), Company(tmp_path)

    assert first.try_alone()
    assert not second.try_alone()
    first.join()
    second.join()
    assert not (first.is_alone or second.is_alone)


def test_the_last_one_is_alone_again(tmp_path: Path):
    first, second = Company(tmp_path), Company(tmp_path)
    first.join()
    second.join()

    assert not Company(tmp_path).try_alone()
    second.leave()
    first.wait_alone()
    assert first.is_alone


def test_a_student_is_worked_on_by_one_at_a_time(tmp_path: Path):
    first, second = Company(tmp_path), Company(tmp_path)

    with (
        first.taking("student.lock") as is_first,
        second.taking("student.lock") as is_second,
        second.taking("other.lock") as is_other,
    ):
        assert (is_first, is_second, is_other) == (True, False, True)
    with second.taking("student.lock") as is_second:
        assert is_second


def test_a_folder_where_no_lock_can_be_is_refused(tmp_path: Path):
    (tmp_path / ".lock").mkdir()

    with pytest.raises(RequestError, match="cannot be opened"):
        Company(tmp_path)
