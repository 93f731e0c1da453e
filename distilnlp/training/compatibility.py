"""What must hold before step 0: settings that work together, one vocabulary, one meaning of the labels."""

import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from distilnlp.data.example_weights import has_example_weights
from distilnlp.data.inspect import has_labels, label_counts, text_sample, visible_part
from distilnlp.data.label_sets import rows_without_label
from distilnlp.errors import RequestError
from distilnlp.losses import HardLabel, Objective, Response, hard_label_only
from distilnlp.losses.response.base import ResponseLoss
from distilnlp.models.capture import model_info
from distilnlp.models.labels import label_names_of, label_order
from distilnlp.outputs import ModelInfo, Needs
from distilnlp.part import Part
from distilnlp.problems import TEACHER_TEXT, Problem, problem_of_config
from distilnlp.teachers import (
    ByTaskTeacher,
    EnsembleTeacher,
    FrozenTeacher,
    RecordedTeacher,
    ScoringTeacher,
    Teacher,
    VirtualTeacher,
)
from distilnlp.teachers.ensemble import answering, members_of

__all__ = [
    "CONFIRM_BATCHES",
    "check_members",
    "check_no_shared_weights",
    "check_part_tokens",
    "check_same_tokens",
    "check_teacher",
    "check_terms",
    "confirm_label_order",
    "match_labels",
    "match_problem",
    "models_of",
    "reads_other_tokens",
    "resolve_objective",
    "scoring_teacher",
    "token_difference",
]

CONFIRM_BATCHES = 8

logger = logging.getLogger(__name__)


def check_same_tokens(
    student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, texts: Sequence[str] = ()
) -> None:
    """Both models must give every token id the same meaning (equal vocabulary sizes are not enough).

    Args:
        student: the tokenizer that makes the batches.
        teacher: the tokenizer that the teacher was trained with; its vocabulary may be larger.
        texts: a few real texts, tokenized by both.
    Raises:
        RequestError: a token with another id, or a text cut another way (cased and uncased, say).
    """
    difference = token_difference(student, teacher, texts)
    if difference is not None:
        raise RequestError(difference)


def check_part_tokens(part: Part, student: PreTrainedTokenizerBase | None, texts: Sequence[str] = ()) -> None:
    """Raise RequestError for a part whose own model reads other tokens than the student."""
    if part.own_tokenizer is None or student is None:
        return
    difference = token_difference(student, part.own_tokenizer, texts) or token_difference(part.own_tokenizer, student)
    if difference is not None:
        raise RequestError(
            f"the model of {part.name} does not read the student's tokens: {difference.replace('teacher', 'model')}"
        )


def token_difference(
    student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, texts: Sequence[str] = ()
) -> str | None:
    """What `check_same_tokens` would raise, in words; None where both read the same tokens."""
    known = teacher.get_vocab()
    wrong = [token for token, index in student.get_vocab().items() if known.get(token) != index]
    if wrong:
        return (
            f"teacher and student read different tokens: {len(wrong)} of the student's {len(student.get_vocab())} "
            f"token ids mean something else to the teacher (the first is {wrong[0]!r}); use a student with the "
            "teacher's vocabulary (one built from its layers has it)"
        )
    for text in texts:
        if student(text)["input_ids"] != teacher(text)["input_ids"]:
            return (
                f"teacher and student cut the text {text[:40]!r} into different tokens though their vocabularies "
                "agree (one may be lower-casing): use the teacher's tokenizer for both"
            )
    return None


