"""The objective: losses with their weights, summed."""

import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from distilnlp.errors import RequestError, listed, unknown
from distilnlp.losses.alignment import Comparable
from distilnlp.losses.base import Batch, Loss, get_loss, loss_class, loss_of_entry
from distilnlp.losses.checks import check_positive
from distilnlp.losses.response.hard_label import HardLabel
from distilnlp.losses.schedule import Schedule
from distilnlp.outputs import Answers, ModelInfo, Needs, Outputs
from distilnlp.typed import typed

__all__ = ["Objective", "Term", "hard_label_only", "says_schedule", "takes_schedule"]


TEACHER = "teacher"  # the key of a term's `Term.teacher`
# A term as `Objective` takes it.
TermSpec = tuple[float | Schedule, Loss, Mapping[str, Schedule | str]]


@dataclass(frozen=True)
class Term:
    """One loss of an objective.

    Args:
        name: unique in its objective; the name under which it is logged.
        weight: >= 0, not 0 throughout.
        loss: the loss; its scheduled settings stand at their start.
        settings: the schedules of its settings, by field.
        teacher: which of several teachers it compares with; None: with all of them together, or the only one.
    """

    name: str
    weight: float | Schedule
    loss: Loss
    settings: Mapping[str, Schedule] = field(default_factory=dict)
    teacher: str | None = None

    def of_loss(self, loss: Loss) -> "TermSpec":
        """The same term with another loss, as `Objective` takes it; a schedule of what that has not is dropped."""
        kept = {key: schedule for key, schedule in self.settings.items() if takes_schedule(type(loss), key)}
        return self.weight, loss, {**kept, **({} if self.teacher is None else {TEACHER: self.teacher})}

    @property
    def scheduled(self) -> dict[str, Schedule]:
        """All that changes while the student trains."""
        weight = {"weight": self.weight} if isinstance(self.weight, Schedule) else {}
        return {**weight, **self.settings}

    def weight_at(self, progress: float) -> float:
        """The weight after a share ``progress`` of the training; at 0 nothing is computed."""
        return self.weight.at(progress) if isinstance(self.weight, Schedule) else self.weight

    def loss_at(self, progress: float) -> Loss:
        """The loss with its settings as they are after a share ``progress`` of the training."""
        if not self.settings:
            return self.loss
        return dataclasses.replace(self.loss, **{key: each.at(progress) for key, each in self.settings.items()})

    def needs(self, of: str) -> Needs:
        """What is read of a model over the whole training; a setting that starts at 0 may need nothing at first."""
        first, last = ((loss.needs_student() if of == "student" else loss.needs_teacher()) for loss in self.ends())
        return first | last

    def ends(self) -> tuple[Loss, Loss]:
        """The loss with its settings as they are in the first step and in the last."""
        return self.loss_at(0.0), self.loss_at(1.0)


