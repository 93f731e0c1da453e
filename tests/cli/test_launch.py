"""Several processes: started by an option, refused at once where they cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from distilnlp.cli import main
from distilnlp.cli._launch import _launch
from distilnlp.recipe import load_recipe
from tests.run.conftest import csv_file, recipe_values, start_weights
from tests.test_imports import HEAVY

__all__ = ["csv_file", "start_weights"]  # fixtures
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the processes: one thread each, and a network of this machine alone."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.slow
def test_two_processes_train_one_model_and_one_of_them_speaks(
    tmp_path: Path, start_weights: str, csv_file: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from distilnlp.yaml_text import write_yaml

    values = recipe_values(start_weights, csv_file)
    training = {**values["stages"]["teacher"]["training"], "label_smoothing_factor": 0.1}
    values["stages"] = {"teacher": {"model": start_weights, "training": training}}
    path, folder = tmp_path / "two.yaml", tmp_path / "run"
    path.write_text(write_yaml(values))
    assert main(["run", str(path), "--processes", "2", "-o", str(folder)]) == 0
    out = capfd.readouterr().out
    assert out.splitlines()[0] == (
        "teacher: label_smoothing_factor 0.1 is the loss label_smoothing here, in place of hard_label"
    )
    assert out.count(f"run   {folder}") == 1
    # 48 rows, 8 in each of two processes: three steps
    assert '"steps": 3' in (folder / "teacher" / "metrics.json").read_text()
    assert load_recipe(folder / "recipe.yaml").to_dict() == load_recipe(path).to_dict()


def test_the_exit_status_is_that_of_the_process_that_failed(capfd: pytest.CaptureFixture[str]) -> None:
    assert _launch(2, ["run", "nowhere.yaml"]) == 2
    err = capfd.readouterr().err
    assert "no recipe 'nowhere.yaml'" in err
    assert "Traceback" not in err


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert main(["run", "mrpc", "--processes", "4", "--set", "precision=fp32"]) == 2
    assert "--processes 4, and there are 2 GPUs" in capsys.readouterr().err


def test_a_launcher_in_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert main(["run", "mrpc", "--processes", "2", "--set", "precision=fp32"]) == 2
    assert "leave out one of the two" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "name"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")]
)
def test_what_shards_a_model_is_refused_before_anything_is_loaded(variable: str, name: str) -> None:
    script = (
        "import sys; from distilnlp.cli import main; status = main(['run', 'mrpc']);"
        f"print(status, sorted(set({sorted(HEAVY)!r}) & sys.modules.keys()))"
    )
    environment = {**os.environ, variable: "true"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "2 []\n"
    assert done.stderr.count("\n") == 1
    assert f"accelerate was told to use {name}" in done.stderr


@pytest.mark.parametrize("key", ["fsdp", "deepspeed"])
def test_a_recipe_that_shards_is_refused_by_its_line(key: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"extends: mrpc\nstages:\n  student:\n    training:\n      {key}: full_shard\n")
    assert main(["run", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("distilnlp: error: r.yaml line 5")
    assert "shards parameters" in err
