"""What a run has measured, typed and versioned: the one object that table, card and every other view read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from distilnlp.errors import RequestError
from distilnlp.problems import Problem, get_problem

__all__ = [
    "VERSION",
    "Baseline",
    "Choice",
    "Cost",
    "ExportedFile",
    "Fidelity",
    "Gain",
    "Kind",
    "OverSeeds",
    "Report",
    "Retained",
    "Role",
    "Spread",
    "StageResult",
    "again",
    "read_report",
    "read_stage_result",
    "to_json",
]

DEFAULT_PROBLEM = "single_label_classification"
VERSION = 2  # of report.json and metrics.json; another number where an older reader would misunderstand

Role = Literal["teacher", "control", "student"]
Kind = Literal["finetune", "distill", "transform"]


def _known(name: str) -> str:
    return get_problem(name).name


ProblemName = Annotated[str, AfterValidator(_known)]


class _Typed(BaseModel):
    # JSON has no number for what is not finite. With a text any tool can read the file, and pydantic reads it back.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Cost(_Typed):
    """What a model costs to keep and to run; None where it was not measured.

    Units: parameters; MB of 1e6 bytes; ms for one text at a time; texts per second in batches of 32.
    """

    parameters: int | None = None
    parameters_without_embeddings: int | None = None
    disk_mb: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    throughput_per_s: float | None = None
    tokens_per_text: float | None = None
    threads: int | None = None
    device: str | None = None
    dtype: str | None = None
    latency_runs: int | None = None
    throughput_batches: int | None = None


class Baseline(_Typed):
    """What answers that need no text get on the same held-out examples, and whether a model is above that.

    Args:
        answer: which answer each text gets, in words.
        score: of the main metric; ``metrics``: all metrics.
        gain: the ends of the 95 % interval of the model's gain over it in the main metric; above 0 is better.
        rows: how many held-out examples that is measured on.
    """

    answer: str
    score: float
    metrics: dict[str, float] = Field(default_factory=dict)
    gain: tuple[float, float]
    rows: int

    @property
    def is_beaten(self) -> bool:
        """Whether the model is above it by more than the choice of the examples explains."""
        return self.gain[0] > 0


class Fidelity(_Typed):
    """How closely a model answers as its teacher.

    Args:
        agreement: see `distilnlp.problems.Problem.agreement_meaning`.
        kappa: how much of what chance leaves open; None where chance alone gives no agreement.

    Further keys are the distances that the problem names (``kl``).
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    agreement: float
    kappa: float | None = None


class Privacy(_Typed):
    """What noisy votes promise of the rows of the teachers: ``(epsilon, delta)``-differential privacy.

    Args:
        epsilon, delta: infinite without noise.
        sigma: of the noise, in votes; ``queries``: how many texts were asked about; ``teachers``: who voted.
    """

    epsilon: float
    delta: float
    sigma: float
    queries: int
    teachers: int


class Choice(_Typed):
    """The teacher that was chosen by the scores of those that it, and others, have taught.

    Args:
        teacher: as the recipe names it.
        by: the stage that scored best.
        scores: of each stage, by its name.
    """

    teacher: str
    by: str
    scores: dict[str, float]


class Retained(_Typed):
    """What a model that was trained further still knows of an earlier task.

    Args:
        score: of the earlier task's main metric, on its held-out examples, among all labels that the model has by now.
        was: the score of the earlier stage's own model.
    """

    score: float
    was: float


class ExportedFile(_Typed):
    """A file that answers as a model does.

    Args:
        file: its path in the exported folder.
        of: the row of the model that it was made of.
        opset: version of ONNX's operators in it; None of another format.
        difference: the largest difference of a logit from that model's; ``compared``: on how many texts.
        how: ``dynamic`` or ``static`` int8; None in fp32 and fp16.
        processor: which variant of int8 it is: ``vnni``, ``avx2`` or ``arm64``; None where there are no variants.
        in_fp32: the groups of layers that stay in fp32 so that its score holds, in the order in which they were left
            out; ``scores``: with none of them, with the first, with the first two, ...
    """

    file: str
    of: str
    opset: int | None = None
    difference: float
    compared: int
    how: Literal["dynamic", "static"] | None = None
    processor: str | None = None
    in_fp32: list[str] = Field(default_factory=list)
    scores: list[float] = Field(default_factory=list)


class Spread(_Typed):
    """What several seeds give: their mean, and their sample deviation (of n - 1)."""

    mean: float
    deviation: float


class Gain(Spread):
    """A student's main score over that of its control with the same seed.

    Args:
        control: the stage.
        differences: student minus control, of each seed.
        mean, deviation: of the differences.
        interval: the ends of the 95 % t interval of their mean.
    """

    control: str
    differences: list[float]
    interval: tuple[float, float]


class OverSeeds(_Typed):
    """What a stage got that was trained once with each of several seeds.

    Args:
        seeds: in the order of the recipe; ``stages``: the models, of which each has a row of its own.
        scores: of the main metric, of each; empty where the held-out examples have no labels. ``score``: their spread.
        metrics: of all metrics.
        fidelity: the mean of all that tells how closely they answer as their teachers.
        gain: of a student over its control, where both were measured on the same examples.
    """

    seeds: list[int] = Field(min_length=2)
    stages: list[str]
    scores: list[float] = Field(default_factory=list)
    score: Spread | None = None
    metrics: dict[str, Spread] = Field(default_factory=dict)
    fidelity: Fidelity | None = None
    gain: Gain | None = None


