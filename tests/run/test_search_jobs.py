"""Further processes are begun, waited for, and told of where they end early."""

from pathlib import Path

import pytest
import torch

from distilnlp.errors import RunError
from distilnlp.run.search_jobs import helped_by


def write(place: Path, name: str) -> None:
    (place / name).write_text(f"{torch.get_num_threads()} threads")


def fail(why: str) -> None:
    raise RunError(why)


def test_no_further_process_is_nothing():
    with helped_by(0, fail, "begun", say=pytest.fail):
        pass


@pytest.mark.slow
def test_further_processes_work_beside_this_one_and_share_its_threads(tmp_path: Path, monkeypatch):
    torch.set_num_threads(2)
    try:
        with helped_by(1, write, tmp_path, "done", say=pytest.fail):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert (tmp_path / "done").read_text() == "1 threads"


@pytest.mark.slow
def test_a_process_that_ends_early_is_told(capfd):
    said: list[str] = []

    with helped_by(1, fail, "no room", say=said.append):
        pass

    assert said == ["one of 1 further processes ended early, with exit status 1"]
    assert capfd.readouterr().err.endswith("distilnlp: error: no room\n")
