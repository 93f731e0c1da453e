"""A run that is killed is finished by the same command, with the same weights in every stage.

``make kills`` kills fifty times and prints the counts.
"""

import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from distilnlp.cli import main
from tests.killing import (
    KILLS,
    Killer,
    check_checkpoints,
    half_written,
    largest_difference,
    report,
    starter,
    until_finished,
    watched,
)


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


@pytest.mark.slow
def test_a_run_that_is_killed_just_before_it_writes_ends_with_the_same_weights(
    tmp_path: Path, values: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    """Every write of a whole run is noted; then it is killed before some of them, spread over the run."""
    del values["stages"]["control"]
    for stage in values["stages"].values():
        often = {"num_train_epochs": 2, "save_steps": 2, "save_total_limit": 2, "eval_strategy": "epoch"}
        stage["training"] = {**stage["training"], **often}
    values["cache"] = {"use": "always"}
    (tmp_path / "films.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def run(folder: Path, kill_at: int | None = None) -> int:
        command = ["run", str(tmp_path / "films.yaml"), "--output", str(folder)]
        process = starter(watched, folder, folder.with_suffix(".txt"), kill_at, main, command)()
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    whole = tmp_path / "whole"
    assert run(whole) == 0
    writes = (tmp_path / "whole.txt").read_text().splitlines()
    share = len(writes) / KILLS
    chosen = [int(share * (number + random.Random(number).random())) for number in range(KILLS)]
    counts, torn, kinds = Counter[str](), list[str](), Counter[str]()
    for number in chosen:
        killed = tmp_path / f"killed-{number}"
        assert run(killed, kill_at=number) == -9
        kinds[writes[number].split()[0]] += 1
        found = half_written(killed) if killed.is_dir() else []
        torn += [f"before write {number} ({writes[number]}): {each}" for each in found]
        assert run(killed) == 0, writes[number]
        files = ("teacher/model.safetensors", "student/model.safetensors")
        same = all((killed / file).read_bytes() == (whole / file).read_bytes() for file in files)
        counts["equal" if same else "different"] += 1
        assert not half_written(killed)
        shutil.rmtree(killed)
    record_property("counts", dict(counts))
    print(
        f"\n{KILLS} kills at {len(writes)} recorded writes ({', '.join(f'{n} {kind}' for kind, n in kinds.items())}): "
        f"{counts['equal']} equal, {counts['different']} different, {len(torn)} half-written",
        file=sys.stderr,
    )
    assert not torn
    assert counts == {"equal": KILLS}
