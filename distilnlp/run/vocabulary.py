"""Which tokens a stage's student keeps: those that its training texts need, and what its recipe names."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from distilnlp.data.task import Task
from distilnlp.data.text_files import LineFile
from distilnlp.data.tokenize import digest_of, reader_for
from distilnlp.errors import RequestError
from distilnlp.models.checks import training_limit
from distilnlp.models.word_models import WORD_MODELS
from distilnlp.problems import TEACHER_TEXT
from distilnlp.recipe.schema import VocabularySpec
from distilnlp.run.folder import RunFolder
from distilnlp.run.plan import Plan, StagePlan
from distilnlp.run.reading import reading_of
from distilnlp.run.sources import Sources
from distilnlp.students.vocabulary import HeldOut, Vocabulary, trim_vocabulary
from distilnlp.training.compatibility import token_difference

__all__ = ["TokenCounts", "Vocabularies", "vocabulary_files"]

ROWS = 1000  # that are read at a time
MEASURED = 10_000  # held-out rows that are cut by both tokenizers at most


@dataclass
class _Read:
    """The training texts of a task, as a tokenizer has read them.

    Args:
        counts: how often they have each token.
        unknown: the rows that may have a word which is no token.
    """

    counts: Counter[int] = field(default_factory=Counter)
    unknown: set[int] = field(default_factory=set)


class TokenCounts:
    """What tokenizers found in training texts, for all plans that read the same texts alike; each is read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[Task, _Read]] = {}

    def get(self, key: tuple[Any, ...], task: Task) -> _Read | None:
        """What was kept for a task's own rows."""
        known = self._known.get((id(task), *key))
        return None if known is None else known[1]

    def keep(self, key: tuple[Any, ...], task: Task, read: _Read) -> None:
        """Keep it, and the task, so that no other gets its number."""
        self._known[id(task), *key] = task, read


