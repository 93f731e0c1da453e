"""What a recipe may say: the typed model, checked here and nowhere else."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from distilnlp.errors import RequestError, nearest, unknown
from distilnlp.problems import get_problem, list_problems
from distilnlp.recipe.names import (
    NAME_RULE,
    STAGE_RULE,
    as_stage,
    checkpoint_step,
    is_run_name,
    is_stage_name,
    model_of_task,
    models_of_stages,
)
from distilnlp.recipe.seeds import further_stages, repeated_stages, stages_of_seeds
from distilnlp.recipe.source import Document
from distilnlp.yaml_text import Path_, write_yaml

__all__ = [
    "LARGEST_SEED",
    "RESERVED",
    "CacheSpec",
    "DataSpec",
    "GenerateSpec",
    "LoraSpec",
    "Recipe",
    "SchemeSpec",
    "Stage",
    "StageData",
    "StudentSpec",
    "TaskData",
    "TeacherSpec",
    "VocabularySpec",
    "recipe_schema",
    "unknown_key",
]


def _known_problem(name: str) -> str:
    if name not in list_problems():
        *most, last = (f"'{each}'" for each in list_problems())
        raise ValueError(f"Input should be {', '.join(most)} or {last}")
    return name


# Not a Literal: a kind of task that is registered later is one more.
ProblemName = Annotated[str, AfterValidator(_known_problem), WithJsonSchema({"enum": list(list_problems())})]


PoolingName = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
Probability = Annotated[float, Field(gt=0, lt=1)]
# numpy takes none that is larger.
LARGEST_SEED = 2**32
_MOST_SEEDS = 1000


class _Strict(BaseModel):
    # strict: 'yes' is no bool and '3' no int; extra: a misspelt key is an error, never ignored.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)


class GenerateSpec(_Strict):
    """Texts that are made for a stage with a teacher, in place of training examples, of which none is read."""

    kind: Literal["random_words", "unigram", "masked_words"] = Field(
        description="random_words: whole words of the vocabulary, all alike; unigram: as often as they are counted;"
        " masked_words: what a masked language model puts into blanks"
    )
    count: int = Field(2000, ge=2, le=10_000_000, description="how many texts")
    words: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(
        [5, 30],
        min_length=2,
        max_length=2,
        description="words of a text (masked_words: tokens), the fewest and the most",
    )
    seed: int = Field(0, ge=0, lt=LARGEST_SEED, description="equal seeds give equal texts")
    counts: str | None = Field(
        None, description="unigram: a file of texts whose words are counted; default: by their place in the vocabulary"
    )
    model: str | None = Field(
        None, description="masked_words: the masked language model, an earlier stage, a folder, or a model of the Hub"
    )
    temperature: float = Field(1.0, gt=0, description="masked_words: of what is drawn; below 1 likelier words")
    passes: int = Field(
        8, ge=1, le=1000, description="masked_words: in how many passes the blanks of a text are filled"
    )
    balance: bool = Field(
        False, description="as many texts of each class as the teacher answers; what is too many is drawn anew"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "GenerateSpec":
        if self.words[0] > self.words[1]:
            raise ValueError("words should be the fewest and then the most")
        if (self.model is None) == (self.kind == "masked_words"):
            raise ValueError("kind masked_words needs a 'model', and the other kinds have none")
        if self.counts is not None and self.kind != "unigram":
            raise ValueError("'counts' is for kind unigram")
        return self


class DataSpec(_Strict):
    """The examples: passed to `distilnlp.load_task`, and the length that they are cut to."""

    task: str = Field(description="a GLUE task, a csv/json/parquet file, or a data set of the Hub")
    data_dir: str | None = Field(None, description="folder <task>/{train,validation}.parquet, instead of the Hub")
    validation: str | None = Field(None, description="file of the held-out examples; without one a part is held out")
    text: str | None = Field(None, description="column of the text")
    text_pair: str | None = Field(None, description="column of the second text, for pairs")
    translations: str | list[str] | None = Field(
        None, description="sentence embeddings: columns of the translations of 'text', which alone the teacher reads"
    )
    label: str | list[str] | None = Field(
        None, description="column of the label; several columns of 0 and 1, one for each label"
    )
    label_names: str | list[str] | None = Field(
        None, description="names of labels that are ids, in their order; or a json file with a list of them"
    )
    weight: str | None = Field(None, description="column of how much each training example counts, 0 or more")
    problem_type: ProblemName | None = None
    mask_share: Probability | None = Field(None, description="masked words: share of the tokens; default: 0.15")
    longest_answer: int | None = Field(None, ge=1, description="answers in a text: how many tokens one may have")
    pieces: Literal["first", "all"] | None = Field(
        None, description="tags of words: losses compare the first piece of each word (default), or all of them"
    )
    similarity: Literal["cosine", "dot"] | None = Field(
        None, description="retrieval: of the vectors of query and text; default: as the model's folder says"
    )
    scale: float | None = Field(
        None, gt=0, description="retrieval: what a training multiplies the similarity with; default: 20 of a cosine"
    )
    group_size: int | None = Field(
        None, ge=2, description="ranking: texts of a query in one training example, at most (default 16)"
    )
    without_relevant: Literal["refuse", "leave_out"] | None = Field(
        None, description="ranking: what becomes of a query of which no text is relevant (default: refuse)"
    )
    max_length: int | None = Field(None, ge=3, description="tokens; longer examples are cut")
    long: Literal["truncate", "windows"] | None = Field(
        None, description="a text of more tokens: cut at max_length (default), or in windows of max_length"
    )
    join: Literal["mean", "max"] | None = Field(None, description="of the logits of a text's windows; default: mean")
    stride: int | None = Field(
        None, ge=0, description="tokens that two windows of a text share; default: a quarter of a window"
    )
    decision_thresholds: Literal["each", "one"] | Probability | None = Field(
        None,
        description="several labels a text: chosen for 'each' label (default) or as 'one' for all, on training rows"
        " kept for it; a number is taken as it is, and no rows are kept",
    )
    shard: list[int] | None = Field(
        None, description="[i, n]: the i-th of n parts of the training examples, which have no text in common"
    )
    max_train: int | None = Field(None, ge=1, description="use at most so many training examples")
    max_validation: int | None = Field(None, ge=1, description="use at most so many held-out examples")
    seed: int = Field(0, ge=0, lt=LARGEST_SEED, description="of the held-out split, of max_train and of shards")
    generate: GenerateSpec | None = Field(
        None, description="make the training texts, without labels, and read none of the training examples"
    )

    @field_validator("shard")
    @classmethod
    def _one_of_several(cls, shard: list[int] | None) -> list[int] | None:
        if shard is not None and (len(shard) != 2 or not 1 <= shard[0] <= shard[1]):
            raise ValueError("should be two numbers, which part (from 1) and how many there are, as [1, 5]")
        return shard


# What is said of one file's columns says nothing of another's.
_OF_ONE_TASK = (
    *("validation", "text", "text_pair", "label", "label_names", "weight", "problem_type", "decision_thresholds"),
    *("shard", "pieces", "group_size", "without_relevant", "similarity", "scale", "translations"),
)


# What is said of labels says nothing to a stage that reads the same texts without them.
_OF_LABELS = ("label", "label_names", "weight", "decision_thresholds", "pieces", "group_size", "without_relevant")


class TaskData(DataSpec):
    """The examples of one of several tasks; what it does not say is as in the stage's `data`, and in the recipe's."""

    task: str | None = Field(None, description="other data than the recipe's")  # type: ignore[assignment]
    seed: int | None = Field(  # type: ignore[assignment]
        None, ge=0, lt=LARGEST_SEED, description="of the held-out split and of max_train"
    )


class StageData(TaskData):
    """Other examples for one stage; what it does not say is as in the recipe's `data`."""

    tasks: dict[str, TaskData] | None = Field(
        None, description="several tasks that one model learns together: name -> its data; 'task' is the name itself"
    )
    size_power: float | None = Field(
        None,
        ge=0,
        le=1,
        description="of several tasks: a step is of one of them, drawn by its size to this power; default: 0.75",
    )


