"""``distilnlp distill``"""

from dataclasses import replace
from typing import Annotated, Any

import typer

from distilnlp.cli._options import ACCEPT, AcceptWeakTeacher, Processes, TaskName, Training, with_options
from distilnlp.cli._quiet import quiet_libraries
from distilnlp.cli._recipes import Remove, look_at, recipe_from_options
from distilnlp.cli.run import start
from distilnlp.errors import RequestError

__all__ = ["command"]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"  # whose layers are taken where no other model is named


@with_options(Training)
def command(
    task: TaskName,
    options: Training,
    teacher: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id of a model fine-tuned on TASK; of any with --finetune-teacher."),
    ] = None,
    teacher_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead: column of TASK with a teacher's recorded answers; prob_* or repeated: one a class."
        ),
    ] = None,
    teacher_values: Annotated[
        str | None, typer.Option(help="probabilities or logits. [default: logits where the column's name ends so]")
    ] = None,
    teacher_confidence: Annotated[
        str | None, typer.Option(help="Column of the probability of the label in --teacher-column.")
    ] = None,
    teacher_labels: Annotated[
        str | None, typer.Option(help="a,b,c: the labels of the numbers in a list. [default: those of the data]")
    ] = None,
    teacher_missing: Annotated[
        str | None, typer.Option(help="A row without an answer: refuse it, or let its label stand for it. [refuse]")
    ] = None,
    student_layers: Annotated[
        int | None, typer.Option(min=1, help="Make the student of so many of the teacher's layers.")
    ] = None,
    student_vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="needed|TOKENS",
            help="Keep the tokens that the training texts need, or so many of them at most; with --student-layers.",
        ),
    ] = None,
    student: Annotated[str | None, typer.Option(help="Folder or Hub id that the student starts from instead.")] = None,
    finetune_teacher: Annotated[
        bool, typer.Option("--finetune-teacher", help="Fine-tune TEACHER on TASK first, as a stage of its own.")
    ] = False,
    control: Annotated[bool, typer.Option(help="Also train the student without the teacher, to compare.")] = True,
    temperature: Annotated[float | None, typer.Option(help="Of the soft targets. [default: 2]")] = None,
    processes: Processes = 1,
    accept_weak_teacher: AcceptWeakTeacher = False,
) -> None:
    """Distil a teacher into a student on TASK.

    Compares teacher, control (the student trained without the teacher) and student. Give --student-layers or
    --student. The teacher has to be fine-tuned on TASK, by 'finetune' before or here with --finetune-teacher, or its
    answers stand in the data (--teacher-column). Epochs and learning rate are those of student and control. Texts
    without labels (also a txt file) are learned from the teacher alone.
    """
    recorded = _recorded(
        {
            "column": teacher_column,
            "values": teacher_values,
            "confidence": teacher_confidence,
            "labels": None if teacher_labels is None else [each.strip() for each in teacher_labels.split(",")],
            "missing": teacher_missing,
        }
    )
    if (teacher is None) == (recorded is None):
        raise RequestError("give one of --teacher (a model) and --teacher-column (answers in the data)")
    _check_temperature(task, temperature, options.problem_type)
    from distilnlp.problems import find_problem

    kind = find_problem(options.problem_type)
    if recorded is not None:
        if finetune_teacher:
            raise RequestError("--finetune-teacher is for a model, and --teacher-column has answers: leave one out")
        if student is None and student_layers is None:
            raise RequestError("give --student-layers (of the MiniLM model), --student (a model), or both")
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
                f"a {options.problem_type} student is a sentence encoder, and its teacher a fine-tuned cross-encoder:"
                " give --student (and --student-layers for some of its layers), and leave out --finetune-teacher"
            )
        made = {"from": student, "layers": student_layers} if student_layers is not None else Remove()
        stages, own = {}, {"teacher": teacher, "student": made}
        own["model"] = student if student_layers is None else None
    else:
        stages, own = _live(teacher, student, student_layers, finetune_teacher, options)
    found = None if finetune_teacher else look_at(task, options.data, **_looking(teacher, recorded))
    objective: dict[str, Any] = {**own.pop("objective", {}), "response": {"temperature": temperature}}
    if found is not None and not found.is_labelled and not found.problem.taught_alone:
        control, objective["hard_label"] = False, Remove()
        if not options.dry_run:
            held_out = found.validation is not None and "label" in found.validation.column_names
            told = "" if held_out else ", and the report is of the agreement with the teacher"
            typer.echo(
                f"{task} has no labels: the student learns from the teacher alone (no hard_label in the objective),"
                f" there is no control{told}"
            )
    if kind is not None and kind.taught_alone and finetune_teacher:
        raise RequestError("no labels teach vectors: leave out --finetune-teacher, and give a sentence encoder")
    if student_vocabulary is not None:
        own = _with_vocabulary(own, student_vocabulary)
    stages = {**stages, "student": {**own, "training": options.training, "objective": objective}}
    if not control:
        stages["control"] = None
    if accept_weak_teacher:
        options = replace(options, settings=[*(options.settings or ()), ACCEPT])
    base = None if found is None else found.problem.recipe
    start(recipe_from_options("distill", task, options, stages, base), options, processes=processes)


