"""A finished run, in Python."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilnlp.errors import RequestError, unknown
from distilnlp.recipe.names import models_of_stages
from distilnlp.recipe.seeds import stages_of_seeds
from distilnlp.report.compare import render_table, table_cells
from distilnlp.report.escape import one_line
from distilnlp.report.schema import Report, StageResult, read_report
from distilnlp.run.folder import REPORT, RunFolder
from distilnlp.typed import typed

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy import float32
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from distilnlp.run.predict import Prediction

__all__ = ["Run"]


class Run:
    """A run: what it measured, and its models.

    Args:
        folder: of a run of the command line, of a recipe or of Python, or one that `distilnlp export` has made.

    Raises:
        RequestError: no run is there, its report is damaged, or it is not finished.
    """

    @typed
    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise RequestError(f"'{self.folder}' is not a folder: give that of a run")
        if not (self.folder / REPORT).is_file():
            raise RequestError(
                f"'{self.folder}' holds no {REPORT}: it is no run's folder, or the run did not finish; the same call "
                "goes on with it"
            )
        self.report: Report = read_report(self.folder / REPORT)

    @property
    def models(self) -> list[str]:
        """The names of its models: stages, and teachers from outside by their folder or Hub id."""
        return [row.stage for row in self.report.stages]

    @property
    def model(self) -> str:
        """The name of the model that the run was made for: the last student, or without one what was trained last.

        Of several seeds that of the first, which `push` publishes too; of an export the last of its files.
        """
        rows = [row for row in self.report.stages if row.repeats is None]
        exported = [row for row in rows if row.exported is not None]
        return (exported or [row for row in rows if row.role == "student"] or rows)[-1].stage

    @property
    def seconds(self) -> float:
        """How long its trainings took, without measuring; of one that was broken off, since it went on."""
        # The models of a training with several tasks all have its time.
        took = {row.together or row.stage: row.seconds for row in self.report.stages if row.exported is None}
        return sum(seconds for seconds in took.values() if seconds is not None)

    @cached_property
    def student(self) -> PreTrainedModel:
        """The student, a plain model of transformers; the last one where there are several, with the first seed.

        Raises:
            RequestError: there is none, or its files are not there.
        """
        return self.load(self._last("student").stage)

    @cached_property
    def teacher(self) -> PreTrainedModel:
        """The teacher that all are compared with, a plain model of transformers.

        Raises:
            RequestError: there is none (its answers are recorded, say), or its files are not there.
        """
        return self.load(self._first("teacher").stage)

    def path_of(self, model: str) -> str:
        """The folder of a model of the run, the file of an exported one, or the Hub id of a teacher from outside.

        Args:
            model: one of `models`.
        Raises:
            RequestError: the run has no such model, or its files are not there; it is no model but recorded answers,
                or the mean of several.
        """
        row = next((row for row in self.report.stages if row.stage == model), None)
        if row is None:
            raise unknown("model of this run", model, self.models)
        if row.exported is not None:
            return str(self.folder / row.exported.file)
        own = RunFolder(self.folder)
        if own.is_finished(model):
            return str(own.model(model))
        # Its name must not be looked for on the Hub, where somebody may have one of the same name.
        if model in models_of_stages(stages_of_seeds(self.report.recipe)):
            raise RequestError(f"the model '{model}' is not in {self.folder}: only what was measured of it is")
        if row.cost is None:
            raise RequestError(
                f"'{model}' of {self.folder} stands for answers, and there is no one model that gives them"
            )
        return model

    def load(self, model: str) -> PreTrainedModel:
        """A model of the run, ``control`` say, as a plain model of transformers. Its labels are in its config.

        Raises:
            RequestError: the run has no such model, or its files are not there.
        """
        from distilnlp.models import load_classifier

        return load_classifier(self.path_of(model))

    def predict(
        self,
        texts: str | tuple[Any, ...] | Sequence[Any],
        *,
        model: str | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> list[Prediction] | NDArray[float32]:
        """What a model of the run answers.

        Args:
            texts: a text, a pair as a tuple, or a list of either, or a column of a data set or a data frame; for a
                model that tags words a text may be the list of its words, for one that ranks a pair is a query and
                its texts.
            model: one of `models`; None: `model`.
            max_length: tokens that texts are cut to; None: what the model takes, at most 512.
            batch_size: texts at a time, 1 or more.
        Returns:
            An answer for each text, with ``label`` and ``probability``; of a sentence encoder the vectors, ``(texts,
            dimension)``.
        Raises:
            RequestError: no such model; texts that it cannot read.
        """
        from distilnlp.run.predict import predict
        from distilnlp.run.vectors import gives_vectors, make_vectors

        asked = _as_list(texts)
        place = self.path_of(self.model if model is None else model)
        if gives_vectors(place):
            return make_vectors(place, asked, max_length=max_length, batch_size=batch_size)
        rows = [each if isinstance(each, tuple) else (each,) for each in asked]
        return predict(place, rows, max_length=max_length, batch_size=batch_size)

    def plot(self, name: str = "curves") -> Figure:
        """A drawing of the run, as a figure of matplotlib, which a notebook shows.

        Args:
            name: ``curves``: the loss of each training by its weighted terms, and the scores on the way; ``scores``:
                the models beside each other.
        Raises:
            RequestError: matplotlib is not installed; no such drawing; nothing to draw.
        """
        from distilnlp.api.plots import draw

        return draw(name, self.report, self.folder)

    def push(self, repo_id: str, *, private: bool = False, stage: str | None = None) -> str:
        """Publish a model with its card on the Hub, and give its address. See `distilnlp.hub.push.push`.

        Args:
            repo_id: ``owner/name``.
            private: make the new repository private.
            stage: which model; None: the last.
        Raises:
            RequestError: no such model, no access, offline mode.
            RunError: the connection or the Hub failed.
        """
        from distilnlp.hub.push import push

        return push(self.folder, repo_id, private=private, stage=stage)

    def __repr__(self) -> str:
        return f"{render_table(self.report.stages)}\n\nrun   {self.folder}"

    def _repr_html_(self) -> str:
        """The table, for a notebook. Whatever names stand in it, they are text."""
        header, *body = table_cells(self.report.stages)
        head = "".join(f"<th>{_cell(cell)}</th>" for cell in header)
        rows = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in line) + "</tr>" for line in body)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><p>{_cell(str(self.folder))}</p>"

    def _first(self, role: str) -> StageResult:
        return self._of(role)[0]

    def _last(self, role: str) -> StageResult:
        return self._of(role)[-1]

    def _of(self, role: str) -> list[StageResult]:
        rows = [row for row in self.report.stages if row.exported is None and row.repeats is None]
        found = [row for row in rows if row.role == role]
        if not found:
            raise RequestError(f"{self.folder} has no {role}: its models are {', '.join(self.models)}")
        return found


def _as_list(texts: Any) -> list[Any]:
    """The texts one by one. Of a dict or a data frame that would be the names of its columns."""
    if isinstance(texts, str | tuple):
        return [texts]
    if isinstance(texts, Sequence | Iterator) and not isinstance(texts, bytes | bytearray):
        return list(texts)
    for name in ("tolist", "to_list"):  # an array, a column of pandas or polars
        if hasattr(texts, name):
            found = getattr(texts, name)()
            return found if isinstance(found, list) else [found]
    raise RequestError(
        f"texts is of type {type(texts).__name__}: give a text, a pair as a tuple, or a list of either; of a data "
        "frame one column, as frame['text']"
    )


def _cell(text: str) -> str:
    return html.escape(one_line(text))
