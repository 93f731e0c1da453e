"""A fine-tuned model as an exported folder that answers as it does: traced, compared, quantised, measured."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from distilnlp.data.task import Task
from distilnlp.errors import RequestError, RunError, unknown
from distilnlp.export.formats import Format, Int8, Kind, Traced, get_format
from distilnlp.export.gate import Gated, drop, keep_score
from distilnlp.export.graph import OLDEST_OPSET
from distilnlp.export.quantise import processor_of
from distilnlp.models.backend import TorchBackend
from distilnlp.models.chosen_tokens import HEAD_TOKENS
from distilnlp.models.loading import load_classifier, load_config, load_tokenizer, quiet_transformers
from distilnlp.models.predictor import Predictor, Text
from distilnlp.models.trained_columns import remembered_columns
from distilnlp.onnx_file import PROCESSORS, Processor
from distilnlp.report.card import render_card
from distilnlp.report.cost import measure_costs
from distilnlp.report.schema import Cost, ExportedFile, Report, StageResult, read_report, to_json
from distilnlp.report.scores import SCORES
from distilnlp.report.seeds import of_one_seed
from distilnlp.run.environment import cpu_flags, library_versions
from distilnlp.run.evaluation import Answers, answer, check_asked, check_head, measured, predictor_for, texts_of
from distilnlp.run.new_folder import check_new, new_folder
from distilnlp.run.report import eval_split, timed_texts
from distilnlp.whole_files import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

__all__ = ["PARITY", "ExportSettings", "Exported", "export_model", "write_beside"]

PARITY = 1e-3  # the largest difference of a logit that an export in fp32 may make
COMPARED = 64  # texts that the logits are compared on
CALIBRATED = 256  # texts that static int8 takes the ranges of activations from
TIMED = 200  # texts that the speed is measured on
# Where no data are given: texts of several lengths, in several scripts.
TEXTS = (
    "A plain text, 12 times.",
    "It was not bad at all; I would see it again tomorrow, and so would they.",
    "Ωδή, 漢字 and \U0001f600.",
    "How far is it from Denver to Aspen, and who would want to walk there in the winter, with all that snow?",
)
PYTORCH = "pytorch"  # the row of the model where it is no stage of a run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportSettings:
    """What is made of a model.

    Args:
        format: of `FORMATS`.
        int8: a file with weights in 8 bits, whose score holds: ``dynamic``, each batch of activations has a range of
            its own; ``static``, their ranges are taken from texts of the training data (of OpenVINO always).
            True: as the format has it by default. None: no such file.
        fp16: a file with weights in 16 bits.
        max_drop: by which share of its size the score may fall in int8 or fp16, from 0.
        processor: of `PROCESSORS`, for which int8 of ONNX is made; None: the one that this runs on.
        sentence_names: name the int8 file of ONNX as sentence-transformers does, by the processor.
        keep_weights: let the weights of torch stand in the folder too.
        opset: version of ONNX's operators; None is the newest that the exporter knows.
        max_length: tokens that texts are cut to where the model is asked, as for `Predictor`.
        seconds: for each file, for how long its speed is measured; 0 leaves that out.
    Raises:
        RequestError: no such format, kind of int8 or processor; a share below 0; an opset that the exporter does not
            write; what is for another format.
    """

    format: str = "onnx"
    int8: Kind | bool | None = None
    fp16: bool = False
    max_drop: float = 0.01
    processor: Processor | None = None
    sentence_names: bool = False
    keep_weights: bool = False
    opset: int | None = None
    max_length: int | None = None
    seconds: float = 5.0

    def __post_init__(self) -> None:
        known = get_format(self.format)
        if self.int8 not in (None, False, True, *known.kinds):
            raise unknown("int8", str(self.int8), known.kinds)
        known.refuse(processor=self.processor, sentence_names=self.sentence_names, opset=self.opset)
        if self.processor is not None and self.processor not in PROCESSORS:
            raise unknown("processor", str(self.processor), PROCESSORS)
        if not 0 <= self.max_drop < float("inf"):
            raise RequestError(
                f"max_drop={self.max_drop}: a share of the score is needed, from 0 (0.01 is one percent)"
            )
        if self.opset is not None and self.opset < OLDEST_OPSET:
            raise RequestError(f"opset={self.opset}: the exporter writes {OLDEST_OPSET} and newer ones")

    @property
    def kind(self) -> Kind | None:
        """How the ranges of activations are found; None without int8."""
        default = get_format(self.format).kinds[0]
        return (self.int8 or None) if not isinstance(self.int8, bool) else default if self.int8 else None


@dataclass(frozen=True)
class Exported:
    """What an export came to.

    Args:
        folder: the new folder.
        report: the model and its files side by side; of a stage of a run with the other models of the run.
        format: of the files, as people write it.
    """

    folder: Path
    report: Report
    format: str

    @property
    def files(self) -> list[StageResult]:
        """The rows of the files, fp32 first."""
        return [row for row in self.report.stages if row.exported is not None]


def export_model(
    name: str, output: str | Path, task: Task | None = None, settings: ExportSettings | None = None
) -> Exported:
    """Write a fine-tuned model as a folder that runs without torch: complete, or not at all.

    At the root stand the config and the tokenizer, in ``onnx/`` or ``openvino/`` the files, as transformers.js,
    Optimum and sentence-transformers look for them; beside them a report and a model card.

    Args:
        name: a folder or Hub id of a model for any kind of task.
        output: the new folder.
        task: as `load_task` gives it; on its held-out examples the model and its files are compared and measured.
        settings: None is `ExportSettings()`.
    Raises:
        RequestError: no such model, or one that cannot be exported; data that are not for it; int8 without held-out
            examples with labels; ``output`` is there already; the extra for the format is not installed.
        RunError: the exported model answers differently from the model; its score does not hold in int8 or fp16.
    """
    settings = settings or ExportSettings()
    target = get_format(settings.format)
    target.need()
    output = Path(output)
    check_new(output)
    if task is not None:
        check_asked(name, task)
        check_head(load_config(name), _asked(name, task), name)
    _check_data(task, settings)
    model, tokenizer = load_classifier(name, require_head=True), load_tokenizer(name)
    source = Predictor(TorchBackend(model, torch.device("cpu")), tokenizer, max_length=settings.max_length)
    texts = _texts(source, task)
    inputs = {column: tensor for column, tensor in source.encode(texts[:2]).items() if column != HEAD_TOKENS}
    with source.backend.evaluating():
        graph = target.trace(model, inputs, settings.opset)
    with new_folder(output) as made:
        megabytes = write_beside(model, made, keep_weights=settings.keep_weights)
        tokenizer.save_pretrained(str(made))
        (made / target.name).mkdir()
        exporting = _Export(name, made, target, graph, task, settings, source, texts, megabytes)
        exporting.in_fp32()
        if settings.fp16:
            exporting.in_fp16()
        if settings.kind is not None:
            exporting.in_int8()
        report = exporting.report()
        write_text(made / "report.json", to_json(report))
        write_text(made / "README.md", render_card(report, stage=report.stages[-1].stage))
    return Exported(output, report, target.file.title)


def _asked(name: str, task: Task) -> Task:
    asked = task.problem.asked_as(load_config(name))
    return task if asked is None else replace(task, problem=asked)


def _check_data(task: Task | None, settings: ExportSettings) -> None:
    if settings.kind is None:
        return
    data = None if task is None else task.validation
    if task is None or data is None or not ("label" in data.column_names or task.problem.labels_itself):
        raise RequestError(
            "int8 is written where the score holds, and there are no held-out examples with labels to score it on: "
            "give --check with a task or a file"
        )
    if settings.kind == "static" and task.train is None:
        other = ", or make it dynamic" if "dynamic" in get_format(settings.format).kinds else ""
        raise RequestError(
            f"static int8 takes the ranges of activations from training texts, and {task.name} has none: give data "
            f"with a training part{other}"
        )


class _Export:
    """The files of one model, each written, compared and scored in its turn."""

    def __init__(
        self,
        name: str,
        folder: Path,
        target: Format,
        graph: Traced,
        task: Task | None,
        settings: ExportSettings,
        source: Predictor,
        texts: Sequence[Any],
        megabytes: float,
    ) -> None:
        self.megabytes, self.target = megabytes, target
        self.name, self.folder, self.graph, self.task, self.settings = name, folder, graph, task, settings
        self.source, self.texts, self.expected = source, texts, source.logits(texts)
        self.rows: dict[str, StageResult] = {}
        self.model_row = _stage_of_run(name) or PYTORCH

    def in_fp32(self) -> None:
        """The graph as it was traced. Raises RunError where it answers otherwise than the model."""
        place = self._place(self.target.fp32)
        self.graph.write(place)
        difference = self._difference(place)
        if not difference <= PARITY:
            raise RunError(
                f"the exported model's logits differ from those of {self.name} by up to {difference:.2g}, and at most "
                f"{PARITY:g} may come of rounding: it is not written; try another "
                f"{'--opset' if self.graph.opset else '--format'}"
            )
        self._keep("fp32", place, difference)

    def in_fp16(self) -> None:
        """Raises RunError where the score falls too far."""
        place = self._place(self.target.fp16)
        self.graph.write_half(place)
        self._keep("fp16", place, self._difference(place))
        fell = 0.0 if self._score("fp32") is None else self._fell(self._score("fp16"))
        if fell > self.settings.max_drop:
            raise RunError(
                f"fp16 costs {fell:.1%} of the score, and at most {self.settings.max_drop:.1%} may be: nothing is "
                "written; give a larger --max-drop, or export without --fp16"
            )

    def in_int8(self) -> None:
        """With as few layers in fp32 as its score needs. Raises RunError where it does not hold."""
        processor = self.settings.processor or processor_of(cpu_flags())
        names = self.target.sentence_names
        place = self._place(names[processor] if self.settings.sentence_names else self.target.int8)
        calibration, before = self._calibration(), self._score("fp32")
        if before is None:  # `_check_data` has seen to it
            raise RuntimeError("int8 is scored against fp32")

        def make(left_out: Sequence[str]) -> Path:
            self.graph.write_int8(place, Int8(left_out, processor, calibration))
            return place

        def score(made: Path) -> float:
            predictor, task = self._predictor(made)
            return float(measured(predictor, task, task.validation)[1][task.main_metric])

        gated: Gated[Path] = keep_score(
            self.graph.groups,
            make=make,
            score=score,
            harm=self._distance,
            before=before,
            max_drop=self.settings.max_drop,
            higher_is_better=self._higher,
            say=logger.info,
        )
        self._keep(
            "int8",
            gated.made,
            self._difference(gated.made),
            how=self.settings.kind,
            processor=processor if names else None,
            in_fp32=list(gated.left_out),
            scores=[each.score for each in gated.attempts],
        )

    def report(self) -> Report:
        """The model, its files and, of a stage of a run, the run's other models."""
        run = None if self.model_row == PYTORCH else read_report(_folder(self.name).parent / "report.json")
        beside = of_one_seed(run.stages, self.model_row) if run else []
        rows = {row.stage: _without_times(row) for row in beside}
        if self.model_row not in rows or self.task is not None:
            rows[self.model_row] = self._row(self.model_row, self._answers(None), rows.get(self.model_row))
        rows |= self.rows
        costs = self._costs(rows)
        stages = [
            row.model_copy(update={"cost": costs[stage]}) if stage in costs else row for stage, row in rows.items()
        ]
        if run is not None:
            return run.model_copy(update={"stages": stages, "versions": library_versions()})
        trained, task = remembered_columns(self.source.backend.config), self.task
        names = self.source.label_names if self.source.problem.named_labels else None
        return Report(
            task=None if task is None else task.name,
            source=None if task is None else task.source,
            dataset_id=None if task is None else task.dataset_id,
            eval_split=None if task is None else eval_split(task),
            problem_type=self.source.problem.name,
            label_names=None if names is None else list(names),
            text_columns=[] if trained is None else [name for name in (trained.text, trained.text_pair) if name],
            main_metric=None if task is None else task.main_metric,
            teacher=self.name,
            stages=stages,
            versions=library_versions(),
        )

    def _place(self, name: str) -> Path:
        return self.folder / self.target.name / name

    def _keep(self, numbers: str, place: Path, difference: float, **how: Any) -> None:
        """A file's row: what it scores, and how it was made."""
        exported = ExportedFile(
            file=f"{self.target.name}/{place.name}",
            of=self.model_row,
            opset=self.graph.opset,
            difference=difference,
            compared=len(self.texts),
            **how,
        )
        stage = f"{self.target.name}-{numbers}"
        row = self._row(stage, self._answers(place))
        self.rows[stage] = row.model_copy(update={"exported": exported})

    def _answers(self, place: Path | None) -> Answers | None:
        """Of a file, or of the model itself, to the held-out examples; None without any."""
        if self.task is None or self.task.validation is None:
            return None
        return answer(*self._predictor(place))

    def _predictor(self, place: Path | None) -> tuple[Predictor, Task]:
        if self.task is None:
            raise RuntimeError("there is no task to ask about")
        where = self.name if place is None else str(place)
        return predictor_for(where, self.task, max_length=self.settings.max_length)

    def _row(self, stage: str, answers: Answers | None, known: StageResult | None = None) -> StageResult:
        task, row = self.task, known or StageResult(stage=stage, problem_type=self.source.problem.name)
        if answers is None or task is None:
            return row
        found = {
            "task": task.name,
            "main_metric": task.main_metric,
            "held_out": answers.held_out,
            "score": answers.metrics.get(task.main_metric),
            "metrics": answers.metrics,
            "extra": answers.extra,
            "baseline": answers.baseline,
        }
        return row.model_copy(update=found)

    def _costs(self, rows: dict[str, StageResult]) -> dict[str, Cost]:
        """Of the model, its files and the run's teacher, in turns; nothing else in the table was timed beside them."""
        if not self.settings.seconds:
            return {}
        files = {stage: self.folder / row.exported.file for stage, row in self.rows.items() if row.exported}
        folders: dict[str, Path] = {}
        models = {self.model_row: self.source, **{stage: self._timed(place) for stage, place in files.items()}}
        teacher = next((row.stage for row in rows.values() if row.role == "teacher"), None)
        place = None if teacher is None else _folder(self.name).parent / teacher
        if teacher is not None and teacher not in models and place is not None and (place / "config.json").is_file():
            models, folders = {teacher: self._timed(place), **models}, {teacher: place}
        texts = ([] if self.task is None else timed_texts(self.task)[:TIMED]) or list(self.texts)
        found = measure_costs(models, texts, folders={**folders, **files}, budget_seconds=self.settings.seconds)
        own = found[self.model_row].model_copy(update={"disk_mb": self.megabytes})
        return {**found, self.model_row: own}

    def _timed(self, place: Path) -> Predictor:
        return Predictor.load(place, max_length=self.settings.max_length, device=torch.device("cpu"))

    def _calibration(self) -> list[dict[str, Any]] | None:
        """Training texts as batches; None for dynamic int8."""
        if self.settings.kind != "static" or self.task is None or self.task.train is None:
            return None
        order = np.random.default_rng(0).permutation(len(self.task.train))[:CALIBRATED]
        texts = texts_of(self.task.train.select(np.sort(order)))
        batches = [self.source.encode(texts[start : start + 32]) for start in range(0, len(texts), 32)]
        return [{name: each for name, each in batch.items() if name != HEAD_TOKENS} for batch in batches]

    def _score(self, numbers: str) -> float | None:
        return self.rows[f"{self.target.name}-{numbers}"].score

    def _fell(self, score: float | None) -> float:
        before = self._score("fp32")
        return 0.0 if before is None or score is None else drop(before, score, higher_is_better=self._higher)

    @property
    def _higher(self) -> bool:
        known = SCORES.get(self.task.main_metric) if self.task is not None else None
        return known is None or known.higher_is_better

    def _logits(self, place: Path) -> NDArray[np.float32]:
        return Predictor.load(place, max_length=self.settings.max_length).logits(self.texts)

    def _difference(self, place: Path) -> float:
        """The largest of a logit; infinite where they are not even of one shape."""
        found = self._logits(place)
        same = found.shape == self.expected.shape
        return float(np.abs(found - self.expected).max(initial=0.0)) if same else float("inf")

    def _distance(self, place: Path) -> float:
        """The mean square of the differences."""
        return float(np.square(self._logits(place) - self.expected).mean())


