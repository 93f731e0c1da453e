"""Options that several commands share, and how a command takes many of them at once."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from distilnlp.cli import _complete
from distilnlp.cli._habits import options_from_file
from distilnlp.errors import RequestError

if TYPE_CHECKING:
    from distilnlp.data.task import Task
    from distilnlp.run.requests import Request

__all__ = [
    "AcceptWeakTeacher",
    "Config",
    "DataDir",
    "DryRun",
    "ExitThreshold",
    "Fresh",
    "HeldOut",
    "Label",
    "LabelNames",
    "Output",
    "Plan",
    "ProblemType",
    "Processes",
    "ReadLength",
    "Seeds",
    "Set",
    "Stages",
    "TaskName",
    "Text",
    "TextPair",
    "Training",
    "Translation",
    "Validation",
    "WithoutRelevant",
    "label_columns",
    "split_columns",
    "split_seeds",
    "split_thresholds",
    "with_options",
]

TaskName = Annotated[
    str,
    typer.Argument(
        metavar="TASK",
        help="A GLUE task (see 'tasks'), a csv/json/parquet file, or a Hub data set.",
        autocompletion=_complete.tasks,
    ),
]
Text = Annotated[str | None, typer.Option(help="Column of the text, where its name does not tell.")]
TextPair = Annotated[str | None, typer.Option(help="Column of the second text, for pairs.")]
Translation = Annotated[
    list[str] | None,
    typer.Option(help="Sentence embeddings: column of a translation of --text; a,b or repeated: several languages."),
]
Label = Annotated[
    list[str] | None,
    typer.Option(help="Column of the label, where its name does not tell; a,b,c or repeated: a 0/1 column a label."),
]
LabelNames = Annotated[
    str | None, typer.Option(help="json file with the names of labels that are ids, in their order.")
]
ProblemType = Annotated[
    str | None,
    # Not listed: the kinds come with numpy, for which --help would wait. A wrong one is answered with all of them.
    typer.Option(help="Kind of task, such as regression or multi_label_classification. [default: as the labels look]"),
]
ExitThreshold = Annotated[
    float | None,
    typer.Option(
        help="Of a model with exits: a text leaves where it is answered this surely, from 0 (never) to 1 (at once).",
        autocompletion=_complete.exit_threshold,
    ),
]
Weight = Annotated[
    str | None, typer.Option(help="Column of how much each training example counts. [default: all alike]")
]
WithoutRelevant = Annotated[
    str | None,
    typer.Option(
        help="To rank: what becomes of a query without a relevant text, refuse or leave_out. [default: refuse]"
    ),
]
Validation = Annotated[str | None, typer.Option(help="File of the held-out examples. [default: hold out a part]")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder with <task>/train.parquet and validation.parquet, instead of the Hub.")
]
Long = Annotated[
    str | None, typer.Option(help="Texts of more tokens: truncate, or read in windows. [default: truncate]")
]
Join = Annotated[str | None, typer.Option(help="Logits of a text's windows: mean or max. [default: mean]")]
Stride = Annotated[int | None, typer.Option(help="Tokens that two windows share. [default: a quarter of a window]")]
MaxLength = Annotated[int | None, typer.Option(help="Cut texts to so many tokens. [default: 128]")]
ReadLength = Annotated[
    int | None, typer.Option(min=3, help="Cut texts to so many tokens. [default: what the model takes, up to 512]")
]
Epochs = Annotated[float | None, typer.Option(help="Passes over the training examples. [default: as the labels need]")]
BatchSize = Annotated[int | None, typer.Option(help="Examples a step. [default: 32]")]
LearningRate = Annotated[float | None, typer.Option(help="Peak learning rate. [default: as the labels need]")]
Precision = Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16. [default: auto]")]
Seed = Annotated[int | None, typer.Option(help="Seed of every stage. [default: 42]")]
Seeds = Annotated[
    str | None,
    typer.Option(
        metavar="N|A,B,..",
        help="Train control and student once with each: so many, counted on from --seed, or these. [default: one]",
    ),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the run. [default: runs/<name>]")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, e.g. stages.student.training.seed=1. Repeatable."),
]
Config = Annotated[
    Path | None,
    typer.Option(
        callback=options_from_file,
        is_eager=True,
        expose_value=False,
        help="YAML file of these options, as epochs: 3; what is typed beside it counts more.",
    ),
]
Processes = Annotated[
    int,
    typer.Option(min=1, help="Train with so many processes, each with a part of every batch (accelerate's launcher)."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")]
Stages = Annotated[
    str | None,
    typer.Option(
        metavar="STAGES",
        help="Run only these, as a, a..b, a.., ..b or a,c; those that they are made of have to be finished.",
        autocompletion=_complete.stages,
    ),
]
Plan = Annotated[bool, typer.Option("--plan", help="Show which stage is made of what and taught by whom, and stop.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Delete what an earlier run left in the folder, and start anew.")]
AcceptWeakTeacher = Annotated[
    bool,
    typer.Option("--accept-weak-teacher", help="Go on where a teacher is no better than one answer for every text."),
]


@dataclass(frozen=True)
class Training:
    """What every command that makes a recipe of its options takes: data, training, and how it is run."""

    text: Text = None
    text_pair: TextPair = None
    translation: Translation = None
    label: Label = None
    label_names: LabelNames = None
    weight: Weight = None
    problem_type: ProblemType = None
    without_relevant: WithoutRelevant = None
    validation: Validation = None
    data_dir: DataDir = None
    max_length: MaxLength = None
    long: Long = None
    join: Join = None
    stride: Stride = None
    epochs: Epochs = None
    batch_size: BatchSize = None
    learning_rate: LearningRate = None
    precision: Precision = None
    seed: Seed = None
    seeds: Seeds = None
    output: Output = None
    settings: Set = None
    config: Config = None
    dry_run: DryRun = False
    fresh: Fresh = False

    def request(self, command: str, task: str) -> "Request":
        """What is asked for: the command's name and its task, and all that these options say."""
        from distilnlp.run.requests import OPTION, Request, Settings

        settings = Settings(
            **{name: vars(self)[name] for name in Settings.__annotations__ if name in vars(self)},  # type: ignore[typeddict-item]
            translations=split_columns(self.translation),
        )
        settings["seeds"] = split_seeds(self.seeds)
        settings["label"] = label_columns(self.label)
        tell = _tell_nothing if self.dry_run else typer.echo
        return Request(command, task, self.validation, settings, self.settings or (), OPTION, tell)