class Vocabularies:
    """The trimmed vocabularies of a run's students.

    Args:
        plan, tasks, folder, sources, counts: as `distilnlp.run.models.Models` has them.
    """

    def __init__(
        self, plan: Plan, tasks: Mapping[str, Task], folder: RunFolder, sources: Sources, counts: TokenCounts
    ) -> None:
        self._plan, self._tasks, self._folder, self._sources = plan, tasks, folder, sources
        self._counts = counts
        self._made: dict[str, Vocabulary] = {}
        self._teaching: dict[tuple[str, str], Vocabulary | None] = {}
        self._held_out: dict[str, HeldOut | None] = {}

    def tokenizer(self, name: str) -> PreTrainedTokenizerBase:
        """That of a stage, which is that of the model that it starts from unless it is trimmed; or of a model."""
        while (stage := self._plan.stage_of(name)) is not None:
            if _spec(stage) is not None:
                return self._known(stage).tokenizer
            name = stage.start
        return self._sources.tokenizer(name)

    def make(self, stage: StagePlan, config: PreTrainedConfig) -> Vocabulary | None:
        """The vocabulary of a stage's student; None where it is its teacher's, and nothing counts its tokens.

        It is made once.

        Args:
            config: of the model that the stage starts from.
        Raises:
            RequestError: texts that are not there, a token that there is not.
        """
        spec = _spec(stage)
        of_words = stage.spec.student is not None and stage.spec.student.architecture in WORD_MODELS
        if spec is None and not of_words:
            return None
        if stage.name not in self._made:
            if spec is None:
                whole = self.tokenizer(stage.start)
                self._made[stage.name] = Vocabulary.whole_of(whole, self._needed(stage, whole, config).counts)
            else:
                self._made[stage.name] = self._new(stage, spec, config)
        return self._made[stage.name]

    def _new(self, stage: StagePlan, spec: VocabularySpec, config: PreTrainedConfig) -> Vocabulary:
        whole = self.tokenizer(stage.start)
        if spec.data and stage.data.generate is not None:
            raise RequestError(
                "the texts that a stage generates are not known before it, so that no vocabulary can be made of them: "
                "say data: false, and give texts or tokens",
                ["data"],
            )
        counts = self._needed(stage, whole, config).counts if spec.data else Counter()
        made = trim_vocabulary(
            whole,
            (text for file in vocabulary_files(spec)[0] for text in _lines(file, "texts")),
            counts=counts,
            tokens=_tokens(spec),
            min_count=spec.min_count,
            size=spec.size,
        )
        self._held_out[stage.name] = self._measure(stage, made, config)
        return made

    def _known(self, stage: StagePlan) -> Vocabulary:
        """One that is made, or that a finished stage has left."""
        if stage.name not in self._made:
            whole = self.tokenizer(stage.start)
            trimmed = self._sources.tokenizer(str(self._folder.model(stage.name)))
            ids = whole.get_vocab()
            kept = sorted(trimmed.get_vocab().items(), key=lambda item: item[1])
            order = tuple(ids[token] for token, _ in kept)
            self._made[stage.name] = Vocabulary(trimmed, order, whole, (0,) * len(order))
        return self._made[stage.name]

    def check_teacher(self, stage: StagePlan, teacher: str, config: PreTrainedConfig) -> None:
        """Find out which tokens a model will read that teaches a stage.

        A text that both tokenizers cut alike is read by a teacher that is cut to the student's tokens as by the whole
        one; of another the whole one has to read its own tokens, where the kind of task allows that.

        Args:
            teacher: an earlier stage, a folder or Hub id.
            config: of the student.
        """
        self._teaching[stage.name, teacher] = self._shared(stage, teacher, config)

    def teaching(self, stage: StagePlan, teacher: str) -> Vocabulary | None:
        """What a teacher is cut to, so that it reads the student's tokens; None where it reads its own as it is.

        Known after `check_teacher`.
        """
        return self._teaching.get((stage.name, teacher))

    def _shared(self, stage: StagePlan, teacher: str, config: PreTrainedConfig) -> Vocabulary | None:
        first = next((each for each in self._chain(stage) if _spec(each) is not None), None)
        if first is None:
            return None
        vocabulary, theirs = self._known(first), self.tokenizer(teacher)
        task = self._tasks[stage.name]
        if theirs is vocabulary.tokenizer or (task.train is not None and TEACHER_TEXT in task.train.column_names):
            return None
        if theirs is not vocabulary.whole and not _same(theirs, vocabulary.whole, task):
            return None
        return (
            vocabulary if not task.problem.takes_other_tokens or self._cut_alike(stage, vocabulary, config) else None
        )

    def _chain(self, stage: StagePlan) -> Iterator[StagePlan]:
        """A stage, the one that it starts from, and so on."""
        found: StagePlan | None = stage
        while found is not None:
            yield found
            found = self._plan.stage_of(found.start)

    def _cut_alike(self, stage: StagePlan, vocabulary: Vocabulary, config: PreTrainedConfig) -> bool:
        """Whether all training texts of a stage are cut alike by the whole tokenizer and the trimmed one."""
        if stage.data.generate is not None:  # nobody knows the texts yet
            return False
        needed, rows = self._needed(stage, vocabulary.whole, config), self._tasks[stage.name].train
        if not needed.counts.keys() <= set(vocabulary.kept):
            return False
        if rows is None or not needed.unknown:
            return True
        # A word that is unknown to the whole tokenizer, the trimmed one may cut into pieces
        some = rows.select(sorted(needed.unknown))
        sides = [self._ids(stage, some, each, config) for each in (vocabulary.tokenizer, vocabulary.whole)]
        return all(vocabulary.old_ids(own) == list(old) for own, old in zip(*sides, strict=False))

    def told(self, stage: StagePlan) -> str | None:
        """What to say of the vocabulary of a stage's student, in words."""
        made = self._made.get(stage.name)
        if made is None or _spec(stage) is None:
            return None
        held_out = self._held_out.get(stage.name)
        return f"vocabulary of {made}{'' if held_out is None else f'; {held_out}'}"

    def _needed(self, stage: StagePlan, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> _Read:
        """What the training texts of a stage have of each token."""
        task = self._tasks[stage.name]
        limit = training_limit([config], tokenizer, stage.data.max_length)
        key = (digest_of(tokenizer), limit, repr(reading_of(stage.data, task, config)))
        read = self._counts.get(key, task)
        if read is None:
            read, unknown = _Read(), tokenizer.unk_token_id
            last = -1 if task.train is None else len(task.train) - 1
            inputs = chain(self._read(stage, task.train, tokenizer, config), [(last, [])])
            for (row, ids), (following, _) in pairwise(inputs):
                read.counts.update(ids)
                if unknown in ids:  # where texts are joined, an input has further rows than its first
                    read.unknown.update(range(row, following + 1))
            self._counts.keep(key, task, read)
        return read

    def _measure(self, stage: StagePlan, made: Vocabulary, config: PreTrainedConfig) -> HeldOut | None:
        rows = self._tasks[stage.name].validation
        if rows is None or not len(rows):
            return None
        some = rows.select(range(min(MEASURED, len(rows))))
        sides = [self._ids(stage, some, each, config, held_out=True) for each in (made.tokenizer, made.whole)]
        return made.measure(zip(*sides, strict=False))  # a long text may have more windows of shorter tokens

    def _ids(
        self,
        stage: StagePlan,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        config: PreTrainedConfig,
        held_out: bool = False,
    ) -> Iterator[Sequence[int]]:
        """The ids of each input that is made of some rows."""
        return (ids for _, ids in self._read(stage, rows, tokenizer, config, held_out))

    def _read(
        self,
        stage: StagePlan,
        rows: Dataset | None,
        tokenizer: PreTrainedTokenizerBase,
        config: PreTrainedConfig,
        held_out: bool = False,
    ) -> Iterator[tuple[int, Sequence[int]]]:
        """The row and the ids of each input that is made of some rows, as the student's training makes them."""
        if rows is None:
            return
        task = self._tasks[stage.name]
        limit = training_limit([config], tokenizer, stage.data.max_length)
        reader = reader_for(rows, tokenizer, limit, task.problem, reading_of(stage.data, task, config), held_out)
        for start in range(0, len(rows), ROWS):
            encoded = reader.encode(rows[start : start + ROWS])
            yield from zip((start + each for each in encoded.example), encoded.columns["input_ids"], strict=True)


def vocabulary_files(spec: VocabularySpec) -> tuple[list[str], list[str]]:
    """The files that a vocabulary is made of: of texts, and of tokens."""
    texts = [spec.texts] if isinstance(spec.texts, str) else list(spec.texts or ())
    return texts, [spec.tokens] if isinstance(spec.tokens, str) else []


def _tokens(spec: VocabularySpec) -> list[str]:
    if isinstance(spec.tokens, list):
        return spec.tokens
    return [token for file in vocabulary_files(spec)[1] for token in _lines(file, "tokens")]


def _lines(file: str, key: str) -> Iterator[str]:
    """The lines of a text file that have something in them."""
    if not Path(file).is_file():
        raise RequestError(f"there is no file {file}: {key} are a line each in a text file", [key])
    for table in LineFile(Path(file)).tables(["text"]):
        yield from table.column("text").to_pylist()


def _spec(stage: StagePlan) -> VocabularySpec | None:
    return None if stage.spec.student is None else stage.spec.student.vocabulary


def _same(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase, task: Task) -> bool:
    texts = [] if task.train is None else task.train[:100]["text"]
    return (
        one.get_vocab() == other.get_vocab()
        and token_difference(one, other, [t for t in texts if isinstance(t, str)]) is None
    )