class VocabularySpec(_Strict):
    """Which of its teacher's tokens a student keeps: passed to `distilnlp.students.trim_vocabulary`."""

    data: bool = Field(True, description="keep the tokens that the training texts need")
    texts: str | list[str] | None = Field(None, description="text files; the tokens of their lines are kept too")
    tokens: str | list[str] | None = Field(None, description="further tokens, or a text file with one a line")
    min_count: int = Field(1, ge=1, description="leave out tokens that the texts have less often")
    size: int | None = Field(None, ge=1, description="how many tokens at most; the commonest are kept")


class StudentSpec(_Strict):
    """How the student is made out of another model: passed to `distilnlp.build_student`."""

    from_: str = Field(alias="from", description="an earlier stage, a folder, or a model of the Hub")
    layers: int | list[int] | None = Field(None, description="how many layers, or which (1-based)")
    layer_map: Literal["uniform", "skip", "first", "last", "cadence", "importance"] | None = Field(
        None, description="which layers are copied, where 'layers' is a number; default: uniform"
    )
    choose: Literal["leading", "importance"] | None = Field(
        None,
        description="which heads, feed-forward units and dimensions a narrower student keeps; default: the leading",
    )
    texts: int | None = Field(
        None,
        ge=1,
        description="how many of the training texts importance is measured on, or an embedding_size made for;"
        " default: 256",
    )
    config: dict[str, Any] | None = Field(None, description="fields of the model's config that differ")
    architecture: str | None = Field(
        None, description="model_type, where it is not that of 'from'; or static, or bilstm"
    )
    init: Literal["teacher", "random"] = Field("teacher", description="copy weights, or start from random ones")
    dimension: int | None = Field(
        None, ge=1, description="sentence embeddings: numbers of a vector; the teacher's are reduced to them by PCA"
    )
    vocabulary: VocabularySpec | None = Field(
        None, description="keep some tokens of 'from' only; {} keeps those that the training texts need"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "StudentSpec":
        measured = "importance" in (self.layer_map, self.choose) or "embedding_size" in (self.config or {})
        if self.texts is not None and not measured:
            raise ValueError("'texts' is for layer_map or choose 'importance', and for an embedding_size")
        return self


class CacheSpec(_Strict):
    """The teacher's answers on disk: passed to `distilnlp.teachers.CacheSettings`."""

    use: Literal["auto", "always", "never"] = Field("auto", description="auto: where it pays and fits")
    folder: str | None = Field(None, description="kept, and shared by runs; default: in the run, until it is finished")
    max_gib: float = Field(8.0, gt=0, description="GiB on disk at most")
    dtype: Literal["teacher", "float32", "bfloat16", "float16"] = Field("teacher", description="of what is kept")


class LoraSpec(_Strict):
    """Low-rank adapters instead of all weights (peft)."""

    r: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"
    keep_adapter: bool = Field(False, description="also save the adapter beside the merged model")


class TeacherSpec(_Strict):
    """A teacher with settings: a model, that of another stage, or answers recorded in columns of the data."""

    model: str | None = Field(
        None, description="an earlier stage or a checkpoint of it, a folder, or a model of the Hub"
    )
    of_best: list[str] | None = Field(
        None, min_length=2, description="instead: the teacher of that one of these earlier stages that scores best"
    )
    by_task: "dict[str, AnyTeacher] | None" = Field(
        None, description="instead, of a stage with several tasks: the teacher of each of them"
    )
    cache: CacheSpec | None = Field(None, description="of its answers; default: the recipe's")
    pooling: PoolingName | None = Field(
        None, description="sentence embeddings: how its tokens become a vector, where its folder does not say it"
    )
    column: str | list[str] | None = Field(
        None,
        description="instead of a model: the column of recorded answers (a mapping label -> number, a list, a label, a"
        " number); several columns, or a pattern as prob_*, hold a class each",
    )
    values: Literal["probabilities", "logits"] | None = Field(
        None, description="of the column; default: logits where its name ends so, else probabilities"
    )
    labels: list[str] | None = Field(None, description="names for the numbers of a list; default: those of the data")
    confidence: str | None = Field(None, description="column of the probability of a label in the column")
    missing: Literal["refuse", "label"] | None = Field(
        None, description="a row without an answer: refuse it (default), or let its label stand for the answer"
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of recorded answers; none of a model."""
        return (self.column,) if isinstance(self.column, str) else tuple(self.column or ())


# What pydantic puts into the path of an error, and nobody can have written: no key has these signs.
_NAME, _MODEL, _KIND = _TAGS = ("<name>", "<model>", "<kind>")


def _form_of_teacher(teacher: Any) -> str:
    """Which of the forms of a teacher somebody has written."""
    if isinstance(teacher, TeacherSpec | SchemeSpec):
        return _MODEL if isinstance(teacher, TeacherSpec) else _KIND
    if isinstance(teacher, Mapping):
        return _KIND if "kind" in teacher else _MODEL
    return _NAME


ModelTeacher = Annotated[
    Annotated[str, Tag(_NAME)] | Annotated[TeacherSpec, Tag(_MODEL)], Discriminator(_form_of_teacher)
]


class SchemeSpec(_Strict):
    """A teacher that is no model of its own: made of others, or one that follows the student.

    Its other keys are settings of its kind, which the plan checks.
    """

    model_config = ConfigDict(extra="allow")

    kind: str = Field(description="ensemble, average, best, branches, snapshots, peers, virtual, or one of your own")
    of: list[ModelTeacher] | None = Field(
        None, description="the teachers that it is made of: earlier stages, folders, models of the Hub"
    )
    cache: CacheSpec | None = Field(None, description="of its answers; default: the recipe's")

    @property
    def settings(self) -> dict[str, Any]:
        """What is said of its kind."""
        return dict(self.model_extra or {})

    @property
    def models(self) -> tuple[str, ...]:
        """The stages, folders and Hub ids of the teachers that it is made of."""
        return tuple(str(each.model) if isinstance(each, TeacherSpec) else each for each in self.of or ())


AnyTeacher = Annotated[
    Annotated[str, Tag(_NAME)] | Annotated[TeacherSpec, Tag(_MODEL)] | Annotated[SchemeSpec, Tag(_KIND)],
    Discriminator(_form_of_teacher),
]


TeacherSpec.model_rebuild()


class Stage(_Strict):
    """One model of a run: trained on labels or on a teacher, or made of another without training."""

    kind: Literal["train", "transform"] = Field(
        "train", description="transform: take the model, or make the student, without training"
    )
    train: bool | None = Field(None, description="false: the same as kind: transform")
    data: StageData | None = Field(None, description="other examples than the recipe's")
    problem: ProblemName | None = Field(None, description="the kind of task; default: that of the data")
    model: str | None = Field(
        None,
        description="start from this model: an earlier stage, a checkpoint of it (stage@checkpoint-200), a folder, or"
        " one of the Hub",
    )
    student: StudentSpec | None = None
    teacher: AnyTeacher | None = Field(
        None,
        description="an earlier stage, a checkpoint of it (stage@checkpoint-200), a folder, or a model of the Hub; a"
        " mapping with its settings; or several, an ensemble",
    )
    pooling: PoolingName | None = Field(
        None, description="sentence embeddings: how the tokens of 'model' or 'from' become a vector, as for a teacher"
    )
    labels: Literal["grow"] | None = Field(
        None, description="grow: those of the model that it starts from, and after them the new ones of its data"
    )
    objective: dict[str, dict[str, Any]] | None = Field(None, description="loss -> its weight and settings")
    parts: dict[str, dict[str, Any]] | None = Field(
        None, description="what else follows the training: part -> its settings"
    )
    lora: LoraSpec | None = None
    training: dict[str, Any] = Field(default_factory=dict, description="fields of transformers.TrainingArguments")

    @model_validator(mode="before")
    @classmethod
    def _plainest(cls, values: Any) -> Any:
        """``train: false`` is another way to say ``kind: transform``."""
        if not isinstance(values, Mapping):
            return values
        plain = dict(values)
        if "kind" not in plain and isinstance(plain.get("train"), bool):
            plain["kind"] = "train" if plain.pop("train") else "transform"
        return plain

    @field_validator("teacher", mode="before")
    @classmethod
    def _one_teacher(cls, teacher: Any) -> Any:
        if isinstance(teacher, list):
            if not teacher:
                raise ValueError("should have at least one teacher")
            teacher = teacher[0] if len(teacher) == 1 else {"kind": "ensemble", "of": teacher}
        if isinstance(teacher, Mapping) and isinstance(members := teacher.get("by_task"), Mapping):
            teacher = {**teacher, "by_task": {task: cls._one_teacher(each) for task, each in members.items()}}
        # A setting that is null says nothing, and is not written again.
        if isinstance(teacher, Mapping) and teacher.keys() <= TeacherSpec.model_fields.keys():
            said = {key for key, value in teacher.items() if value is not None}
            return teacher["model"] if said == {"model"} else {key: teacher[key] for key in teacher if key in said}
        return teacher

    @property
    def taught_by(self) -> str | None:
        """What to call the teacher: the stage, folder or Hub id that it is; else its column, or its kind."""
        if self.recorded is not None:
            return f"column {','.join(self.recorded.columns)}"
        if self.by_task:
            return ", ".join(f"{task}: {each.taught_by}" for task, each in self.by_task.items())
        if isinstance(self.teacher, SchemeSpec):
            if not self.teacher.models:
                return self.teacher.kind
            told = ", ".join(f"{key}: {value}" for key, value in self.teacher.settings.items())
            return f"{self.teacher.kind} of {', '.join(self.teacher.models)}{f' ({told})' if told else ''}"
        if self.of_best:
            return f"the teacher of the best of {', '.join(self.of_best)}"
        return self.teacher.model if isinstance(self.teacher, TeacherSpec) else self.teacher

    @property
    def teaching_models(self) -> tuple[str, ...]:
        """The stages, folders and Hub ids of all models that teach; none of a teacher ``of_best``."""
        if self.by_task:
            return tuple(dict.fromkeys(model for each in self.by_task.values() for model in each.teaching_models))
        if isinstance(self.teacher, SchemeSpec):
            return self.teacher.models
        nobody = self.taught_by is None or self.recorded is not None or self.of_best
        return () if nobody else (str(self.taught_by),)

    @property
    def tasks(self) -> Mapping[str, TaskData]:
        """The tasks that its model learns together; none where it learns one."""
        return (self.data.tasks if self.data is not None else None) or {}

    @property
    def by_task(self) -> "dict[str, Stage]":
        """The stage as it is for each task that has a teacher of its own; empty where its teacher is not by task."""
        teachers = (self.teacher.by_task if isinstance(self.teacher, TeacherSpec) else None) or {}
        return {task: self.model_copy(update={"teacher": each}) for task, each in teachers.items()}

    def of_task(self, task: str) -> "Stage":
        """The stage as it would be if its model learned one of its tasks alone."""
        shared = {} if self.data is None else self.data.model_dump(exclude_none=True, exclude={"tasks", "size_power"})
        own = self.tasks[task].model_dump(exclude_none=True)
        data = StageData.model_validate({"task": task, **shared, **own})
        found = self.by_task.get(task)
        return self.model_copy(update={"data": data, "teacher": None if found is None else found.teacher})

    @property
    def part_models(self) -> dict[str, str]:
        """The stage, folder or Hub id of the model that a part works with, by the part's name."""
        named = {part: settings.get("model") for part, settings in (self.parts or {}).items()}
        return {part: model for part, model in named.items() if isinstance(model, str)}

    @property
    def scheme(self) -> SchemeSpec | None:
        """The teacher, where it is no model of its own."""
        return self.teacher if isinstance(self.teacher, SchemeSpec) else None

    @property
    def of_best(self) -> tuple[str, ...]:
        """The stages of which the best one's teacher teaches this one; none where it has a teacher of its own."""
        return tuple((isinstance(self.teacher, TeacherSpec) and self.teacher.of_best) or ())

    @property
    def recorded(self) -> TeacherSpec | None:
        """The teacher, where its answers are recorded in the data."""
        return self.teacher if isinstance(self.teacher, TeacherSpec) and self.teacher.columns else None

    @property
    def start(self) -> str:
        """The stage, folder or Hub id that it starts from."""
        return self.student.from_ if self.student is not None else str(self.model)


class ReportSpec(_Strict):
    """The page about the run, report.html."""

    html: bool = Field(True, description="write it at the end of the run")
    texts: bool = Field(
        True, description="show held-out texts on which student and teacher differ; false where they are private"
    )


class Recipe(_Strict):
    """A run: data, and stages in their order. Made by `load_recipe`."""

    name: str
    data: DataSpec
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = Field(42, ge=0, lt=LARGEST_SEED, description="of every stage whose training gives none")
    seeds: list[Annotated[int, Field(ge=0, lt=LARGEST_SEED)]] | None = Field(
        None,
        description="train what is compared, control and student, once with each of these, and everything before it"
        " once with 'seed'; a number: so many, counted on from 'seed'",
    )
    cache: CacheSpec = Field(default_factory=lambda: CacheSpec.model_validate({}))
    accept_weak_teacher: bool = Field(
        False, description="go on with a teacher whose score is not above that of answers that need no text"
    )
    report: ReportSpec = Field(default_factory=lambda: ReportSpec.model_validate({}))
    stages: dict[str, Stage] = Field(min_length=1)

    _document: Document = PrivateAttr(default_factory=Document)
    # Of a recipe with several seeds, as it was written: without the stages of the further ones.
    _as_written: "Recipe | None" = PrivateAttr(None)

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, seeds: Any, info: ValidationInfo) -> Any:
        if type(seeds) is not int:
            return seeds
        if not 1 <= seeds <= _MOST_SEEDS:
            raise ValueError(f"should be how many, 1 to {_MOST_SEEDS}, or a list of seeds")
        first = info.data.get("seed", 0)
        return list(range(first, first + seeds))

    @field_validator("seeds")
    @classmethod
    def _all_different(cls, seeds: list[int] | None) -> list[int] | None:
        if seeds is None:
            return None
        if not 1 <= len(seeds) <= _MOST_SEEDS:
            raise ValueError(f"should be how many, 1 to {_MOST_SEEDS}, or a list of seeds")
        twice = next((seed for place, seed in enumerate(seeds) if seed in seeds[:place]), None)
        if twice is not None:
            raise ValueError(f"should be different seeds, and {twice} is there twice")
        return seeds

    @property
    def notes(self) -> Sequence[str]:
        """What was understood otherwise than it was written, a line each."""
        return self._document.notes

    def error(self, path: Path_, message: str) -> RequestError:
        """A `RequestError` that names the line that ``path`` was written at."""
        return self._document.error(self._written(path), message)

    def latest(self, *paths: Path_) -> Path_:
        """Which of ``paths``, that together are a mistake, was written last: the one that a message should name."""
        written = [self._written(path) for path in paths]
        return paths[written.index(self._document.latest(*written))]

    def _written(self, path: Path_) -> Path_:
        """Where a recipe says what is said of a model of one of several tasks or seeds: at the stage it is of."""
        if len(path) < 2 or path[0] != "stages":
            return path
        stage = self.owners.get(str(path[1]), (str(path[1]), ""))[0]
        return ("stages", self.repeats.get(stage, stage), *path[2:])

    @cached_property
    def owners(self) -> Mapping[str, tuple[str, str]]:
        """The models of the tasks of stages with several, ``student-mrpc``: stage and task of each."""
        return {model_of_task(name, task): (name, task) for name, stage in self.stages.items() for task in stage.tasks}

    @cached_property
    def repeats(self) -> Mapping[str, str]:
        """The stages of further seeds, each with the stage that it repeats: ``student-seed-2`` -> ``student``."""
        return further_stages(self.to_dict())

    def by_task(self) -> "Recipe":
        """The same with a stage for each task in place of one with several: what each is alone, and is called."""
        stages: dict[str, Stage] = {}
        for name, stage in self.stages.items():
            stages |= {model_of_task(name, task): stage.of_task(task) for task in stage.tasks} or {name: stage}
        made = self.model_copy(update={"stages": stages})
        vars(made)["owners"] = self.owners
        return made

    def data_of(self, name: str) -> DataSpec:
        """The examples of a stage: its own, with what it does not say taken from the recipe's."""
        stage = self.stages[name]
        shared = {"tasks", "size_power"}
        own = {} if stage.data is None else stage.data.model_dump(exclude_none=True, exclude=shared)
        base = self.data.model_dump()
        if own.get("task", self.data.task) != self.data.task:
            base = {key: value for key, value in base.items() if key not in _OF_ONE_TASK}
        if stage.problem is not None:
            own["problem_type"] = stage.problem
            kind = get_problem(stage.problem)
            if kind.labels_itself or kind.taught_alone:
                base = {key: value for key, value in base.items() if key not in _OF_LABELS}
        return DataSpec.model_validate({**base, **own}) if own else self.data

    def makes(self, model: str) -> bool:
        """Whether a name is that of one of its stages, or of the model of one of several tasks."""
        return model in self.stages or model in self.owners

    def models_of(self, name: str) -> list[str]:
        """What the models of a stage are called: as itself, or one for each of its tasks."""
        return [model_of_task(name, task) for task in self.stages[name].tasks] or [name]

    def cache_of(self, name: str) -> CacheSpec:
        """How the answers of a stage's teacher are kept."""
        teacher = self.stages[name].teacher
        return (teacher.cache if isinstance(teacher, TeacherSpec | SchemeSpec) else None) or self.cache

    def to_dict(self) -> dict[str, Any]:
        """Everything that was said, and the defaults; keys that are None left out.

        Of several seeds the stages of the first alone: `distilnlp.recipe.seeds` tells the others of them.
        """
        return (self._as_written or self).model_dump(by_alias=True, exclude_none=True)

    def to_yaml(self) -> str:
        """The resolved recipe as YAML that `load_recipe` reads back to the same."""
        return write_yaml(self.to_dict())

    def written_stages(self) -> dict[str, Stage]:
        """The stages, those last that are `like` another: their mistakes are to be told where they were written."""
        copies = self._document.copies

        def is_copy(name: str) -> bool:
            return self._written(("stages", name))[1] in copies

        return {name: self.stages[name] for name in sorted(self.stages, key=is_copy)}

    @classmethod
    def from_document(cls, document: Document) -> "Recipe":
        """Check the values and make the recipe.

        Raises:
            RequestError: an unknown key (with the nearest match), a value of a wrong type, a stage that cannot be;
                every message starts with the file and line.
        """
        try:
            recipe = cls.model_validate(document.values)
        except ValidationError as error:
            raise _explain(error, document) from None
        recipe._document = document
        _check_stages(recipe)
        return recipe if recipe.seeds is None else _with_all_seeds(recipe)


def _with_all_seeds(recipe: Recipe) -> Recipe:
    """The recipe with a stage for each seed in place of each that is repeated.

    Raises:
        RequestError: a stage that is repeated has a seed of its own, or the name of a further one is taken.
    """
    values, seeds = recipe.to_dict(), recipe.seeds or []
    for name in repeated_stages(values):
        own = recipe.stages[name].training.get("seed")
        if own is not None:
            place = recipe.latest(("seeds",), ("stages", name, "training", "seed"))
            told = ", ".join(map(str, seeds))
            raise recipe.error(
                place,
                f"stages.{name}.training.seed is {own}, and seeds trains it with {told}: leave out one of the two",
            )
    taken = {*recipe.stages, *recipe.owners}
    stages = stages_of_seeds(values)
    further = further_stages(values)
    for name in (*further, *models_of_stages({name: stages[name] for name in further})):
        if name in taken or not is_stage_name(name):
            why = "there is one of this name already" if name in taken else STAGE_RULE
            raise recipe.error(("seeds",), f"seeds makes a stage '{name}', and {why}")
    made = Recipe.model_validate({**values, "stages": stages})
    made._document, made._as_written = recipe._document, recipe
    return made


def unknown_key(key: str, where: str, accepted: list[str]) -> str:
    """The message for a key that is not there to be set."""
    match = nearest(key, accepted)
    hint = f"did you mean '{match}'?" if match else f"accepted: {', '.join(accepted)}"
    return f"unknown key '{key}'{f' in {where}' if where else ''}: {hint}"


def _explain(error: ValidationError, document: Document) -> RequestError:
    """The first error that pydantic found, as one line with its place."""
    copies = document.copies
    # A stage that is `like` another repeats its errors: tell those of the stage that they were written in.
    first = min(_meant(error), key=lambda each: each["loc"][:1] == ("stages",) and bool({*each["loc"][1:2]} & copies))
    path: Path_ = tuple(part for part in first["loc"] if part not in _TAGS)
    known = _known(path, document.values)
    value = first.get("input")
    if first["type"] == "extra_forbidden":
        message = unknown_key(str(path[-1]), ".".join(map(str, path[:-1])), _accepted(path[:-1]))
        return document.error(path, message)
    if first["type"] == "missing":
        where = ".".join(map(str, path[:-1])) or "the recipe"
        of_a_stage = path[0] == "stages" and len(path) > 2
        slip = _slip(str(path[1]), _siblings(path[:2], document.values)) if of_a_stage else ""
        return document.error(path, f"{where} has no '{path[-1]}'{slip}")
    dotted = ".".join(map(str, known))
    slip = _slip(str(known[-1]), _siblings(known, document.values))
    if value is None:
        message = f"{dotted} is null: null removes a key, and there is none of this name to remove{slip}"
        return document.error(known, message)
    problem = (
        first["msg"]
        .removeprefix("Value error, ")
        .replace("Input should", "should")
        .replace("valid dictionary", "mapping of keys to values")
    )
    if known[:1] == ("stages",) and len(known) == 2:
        problem = f"{problem.removesuffix(' or instance of Stage')}{slip}"
    return document.error(known, f"{dotted} is {value!r}: {problem}")


def _meant(error: ValidationError) -> list[Any]:
    """Its errors, but for what says that a mapping is no text where a mapping may stand too."""
    errors: list[Any] = list(error.errors())
    return [each for each in errors if each["type"] != "string_type" or not isinstance(each["input"], dict)] or errors


def _slip(name: str, others: Iterable[str]) -> str:
    """A hint where a name is close to another, and probably meant to be it."""
    match = nearest(name, [other for other in others if other != name])
    return f"; did you mean '{match}'?" if match else ""


def _siblings(path: Path_, values: Any) -> list[str]:
    """The keys of the mapping that ``path`` is in; none in a list."""
    for part in path[:-1]:
        values = values[part]
    return list(values) if isinstance(values, Mapping) else []


def _known(path: Path_, values: Any) -> Path_:
    """The part of pydantic's path that exists in the recipe: it appends the branch of a union that was tried."""
    for i, part in enumerate(path):
        if isinstance(values, Mapping) and part in values:
            values = values[str(part)]
        elif isinstance(values, list) and isinstance(part, int) and part < len(values):
            values = values[part]
        else:
            return path[:i]
    return path


def _accepted(path: Path_) -> list[str]:
    """The keys that may stand in the mapping at ``path``, in any of its forms, read off the schema."""
    schema = Recipe.model_json_schema()

    def forms(node: Any) -> Iterator[dict[str, Any]]:
        if not isinstance(node, dict):  # ``additionalProperties: true``
            return
        yield node
        for each in (*node.get("anyOf", ()), *node.get("oneOf", ())):
            yield from forms(each)
        if "$ref" in node:
            yield from forms(schema["$defs"][node["$ref"].rpartition("/")[2]])

    nodes = list(forms(schema))
    for part in path:
        inner = [
            node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part) for node in nodes
        ]
        named = [each for each in inner if each] or [node.get("additionalProperties") for node in nodes]
        nodes = [form for each in named for form in forms(each)]
    return list(dict.fromkeys(key for node in nodes for key in node.get("properties", ())))


