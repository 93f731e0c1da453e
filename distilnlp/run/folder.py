"""A run's folder: whose it is, what is finished in it, and files that are complete or absent."""

import fcntl
import json
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distilnlp.checksums import CHECKSUMS, flaw, write_checksums
from distilnlp.errors import RequestError
from distilnlp.recipe import DataSpec, Recipe
from distilnlp.recipe.names import as_stage, checkpoint_step, is_stage_name
from distilnlp.recipe.seeds import stages_of_seeds
from distilnlp.report.predictions import (
    Predictions,
    model_of,
    predictions_file,
    read_predictions,
    teacher_file,
    teacher_files,
    write_predictions,
)
from distilnlp.report.schema import Report, StageResult, again, read_report, read_stage_result, to_json
from distilnlp.run.manifest import (
    MANIFEST,
    TEACHER_CACHE,
    Manifest,
    clear_stage,
    drop_answers,
    drop_checkpoints,
    read_manifest,
    stage_files,
    write_manifest,
)
from distilnlp.whole_files import temporary_name, write_text
from distilnlp.yaml_text import Path_, read_yaml

__all__ = ["RunFolder"]

RECIPE, ENVIRONMENT, REPORT, CARD = "recipe.yaml", "environment.json", "report.json", "README.md"
PAGE = "report.html"
INPUTS = "inputs.json"
# The recipe last: it says what the stages are while they are deleted.
FILES = (REPORT, CARD, PAGE, ENVIRONMENT, INPUTS, RECIPE)
METRICS, LOCK = "metrics.json", ".lock"
logger = logging.getLogger(__name__)

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

        Args:
            fresh: delete what an earlier run has written there. Anything else stays, and is named in the log.
        Raises:
            RequestError: another process runs in it; it holds something else, or a run of another recipe; something
                in it is a symbolic link, or an input of the recipe; its disk knows no locks.
        """
        created = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RequestError(f"{self.path} is a file, and a run needs a folder: give another --output") from error
        if not created:
            self._refuse_strangers()
        with self.lock():
            old = read_manifest(self.path) or Manifest((), ())
            ours = (*recipe.stages, *recipe.owners)
            stages = tuple(dict.fromkeys([*ours, *old.stages]))
            self._refuse_links(stages, fresh=fresh)
            self._refuse_inputs(recipe, stages)
            if fresh:
                self._clear(old)
                stages = ours
            else:
                self._refuse_other_recipe(recipe, old)
            write_manifest(self.path, Manifest(FILES, stages))
            write_text(self.path / RECIPE, recipe.to_yaml())
            write_text(self.path / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")
            yield

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes out of the folder. Raises RequestError where one is in it, or its disk has no locks."""
        try:
            lock_file = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise RequestError(f"{self.path / LOCK} cannot be opened ({error.strerror}): delete it") from error
        with open(lock_file, "w") as lock:
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

    def model(self, name: str) -> Path:
        """The folder of a stage's model, or of a checkpoint of it (``ta@checkpoint-200``)."""
        step = checkpoint_step(name)
        return self.stage(name) if step is None else self.stage(as_stage(name)) / f"checkpoint-{step}"

    def check_model(self, name: str) -> None:
        """Whether the model of a stage, or a checkpoint of it, is there as it was written.

        Raises:
            RequestError: it is not (says which).
        """
        place, stage = self.model(name), as_stage(name)
        if checkpoint_step(name) is None:
            if not self.is_finished(stage):
                raise RequestError(f"the stage '{stage}' is not finished in {self.path}: run it first")
            return
        found = flaw(place) if place.is_dir() else "is not there"
        if found is not None:
            raise RequestError(
                f"'{place}' {found}: the training of '{stage}' ended before it, or it was deleted when no stage needed"
                f" it any more: start over with --fresh, or give another folder with --output"
            )

    def is_finished(self, name: str) -> bool:
        """Whether all of a stage is there."""
        return (self.stage(name) / METRICS).is_file()

    def is_begun(self, name: str) -> bool:
        """Whether anything of a stage is there."""
        return self.stage(name).is_dir()

    def check_files(self, names: Iterable[str]) -> None:
        """Whether the files of the finished stages are those that were written.

        Raises:
            RequestError: one is missing or damaged (says which).
        """
        for name in filter(self.is_finished, names):
            self.result(name)
            found = flaw(self.stage(name))
            if found is not None:
                raise RequestError(f"the finished stage '{self.stage(name)}' {found}: {again(self.stage(name))}")

    def result(self, name: str) -> StageResult:
        """What a finished stage measured.

        Raises:
            RequestError: the file is damaged, of another version, or the result of something else.
        """
        path = self.stage(name) / METRICS
        result = read_stage_result(path)
        # Held-out examples without labels give neither score nor metrics.
        damaged = result.score is None and (bool(result.metrics) or result.held_out is None)
        if result.stage != name or damaged:
            said = "has no score" if result.stage == name else f"is the result of a stage '{result.stage}'"
            raise RequestError(f"'{path}' {said}, and that of '{name}' is needed: {again(path.parent)}")
        return result

    def predictions(self, name: str) -> Predictions:
        """A finished stage's answers to the held-out examples, from which agreement is computed."""
        return read_predictions(predictions_file(self.stage(name)))

    def keep_teachers(self, stage: str, answers: Mapping[str, Predictions]) -> None:
        """Keep what teachers that are no stages answered to the held-out examples of a stage; by their names."""
        for number, (name, predictions) in enumerate(answers.items(), 1):
            write_predictions(teacher_file(self.stage(stage), number), predictions, name)

    def teachers(self, stage: str) -> dict[str, Predictions]:
        """What `keep_teachers` has kept. Raises RequestError: a file is damaged."""
        return {model_of(path): read_predictions(path) for path in teacher_files(self.stage(stage))}

    def environment(self) -> dict[str, Any]:
        """What the run was made with (see `describe_environment`); empty where that cannot be read."""
        try:
            values = json.loads((self.path / ENVIRONMENT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    def finish(
        self, name: str, result: StageResult, predictions: Predictions | None, further: Mapping[str, Predictions]
    ) -> None:
        """Keep what a stage answered and measured, which marks it as finished: the last thing that is written of it.

        Args:
            name: of the stage.
            result: what it measured.
            predictions, further: its answers, on the held-out examples and on each further set; None of a stage whose
                tasks are measured each by itself.
        """
        for other, answers in further.items():
            write_predictions(predictions_file(self.stage(name), other), answers)
        if predictions is not None:
            write_predictions(predictions_file(self.stage(name)), predictions)
        metrics, place = to_json(result), self.stage(name)
        before = [each for each in stage_files(place) if each not in (CHECKSUMS, METRICS)]
        write_checksums(place, before, {METRICS: metrics.encode()})
        write_text(place / METRICS, metrics)

    def report(self) -> Report | None:
        """The run's report, when it was written. Raises RequestError as `read_report`."""
        path = self.path / REPORT
        return read_report(path) if path.is_file() else None

    def answers(self, name: str) -> Path:
        """Where the answers of a stage's teacher are kept for the stages of all seeds, of which it is the first."""
        return self.stage(name) / TEACHER_CACHE

    def drop_answers(self, name: str) -> None:
        """Delete them, where they are there: no stage is to come that would read them."""
        if self.stage(name).is_dir():
            drop_answers(self.stage(name))

    def drop_checkpoints(self, name: str, kept: Collection[int] = ()) -> None:
        """Delete a finished stage's checkpoints: several times the model's size, and nothing resumes from them.

        Args:
            name: of the stage.
            kept: the steps of those that stay.
        """
        drop_checkpoints(self.stage(name), kept)

    def _old_recipe(self) -> dict[str, Any] | None:
        try:
            text = (self.path / RECIPE).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise RequestError(f"{self.path / RECIPE} cannot be read ({reason}): {_WAY_OUT}") from error
        try:
            old = read_yaml(text, str(self.path / RECIPE))[0]
        except RequestError as error:
            raise RequestError(f"{error}: {_WAY_OUT}") from error
        stages = old.get("stages") if isinstance(old, dict) else None
        if not isinstance(old, dict) or not isinstance(stages, dict) or not all(map(is_stage_name, stages)):
            raise RequestError(f"{self.path / RECIPE} is not the recipe of a run: {_WAY_OUT}")
        return old

    def _refuse_strangers(self) -> None:
        # A run that was killed before its manifest was written leaves these behind.
        ours = {LOCK, temporary_name(MANIFEST)}
        others = sorted(path.name for path in self.path.iterdir() if path.name not in ours)
        if not others or MANIFEST in others:
            return
        if RECIPE in others:
            raise RequestError(
                f"{self.path} holds {RECIPE} and no {MANIFEST}, so it is no run, or one of an older distilnlp, whose "
                "models can be used where they are: give another folder with --output"
            )
        raise RequestError(f"{self.path} is no run and holds {others[0]}: give another folder with --output")

    def _refuse_links(self, stages: Iterable[str], *, fresh: bool) -> None:
        """A run writes and deletes in its own folder, and nowhere that a link may lead."""
        for path in (*([self.path] if fresh else ()), *map(self.stage, stages)):
            if path.is_symlink():
                raise RequestError(
                    f"{path} is a symbolic link to {path.resolve()}, and a run writes and deletes in its own folder "
                    "only: put the folder itself there, or give another with --output"
                )

    def _refuse_inputs(self, recipe: Recipe, stages: Iterable[str]) -> None:
        """What a recipe reads may not stand where it writes, by whatever name."""
        places = [self.stage(name).resolve() for name in stages]
        for path, name in _inputs(recipe):
            if any(Path(name).resolve().is_relative_to(place) for place in places) and Path(name).exists():
                raise recipe.error(
                    path,
                    f"{'.'.join(map(str, path))} is '{name}', where this run writes a stage of its own: give another "
                    "folder with --output",
                )

    def _refuse_other_recipe(self, recipe: Recipe, manifest: Manifest) -> None:
        """Refuse a recipe that would make of a stage that was begun something else than what is there."""
        old = self._old_recipe()
        if old is None and any(self.stage(name).is_dir() for name in manifest.stages):
            raise RequestError(f"{self.path} has no {RECIPE}, so what its stages are is not known: {_WAY_OUT}")
        if old is None:
            return
        new = recipe.to_dict()
        # A seed that is added changes nothing of what is there.
        old, new = ({**part, "stages": stages_of_seeds(part), "seeds": None} for part in (old, new))
        begun = [name for name in old["stages"] if self.stage(name).is_dir()]
        if not begun:
            return
        gone = [name for name in begun if name not in new["stages"]]
        if gone:
            raise RequestError(f"{self.path} holds a run of another recipe, with a stage '{gone[0]}': {_WAY_OUT}")
        for part in (old, new):
            part["stages"] = {name: part["stages"][name] for name in begun}
            for key in ("accept_weak_teacher", "report"):  # whether the run goes on, what is shown: nothing is trained
                part.pop(key, None)
        was, is_now = _flat(old), _flat(new)
        changed = [key for key in {**was, **is_now} if was.get(key) != is_now.get(key)]
        if changed:
            key = changed[0]
            more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
            raise RequestError(
                f"{self.path} holds a run with other settings: {key} is now {_shown(is_now, key)} and was "
                f"{_shown(was, key)}{more}: {_WAY_OUT}"
            )

    def _clear(self, manifest: Manifest) -> None:
        """Delete an earlier run: what its manifest says is of it, nothing else."""
        kept = [path for name in manifest.stages for path in clear_stage(self.path, name)]
        for file in FILES:
            if file in manifest.files:
                (self.path / file).unlink(missing_ok=True)
        if kept:
            more = f" and {len(kept) - 5} more" if len(kept) > 5 else ""
            logger.warning("kept in %s, as no run wrote it: %s%s", self.path, ", ".join(kept[:5]), more)


def _inputs(recipe: Recipe) -> Iterator[tuple[Path_, str]]:
    """All that a recipe may read from the disk: the path of each key, and what stands there."""
    read: list[tuple[Path_, str | None]] = []
    said: list[tuple[Path_, DataSpec | None]] = [(("data",), recipe.data)]
    for name, stage in recipe.stages.items():
        said.append((("stages", name, "data"), stage.data))
        said += [(("stages", name, "data", "tasks", task), data) for task, data in stage.tasks.items()]
    for place, data in said:
        if data is not None:
            read += [((*place, key), getattr(data, key)) for key in ("task", "data_dir", "validation")]
    for name, stage in recipe.stages.items():
        start = stage.student.from_ if stage.student is not None else None
        teachers = ((("teacher",), name) for name in (stage.taught_by, *stage.teaching_models))
        models = ((("model",), stage.model), (("student", "from"), start), *teachers)
        read += [(("stages", name, *keys), model) for keys, model in models if not recipe.makes(as_stage(model or ""))]
    yield from ((path, value) for path, value in read if value)


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        dotted = f"{before}{key}"
        flat.update(_flat(value, f"{dotted}.") if isinstance(value, Mapping) and value else {dotted: value})
    return flat


def _shown(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "not set"
