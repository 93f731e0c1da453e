"""Temporary folders: gone with their process, or with the next one where it was killed; nobody else's are touched."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from distilnlp.data.temporary import PREFIX, new_folder, remove_left_behind

HOLD = "from distilnlp.data.temporary import new_folder; print(new_folder(), flush=True); input()"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def holding(temporary: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """Another process with a temporary folder."""
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(root)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", HOLD], env=env, text=True, **pipes)
    try:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def test_a_process_that_ends_leaves_nothing(temporary: Path) -> None:
    with holding(temporary) as (process, folder):
        assert folder.is_dir()
        process.communicate("\n")
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_goes_when_the_next_needs_a_folder(temporary: Path) -> None:
    with holding(temporary) as (process, folder):
        (folder / "data.arrow").write_bytes(b"rows")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (folder / "data.arrow").is_file()
        own = new_folder()
    assert [path.name for path in temporary.iterdir()] == [own.parent.name]


def test_what_a_living_process_holds_stays(temporary: Path) -> None:
    with holding(temporary) as (_, folder):
        new_folder()
        remove_left_behind()
        assert folder.is_dir()


def test_a_link_and_what_is_not_ours_stay(temporary: Path) -> None:
    for name in ("mine", "distilnlp-abcdefgh", f"{PREFIX}a-file"):
        (temporary / name).mkdir() if name[-1] != "e" or name == "mine" else (temporary / name).write_text("")
    (temporary / f"{PREFIX}link").symlink_to(temporary / "mine")
    remove_left_behind()
    assert len(list(temporary.iterdir())) == 4 and (temporary / "mine").is_dir()


def test_another_users_folder_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / f"{PREFIX}other").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    remove_left_behind()
    assert (temporary / f"{PREFIX}other").is_dir()


def test_a_folder_that_is_not_held_yet_is_made_again(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between making a folder and holding it another process may take it for left behind."""
    taken: list[Path] = []
    open_it = os.open

    def late(path: Path, *args: Any, **kwargs: Any) -> int:
        if not taken and str(path).startswith(f"{temporary}/{PREFIX}"):
            taken.append(Path(path))
            remove_left_behind()
        return open_it(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", late)
    folder = new_folder()
    assert folder.is_dir() and not taken[0].exists() and folder.parent != taken[0]