_SCORES = "a run measures its models itself, by the metrics of the task"
_SHARDING = "it shards parameters that capture and projections need whole; start with 'accelerate launch --multi_gpu'"
_PUBLISHING = "publish a finished run with 'distilnlp push', and log in with 'hf auth login'"
# What the run decides itself, and what to write instead; what would do nothing, or make a distillation wrong.
RESERVED = {
    "output_dir": "the run's folder decides it; use --output",
    "bf16": "write 'precision: bf16' at the top of the recipe",
    "fp16": "write 'precision: fp16' at the top of the recipe",
    "disable_tqdm": "the run shows its own progress",
    "resume_from_checkpoint": "a run resumes by itself; start it again with the same recipe",
    "push_to_hub": _PUBLISHING,
    **dict.fromkeys(
        ("hub_token", "hub_model_id", "hub_private_repo", "hub_strategy", "hub_always_push", "hub_revision"),
        _PUBLISHING,
    ),
    "bf16_full_eval": "models are measured in the precision of the recipe",
    "fp16_full_eval": "models are measured in the precision of the recipe",
    "do_train": "write 'kind: transform' in a stage that is not to be trained",
    "do_eval": "write 'eval_strategy' to measure the model while it is trained; afterwards it is measured anyway",
    "do_predict": "use 'distilnlp predict' with the finished model",
    "local_rank": "'accelerate launch' decides it",
    **dict.fromkeys(("fsdp", "fsdp_config", "deepspeed", "parallelism_config"), _SHARDING),
    "accelerator_config": "how batches go to processes is decided here, so that their number changes no weights",
    "average_tokens_across_devices": "a loss is a mean over examples, whatever the number of processes",
    **dict.fromkeys(
        ("prediction_loss_only", "batch_eval_metrics", "eval_do_concat_batches", "include_for_metrics"), _SCORES
    ),
    **dict.fromkeys(
        ("remove_unused_columns", "label_names", "length_column_name"), "write the columns under the recipe's 'data'"
    ),
    "logging_nan_inf_filter": "a loss that is no finite number ends the stage and is named",
    "enable_jit_checkpoint": "a stage that is stopped early would pass for finished; a killed run goes on by itself",
    "ignore_data_skip": "a stage that goes on after a break would see other examples than one without",
    "use_cache": "it is for models that generate",
}