@dataclass(frozen=True)
class HeldOut:
    """What every command that measures a model takes: on which examples, and how far it reads them."""

    text: Text = None
    text_pair: TextPair = None
    translation: Translation = None
    label: Label = None
    label_names: LabelNames = None
    problem_type: ProblemType = None
    without_relevant: WithoutRelevant = None
    validation: Validation = None
    data_dir: DataDir = None
    max_length: ReadLength = None

    def load(self, model: str, task: str) -> "Task":
        """The task on whose held-out examples a model is measured. Raises RequestError as `load_measured_task`."""
        from distilnlp.run.measured_task import load_measured_task

        return load_measured_task(
            model,
            task,
            text=self.text,
            text_pair=self.text_pair,
            translations=split_columns(self.translation) or (),
            label=label_columns(self.label),
            label_names=self.label_names,
            problem_type=self.problem_type,
            without_relevant=self.without_relevant,
            validation=self.validation,
            data_dir=self.data_dir,
        )


def _tell_nothing(_: str) -> None:
    pass


def label_columns(label: list[str] | None) -> str | list[str] | None:
    """What was said with ``--label``, as a recipe says it."""
    return label[0] if label and len(label) == 1 else label or None


def split_columns(said: list[str] | None) -> list[str] | None:
    """The columns of an option that takes several, with commas between them or repeated; None where none is said."""
    return [name.strip() for each in said or () for name in each.split(",") if name.strip()] or None


def split_seeds(said: str | None) -> int | list[int] | None:
    """How many seeds, or which: ``3``, ``1,5,9``. Raises RequestError for anything else."""
    if said is None:
        return None
    try:
        listed = [int(each) for each in said.split(",")]
    except ValueError:
        raise RequestError(
            f"--seeds '{said}': how many are needed, as 3, or which with commas between them, as 1,5,9"
        ) from None
    return listed if "," in said else listed[0]


def split_thresholds(said: str) -> list[float]:
    """Numbers with commas between them. Raises RequestError for anything else."""
    try:
        return [float(each) for each in said.split(",")]
    except ValueError:
        raise RequestError(
            f"--exit-thresholds '{said}': numbers from 0 to 1 with commas between them are needed, as 0,0.1,0.3,1"
        ) from None


def with_options(shared: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command that takes all fields of ``shared`` as options, and hands them on as one: its parameter ``options``.

    Typer reads a command's options off its signature, so that is what is put together here.

    Args:
        shared: `Training` or `HeldOut`.
    """
    hints = get_type_hints(shared, include_extras=True)
    defaults = {field.name: field.default for field in fields(shared)}
    kind = inspect.Parameter.KEYWORD_ONLY

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        its = get_type_hints(function, include_extras=True)
        own = [each for name, each in inspect.signature(function).parameters.items() if name != "options"]
        taken = [
            *(inspect.Parameter(each.name, kind, default=each.default, annotation=its[each.name]) for each in own),
            *(inspect.Parameter(name, kind, default=defaults[name], annotation=hints[name]) for name in defaults),
        ]

        @functools.wraps(function)
        def command(**values: Any) -> None:
            function(**{each.name: values.pop(each.name) for each in own}, options=shared(**values))

        command.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in taken}
        return command

    return decorate
