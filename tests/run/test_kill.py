"""A run that is killed is finished by the same command, with the same weights in every stage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from distilnlp.cli import main
from tests.killing import KILLS, Killer, check_checkpoints, largest_difference, report, starter, until_finished


@pytest.mark.slow
def test_a_run_that_is_killed_ends_with_the_same_weights(
    tmp_path: Path, values: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    stages = ("teacher", "control", "student")
    for name in ("teacher", "student"):
        often = {"num_train_epochs": 2, "save_steps": 1, "save_total_limit": 2}
        values["stages"][name]["training"] = {**values["stages"][name]["training"], **often}
    (tmp_path / "films.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def command(folder: Path) -> list[str]:
        return ["run", str(tmp_path / "films.yaml"), "--output", str(folder)]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = starter(main, command(whole))()
    process.join()
    assert process.exitcode == 0

    def check() -> None:
        for name in stages:
            check_checkpoints(killed / name)
            if (killed / name / "metrics.json").exists():
                assert largest_difference(*(run / name / "model.safetensors" for run in (killed, whole))) == 0.0

    killer = Killer(killed, seed=KILLS)
    until_finished(starter(main, command(killed)), killer, check)

    assert killer.kills == KILLS
    assert (killed / "report.json").is_file()
    assert not killer.saving()
    difference = max(
        largest_difference(*(run / name / "model.safetensors" for run in (killed, whole))) for name in stages
    )
    report("run", killer, difference, record_property)
    assert difference == 0.0