def _check_stages(recipe: Recipe) -> None:
    if not is_run_name(recipe.name):
        raise recipe.error(("name",), f"name is {recipe.name!r}: {NAME_RULE}")
    order = list(recipe.stages)
    for name, stage in recipe.written_stages().items():
        _check_tasks(recipe, name, stage)
    for name, stage in recipe.written_stages().items():
        here: Path_ = ("stages", name)
        if not is_stage_name(name):
            raise recipe.error(here, f"stage name '{name}': {STAGE_RULE}")
        if (stage.model is None) == (stage.student is None):
            path = recipe.latest((*here, "model"), (*here, "student"))
            slip = _slip(name, order) if stage.model is None else ""
            raise recipe.error(path, f"stages.{name} should have one of 'model' and 'student'{slip}")
        if stage.teacher is not None and not (stage.objective or stage.parts):
            path = recipe.latest((*here, "teacher"), (*here, "objective"))
            raise recipe.error(path, f"stages.{name} has a teacher and no 'objective': which losses?")
        if stage.train is not None:
            path = recipe.latest((*here, "kind"), (*here, "train"))
            raise recipe.error(path, f"stages.{name} has both 'kind' and 'train': leave out 'train'")
        trained = (stage.objective, stage.lora, stage.parts)
        if stage.kind == "transform" and any(each is not None for each in trained):
            path = recipe.latest(*((*here, key) for key in ("kind", "train", "objective", "lora", "parts")))
            raise recipe.error(path, f"stages.{name} is of kind transform and has losses or adapters to train")
        if stage.problem and stage.data and stage.data.problem_type:
            path = recipe.latest((*here, "problem"), (*here, "data", "problem_type"))
            raise recipe.error(path, f"stages.{name} says its problem twice: leave out data.problem_type")
        for key, reason in RESERVED.items():
            if key in stage.training:
                raise recipe.error((*here, "training", key), f"stages.{name}.training.{key} cannot be set: {reason}")
        for key, value in stage.training.items():
            if value is None:
                message = f"stages.{name}.training.{key} is null: there is nothing of this name to remove"
                raise recipe.error((*here, "training", key), message)
        alone = {(*here, "teacher", "by_task", task): each for task, each in stage.by_task.items()}
        for path, taught in ({(*here, "teacher"): stage} | alone).items():
            if isinstance(taught.teacher, TeacherSpec):
                _check_teacher(recipe, path, taught.teacher)
            if taught.scheme is not None:
                _check_members(recipe, (*path, "of"), taught.scheme.of or ())
        before = order[: order.index(name)]
        earlier = [model for stage_before in before for model in recipe.models_of(stage_before)]
        _check_generated(recipe, name, earlier)
        start = ((*here, "student", "from"), stage.student.from_) if stage.student else ((*here, "model"), stage.model)
        teachers = (*stage.teaching_models, *stage.of_best)
        others = [((*here, "parts", part, "model"), model) for part, model in stage.part_models.items()]
        for path, model in (start, *(((*here, "teacher"), model) for model in teachers), *others):
            _check_reference(recipe, path, model, earlier)
        for each in stage.of_best:
            _check_candidate(recipe, (*here, "teacher", "of_best"), each)