def reads_other_tokens(
    problem: Problem | None,
    student: PreTrainedTokenizerBase | None,
    teacher: PreTrainedTokenizerBase | None,
    texts: Any,
) -> str | None:
    """Why a teacher reads tokens of its own, in words; None where it reads the student's, or has to.

    Args:
        problem: the kind of task of the student; None where it is not known, and the teacher has to read the same.
        student, teacher: their tokenizers; None where one is not known.
        texts: the training data, tokenised or not; or the first rows of them.
    Raises:
        RequestError: the data have texts for the teacher, and no vectors are learned, or its tokenizer is not known;
            or they are tokenised for another tokenizer than the teacher's.
    """
    columns = texts.column_names if isinstance(texts, Dataset) else []
    vectors = problem is not None and problem.vectors and problem.takes_other_tokens
    if TEACHER_TEXT in columns:
        if not vectors or teacher is None:
            why = "its tokenizer is not known: load_teacher(model, tokenizer)" if vectors else "it gives no vectors"
            raise RequestError(f"the teacher cannot read the column '{TEACHER_TEXT}' of the training data: {why}")
        return "the student reads translations, and the teacher their source"
    may = problem is not None and problem.takes_other_tokens
    if not may or student is None or teacher is None or not columns:
        return None
    difference = token_difference(student, teacher, text_sample(texts))
    if difference is None:
        return None
    if "text" not in columns and "teacher_input_ids" not in columns:
        raise RequestError(
            f"the training data are tokenised for the student, and its teacher has another tokenizer ({difference}): "
            "give the texts, which are then tokenised for both"
        )
    return "they have other tokenizers"


def confirm_label_order(
    answers: Iterable[tuple[Tensor, Tensor]], reference: Sequence[str], problem: Problem | None = None
) -> None:
    """A teacher whose labels have no names (LABEL_0, LABEL_1, ...) must show on real labels that it counts as we do.

    Args:
        answers: of a few batches, the teacher's logits ``(batch, classes)`` and the labels ``(batch,)``, or
            ``(batch, classes)`` for several labels a text, each of which is then an answer of its own.
        reference: the labels as the data counts them.
        problem: that of the teacher's head, whose thresholds decide which of several labels it gives.
    Raises:
        RequestError: no labels to see it by; no better than chance; or another order fits much better.
    """
    classes = len(reference)
    table = torch.zeros(classes, classes)  # (label, logit): how often the logit says what the label is
    guessed = torch.zeros(2, classes)  # how often a label holds, and how often not
    seen, several = 0, False
    decide = problem.decide if problem is not None and problem.several_labels else lambda logits: logits > 0
    for logits, labels in answers:
        several = labels.ndim == 2
        holds = labels.bool() if several else F.one_hot(labels, classes).bool()
        says = torch.as_tensor(decide(logits)).bool() if several else F.one_hot(logits.argmax(dim=-1), classes).bool()
        both = holds[:, :, None] == says[:, None, :] if several else holds[:, :, None] & says[:, None, :]
        table += both.sum(dim=0)
        guessed += torch.stack([holds.sum(dim=0), (~holds).sum(dim=0)])
        seen += labels.numel()
    hint = f"write its labels into id2label of its config, in the order of its logits (here: {', '.join(reference)})"
    if seen == 0:
        raise RequestError(
            f"the teacher's labels have no names and there are no labels to check their order by: {hint}"
        )
    right = float(table.diagonal().sum()) / seen
    commonest = float(guessed.amax(dim=0).sum() if several else guessed[0].max()) / seen
    # Three standard errors: a teacher that guesses passes once in a thousand times.
    margin = 3 * (commonest * (1 - commonest) / seen) ** 0.5
    if classes <= 6:
        best = max(itertools.permutations(range(classes)), key=lambda order: float(table[range(classes), order].sum()))
        fits = float(table[range(classes), best].sum()) / seen
        if best != tuple(range(classes)) and fits > right + margin:
            raise RequestError(
                f"the teacher's labels have no names and seem to be in another order: on {seen} answers it is right "
                f"{right:.0%} of the time as it stands and {fits:.0%} when its logits are read as "
                f"{', '.join(reference[best.index(i)] for i in range(classes))}: {hint}"
            )
    if right < commonest + margin:
        raise RequestError(
            f"the teacher's labels have no names, and on {seen} answers it is right {right:.0%} of the time, no "
            f"better than always giving the commonest ({commonest:.0%}): fine-tune it, or {hint}"
        )
    logger.info("the teacher's labels have no names; it is right on %.0f %% of %d answers", 100 * right, seen)


