"""What is asked for of a training with a teacher, and of one without: which stages that makes, and what cannot be."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distilnlp.errors import RequestError
from distilnlp.recipe import Recipe
from distilnlp.run.requests import Remove, Request, look_at, recipe_of

if TYPE_CHECKING:
    from distilnlp.data.task import Task

__all__ = ["distillation", "finetuning", "is_without_labels", "looking"]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"  # whose layers are taken where no other model is named


def finetuning(request: Request, model: str, *, lora: bool = False) -> Recipe:
    """The recipe that trains a model on the labels of a task.

    Args:
        request: the task, and what is said of every training.
        model: folder or Hub id to start from.
        lora: train low-rank adapters only.
    Raises:
        RequestError: the kind of task is not learned from labels; what is said makes no recipe.
    """
    from distilnlp.problems import find_problem

    said = request.settings.get("problem_type")
    kind = find_problem(said)
    if kind is not None and kind.taught_alone:
        raise RequestError(
            "vectors are learned from a teacher, and no labels teach them: distilnlp distill, with a sentence encoder "
            f"as {request.write('teacher')}"
        )
    if kind is not None and kind.apart:
        raise RequestError(
            f"{said} is learned from a cross-encoder's scores, and from labels alone as the control beside it:"
            " distilnlp distill"
        )
    stages = {
        "teacher": {"model": model, "lora": {} if lora else None, "training": request.training},
        "control": None,
        "student": None,
    }
    return recipe_of(request, stages)


def distillation(
    request: Request,
    *,
    teacher: str | None = None,
    teacher_column: Sequence[str] | None = None,
    teacher_values: str | None = None,
    teacher_confidence: str | None = None,
    teacher_labels: Sequence[str] | None = None,
    teacher_missing: str | None = None,
    student_layers: int | None = None,
    student_vocabulary: str | int | None = None,
    student: str | None = None,
    finetune_teacher: bool = False,
    control: bool = True,
    temperature: float | None = None,
    accept_weak_teacher: bool = False,
) -> Recipe:
    """The recipe that distils a teacher into a student.

    Args:
        request: the task, and what is said of every training.
        teacher: folder or Hub id of a model fine-tuned on the task; of any with ``finetune_teacher``.
        teacher_column: instead: the columns of a teacher's recorded answers.
        teacher_values, teacher_confidence, teacher_labels, teacher_missing: of the recorded answers, as in a recipe.
        student_layers: make the student of so many of the teacher's layers, 1 or more.
        student_vocabulary: ``needed``, or how many tokens are kept.
        student: folder or Hub id that the student starts from instead.
        finetune_teacher: fine-tune the teacher on the task first.
        control: also train the student without the teacher.
        temperature: of the soft targets, above 0.
        accept_weak_teacher: as for `recipe_of`.
    Raises:
        RequestError: not one teacher or not one student is named; what is said does not go together, or makes no
            recipe.
    """
    write = request.write
    recorded = _recorded(
        {
            "column": teacher_column,
            "values": teacher_values,
            "confidence": teacher_confidence,
            "labels": None if teacher_labels is None else list(teacher_labels),
            "missing": teacher_missing,
        },
        request,
    )
    if (teacher is None) == (recorded is None):
        raise RequestError(
            f"give one of {write('teacher')} (a model) and {write('teacher_column')} (answers in the data)"
        )
    _check_temperature(request, temperature)
    from distilnlp.problems import find_problem

    said = request.settings.get("problem_type")
    kind = find_problem(said)
    if recorded is not None:
        if finetune_teacher:
            raise RequestError(
                f"{write('finetune_teacher')} is for a model, and {write('teacher_column')} has answers: leave one out"
            )
        if student is None and student_layers is None:
            raise RequestError(
                f"give {write('student_layers')} (of the MiniLM model), {write('student')} (a model), or both"
            )
        stages: dict[str, Any] = {"teacher": None}
        starts = {"from": student or MINILM, "layers": student_layers} if student_layers is not None else Remove()
        own: dict[str, Any] = {
            "teacher": recorded,
            "student": starts,
            "model": student if student_layers is None else None,
            "objective": {"hidden_state": Remove(), "attention_scores": Remove()},
        }
    elif kind is not None and kind.apart:
        if student is None or finetune_teacher:
            raise RequestError(
                f"a {said} student is a sentence encoder, and its teacher a fine-tuned cross-encoder: give"
                f" {write('student')} (and {write('student_layers')} for some of its layers), and leave out"
                f" {write('finetune_teacher')}"
            )
        made = {"from": student, "layers": student_layers} if student_layers is not None else Remove()
        stages, own = {}, {"teacher": teacher, "student": made}
        own["model"] = student if student_layers is None else None
    else:
        stages, own = _live(request, teacher, student, student_layers, finetune_teacher)
    found = None if finetune_teacher else look_at(request.task, request.data, **looking(teacher, recorded))
    objective: dict[str, Any] = {**own.pop("objective", {}), "response": {"temperature": temperature}}
    if found is not None and is_without_labels(found):
        control, objective["hard_label"] = False, Remove()
        held_out = found.validation is not None and "label" in found.validation.column_names
        told = "" if held_out else ", and the report is of the agreement with the teacher"
        request.tell(
            f"{request.task} has no labels: the student learns from the teacher alone (no hard_label in the"
            f" objective), there is no control{told}"
        )
    if kind is not None and kind.taught_alone and finetune_teacher:
        raise RequestError(
            f"no labels teach vectors: leave out {write('finetune_teacher')}, and give a sentence encoder"
        )
    if student_vocabulary is not None:
        own = _with_vocabulary(own, str(student_vocabulary), request)
    stages = {**stages, "student": {**own, "training": request.training, "objective": objective}}
    if not control:
        stages["control"] = None
    base = None if found is None else found.problem.recipe
    return recipe_of(request, stages, base, accept_weak_teacher=accept_weak_teacher)


def _recorded(said: dict[str, Any], request: Request) -> dict[str, Any] | None:
    """The recipe's ``teacher`` for recorded answers; None without any."""
    given = {key: value for key, value in said.items() if value is not None and value != []}
    column = request.write("teacher_column")
    if not given.get("column"):
        if given:
            name = request.write(f"teacher_{next(iter(given))}")
            raise RequestError(f"{name} tells of recorded answers: name them with {column}")
        return None
    columns = [each.strip() for name in given["column"] for each in name.split(",") if each.strip()]
    if not columns:
        raise RequestError(f"{column} is empty: name the column of the recorded answers")
    return {**given, "column": columns[0] if len(columns) == 1 else columns}