def _check_tasks(recipe: Recipe, name: str, stage: Stage) -> None:
    """A stage with several tasks makes a model of each, and has a teacher for each or none."""
    here: Path_ = ("stages", name)
    where, given = f"stages.{name}", stage.by_task
    if stage.data is not None and stage.data.tasks is None and stage.data.size_power is not None:
        raise recipe.error(
            (*here, "data", "size_power"), f"{where}.data.size_power is for several tasks: leave it out"
        )
    if stage.data is None or stage.data.tasks is None:
        if given:
            raise recipe.error(
                (*here, "teacher", "by_task"),
                f"{where}.teacher.by_task is for a stage with several tasks (data.tasks)",
            )
        return
    place: Path_ = (*here, "data", "tasks")
    if len(stage.tasks) < 2:
        raise recipe.error(
            place,
            f"{where}.data.tasks has {', '.join(stage.tasks) or 'none'}: two or more are needed; of one write task",
        )
    for task in stage.tasks:
        made = model_of_task(name, task)
        if not is_stage_name(task) or not is_stage_name(made):
            raise recipe.error((*place, task), f"task '{task}' of {where}: {STAGE_RULE}, as {made}")
        if made in recipe.stages or recipe.owners[made] != (name, task):
            raise recipe.error(
                (*place, task), f"the model of the task '{task}' is called {made}, as a stage is already"
            )
    keys = ("task", "validation", "generate", "problem_type", "text", "text_pair", "label", "label_names")
    for key in keys:
        if getattr(stage.data, key) is not None:
            raise recipe.error(
                (*here, "data", key), f"{where}.data.{key} is of one task, and the stage has several: write it there"
            )
    for task, data in stage.tasks.items():
        if data.generate is not None:
            raise recipe.error((*place, task, "generate"), f"{where}: generated texts are for a stage with one task")
        for key in ("max_length", "long", "join", "stride"):
            if getattr(data, key) is not None:
                raise recipe.error(
                    (*place, task, key), f"{where}: one model reads the texts of all tasks alike: write data.{key}"
                )
    for key, reason in (
        ("problem", "each task has a kind of its own"),
        ("labels", "the labels of a task do not grow"),
    ):
        if getattr(stage, key) is not None:
            raise recipe.error((*here, key), f"{where}.{key} is for one task: {reason}")
    if stage.student is not None and stage.student.vocabulary is not None:
        raise recipe.error(
            (*here, "student", "vocabulary"),
            f"{where}.student.vocabulary keeps the tokens of the texts of one task, and the stage has several: leave"
            " it out",
        )
    if stage.kind == "transform":
        raise recipe.error(place, f"{where} is of kind transform, and several tasks are learned together by training")
    if stage.teacher is not None and not given:
        raise recipe.error(
            (*here, "teacher"), f"{where} has several tasks and one teacher: give each its own, by_task"
        )
    for task in given:
        if task not in stage.tasks:
            raise recipe.error((*here, "teacher", "by_task", task), f"{where}: {unknown('task', task, stage.tasks)}")
    lacking = next((task for task in stage.tasks if given and task not in given), None)
    if lacking is not None:
        raise recipe.error(
            (*here, "teacher", "by_task"), f"{where}: the task {lacking} has no teacher: give each one, or none at all"
        )
    for task, each in given.items():
        if each.teaching_models or each.recorded is not None:
            continue
        raise recipe.error(
            (*here, "teacher", "by_task", task),
            f"{where}: a task is taught by a model, by several, or by recorded answers;"
            f" {each.taught_by or 'this'} is none of these",
        )