def _without_times(row: StageResult) -> StageResult:
    """Measured at another time, on a machine that did other things: of a run's rows only sizes are kept."""
    if row.cost is None:
        return row
    sizes = {name: getattr(row.cost, name) for name in ("parameters", "parameters_without_embeddings", "disk_mb")}
    return row.model_copy(update={"cost": Cost(**sizes)})


def _folder(name: str) -> Path:
    return Path(os.path.expanduser(name))


def _stage_of_run(name: str) -> str | None:
    """The stage of a finished run that a folder is of; None of any other model."""
    folder = _folder(name)
    if not (folder / "metrics.json").is_file() or not (folder.parent / "report.json").is_file():
        return None
    stage = folder.resolve().name
    return stage if read_report(folder.parent / "report.json").stage(stage) is not None else None


def _texts(predictor: Predictor, task: Task | None) -> list[Text]:
    """What is asked: some of a task's held-out examples, one of them as long as the model reads."""
    if task is not None and task.validation is not None:
        order = np.random.default_rng(0).permutation(len(task.validation))[:COMPARED]
        chosen: list[Any] = texts_of(task.validation.select(np.sort(order)))
    else:
        pairs = 1 not in predictor.problem.parts or _reads_pairs(predictor)
        chosen = [(text, TEXTS[place - 1]) if pairs else (text,) for place, text in enumerate(TEXTS)]
    first, *second = chosen[0]
    if isinstance(first, str) and all(isinstance(part, str) for part in second):
        everything = " ".join([*(str(row[0]) for row in chosen)] * 20)
        # The text of a question is what an answer is looked for in, and the question itself is not cut.
        chosen.append((first, everything) if predictor.problem.rows == "span" else (everything, *second))
    return chosen if len(chosen) > 1 else chosen * 2


def _reads_pairs(predictor: Predictor) -> bool:
    trained = remembered_columns(predictor.backend.config)
    return trained is not None and trained.text_pair is not None


def write_beside(model: PreTrainedModel, folder: Path, *, keep_weights: bool) -> float:
    """All that stands beside the weights of a saved model: its config, and how a sentence encoder pools.

    Returns:
        the MB (1e6 bytes) that its weights take, with adapters merged.
    """
    with quiet_transformers():
        model.save_pretrained(folder)
    weights = [*folder.glob("model*.safetensors")]
    size = sum(path.stat().st_size for path in weights) / 1e6
    for path in () if keep_weights else (*weights, *folder.glob("*.index.json")):
        path.unlink()
    return size
