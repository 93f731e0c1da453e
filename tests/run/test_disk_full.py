"""A run whose disk fills up says so in one line, keeps what it has, and goes on when there is space."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors import SafetensorError
from transformers import modeling_utils

from distilnlp.cli import main


@pytest.mark.slow
def test_a_full_disk_costs_one_line_and_nothing_else(
    tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del values["stages"]["control"]
    (tmp_path / "films.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    run = tmp_path / "run"
    command = ["run", str(tmp_path / "films.yaml"), "--output", str(run)]
    write = modeling_utils.safe_save_file

    def fill_up(tensors: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        """The disk has room for the teacher and the student's first checkpoint, and for half of the second."""
        if "student" not in str(target) or "checkpoint-2" in str(target):
            write(tensors, target, *args, **kwargs)
            return
        Path(target).write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(modeling_utils, "safe_save_file", fill_up)
    assert main(command) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "step" not in line and "task" not in line]
    assert len([line for line in errors if line.startswith("distilnlp: error: ")]) == 1
    assert "disk is full" in errors[-1]
    assert "Traceback" not in "".join(errors)
    teacher = {path: path.read_bytes() for path in (run / "teacher").iterdir()}
    assert run / "teacher" / "metrics.json" in teacher
    assert sorted(path.name for path in (run / "student").iterdir()) == ["checkpoint-2"]

    monkeypatch.setattr(modeling_utils, "safe_save_file", write)
    assert main(command) == 0
    assert "from checkpoint-2" in capsys.readouterr().out
    assert teacher == {path: path.read_bytes() for path in teacher}
    assert (run / "README.md").is_file()
