"""A folder that a command makes is complete, or not there."""

import os
from pathlib import Path

import pytest

from distilnlp.errors import RequestError
from distilnlp.run.new_folder import check_new, new_folder


def test_it_takes_its_name_at_the_end(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a" / "new") as made:
        (made / "file").write_text("text")
        assert not (tmp_path / "a" / "new").exists()
    assert (tmp_path / "a" / "new" / "file").read_text() == "text"
    assert os.listdir(tmp_path / "a") == ["new"]


def test_nothing_is_left_where_the_writing_fails(tmp_path: Path) -> None:
    def interrupted() -> None:
        with new_folder(tmp_path / "new") as made:
            (made / "file").write_text("text")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "."):
        with pytest.raises(RequestError, match="is there already: give the name of a new folder"):
            check_new(tmp_path / name)


def test_a_file_above_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(RequestError, match=r"there can be no folder .*/file/new in .*/file \(it is no folder\)"):
        check_new(tmp_path / "file" / "new")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"can be no folder .*: give another name"):
        check_new(tmp_path / name)


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the system says of the nearest folder that is there; to root it says yes of any."""
    asked: list[tuple[Path, int]] = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((path, mode)))
    with pytest.raises(RequestError, match="nothing may be written there"):
        check_new(tmp_path / "a" / "new")
    assert asked == [(tmp_path, os.W_OK | os.X_OK)]