class Objective:
    """A weighted sum of losses: ``Objective([(0.5, HardLabel()), (0.5, SoftTarget(temperature=2.0))])``.

    A term of weight 0 is left out: nothing is captured or computed for it. Two losses of one name are told apart by
    a number (``hidden_state``, ``hidden_state_2``). A weight may be a `Schedule`; where it is 0 at a step, its term is
    not computed at that step. Settings that change stand in a third place:
    ``(1.0, SoftTarget(), {"temperature": Schedule("linear", 8.0, 1.0)})``. So does the name of the teacher that a term
    compares with, where there are several: ``(1.0, HiddenState(), {"teacher": "large"})``.

    Args:
        terms: ``(weight, loss)`` or ``(weight, loss, {setting: Schedule, "teacher": name})``.
    Raises:
        RequestError: a negative or non-finite weight, a schedule that a setting cannot have, or nothing left to train
            on, at any time of the training.
    """

    @typed
    def __init__(
        self,
        terms: Sequence[tuple[float | Schedule, Loss] | tuple[float | Schedule, Loss, Mapping[str, Schedule | str]]],
    ) -> None:
        named: list[Term] = []
        for weight, loss, *rest in terms:
            count = sum(term.loss.name == loss.name for term in named)
            name = loss.name if count == 0 else f"{loss.name}_{count + 1}"
            teacher, settings = _told(name, loss, rest[0] if rest else {})
            ends = {"start": weight.start, "end": weight.last} if isinstance(weight, Schedule) else {"": weight}
            for end, value in ends.items():
                if value != 0 or isinstance(value, bool):
                    key = [name, "weight", *([end] if end else [])]
                    check_positive(f"the weight of {name}", value, key)
            if all(value == 0 for value in ends.values()):
                continue
            try:
                loss = _checked(loss, settings)
            except RequestError as error:
                raise error.under(name) from error
            weight = weight if isinstance(weight, Schedule) else float(weight)
            named.append(Term(name, weight, loss, settings, teacher))
        if not named:
            raise RequestError("the objective has no term with a weight above 0: nothing would be trained")
        self.terms = tuple(named)
        self._check_that_something_is_trained()

    @classmethod
    @typed
    def from_dict(cls, spec: Mapping[str, Mapping[str, object]]) -> "Objective":
        """From a recipe's mapping: loss name to its settings, ``weight`` (1.0 where absent) and ``teacher``.

        A weight, or a setting that is a float, may be a `Schedule` or the mapping of one. A loss that stands in it
        twice has a number the second time, ``hidden_state_2``, by which it is logged too.
        """
        terms: list[TermSpec] = []
        said: list[str] = []
        for name, settings in spec.items():
            try:
                loss = loss_of_entry(name)
                said.append(loss)
                if name != loss and name != f"{loss}_{said.count(loss)}":
                    raise RequestError(f"{name} is one more {loss}, and {said.count(loss) - 1} stand before it")
                terms.append(_term_of(loss, settings))
            except RequestError as error:
                raise error.under(name) from error
        return cls(terms)

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)

    def __repr__(self) -> str:
        shown = [
            f"({term.weight!r}, {term.loss!r}{f', {dict(told)!r}' if told else ''})"
            if term.scheduled or told
            else f"({term.weight:g}, {term.loss!r})"
            for term in self.terms
            for told in [term.of_loss(term.loss)[2]]
        ]
        return f"Objective([{', '.join(shown)}])"

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> "Objective":
        """The objective with every loss fixed to the two models (see `Loss.resolve`).

        Of a teacher that is made of several, a term is fixed to the one that it names; without a name it may read
        logits alone, which all of them give together. So may any term of a teacher without layers.
        """
        terms: list[TermSpec] = []
        for term in self.terms:
            try:
                if student.heads == 0:
                    _check_reads_no_blocks(term, student, info_for(term, student, teacher))
                loss = term.loss.resolve(student, info_for(term, student, teacher))
                _check_words(loss)
                if teacher is not None and teacher.layers == 0 and term.teacher is None:
                    _check_only_logits(dataclasses.replace(term, loss=loss), teacher)
            except RequestError as error:
                raise error.under(term.name) from error
            terms.append(term.of_loss(loss))  # `response` may become a loss without a temperature, and says so
        return Objective(terms)

    def with_label_names(self, names: Callable[[], Sequence[str]]) -> "Objective":
        """The objective with every label that a setting names as its place (see `Loss.with_label_names`).

        Args:
            names: called where a loss asks for it: the labels in the order of the logits.
        """
        if not any(term.loss.names_labels for term in self.terms):
            return self
        known = names()
        terms: list[TermSpec] = []
        for term in self.terms:
            try:
                terms.append(term.of_loss(term.loss.with_label_names(known)))
            except RequestError as error:
                raise error.under(term.name) from error
        return Objective(terms)

    def with_label_counts(self, count: Callable[[], tuple[Sequence[int], int]], countable: bool = True) -> "Objective":
        """The objective with what depends on the labels of the training data fixed (see `Loss.with_label_counts`).

        Args:
            count: called where a loss asks for it: in how many rows each label holds, and how many rows there are.
            countable: whether that can be said at all; where not, it is called only for what needs it.
        """
        needed = any(term.loss.counts_labels for term in self.terms)
        if not needed and not (countable and any(term.loss.scales_by_counts for term in self.terms)):
            return self
        positives, rows = count()
        return Objective([term.of_loss(term.loss.with_label_counts(positives, rows)) for term in self.terms])

    @property
    def uses_teacher(self) -> bool:
        """Whether any term reads the teacher's outputs."""
        return any(term.loss.uses_teacher for term in self.terms)

    @property
    def uses_labels(self) -> bool:
        """Whether any term reads the labels."""
        return any(term.loss.reads_labels for term in self.terms)

    def check_weighs_examples(self) -> None:
        """Raise RequestError for a term that would count examples alike where the data weigh them."""
        alike = [term for term in self.terms if not term.loss.weighs_examples]
        if alike:
            names = " and ".join(term.name for term in alike)
            related = all(term.loss.batch_dependent for term in alike)
            why = "relates examples to one another, of which none can" if related else "does not let an example"
            raise RequestError(
                f"the training examples have weights, and {names} {why} count more than another: leave out the "
                f"weights, or {names}"
            )

    @property
    def reads_words(self) -> bool:
        """Whether any term reads the word of each token; no two models decide it: it is known from the start."""
        return any(loss.needs_always().words for term in self.terms for loss in term.ends())

    @property
    def by_token(self) -> bool:
        """Whether any term compares the two models token by token; no two models decide it."""
        return any(term.loss.uses_teacher and term.loss.by_token for term in self.terms)

    @property
    def stops_terms(self) -> bool:
        """Whether any weight is 0 at some step, so that what only its term trains gets no gradient there."""
        return any(isinstance(term.weight, Schedule) and term.weight.touches_zero for term in self.terms)

    def uses_teacher_at(self, progress: float) -> bool:
        """Whether a term reads the teacher's outputs after a share ``progress`` of the training."""
        return any(term.loss.uses_teacher and term.weight_at(progress) > 0 for term in self.terms)

    @property
    def teacher_until(self) -> float:
        """The share of the training in which the teacher is asked."""
        ends = [t.weight.until if isinstance(t.weight, Schedule) else 1.0 for t in self.terms if t.loss.uses_teacher]
        return max(ends, default=0.0)

    def needs_student(self) -> Needs:
        """What all terms read of the student."""
        return _union(term.needs("student") for term in self.terms)

    def needs_teacher(self) -> Needs:
        """What all terms read of the teacher; what a term reads of one of several, under its name."""
        return _union(
            term.needs("teacher") if term.teacher is None else Needs(members={term.teacher: term.needs("teacher")})
            for term in self.terms
        )

    @property
    def teacher_knows_first(self) -> bool:
        """Whether the teacher may have fewer labels than the student, the first of its own."""
        readers = [term for term in self.terms if term.needs("teacher").logits]
        return bool(readers) and all(term.loss.teacher_knows_first for term in readers)

    def make_modules(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.ModuleDict:
        """The auxiliary modules, by term name; terms without one are absent."""
        modules = {term.name: term.loss.make_module(student, info_for(term, student, teacher)) for term in self.terms}
        return nn.ModuleDict({name: module for name, module in modules.items() if module is not None})

    def __call__(
        self,
        student: Outputs,
        teacher: Answers | None,
        batch: Batch,
        modules: nn.ModuleDict | None = None,
        progress: float = 0.0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum ``()`` and each term's raw value ``()``, by name; 0 for a term that has weight 0 now.

        Args:
            student, teacher, batch: as for a `Loss`. The teacher may be None where `uses_teacher_at` is False. Of
                several answers (a tuple) a term that reads the teacher is the mean; of none (an empty one) it is 0.
            modules: what `make_modules` made.
            progress: the share of the training that is over, 0 <= progress < 1; only schedules read it.
        """
        if student.weights is not None:
            self.check_weighs_examples()
        raw: dict[str, Tensor] = {}
        weighted: list[Tensor] = []
        made: dict[int, Comparable] = {}  # what losses compare of the same outputs is made once

        def comparable(term: Term, answers: Sequence[Outputs | None]) -> Iterator[Comparable]:
            for answer in answers:
                outputs = _outputs_for(term, answer)
                yield made.setdefault(id(outputs), Comparable(student, outputs, batch))

        for term in self.terms:
            weight = term.weight_at(progress)
            answers = (None,) if not term.loss.uses_teacher else teacher if isinstance(teacher, tuple) else (teacher,)
            if weight == 0 or not answers:
                continue
            module = modules[term.name] if modules is not None and term.name in modules else None
            # Losses compute in float32 whatever the models run in (fp16 loses 1e-8, bf16 has 3 digits).
            with torch.autocast(device_type=_device_type(student), enabled=False):
                loss = term.loss_at(progress)
                values = [loss(*each.of(loss), module) for each in comparable(term, answers)]
            raw[term.name] = value = sum(values[1:], values[0]) / len(values)
            weighted.append(weight * value)
        if not weighted:
            raise RequestError(
                f"no term has a weight when {progress:.0%} of the training is over: nothing to train on"
            )
        total = sum(weighted[1:], weighted[0])
        return total, {t.name: raw[t.name] if t.name in raw else total.new_zeros(()) for t in self.terms}

    def check_trains_alone(self) -> None:
        """Raise RequestError where nothing would be trained at a step at which the teacher has no answer."""
        idle = self._idle_at([term for term in self.terms if not term.loss.uses_teacher])
        if idle is not None:
            raise RequestError(
                "the teacher has no answer at some steps, and the objective has no other term with a weight when "
                f"{idle:.0%} of the training is over, so that nothing would be trained: add hard_label"
            )

    def _check_that_something_is_trained(self) -> None:
        idle = self._idle_at(self.terms)
        if idle is not None:
            raise RequestError(
                f"every weight is 0 when {idle:.0%} of the training is over, and nothing would be trained: "
                "give one term a weight above 0 there"
            )

    @staticmethod
    def _idle_at(terms: Sequence[Term]) -> float | None:
        """When none of the terms has a weight; they become 0 at the beginning and at an ``until``, or never."""
        stops = {term.weight.until for term in terms if isinstance(term.weight, Schedule)}
        moments = sorted({0.0, *stops} - {1.0})
        return next((each for each in moments if all(term.weight_at(each) == 0 for term in terms)), None)


def info_for(term: Term, student: ModelInfo, teacher: ModelInfo | None) -> ModelInfo | None:
    """The sizes of whom a term compares the student with.

    What gives logits alone has no layers: for what reads none it is as large as the student.

    Raises:
        RequestError: the term names a teacher that is not one of several.
    """
    if term.teacher is not None:
        if teacher is None or not teacher.members:
            there = "there is none" if teacher is None else f"the only one is {teacher.name}"
            raise RequestError(
                f"{term.name} names its teacher, '{term.teacher}', and {there}: leave 'teacher' out", [TEACHER]
            )
        if term.teacher not in teacher.members:
            raise unknown(f"teacher of {term.name}:", term.teacher, teacher.members, [TEACHER])
        return teacher.members[term.teacher]
    if teacher is None or teacher.layers > 0:
        return teacher
    return dataclasses.replace(teacher, layers=student.layers, width=student.width, heads=student.heads)


def _check_reads_no_blocks(term: Term, student: ModelInfo, teacher: ModelInfo | None) -> None:
    """Raise RequestError for a term that reads what a student without attention has not.

    Args:
        student: of no heads: recurrent layers over a table of embeddings; or of no layers either, whose only state is
            the mean of a text's rows.
    """
    if teacher is None or not term.loss.uses_teacher:
        return
    depth = student.layers or teacher.layers
    try:
        loss = term.loss.resolve(
            dataclasses.replace(student, heads=teacher.heads, width=teacher.width, layers=depth), teacher
        )
    except RequestError:
        return  # which is told of the student itself
    needs = loss.needs_student()
    lacks = "attention" if needs.attention or needs.values else "gradients" if needs.input_gradients else None
    if lacks is None and student.layers == 0 and needs.layers:
        lacks = "layers" if loss.by_token or not _resolves(term.loss, student, teacher) else None
        if lacks is None and dataclasses.asdict(loss).get("pooling") != "mean":
            raise RequestError(
                f"{term.name} compares the state of the first token, and {student.name} has one of the whole text"
                " alone: set pooling: mean",
                ["pooling"],
            )
    if lacks is not None:
        raise RequestError(
            f"{term.name} compares {lacks}, and {student.name} has none: leave {term.name} out, or take losses between"
            " logits or one vector a text (response, cosine, rkd_distance)"
        )


def _resolves(loss: Loss, student: ModelInfo, teacher: ModelInfo) -> bool:
    try:
        loss.resolve(student, teacher)
    except RequestError:
        return False
    return True


def _check_only_logits(term: Term, teacher: ModelInfo) -> None:
    """Raise RequestError for a term that reads layers of a teacher which gives logits alone."""
    needs = term.needs("teacher")
    if not term.loss.uses_teacher or not (needs.layers or needs.input_gradients):
        return
    if teacher.members:
        raise RequestError(
            f"{term.name} reads more than logits, and several teachers together give nothing else: name one of them "
            f"with '{TEACHER}' ({listed(teacher.members)})"
        )
    raise RequestError(
        f"{term.name} reads more than logits, and {teacher.name} gives nothing else: leave {term.name} out"
    )


def _outputs_for(term: Term, teacher: Outputs | None) -> Outputs | None:
    """The outputs that a term compares the student's with."""
    if teacher is None or not term.loss.uses_teacher:
        return None
    return teacher if term.teacher is None else teacher.members[term.teacher]


def _told(name: str, loss: Loss, told: Mapping[str, Schedule | str]) -> tuple[str | None, dict[str, Schedule]]:
    """The teacher's name and the schedules in the third place of a term."""
    rest = {key: value for key, value in told.items() if key != TEACHER}
    teacher = told.get(TEACHER)
    if teacher is not None and not (isinstance(teacher, str) and loss.uses_teacher):
        why = "it compares with no teacher" if isinstance(teacher, str) else "the name of one is needed"
        raise RequestError(f"the teacher of {name} is {teacher!r}, and {why}", [name, TEACHER])
    wrong = next((key for key, value in rest.items() if not isinstance(value, Schedule)), None)
    if wrong is not None:
        raise RequestError(f"{wrong} of {name} is {rest[wrong]!r}: a Schedule is needed", [name, wrong])
    return teacher, {key: value for key, value in rest.items() if isinstance(value, Schedule)}


def _term_of(name: str, settings: Mapping[str, object]) -> TermSpec:
    """Weight, loss, and schedules and teacher from a recipe's mapping of one loss."""
    values = dict(settings)
    teacher = values.pop(TEACHER, None)
    for key, value in tuple(values.items()):
        if says_schedule(value, name, key):
            try:
                values[key] = Schedule.from_dict(value)
            except RequestError as error:
                raise error.under(key) from error
    weight = values.pop("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float | Schedule):
        raise RequestError(f"the weight of {name} must be a number; got {weight!r}", key=["weight"])
    scheduled = {key: value for key, value in values.items() if isinstance(value, Schedule)}
    for key in scheduled:
        _check_takes_schedule(loss_class(name), key)
    values |= {key: schedule.start for key, schedule in scheduled.items()}
    named: Any = {} if teacher is None else {TEACHER: teacher}
    return weight, get_loss(name, **values), {**scheduled, **named}


def hard_label_only() -> Objective:
    """The objective of plain fine-tuning."""
    return Objective([(1.0, HardLabel())])


def takes_schedule(loss: type[Loss], key: str) -> bool:
    """Whether ``key`` is a setting of the loss that a `Schedule` may change: a float that is read at every step."""
    if key in loss.read_once or key not in {each.name for each in dataclasses.fields(loss) if each.init}:
        return False
    hint = get_type_hints(loss)[key]
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return float in kinds and set(kinds) <= {float, type(None)}


def says_schedule(value: object, loss: str, key: str) -> TypeGuard[Mapping[str, object]]:
    """Whether a recipe's value is meant as a schedule, and not as a mapping that the loss itself takes."""
    if not isinstance(value, Mapping):
        return False
    return key == "weight" or "schedule" in value or takes_schedule(loss_class(loss), key)


def _check_takes_schedule(loss: type[Loss], key: str) -> None:
    """Raise RequestError for a setting that no schedule changes; one that does not exist is left to `get_loss`."""
    if key not in {each.name for each in dataclasses.fields(loss) if each.init} or takes_schedule(loss, key):
        return
    able = [each.name for each in dataclasses.fields(loss) if takes_schedule(loss, each.name)]
    why = "is read once, before the first step" if key in loss.read_once else "is no number that can change by degrees"
    raise RequestError(f"{key} of {loss.name} {why}: schedules are for {', '.join(['weight', *able])}", key=[key])


def _checked(loss: Loss, settings: Mapping[str, Schedule]) -> Loss:
    """The loss with its scheduled settings at their start, after both ends were found valid."""
    unknown_keys = [key for key in settings if key not in {each.name for each in dataclasses.fields(loss)}]
    if unknown_keys:
        get_loss(loss.name, **dict.fromkeys(unknown_keys))  # says which settings there are
    for key, schedule in settings.items():
        _check_takes_schedule(type(loss), key)
        if schedule.only_for_weights:
            named = "until" if schedule.until < 1 else "warmup"
            raise RequestError(
                f"{named} is for weights, which it makes 0: leave it out for {key} of {loss.name}", key=[key, named]
            )
        for end, value in (("end", schedule.last), ("start", schedule.start)):
            try:
                dataclasses.replace(loss, **{key: value})
            except RequestError as error:
                raise RequestError(f"{end} of the schedule of {key}: {error}", key=[key, end]) from error
    starts = {key: schedule.start for key, schedule in settings.items()}
    return dataclasses.replace(loss, **starts) if starts else loss


def _check_words(loss: Loss) -> None:
    """Raise RequestError for a loss whose words would be missing, because it asks for them too late."""
    if loss.needs_student().words and not loss.needs_always().words:
        raise RequestError(
            f"{loss.name} asks for words in needs_student(), when the texts are tokens already: ask for them in "
            "needs_always()"
        )
    if loss.needs_teacher().words:
        raise RequestError(f"{loss.name} asks the teacher for words, which only the student's outputs hold")


def _union(needs: Iterator[Needs]) -> Needs:
    result = Needs()
    for need in needs:
        result = result | need
    return result


def _device_type(outputs: Outputs) -> str:
    for tensors in (outputs.hidden_states, outputs.queries, outputs.attentions):
        for tensor in tensors.values():
            return tensor.device.type
    return outputs.logits.device.type if outputs.logits is not None else "cpu"