class StageResult(_Typed):
    """One model of a run.

    Args:
        stage: its name; the folder or Hub id of a teacher that is no stage.
        role, kind: what it is in its run, and how it was made.
        task, problem_type, main_metric: what it is measured on and by.
        held_out: a digest of the held-out examples; only where it is the same may two scores be compared.
        score: of the main metric, on the held-out examples.
        metrics: all metrics there; ``extra``: the same on each further set.
        baseline: what needs no text, on the held-out examples.
        seconds, steps: of its training.
        privacy: of the data of its teachers, where it learned from noisy votes.
        together: of the model of one of several tasks: the stage that trained it with the others.
        retained: earlier stage that it goes back to -> what it still knows of it, where its labels have grown.
        chosen: its teacher, where that was chosen in the run.
        exported: of an exported file, how it was made.
        cost, fidelity: measured when the whole run is done.
        seed: of its training, where the run trained it with several.
        repeats: of a model of a further seed: the stage that it repeats, which has the first; both cost the same.
        over_seeds: what all seeds give, in the row of the first.
        run: which run it is of, where several are shown together; never stored.
    """

    stage: str
    role: Role | None = None
    kind: Kind | None = None
    task: str | None = None
    problem_type: ProblemName | None = None
    main_metric: str | None = None
    held_out: str | None = None
    score: float | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    extra: dict[str, dict[str, float]] = Field(default_factory=dict)
    baseline: Baseline | None = None
    seconds: float | None = None
    steps: int | None = None
    privacy: Privacy | None = None
    chosen: Choice | None = None
    together: str | None = None
    retained: dict[str, Retained] = Field(default_factory=dict)
    exported: ExportedFile | None = None
    cost: Cost | None = None
    fidelity: Fidelity | None = None
    seed: int | None = None
    repeats: str | None = None
    over_seeds: OverSeeds | None = None
    run: str | None = None

    @property
    def problem(self) -> Problem:
        """The kind of task; one class a text where it is not told."""
        return get_problem(self.problem_type or DEFAULT_PROBLEM)


class Report(_Typed):
    """A run: its models side by side, and what is known of where they come from.

    Args:
        version: of this format.
        name: of the recipe.
        task, source, dataset_id, eval_split: the data: its name, where it is from in words, its id on the Hub, and the
            split there that the scores are of.
        problem_type, label_names, text_columns: what the models answer, and the columns that they read.
        main_metric: by which a model is judged.
        teacher: the start weights of the teacher whom all are compared with.
        stages: the models, in their order.
        recipe: as it was resolved.
        versions: of the libraries.
        sources: loss -> its publications.
        language, license: of the models, where the user says so.
    """

    version: int = VERSION
    name: str | None = None
    task: str | None = None
    source: str | None = None
    dataset_id: str | None = None
    eval_split: str | None = None
    problem_type: ProblemName | None = None
    label_names: list[str] | None = None
    text_columns: list[str] = Field(default_factory=list)
    main_metric: str | None = None
    teacher: str | None = None
    stages: list[StageResult] = Field(min_length=1)
    recipe: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    sources: dict[str, str] = Field(default_factory=dict)
    language: str | list[str] | None = None
    license: str | None = None

    @property
    def problem(self) -> Problem:
        """The kind of task; one class a text where it is not told."""
        return get_problem(self.problem_type or DEFAULT_PROBLEM)

    def stage(self, name: str) -> StageResult | None:
        """The model of a stage, or None."""
        return next((result for result in self.stages if result.stage == name), None)


def to_json(value: Report | StageResult) -> str:
    """As a file holds it: strict JSON, the version first; what is not finite as ``"NaN"`` or ``"Infinity"``."""
    left_out: Any = {"run"} if isinstance(value, StageResult) else {"stages": {"__all__": {"run"}}}
    values = json.loads(value.model_dump_json(exclude=left_out))
    return json.dumps({"version": VERSION, **values}, indent=2, allow_nan=False) + "\n"


def read_report(path: Path) -> Report:
    """The report in a file.

    Raises:
        RequestError: it cannot be read, is damaged, or is of another version; names the file.
    """
    way_out = "delete it and run the recipe again, which keeps the finished stages"
    values = _read(path, way_out)
    if "version" in values:
        _check_version(path, values["version"])
    if not isinstance(values.get("stages"), list) or not values["stages"]:
        raise RequestError(f"'{path}' lists no stages: it is not the report of a run of distilnlp")
    _check_version(path, values.get("version"))
    return _parse(path, Report, values, way_out)


def read_stage_result(path: Path) -> StageResult:
    """The result of a stage in a file. Raises RequestError as `read_report`."""
    values = _read(path, again(path.parent))
    _check_version(path, values.pop("version", None))
    return _parse(path, StageResult, values, again(path.parent))


def again(folder: Path) -> str:
    """What to do when a finished stage's files are damaged: without its folder, the stage is trained again."""
    return f"delete '{folder}' and run the recipe again, or start over with --fresh"


Parsed = TypeVar("Parsed", Report, StageResult)


def _parse(path: Path, kind: type[Parsed], values: dict[str, Any], way_out: str) -> Parsed:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RequestError(f"'{path}' is damaged ({where}: {first['msg']}): {way_out}") from None


def _read(path: Path, way_out: str) -> dict[str, Any]:
    """The keys and values in a file; none where it holds something else, which then lacks what is asked for."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"'{path}' cannot be read ({error.strerror}): give the folder of a finished run") from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"'{path}' is not valid JSON ({error}): {way_out}") from error
    return values if isinstance(values, dict) else {}


def _check_version(path: Path, version: object) -> None:
    if type(version) is not int or version != VERSION:
        said = f"of version {version}" if version is not None else "without a version, of an older distilnlp"
        way_out = "run the recipe again with --fresh to write it anew"
        raise RequestError(f"'{path}' is {said}, and this one reads version {VERSION}: {way_out}")