def _check_generated(recipe: Recipe, name: str, earlier: list[str]) -> None:
    """Texts that are made have no labels: a model has to answer them."""
    stage, spec = recipe.stages[name], recipe.data_of(name).generate
    if spec is None or stage.kind == "transform":
        return
    own: Path_ = ("stages", name, "data", "generate")
    here = own if stage.data is not None and stage.data.generate is not None else ("data", "generate")
    if not stage.teaching_models:
        raise recipe.error(
            here, f"stages.{name} learns from generated texts, which have no labels: give it a model as its teacher"
        )
    task = recipe.data_of(name).task
    if spec.counts is not None and os.path.exists(task) and os.path.realpath(spec.counts) == os.path.realpath(task):
        place = (*here, "counts")
        raise recipe.error(
            place, f"{'.'.join(map(str, place))} is the file of the training examples: none of them may be read"
        )
    _check_reference(recipe, (*here, "model"), spec.model, earlier)


def _check_teacher(recipe: Recipe, here: Path_, teacher: TeacherSpec) -> None:
    """A teacher is a model or columns, and has the settings of what it is."""
    dotted = ".".join(map(str, here))
    forms = [key for key in ("model", "column", "of_best", "by_task") if getattr(teacher, key) is not None]
    if not forms:
        raise recipe.error(here, f"{dotted} has no 'model' and no 'column': one of them is needed")
    if len(forms) > 1:
        place = recipe.latest(*((*here, key) for key in forms))
        raise recipe.error(place, f"{dotted} should have one of {' and '.join(map(repr, forms))}")
    if forms == ["column"] and not teacher.columns:
        raise recipe.error((*here, "column"), f"{dotted}.column is an empty list: name at least one column")
    others = ("values", "labels", "confidence", "missing") if teacher.column is None else ("cache", "pooling")
    kind = "model" if teacher.column is None else "column"
    for key in others:
        if getattr(teacher, key) is not None:
            other = "recorded answers ('column')" if kind == "model" else "a model, which has to be asked"
            raise recipe.error((*here, key), f"{dotted}.{key} is for {other}: leave it out")


