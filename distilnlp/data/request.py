"""What the user said about their data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets import Dataset

from distilnlp.data.columns import LABELS, Columns, find_columns
from distilnlp.data.files import read_files
from distilnlp.data.ranked import are_queries, are_ranked, ranking_columns
from distilnlp.data.recorded import RecordedColumns
from distilnlp.errors import RequestError
from distilnlp.problems import Problem, get_problem

__all__ = ["Known", "Request"]

# Gives the kind of task and the labels' names as a teacher has them; called only for rows without labels.
Known = Callable[[], tuple[Problem, tuple[str, ...] | None]]


@dataclass(frozen=True)
class Request:
    """What the user said about their data; None is to be found out.

    Args:
        text, text_pair, label, weight, problem: as for `load_task`.
        seed: of the split and of subsets.
        trained: the columns of a model's training, for what is not said.
        label_names: of labels that are ids.
        recorded: where a teacher's answers stand; None without one.
        optional: whether texts may have no label.
        known: the kind of task and the labels' names as a teacher has them, for texts without labels.
        group_size: texts of a query in one training example; None: 16.
        without_relevant: what becomes of a query without a relevant text; None: it is refused.
        translations: the columns of a text's translations.
        max_train, max_validation: rows at most; None: all.
    """

    text: str | None = None
    text_pair: str | None = None
    label: str | tuple[str, ...] | None = None
    problem: str | None = None
    seed: int = 0
    trained: Columns | None = None
    label_names: tuple[str, ...] | None = None
    weight: str | None = None
    recorded: RecordedColumns | None = None
    optional: bool = False
    known: Known | None = None
    group_size: int | None = None
    without_relevant: str | None = None
    translations: tuple[str, ...] = ()
    max_train: int | None = None
    max_validation: int | None = None

    def columns(self, names: Sequence[str], where: str) -> Columns:
        """What the columns of the data are for. Raises RequestError where that cannot be told."""
        text, text_pair, label = self.text, self.text_pair, self.label
        ranks, own = self._ranks(names), self.trained
        if own is not None and not (ranks and not {*own.names} <= {*names}):  # queries have several forms
            if text is None and text_pair is None:
                _check_trained(names, where, "text", own.text, own.text_pair)
                text, text_pair = own.text, own.text_pair
            if label is None and own.label is not None:
                _check_trained(names, where, "label", *((own.label,) if isinstance(own.label, str) else own.label))
                label = own.label
        recorded = () if self.recorded is None else self.answers_in(names, where)
        find = ranking_columns if ranks else find_columns
        return find(
            names,
            where,
            text=text,
            text_pair=text_pair,
            label=label,
            weight=self.weight,
            other=recorded,
            optional=self.optional,
        )

    def _ranks(self, names: Sequence[str]) -> bool:
        """Whether texts are to be put in order: as is said, as the columns tell, or, without labels, a teacher."""
        if self.problem is not None:
            return get_problem(self.problem).rows == "list"
        if are_ranked(names):
            return True
        if self.known is None or not self.optional or self.recorded is not None or self.label is not None:
            return False
        labelled = any(name.lower() in LABELS for name in names)
        return are_queries(names) and not labelled and self.known()[0].rows == "list"

    def refuse_of_queries(self, where: str) -> None:
        """Raise RequestError for what is said of queries, where the data have none."""
        for key, value in (("group_size", self.group_size), ("without_relevant", self.without_relevant)):
            if value is not None:
                raise RequestError(
                    f"{where}: {key} is of queries with their texts (ranking), which these are not: leave it out"
                )

    def answers_in(self, names: Sequence[str], where: str) -> tuple[str, ...]:
        """The columns of the recorded answers. Raises RequestError where they are not there."""
        return () if self.recorded is None else self.recorded.names_in(names, where)

    @property
    def mappings(self) -> tuple[str, ...]:
        """The columns that may hold mappings."""
        return () if self.recorded is None else self.recorded.columns

    def read_from(self, names: Sequence[str], where: str) -> tuple[str, ...]:
        """All columns that are read. Raises: as `columns`."""
        return (*self.columns(names, where).names, *self.answers_in(names, where))

    def found(self, columns: Columns) -> "Request":
        """With every column named: the validation split uses those of the training split, not its own guess.

        It has no weights: what is measured counts every example alike.
        """
        return replace(self, text=columns.text, text_pair=columns.text_pair, label=columns.label, weight=None)

    def of_held_out(self, columns: Columns, names: Sequence[str]) -> "Request":
        """For a file of held-out examples, which may lack the teacher's answers or the labels, but not both.

        Beside texts without labels it is of another source, and so may call its texts by another name.
        """
        request = self.found(columns)
        missing = any(name is not None and name not in names for name in (columns.text, columns.text_pair))
        if self.optional and self.text is None and columns.label is None and missing:
            request = replace(request, text=None, text_pair=None)
        if request.recorded is not None and not request.recorded.are_in(names):
            return replace(request, recorded=None, optional=request.optional and columns.label is not None)
        if self.optional and isinstance(columns.label, str) and columns.label not in names:
            return replace(request, label=None)
        return request

    def read(self, paths: Sequence[Path]) -> tuple[Dataset, Columns]:
        """The columns of files that are asked for, and what they are for; what else is there is not read.

        Raises:
            RequestError: as `columns` and `read_files`.
        """
        where = str(paths[0])
        data = read_files(paths, lambda names: self.read_from(names, where), self.mappings)
        return data, self.columns(data.column_names, where)

    def read_held_out(self, paths: Sequence[Path], columns: Columns) -> Dataset:
        """As `read`, of files of held-out examples, where the training data have these columns."""
        where = str(paths[0])

        def choose(names: Sequence[str]) -> Sequence[str]:
            return self.of_held_out(columns, names).read_from(names, where)

        return read_files(paths, choose, self.mappings)


def _check_trained(names: Sequence[str], where: str, role: str, *columns: str | None) -> None:
    missing = next((name for name in columns if name is not None and name not in names), None)
    if missing is not None:
        raise RequestError(
            f"{where}: no column '{missing}', which the model was trained on: name the {role} with --{role}; columns:"
            f" {', '.join(names)}"
        )