def check_no_shared_weights(student: PreTrainedModel, teacher: object) -> None:
    """Raise RequestError where student and teacher share parameters: the teacher's are frozen, or would move."""
    frozen = {id(parameter) for model in models_of(teacher) for parameter in model.parameters()}
    shared = [name for name, parameter in student.named_parameters() if id(parameter) in frozen]
    if shared:
        whole = "are one model" if len(shared) == len(list(student.parameters())) else f"share {len(shared)} weights"
        raise RequestError(
            f"student and teacher {whole} ({shared[0]} first), and what the teacher has is frozen: give the student "
            "weights of its own, by build_student(teacher, ...) or copy.deepcopy(model), before load_teacher"
        )


def models_of(teacher: object) -> list[nn.Module]:
    """The models that answer, as far as they are there before the training."""
    of_tasks = teacher.members.values() if isinstance(teacher, ByTaskTeacher) else [teacher]
    members = [each for one in of_tasks for each in members_of(one).values()]
    # A teacher that follows the training has no model before it.
    found = [None if isinstance(each, Part) else getattr(each, "model", None) for each in members]
    return [model for model in found if isinstance(model, nn.Module)]


def check_members(teacher: object, data: Any, problem: Problem | None) -> None:
    """What must hold of a teacher that is no model of its own, beside its sizes.

    Several teachers read the same tokens; whoever reads labels has them.

    Args:
        teacher: of any kind; a model passes.
        data: for the training.
        problem: the kind of task of the student; None where it is not known yet.
    Raises:
        RequestError: with the setting as its key where it is one.
    """
    several = teacher if isinstance(teacher, EnsembleTeacher) else None
    if several is not None:
        (_, first), *others = ((name, each.tokenizer) for name, each in several.members.items())
        for name, other in others:
            differ = None if first is None or other is None else token_difference(first, other, text_sample(data))
            if differ is not None:
                raise RequestError(f"the teacher {name} reads other tokens than the first one: {differ}")
    weighs, virtual = several is not None and several.combination.reads_labels, isinstance(teacher, VirtualTeacher)
    if not (weighs or virtual) or (problem is not None and problem.labels_itself):
        return
    without = rows_without_label(data) if virtual and has_labels(data) else 0
    if without or not has_labels(data):
        lacking = f"{without} of {len(data)} training rows" if without else "the training data"
        what = "a virtual teacher knows nothing but labels" if virtual else "weights: loss weighs teachers by labels"
        way_out = "learn from a model" if virtual else "give numbers, or leave weights out"
        raise RequestError(f"{what}, and {lacking} have none: {way_out}", ["weights"] if weighs else ())


def check_teacher(teacher: object) -> None:
    """Raise RequestError for what is no `Teacher`; a part becomes one when it gets to know the student."""
    if teacher is not None and not isinstance(teacher, Teacher | Part):
        raise RequestError(
            f"{type(teacher).__name__} is no teacher: give a folder, a Hub id, a model of transformers, or an object "
            "with info, tokenizer, columns, label_names, prepare, reorder_labels, release and a call that gives "
            "outputs"
        )
    if isinstance(teacher, EnsembleTeacher) and not teacher.members:
        raise RequestError("an ensemble is made of at least one teacher; got none")


def scoring_teacher(teacher: Teacher | None, tokenizer: PreTrainedTokenizerBase | None) -> Teacher | None:
    """A teacher for a student that reads queries and texts apart: one that is asked about the student's batches.

    Args:
        teacher: None without one.
        tokenizer: the student's, where it is given.
    Raises:
        RequestError: a teacher that follows the student, whose vectors are no scores.
    """
    if teacher is None or isinstance(teacher, RecordedTeacher | ScoringTeacher):
        return teacher
    if isinstance(teacher, EnsembleTeacher):
        return teacher.changed(lambda member: scoring_teacher(member, tokenizer) or member)
    if not isinstance(teacher, FrozenTeacher):
        raise RequestError(
            f"a student that encodes queries and texts apart learns from scores, and {type(teacher).__name__} gives"
            " none: give a model that never changes, or recorded scores"
        )
    return ScoringTeacher(teacher, tokenizer)


