"""What a card says besides prose: the Hub's metadata, lineage, and a recipe that is fit to be published."""

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from distilnlp.hub_token import is_secret_key, without_tokens
from distilnlp.recipe.names import as_stage, models_of_stages
from distilnlp.recipe.seeds import stages_of_seeds
from distilnlp.report.escape import one_line
from distilnlp.report.schema import Report, StageResult
from distilnlp.report.scores import SCORES
from distilnlp.yaml_text import write_yaml

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

__all__ = [
    "card_data",
    "eval_results_file",
    "has_own_architecture",
    "is_hub_id",
    "learned_with",
    "part",
    "publishable",
    "recipe_stage",
    "redact",
    "start_weights",
    "taught_by",
    "title",
]

GLUE_ID = "nyu-mll/glue"
# Ids from before the Hub had owners; any other name without an owner is a folder.
OLD_IDS = ("albert-", "bert-", "camembert-", "distilbert-", "distilroberta-", "roberta-", "xlm-roberta-")


def card_data(report: Report, result: StageResult, repo_id: str | None) -> "ModelCardData":
    """The front matter of a stage's card; keys that the report does not answer are left out."""
    from huggingface_hub import ModelCardData

    results = _eval_results(report, result)
    known = {SCORES[name].hub_id for name in result.metrics if name in SCORES}
    starts = start_weights(report, result.stage)
    base_models = [name for name in starts if is_hub_id(name)]
    relation = "quantized" if result.exported is not None and result.exported.how is not None else "finetune"
    task_type = report.problem.pipeline_tag
    return ModelCardData(
        language=_strings(report.language) or (["en"] if report.dataset_id == GLUE_ID else None),
        license=one_line(report.license) if report.license else None,
        library_name="distilnlp" if has_own_architecture(report, result.stage) else report.problem.library,
        pipeline_tag=task_type,
        tags=["distilnlp", *(["knowledge-distillation"] if result.role == "student" else []), task_type],
        base_model=base_models or None,
        # Of several the Hub would take the model for a merge.
        base_model_relation=relation if base_models else None,
        datasets=[one_line(report.dataset_id)] if report.dataset_id else None,
        metrics=sorted(known) or None,
        model_name=title(report, result, repo_id) if results else None,
        eval_results=results or None,
    )


def eval_results_file(report: Report, stage: str) -> str | None:
    """What a file in ``.eval_results`` of a model's repository says, by which the Hub knows its score on a data set.

    Returns:
        None where the score is not of a whole split of a data set on the Hub, as of a part that was held out.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    result = report.stage(stage)
    if result is None or not report.dataset_id or not report.eval_split or not report.task:
        return None
    metric = result.main_metric or report.main_metric
    if result.score is None or metric not in SCORES or not math.isfinite(result.score):
        return None
    entry = EvalResultEntry(
        dataset_id=one_line(report.dataset_id),
        task_id=one_line(_last_part(report.task)),
        value=result.score,
        notes=f"{metric} on the split {one_line(report.eval_split)}, measured by distilnlp",
    )
    return redact(write_yaml(eval_result_entries_to_yaml([entry])))


def title(report: Report, result: StageResult, repo_id: str | None) -> str:
    """The name of the model: that of its repository, else task and stage."""
    name = repo_id.rpartition("/")[2] if repo_id else f"{_last_part(report.task or 'model')}-{result.stage}"
    return one_line(name) or "model"


def _eval_results(report: Report, result: StageResult) -> "list[EvalResult]":
    """A result for each finite metric, on the validation data and on each further set that was evaluated."""
    from huggingface_hub import EvalResult

    if not report.task:
        return []  # a result needs to name what it is a result on
    task, dataset = one_line(_last_part(report.task)) or "task", one_line(report.dataset_id or "") or None
    results = []
    for further, metrics in ("", result.metrics), *result.extra.items():
        name = one_line(further)
        for metric, value in metrics.items():
            if metric not in SCORES or not math.isfinite(value):
                continue
            results.append(
                EvalResult(
                    task_type=report.problem.pipeline_tag,
                    dataset_type=dataset or task,
                    dataset_name=f"{'GLUE ' if dataset == GLUE_ID else ''}{task}{f' ({name})' if name else ''}",
                    dataset_config=(f"{task}_{name}" if name else task) if dataset == GLUE_ID else None,
                    dataset_split=None if name or not report.eval_split else one_line(report.eval_split),
                    metric_type=SCORES[metric].hub_id,
                    metric_value=value,
                    metric_name=metric,
                )
            )
    return results


def start_weights(report: Report, stage: str) -> list[str]:
    """The models that a stage goes back to, those that it starts from first: Hub ids or folders, never stages."""
    starts: list[str] = []
    seen: set[str] = set()
    queue = [stage]
    while queue:
        name = queue.pop(0)
        if name in seen:
            continue
        seen.add(name)
        spec = recipe_stage(report, name)
        teachers = taught_by(spec, stages_of_seeds(report.recipe))[1]
        origins = [spec.get("model"), part(spec, "student").get("from"), *teachers]
        if spec:
            queue.extend(str(origin) for origin in origins if origin)
        elif name != stage:
            starts.append(name)
    given = report.teacher
    return starts or ([given] if given and report.stage(given) is None else [])


def has_own_architecture(report: Report, stage: str) -> bool:
    """Whether a stage's model is of an architecture that only this package knows, where its library has no other."""
    from distilnlp.models.word_models import WORD_MODELS  # not at the top: a report is read without torch

    seen: set[str] = set()
    while stage not in seen and not report.problem.vectors:
        seen.add(stage)
        spec = recipe_stage(report, stage)
        if part(spec, "student"):
            return part(spec, "student").get("architecture") in WORD_MODELS
        stage = str(spec.get("model"))
    return False