def _check_members(recipe: Recipe, here: Path_, members: Sequence[str | TeacherSpec]) -> None:
    """What a teacher is made of are models, whose answers are kept together."""
    for place, member in enumerate(members):
        dotted = ".".join(map(str, (*here, place)))
        said = member.model_fields_set if isinstance(member, TeacherSpec) else {"model"}
        other = sorted(said - {"model", "pooling"})
        if other or "model" not in said:
            wrong = f"{dotted}.{other[0]} is not for one of several teachers" if other else f"{dotted} has no 'model'"
            raise recipe.error((*here, place), f"{wrong}: give a stage, a folder or a model of the Hub")
    names = [str(each.model) if isinstance(each, TeacherSpec) else each for each in members]
    twice = next((place for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise recipe.error(
            (*here, twice), f"{'.'.join(map(str, (*here, twice)))} is {names[twice]}, which is one of them already"
        )


def _check_candidate(recipe: Recipe, here: Path_, name: str) -> None:
    """What a teacher is chosen by are stages, each of them taught by one model."""
    stage = recipe.stages.get(name)
    if stage is None or stage.scheme is not None or len(stage.teaching_models) != 1:
        why = "is no stage" if stage is None else "is not taught by one model"
        dotted = ".".join(map(str, here))
        raise recipe.error(here, f"{dotted}: '{name}' {why}: name earlier stages, each with the teacher that it tries")


def _check_reference(recipe: Recipe, path: Path_, model: str | None, earlier: list[str]) -> None:
    """A name that is no earlier stage is a folder or a Hub id, unless it can only be a slip."""
    if model is None or as_stage(model) in earlier:
        return
    dotted, stage = ".".join(map(str, path)), as_stage(model)
    if stage in recipe.stages and recipe.stages[stage].tasks:
        made = ", ".join(recipe.models_of(stage))
        raise recipe.error(path, f"{dotted} is '{model}', a stage of several tasks: name one of its models, {made}")
    if stage in recipe.stages or stage in recipe.owners:
        of = "" if stage == model else "of "
        raise recipe.error(path, f"{dotted} is '{model}', {of}a stage that does not come earlier")
    if "/" in model or os.path.exists(model):  # Path's raises for a long name
        return
    if checkpoint_step(model) is not None:
        close = nearest(stage, earlier)
        hint = f"did you mean '{close}'?" if close else f"stages before it: {', '.join(earlier) or 'none'}"
        raise recipe.error(path, f"{dotted} is '{model}': there is no stage '{stage}' before it; {hint}")
    close = nearest(model, earlier) or nearest(model, recipe.stages)
    # Hub ids without an owner have hyphens: bert-base-uncased
    if close and ("-" not in model or abs(len(close) - len(model)) <= 2):
        hint = f"did you mean '{close}'?" if close in earlier else f"stages before it: {', '.join(earlier) or 'none'}"
        raise recipe.error(path, f"{dotted} is '{model}': no such stage or folder; {hint}")


def recipe_schema() -> dict[str, Any]:
    """The JSON schema for editors: no key is required, as a recipe may leave to `extends` what it likes."""
    schema = Recipe.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"]["extends"] = {"type": "string", "description": "a recipe that this one changes"}
    stage = schema["$defs"]["Stage"]["properties"]
    stage["like"] = {"type": "string", "description": "a stage that this one changes"}
    several = {"oneOf": [{"type": "string"}, {"$ref": "#/$defs/TeacherSpec"}]}
    stage["teacher"]["anyOf"].append({"type": "array", "items": several, "minItems": 1})
    schema["properties"]["seeds"]["anyOf"].append({"type": "integer", "minimum": 1, "maximum": _MOST_SEEDS})
    for part in (schema, *schema["$defs"].values()):
        part.pop("required", None)
        # null removes a key of the recipe that is extended
        part["properties"] = {
            key: value if "anyOf" in value or "$ref" in value else {"anyOf": [value, {"type": "null"}]}
            for key, value in part["properties"].items()
        }
    return schema