def _recorded(said: dict[str, Any]) -> dict[str, Any] | None:
    """The recipe's ``teacher`` for recorded answers; None without any."""
    given = {key: value for key, value in said.items() if value is not None and value != []}
    if not given.get("column"):
        if given:
            raise RequestError(
                f"--teacher-{next(iter(given))} tells of recorded answers: name them with --teacher-column"
            )
        return None
    columns = [each.strip() for name in given["column"] for each in name.split(",") if each.strip()]
    if not columns:
        raise RequestError("--teacher-column is empty: name the column of the recorded answers")
    return {**given, "column": columns[0] if len(columns) == 1 else columns}


def _looking(teacher: str | None, recorded: dict[str, Any] | None) -> dict[str, Any]:
    """How the data are read to see whether they have labels."""
    quiet_libraries()
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
    teacher: str | None, student: str | None, student_layers: int | None, finetune_teacher: bool, options: Training
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Stages before the student, and what the student's stage says, for a teacher that is a model."""
    if (student is None) == (student_layers is None):
        raise RequestError("give one of --student-layers (layers of the teacher) and --student (a model)")
    source = "teacher" if finetune_teacher else teacher
    first = {"model": teacher, "training": {"per_device_train_batch_size": options.batch_size}}
    return {"teacher": first if finetune_teacher else None}, {
        "teacher": source,
        "student": {"from": source, "layers": student_layers} if student is None else Remove(),
        "model": student,
    }


def _with_vocabulary(own: dict[str, Any], vocabulary: str) -> dict[str, Any]:
    """What the student's stage says, with the vocabulary that its student keeps."""
    if vocabulary != "needed" and not (vocabulary.isdecimal() and int(vocabulary)):
        raise RequestError(
            f"--student-vocabulary is '{vocabulary}': say needed (all tokens that the training texts need), or how"
            " many of them at most"
        )
    if not isinstance(own["student"], dict):
        raise RequestError(
            "--student-vocabulary keeps some tokens of the model that the student is made of: give --student-layers"
        )
    kept = {} if vocabulary == "needed" else {"size": int(vocabulary)}
    return {**own, "student": {**own["student"], "vocabulary": kept}}


def _check_temperature(task: str, temperature: float | None, problem_type: str | None) -> None:
    """Refuse a temperature where it is known already that the problem has no softmax."""
    from distilnlp.data.glue_table import GLUE
    from distilnlp.problems import get_problem

    known = GLUE[task].problem if task in GLUE else get_problem(problem_type) if problem_type else None
    has_softmax = known is None or known.named_labels or known.exclusive_classes or known.rows == "list"
    if temperature is not None and not has_softmax:
        raise RequestError("--temperature is for classes; this task is a regression, whose one logit has no softmax")