def recipe_stage(report: Report, stage: str) -> Mapping[str, object]:
    """What the recipe says of a stage; empty when the report holds no recipe."""
    stages, name = stages_of_seeds(report.recipe), as_stage(stage)
    owner, task = models_of_stages(stages).get(name, (name, ""))
    spec = part(stages, owner)
    # The model of one of several tasks has the teacher of this task.
    return {**spec, "teacher": part(part(spec, "teacher"), "by_task").get(task)} if task else spec


def learned_with(report: Report, stage: str) -> list[str]:
    """The tasks that a model has learned together with its own; none of the model of a stage with one task."""
    models = models_of_stages(stages_of_seeds(report.recipe))
    owner, own = models.get(stage, (stage, ""))
    return [task for name, task in models.values() if name == owner and task != own] if own else []


def taught_by(spec: Mapping[str, object], stages: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    """Who teaches a stage of a recipe: what to say before the models, and the models, by their names in the recipe.

    Args:
        spec: what the recipe says of the stage; ``stages``: of all.
    Returns:
        ``("", ("teacher",))``, ``("ensemble of", ("a", "b"))``, ``("average", ())``, ``("best of", ("a@checkpoint-2",
        "a@checkpoint-4"))``, ``("column probs", ())``, ``("one a task of", ("a", "b"))``; ``("", ())`` without a
        teacher.
    """
    teacher, settings = spec.get("teacher"), part(spec, "teacher")
    if (columns := recorded_columns(spec)) is not None:
        return f"column {columns}", ()
    if (kind := settings.get("kind")) is not None:
        members = settings.get("of")
        models = members if isinstance(members, list) else []
        names = tuple(str(each.get("model") if isinstance(each, Mapping) else each) for each in models)
        return f"{kind} of" if names else str(kind), names
    if isinstance(each := settings.get("by_task"), Mapping):
        found = [name for one in each.values() for name in taught_by({"teacher": one}, stages)[1]]
        return "one a task of", tuple(dict.fromkeys(found))
    if isinstance(tried := settings.get("of_best"), list):
        found = [name for stage in tried for name in taught_by(part(stages, str(stage)), stages)[1]]
        return "best of", tuple(dict.fromkeys(found))
    name = settings.get("model") or teacher
    return "", (str(name),) if name else ()


def recorded_columns(spec: Mapping[str, object]) -> str | None:
    """The columns of the data that hold the answers of a stage's teacher; None where that is a model."""
    column = part(spec, "teacher").get("column")
    return None if column is None else ", ".join(column) if isinstance(column, list) else str(column)


def part(values: Mapping[str, object], key: str) -> Mapping[str, object]:
    """The mapping under ``key`` of a recipe; an empty one when there is none."""
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}


def is_hub_id(name: str) -> bool:
    """Whether a name can only be a model on the Hub: not a path, and nothing on this machine is called so."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, not in its __all__

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return ("/" in name or name.startswith(OLD_IDS)) and not Path(name).exists()


def publishable(value: object) -> object:
    """Plain YAML values of a recipe, without tokens, and with absolute paths cut to their last part."""
    if isinstance(value, Mapping):
        return {str(k): publishable(v) for k, v in value.items() if not (isinstance(v, str) and is_secret_key(str(k)))}
    if isinstance(value, list | tuple | set | frozenset):
        return [publishable(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(_last_part(str(value)))


def redact(text: str) -> str:
    """The text without anything that looks like an access token."""
    return without_tokens(text)


def _last_part(text: str) -> str:
    """An absolute path's last part, as the rest is nobody's business; any other text unchanged."""
    if PurePosixPath(text).is_absolute() or text.startswith("~"):
        return PurePosixPath(text).name
    return PureWindowsPath(text).name if PureWindowsPath(text).is_absolute() else text


def _strings(value: object) -> list[str]:
    return (
        [one_line(value)]
        if isinstance(value, str)
        else [one_line(str(v)) for v in value]
        if isinstance(value, list | tuple)
        else []
    )
