"""``distill``, ``finetune`` and ``load_run``: a request by keywords, run as the command line runs it by options."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Unpack, cast, get_type_hints

from distilnlp.api.calm import calm
from distilnlp.api.given import Given, as_files
from distilnlp.api.run import Run
from distilnlp.errors import RequestError, unknown
from distilnlp.recipe import Recipe
from distilnlp.run.distilling import distillation, finetuning
from distilnlp.run.requests import KEYWORD, Request, Settings
from distilnlp.run.runner import run_recipe
from distilnlp.typed import typed

__all__ = ["distill", "finetune", "load_run"]

MODELS = ("teacher", "teacher_model", "student", "model")  # keywords
Changes = Sequence[str] | Mapping[str, Any]
Function = TypeVar("Function", bound=Callable[..., Any])


def _with_settings(function: Function) -> Function:
    """A function whose signature has the settings of every training, with arguments of the types that it says.

    Raises:
        RequestError: from each call with a keyword that it does not have, or a value of another type.
    """
    signature, hints = inspect.signature(function), {**get_type_hints(function), **get_type_hints(Settings)}
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    kind = inspect.Parameter.KEYWORD_ONLY
    shared = [inspect.Parameter(name, kind, default=None) for name in Settings.__annotations__]
    taken = [each.replace(annotation=hints[each.name]) for each in (*own, *shared)]

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    functools.update_wrapper(call, function)
    call.__signature__ = signature.replace(parameters=taken)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in taken}
    checked = typed(call)

    @functools.wraps(call)
    def named(*args: Any, **kwargs: Any) -> Any:
        names = [each.name for each in taken]
        for name in kwargs:
            if name not in names:
                raise unknown(f"keyword of {function.__name__}:", name, names)
        for name in MODELS:
            if hasattr(kwargs.get(name), "save_pretrained"):
                raise RequestError(
                    f"{function.__name__}: {name} is a model in memory: save it and its tokenizer with save_pretrained"
                    " and give the folder, or use DistillationTrainer"
                )
        return checked(*args, **kwargs)

    return cast("Function", named)


@_with_settings
def distill(
    data: Given,
    *,
    teacher: str | Path | Run | None = None,
    teacher_model: str | Path | Run | None = None,
    student_layers: int | None = None,
    student: str | Path | Run | None = None,
    student_vocabulary: str | int | None = None,
    finetune_teacher: bool = False,
    control: bool = True,
    temperature: float | None = None,
    teacher_column: str | Sequence[str] | None = None,
    teacher_values: str | None = None,
    teacher_confidence: str | None = None,
    teacher_labels: Sequence[str] | None = None,
    teacher_missing: str | None = None,
    accept_weak_teacher: bool = False,
    validation: Given | None = None,
    output: str | Path | None = None,
    fresh: bool = False,
    quiet: bool = False,
    set: Changes = (),
    **settings: Unpack[Settings],
) -> Run:
    """Distil a teacher into a student, and compare teacher, control (the student without the teacher) and student.

    The same as ``distilnlp distill``: the same recipe, checks, folder and report. Call it again to go on after a
    break; a finished run is not trained again.

    Args:
        data: a GLUE task, a file, a folder or a Hub data set (see `distilnlp.load_task`); or a `datasets.Dataset` or
            `DatasetDict`, a pandas DataFrame (any that Arrow can read), a list of dicts, which are written beside the
            run once, under a digest of what is in them.
        teacher: folder or Hub id of a model fine-tuned on the task, or the run of `finetune`; of any model with
            ``finetune_teacher``. Of a model in memory the folder that ``save_pretrained`` has written, with its
            tokenizer.
        teacher_model: another name for ``teacher``.
        student_layers: make the student of so many of the teacher's layers, 1 or more.
        student: folder or Hub id that the student starts from instead, or a run, of which its model.
        student_vocabulary: ``needed``: keep the tokens that the training texts need; or so many of them at most.
        finetune_teacher: fine-tune the teacher on the task first.
        control: also train the student without the teacher.
        temperature: of the soft targets, above 0; None: 2.
        teacher_column: in place of a teacher: the column, or columns, of its recorded answers in the data.
        teacher_values: ``probabilities`` or ``logits``; None: as the column's name says.
        teacher_confidence: column of the probability of the label in ``teacher_column``.
        teacher_labels: the labels of the numbers in a list; None: those of the data.
        teacher_missing: a row without an answer: ``refuse``, or ``label``.
        accept_weak_teacher: go on where a teacher is no better than one answer for every text.
        validation: the held-out examples, given like the data; None: their own, else a part is held out.
        output: the folder of the run; None: ``runs/<name>``.
        fresh: delete what an earlier run has left in the folder.
        quiet: print nothing; warnings are logged.
        set: changes of the recipe by key, ``{"stages.student.training.seed": 1}`` or ``["data.max_train=1000"]``.
        settings: ``text``, ``label``, ``epochs``, ``batch_size``, ``learning_rate``, ``max_length``, ``seed`` and the
            other options of ``distilnlp distill``; see `distilnlp.run.requests.Settings`.
    Returns:
        The finished run.
    Raises:
        RequestError: what is asked for cannot be; an unknown keyword, with the nearest one.
        RunError: the training failed; the teacher is not above the baseline.
    """
    if teacher is not None and teacher_model is not None:
        raise RequestError("teacher and teacher_model are one keyword: give it once")
    with calm():
        request = _request("distill", data, validation, output, set, settings, quiet)
        recipe = distillation(
            request,
            teacher=_model(teacher_model if teacher is None else teacher),
            teacher_column=[teacher_column] if isinstance(teacher_column, str) else teacher_column,
            teacher_values=teacher_values,
            teacher_confidence=teacher_confidence,
            teacher_labels=teacher_labels,
            teacher_missing=teacher_missing,
            student_layers=student_layers,
            student_vocabulary=student_vocabulary,
            student=_model(student),
            finetune_teacher=finetune_teacher,
            control=control,
            temperature=temperature,
            accept_weak_teacher=accept_weak_teacher,
        )
    return _run(recipe, output, fresh=fresh, quiet=quiet)


@_with_settings
def finetune(
    data: Given,
    *,
    model: str | Path | Run,
    lora: bool = False,
    validation: Given | None = None,
    output: str | Path | None = None,
    fresh: bool = False,
    quiet: bool = False,
    set: Changes = (),
    **settings: Unpack[Settings],
) -> Run:
    """Train a model on the labels of a task, as ``distilnlp finetune``; the run is what `distill` takes as teacher.

    Args:
        data, validation, output, fresh, quiet, set, settings: as for `distill`.
        model: folder or Hub id to start from, or a run, of which its model.
        lora: train low-rank adapters only; merged before saving.
    Returns:
        The finished run, whose model is its ``teacher``.
    Raises:
        RequestError, RunError: as `distill`.
    """
    with calm():
        request = _request("finetune", data, validation, output, set, settings, quiet)
        recipe = finetuning(request, _path_of(model), lora=lora)
    return _run(recipe, output, fresh=fresh, quiet=quiet)


@typed
def load_run(folder: str | Path | Run) -> Run:
    """A finished run, whether of Python or of the command line.

    Args:
        folder: of the run.
    Raises:
        RequestError: no run is there, its report is damaged, or it is not finished.
    """
    return folder if isinstance(folder, Run) else Run(folder)


def _request(
    command: str,
    data: Given,
    validation: Given | None,
    output: str | Path | None,
    changes: Changes,
    settings: Settings,
    quiet: bool,
) -> Request:
    beside = Path("runs") if output is None else Path(output).parent
    task, held_out = as_files(data, validation, beside)
    if isinstance(changes, Mapping):
        changes = [f"{key}={_as_yaml(key, value)}" for key, value in changes.items()]
    settings = cast("Settings", dict(settings))  # the caller's own stays as it is
    label, translations = settings.get("label"), settings.get("translations")
    if label is not None and not isinstance(label, str) and len(label) == 1:
        settings["label"] = label[0]
    if isinstance(translations, str):
        settings["translations"] = [translations]
    return Request(command, task, held_out, settings, list(changes), KEYWORD, _say_nothing if quiet else print)


def _as_yaml(key: str, value: object) -> str:
    """JSON, which is YAML."""
    try:
        return json.dumps(value, default=_as_plain)
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise RequestError(f"set: {key} has a value of type {kind}, which no recipe can hold") from None


def _as_plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # of numpy
        return value.tolist()
    raise TypeError


def _model(given: str | Path | Run | None) -> str | None:
    return None if given is None else _path_of(given)


def _path_of(given: str | Path | Run) -> str:
    """The folder or Hub id of a model."""
    return given.path_of(given.model) if isinstance(given, Run) else str(given)


def _run(recipe: Recipe, output: str | Path | None, *, fresh: bool, quiet: bool) -> Run:
    folder = Path("runs") / recipe.name if output is None else Path(output)
    with calm(without_progress=quiet):
        run_recipe(recipe, folder, fresh=fresh, say=_say_nothing if quiet else print)
    return Run(folder)


def _say_nothing(_: object) -> None:
    pass