def check_terms(objective: Objective, teacher: object, train_dataset: Any, problem: Problem) -> None:
    """Whether a recorded teacher and the labels of the data have what each loss reads.

    Args:
        objective, teacher: of the training.
        train_dataset: has labels or not.
        problem: the kind of task of the student.
    Raises:
        RequestError: with the term as its key: what a recorded teacher has not got, labels that no row or not every
            row has.
    """
    if isinstance(teacher, RecordedTeacher):
        for term in objective:
            only_logits = isinstance(term.loss, ResponseLoss) or not term.loss.uses_teacher
            if not only_logits:
                raise RequestError(
                    f"{term.name} reads more than the logits of a teacher, and recorded answers ({teacher.info.name})"
                    f" are nothing else: leave {term.name} out, or take a live teacher",
                    key=[term.name],
                )
    if problem.apart:
        for term in objective:
            if not isinstance(term.loss, ResponseLoss | Response | HardLabel):
                raise RequestError(
                    f"{term.name} compares more than scores, and a student that encodes queries and texts apart shares"
                    f" nothing else with its teacher: leave {term.name} out",
                    key=[term.name],
                )
    seen = visible_part(train_dataset)
    readers = [term for term in objective if term.loss.reads_labels]
    if readers and not (problem.labels_itself or has_labels(seen)):
        names = " and ".join(term.name for term in readers)
        raise RequestError(
            f"the objective has {names} and the training data has no label column: name the column, or leave "
            f"{names} out and learn from the teacher's outputs alone",
            key=[readers[0].name],
        )
    others = [term for term in readers if not isinstance(term.loss, HardLabel)]
    without = rows_without_label(seen) if others else 0
    if without:
        raise RequestError(
            f"{others[0].name} reads the label of every row, and {without} of {len(seen)} rows have none: leave"
            f" {others[0].name} out (hard_label passes over such rows), or give all rows a label",
            key=[others[0].name],
        )


def resolve_objective(
    objective: Objective | None,
    student: PreTrainedModel,
    teacher: ModelInfo | None,
    train_dataset: Any,
    args: TrainingArguments,
    label_names: Sequence[str] | None = None,
    answering: object = None,
    parts: Sequence[Part] = (),
) -> Objective:
    """The objective fixed to the two models.

    Args:
        objective: None takes the labels alone, or with a teacher half labels and half the loss that fits the head.
        student: the student.
        teacher: the teacher's sizes; None without one.
        train_dataset: has labels or not.
        label_names: the labels as the data counts them, else as the student does; None where neither names them.
        answering: the teacher itself.
        parts: what else follows the training.
        args: ``ddp_find_unused_parameters`` is set where nobody chose and some parameters get no gradient.
    Raises:
        RequestError: something would not be trained, or could not be.
    """
    problem = problem_of_config(student.config)
    if objective is None:
        labelled = problem.labels_itself or has_labels(visible_part(train_dataset))
        taught = [(0.5, HardLabel()), (0.5, Response())] if labelled else [(1.0, Response())]
        objective = hard_label_only() if teacher is None else Objective(taught)
    read = objective.uses_teacher or any(part.uses_teacher or part.holds_teacher for part in parts)
    if teacher is not None and not read:
        raise RequestError("a teacher is given and no term of the objective reads it: leave it out, or add a loss")
    tuples = isinstance(answering, Part) and not answering.one_answer
    if tuples:
        objective.check_trains_alone()
        _check_parts_read_no_tuple(answering, parts)
    check_terms(objective, answering, train_dataset, problem)
    inner = [part.name for part in parts if part.needs_teacher().layers]
    if inner and isinstance(answering, RecordedTeacher):
        raise RequestError(
            f"{inner[0]} reads more than the logits of a teacher, and recorded answers ({answering.info.name}) are"
            f" nothing else: leave {inner[0]} out, or take a live teacher"
        )
    without = rows_without_label(visible_part(train_dataset)) if objective.uses_labels else 0
    if without:
        logger.info("%d training rows have no label: hard_label is 0 there", without)
    if has_example_weights(train_dataset):
        objective.check_weighs_examples()
    resolved = objective.resolve(model_info(student), teacher)
    resolved = resolved.with_label_names(lambda: _known_names(label_names, int(student.config.num_labels or 0)))
    countable = isinstance(train_dataset, Dataset)
    resolved = resolved.with_label_counts(lambda: label_counts(train_dataset, problem), countable)
    if resolved.needs_student().input_gradients and args.torch_compile:
        names = " and ".join(term.name for term in resolved if term.loss.needs_student().input_gradients)
        raise RequestError(f"a compiled student cannot be differentiated twice: leave out torch_compile, or {names}")
    read = resolved.needs_student().logits or any(part.needs_student().logits for part in parts)
    unused = not read or resolved.stops_terms or tuples or any(part.freezes for part in parts)
    if unused and args.ddp_find_unused_parameters is None:
        # The head, or what a term at weight 0 trains alone, gets no gradient, for which DDP would wait.
        args.ddp_find_unused_parameters = True
    return resolved


