"""A run's folder: whose it is, what is finished in it, and files that are complete or absent."""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from distilnlp.errors import RequestError
from distilnlp.recipe import Recipe
from distilnlp.report.predictions import Predictions, predictions_file, read_predictions, write_predictions
from distilnlp.report.schema import Report, StageResult, again, read_report, read_stage_result, to_json
from distilnlp.whole_files import temporary_name, write_text

__all__ = ["RunFolder"]

RECIPE, ENVIRONMENT, REPORT, CARD = "recipe.yaml", "environment.json", "report.json", "README.md"
METRICS, LOCK = "metrics.json", ".lock"
_WAY_OUT = "give another folder with --output, or start over with --fresh"


class RunFolder:
    """The folder of one run.

    Args:
        path: the folder; made when it is first written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def claim(self, recipe: Recipe, environment: Mapping[str, Any], *, fresh: bool) -> Iterator[None]:
        """Hold the folder for this recipe: nobody else runs in it, and what stands in it is of the same recipe.

        Raises:
            RequestError: another process runs in it; it holds something else, or a run of another recipe; its
                disk knows no locks.
        """
        created = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RequestError(f"{self.path} is a file, and a run needs a folder: give another --output") from error
        if not created:
            self._refuse_strangers()
        with self._lock():
            if fresh:
                self._clear()
            else:
                self._refuse_other_recipe(recipe)
            write_text(self.path / RECIPE, recipe.to_yaml())
            write_text(self.path / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")
            yield

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with open(self.path / LOCK, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it even after kill -9
            except BlockingIOError as error:
                raise RequestError(f"another process runs in {self.path}: wait for it, or give --output") from error
            except OSError as error:
                way_out = "two runs could mix there: give an --output on another disk"
                raise RequestError(f"{self.path} cannot be locked ({error.strerror}), so {way_out}") from error
            yield

    def stage(self, name: str) -> Path:
        """The folder of a stage."""
        return self.path / name

    def is_finished(self, name: str) -> bool:
        """Whether all of a stage is there."""
        return (self.stage(name) / METRICS).is_file()

    def result(self, name: str) -> StageResult:
        """What a finished stage measured.

        Raises:
            RequestError: the file is damaged, of another version, or the result of something else.
        """
        path = self.stage(name) / METRICS
        result = read_stage_result(path)
        if result.stage != name or result.score is None:
            said = "has no score" if result.stage == name else f"is the result of a stage '{result.stage}'"
            raise RequestError(f"'{path}' {said}, and that of '{name}' is needed: {again(path.parent)}")
        return result

    def predictions(self, name: str) -> Predictions:
        """A finished stage's answers to the held-out examples, from which agreement is computed."""
        return read_predictions(predictions_file(self.stage(name)))

    def finish(
        self, name: str, result: StageResult, predictions: Predictions, further: Mapping[str, Predictions]
    ) -> None:
        """Keep what a stage answered and measured, which marks it as finished: the last thing that is written of it.

        Args:
            name: of the stage.
            result: what it measured.
            predictions, further: its answers, on the held-out examples and on each further set.
        """
        for other, answers in further.items():
            write_predictions(predictions_file(self.stage(name), other), answers)
        write_predictions(predictions_file(self.stage(name)), predictions)
        write_text(self.stage(name) / METRICS, to_json(result))

    def report(self) -> Report | None:
        """The run's report, when it was written. Raises RequestError as `read_report`."""
        path = self.path / REPORT
        return read_report(path) if path.is_file() else None

    def drop_checkpoints(self, name: str) -> None:
        """Delete a finished stage's checkpoints: several times the model's size, and nothing resumes from them."""
        for path in self.stage(name).glob("checkpoint-*"):
            shutil.rmtree(path)

    def _old_recipe(self) -> dict[str, Any] | None:
        # Which files are of the run only its recipe says, so that --fresh is no way out of a damaged one.
        way_out = "delete the folder if it is that of a run, or give another with --output"
        try:
            old: Any = yaml.safe_load((self.path / RECIPE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise RequestError(f"{self.path / RECIPE} cannot be read ({reason}): {way_out}") from error
        stages = old.get("stages") if isinstance(old, dict) else None
        if not isinstance(old, dict) or not isinstance(stages, dict) or not all(map(_names_a_folder, stages)):
            raise RequestError(f"{self.path / RECIPE} is not the recipe of a run: {way_out}")
        return old

    def _refuse_strangers(self) -> None:
        # A run that was killed before its recipe was written leaves these behind.
        ours = {LOCK, temporary_name(RECIPE)}
        others = sorted(path.name for path in self.path.iterdir() if path.name not in ours)
        if others and self._old_recipe() is None:
            raise RequestError(f"{self.path} is no run and holds {others[0]}: give another folder with --output")

    def _refuse_other_recipe(self, recipe: Recipe) -> None:
        """Refuse a recipe that would make of a stage that was begun something else than what is there."""
        old = self._old_recipe()
        begun = [name for name in (old or {"stages": {}})["stages"] if self.stage(name).is_dir()]
        if old is None or not begun:
            return
        new = recipe.to_dict()
        gone = [name for name in begun if name not in new["stages"]]
        if gone:
            raise RequestError(f"{self.path} holds a run of another recipe, with a stage '{gone[0]}': {_WAY_OUT}")
        for part in (old, new):
            part["stages"] = {name: part["stages"][name] for name in begun}
        was, is_now = _flat(old), _flat(new)
        changed = [key for key in {**was, **is_now} if was.get(key) != is_now.get(key)]
        if changed:
            key = changed[0]
            more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
            raise RequestError(
                f"{self.path} holds a run with other settings: {key} is now {_shown(is_now, key)} and was "
                f"{_shown(was, key)}{more}: {_WAY_OUT}"
            )

    def _clear(self) -> None:
        """Delete an earlier run: what its recipe and the file names say is of it, nothing else."""
        old = self._old_recipe()
        for name in (old or {"stages": {}})["stages"]:
            if self.stage(name).is_dir():
                shutil.rmtree(self.stage(name))
        for file in (REPORT, CARD, ENVIRONMENT, RECIPE):
            (self.path / file).unlink(missing_ok=True)


def _names_a_folder(name: object) -> bool:
    """Whether it is a stage's name and no path: what stands in its place is deleted by --fresh."""
    return isinstance(name, str) and bool(name) and name.replace("-", "").replace("_", "").isalnum()


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        dotted = f"{before}{key}"
        flat.update(_flat(value, f"{dotted}.") if isinstance(value, Mapping) and value else {dotted: value})
    return flat


def _shown(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "not set"