def is_without_labels(found: "Task") -> bool:
    """Whether the training texts have no labels, in a kind of task that has them: no loss can ask for these then."""
    return not found.is_labelled and not found.problem.taught_alone


def looking(teacher: str | None, recorded: dict[str, Any] | None) -> dict[str, Any]:
    """How the data are read to see whether they have labels."""
    from distilnlp.data.recorded import RecordedColumns
    from distilnlp.run.evaluation import head_of

    if recorded is None:
        return {"optional_labels": True, "known": lambda: head_of(str(teacher))}
    column = recorded["column"]
    names = recorded.get("labels")
    return {
        "strict": True,
        "recorded": RecordedColumns(
            (column,) if isinstance(column, str) else tuple(column),
            recorded.get("confidence"),
            recorded.get("values"),
            recorded.get("missing", "refuse"),
            None if names is None else tuple(names),
        ),
    }


def _live(
    request: Request, teacher: str | None, student: str | None, student_layers: int | None, finetune_teacher: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Stages before the student, and what the student's stage says, for a teacher that is a model."""
    if (student is None) == (student_layers is None):
        write = request.write
        raise RequestError(
            f"give one of {write('student_layers')} (layers of the teacher) and {write('student')} (a model)"
        )
    source = "teacher" if finetune_teacher else teacher
    first = {
        "model": teacher,
        "training": {"per_device_train_batch_size": request.settings.get("batch_size")},
    }
    return {"teacher": first if finetune_teacher else None}, {
        "teacher": source,
        "student": {"from": source, "layers": student_layers} if student is None else Remove(),
        "model": student,
    }


def _with_vocabulary(own: dict[str, Any], vocabulary: str, request: Request) -> dict[str, Any]:
    """What the student's stage says, with the vocabulary that its student keeps."""
    name = request.write("student_vocabulary")
    if vocabulary != "needed" and not (vocabulary.isdecimal() and int(vocabulary)):
        raise RequestError(
            f"{name} is '{vocabulary}': say needed (all tokens that the training texts need), or how many of them at"
            " most"
        )
    if not isinstance(own["student"], dict):
        raise RequestError(
            f"{name} keeps some tokens of the model that the student is made of: give"
            f" {request.write('student_layers')}"
        )
    kept = {} if vocabulary == "needed" else {"size": int(vocabulary)}
    return {**own, "student": {**own["student"], "vocabulary": kept}}


def _check_temperature(request: Request, temperature: float | None) -> None:
    """Refuse a temperature where it is known already that the problem has no softmax."""
    from distilnlp.data.glue_table import GLUE
    from distilnlp.problems import get_problem

    said = request.settings.get("problem_type")
    known = GLUE[request.task].problem if request.task in GLUE else get_problem(said) if said else None
    has_softmax = known is None or known.named_labels or known.exclusive_classes or known.rows == "list"
    if temperature is not None and not has_softmax:
        raise RequestError(
            f"{request.write('temperature')} is for classes; this task is a regression, whose one logit has no softmax"
        )