def _check_parts_read_no_tuple(teacher: object, parts: Sequence[Part]) -> None:
    """Raise RequestError for a part that would read the answers of a teacher that has several, or none at times."""
    others = [part for part in parts if part is not teacher]
    readers = [
        each.name for each in others if each.uses_teacher or (each.weight > 0 and each.needs_teacher() != Needs())
    ]
    if readers:
        raise RequestError(
            f"{' and '.join(readers)} needs one answer of the teacher at every step, and {type(teacher).__name__} "
            "gives several, or none at times: leave one of the two out"
        )


def _known_names(names: Sequence[str] | None, classes: int) -> Sequence[str]:
    if names is None or len(names) != classes:
        raise RequestError(
            "class_weights names labels, and neither the data nor the student's config has their names: give a "
            f"list of {classes} numbers in the order of the logits"
        )
    return names


def match_problem(student: PreTrainedModel, data: Problem | None) -> None:
    """The student's config must name the kind of task that the data are; where it names none, it does from now on.

    Args:
        student: the student.
        data: the kind of task of the training data, by the type of its labels; None where that cannot be seen.
    Raises:
        RequestError: another kind is named.
    """
    config = student.config
    if data is None:
        return
    if not config.problem_type:
        if type(problem_of_config(config)) is not type(data):
            config.update({"problem_type": data.name})
        return
    if type(problem_of_config(config)) is not type(data):
        raise RequestError(
            f"the student's config says problem_type='{config.problem_type}' and the labels of the data are for "
            f"'{data.name}': set model.config.problem_type = '{data.name}' (the teacher's too, if it has the same "
            "head), or cast the label column: whole numbers are classes, fractions are targets, lists are several "
            "labels"
        )


def match_labels(
    student: PreTrainedModel, teacher: Teacher | None, data: Sequence[str] | None, objective: Objective
) -> None:
    """The order of the labels in the data, in the student and in the teacher's logits must be one.

    A student without names takes the data's; the logits of a teacher with another order are put into ours.

    Args:
        student: the student.
        teacher: the teacher.
        data: the labels as the data counts them; None where it does not tell.
        objective: resolved.
    Raises:
        RequestError: other labels, or a student that counts them in another order than the data.
    """
    own = label_names_of(student)
    if data is not None and own is not None and label_order(data, own, "the data") is not None:
        raise RequestError(
            f"the data counts its labels as {', '.join(data)} and the student as {', '.join(own)}: put the "
            "student's in the data's order with distilnlp.models.align_labels(model, label_names)"
        )
    if data is not None and own is None and len(data) == student.config.num_labels:
        student.config.id2label = dict(enumerate(data))
        student.config.label2id = {name: index for index, name in enumerate(data)}
    reference = data or own
    ours = problem_of_config(student.config)
    members = answering(teacher, objective.needs_teacher())
    for name, member in members.items():
        who, theirs = f"the teacher {name}".rstrip(), member.info.problem
        if not ours.learns_from(theirs):
            raise RequestError(
                f"{who}'s head is for '{theirs.name}' and the student's for '{ours.name}', so that their logits "
                "mean different things: take a teacher that was fine-tuned for the same kind of task, or correct "
                "problem_type in its config"
            )
        if member.label_names is None:
            continue
        reference = reference or member.label_names  # where nobody else tells, several teachers count as the first
        try:
            known = reference[: len(member.label_names)] if objective.teacher_knows_first else reference
            order = label_order(known, member.label_names, "the data" if data else "the student")
        except RequestError as error:
            raise RequestError(f"{who}: {error}" if name else str(error), error.key) from error
        if order is not None:
            logger.info("%s counts the labels in another order; its logits are put into ours", who)
            member.reorder_labels(order)
