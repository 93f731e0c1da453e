"""A run that is killed is finished by the same command, with the same weights in every stage.

``make kills`` kills fifty times and prints the counts.
"""

import copy
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
from tests.fuzz.forms import FORMS, model_folder, written
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


@pytest.mark.slow(13)
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


def films(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Texts with classes."""
    del values["stages"]["control"]
    return values | {"cache": {"use": "always"}}


def of_form(name: str, **objective: Any) -> Callable[[Path, dict[str, Any]], dict[str, Any]]:
    """A recipe for examples of another form, with a tiny model of their kind; where no labels teach, of one stage."""

    def make(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
        form = FORMS[name](random.Random(7))
        data = {"task": str(folder / f"data.{form.kinds[0]}"), "max_length": 16, **form.options}
        Path(data["task"]).write_bytes(written(form.kinds[0], form.tree))
        if form.held_out is not None:
            data["validation"] = str(folder / "held_out.jsonl")
            (folder / "held_out.jsonl").write_bytes(written("jsonl", form.held_out))
        model = model_folder(folder, form.problem)
        stages = {each: values["stages"][each] for each in ("teacher", "student")}
        stages["teacher"]["model"] = model
        if form.problem in ("masked_lm", "sentence_embedding"):
            del stages["teacher"]
            stages["student"] |= {"teacher": model, "student": {"from": model, "layers": 1}}
        stages["student"]["objective"] = {"response": {}, "hidden_state": {}, **objective}
        return values | {"data": data, "stages": stages}

    return make


KINDS = {
    "classes": films,
    "entities": of_form("words and tags", hard_label={}),
    "questions": of_form("nested questions", hard_label={}),
    "queries": of_form("lists of queries", hard_label={}, margin_mse={"weight": 0.1}),
    # Masks are drawn anew in each epoch, and are the same after a break.
    "masked words": of_form("raw texts", hard_label={}),
    "vectors": of_form("texts and pairs"),
}


@pytest.mark.slow(13)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_killed_just_before_it_writes_ends_with_the_same_weights(
    tmp_path: Path, values: dict[str, Any], kind: str, record_property: Callable[[str, object], None]
) -> None:
    """Every write of a whole run is noted; then it is killed before some of them, spread over the run."""
    values = KINDS[kind](tmp_path, copy.deepcopy(values))
    for stage in values["stages"].values():
        often = {"num_train_epochs": 2, "save_steps": 2, "save_total_limit": 2, "eval_strategy": "epoch"}
        stage["training"] = {**stage["training"], **often}
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
        files = [f"{stage}/model.safetensors" for stage in values["stages"]]
        same = all((killed / file).read_bytes() == (whole / file).read_bytes() for file in files)
        counts["equal" if same else "different"] += 1
        assert not half_written(killed)
        shutil.rmtree(killed)
    record_property("counts", dict(counts))
    done = ", ".join(f"{count} {event}" for event, count in kinds.items())
    print(
        f"\n{kind}: {KILLS} kills at {len(writes)} recorded writes ({done}): "
        f"{counts['equal']} equal, {counts['different']} different, {len(torn)} half-written",
        file=sys.stderr,
    )
    assert not torn
    assert counts == {"equal": KILLS}
