"""Whether a student that learns from private votes sees nothing else of the private data, and what the votes cost."""

from collections.abc import Mapping

from distilnlp.data.shards import row_texts
from distilnlp.data.task import Task
from distilnlp.report.schema import Privacy
from distilnlp.run.models import sketch_of
from distilnlp.run.plan import Plan, StagePlan
from distilnlp.teachers import EnsembleTeacher

__all__ = ["check_private", "privacy_of"]

Texts = frozenset[tuple[object, ...]]


def check_private(plan: Plan, tasks: Mapping[str, Task]) -> None:
    """What noisy votes promise, of every stage that learns from them.

    No text is in the data of two teachers, and the student learns from none of theirs: neither itself, nor its start
    or another stage that it was made by.

    Raises:
        RequestError: with the line of the recipe.
    """
    for stage in plan.stages.values():
        if _votes(stage) is None:
            continue
        here = ("stages", stage.name, "teacher")
        if stage.repeats is not None:
            raise plan.recipe.error(
                ("seeds",),
                f"seeds trains {stage.repeats} again and again, and each time its teachers' votes cost as much of what"
                " is private: leave seeds out",
            )
        outside = [name for name in stage.teaching_models if name not in plan.stages]
        if outside:
            raise plan.recipe.error(
                here, f"stages.{stage.name}: nobody knows what {outside[0]} has seen: teachers that vote are stages"
            )
        seen: dict[str, Texts] = {}
        for name in stage.teaching_models:
            seen[name] = _seen(name, plan, tasks)
            for other in list(seen)[:-1]:
                _refuse_shared(plan, stage, f"the teachers {other} and {name} have", seen[other] & seen[name])
        own = _texts(stage.name, plan, tasks) | (
            _seen(stage.start, plan, tasks) if stage.start in plan.stages else set()
        )
        for name, texts in seen.items():
            _refuse_shared(plan, stage, f"the student (or its start) and its teacher {name} have", own & texts)


def _refuse_shared(plan: Plan, stage: StagePlan, who: str, texts: Texts) -> None:
    if texts:
        raise plan.recipe.error(
            ("stages", stage.name, "teacher"),
            f"stages.{stage.name}: {who} {len(texts)} texts in common, so that the votes are not private: give each"
            " stage a part of the data of its own, data: {shard: [1, 5]}, and the student a start that saw none",
        )


def privacy_of(stage: StagePlan, task: Task) -> Privacy | None:
    """What the votes that a stage learns from cost; None where it learns from none. Every text is asked about once."""
    voting = _votes(stage)
    if voting is None or task.train is None:
        return None
    queries, way = len(set(row_texts(task.train))), voting.combination
    return Privacy(
        epsilon=way.epsilon(queries),
        delta=way.delta,
        sigma=way.sigma or 0.0,
        queries=queries,
        teachers=len(stage.teaching_models),
    )


def _votes(stage: StagePlan) -> EnsembleTeacher | None:
    made = None if stage.spec.scheme is None else sketch_of(stage.spec.scheme)
    return made if isinstance(made, EnsembleTeacher) and made.combination.combine == "noisy_vote" else None


def _seen(name: str, plan: Plan, tasks: Mapping[str, Task]) -> Texts:
    """Every text that a stage was trained on, or whoever it starts from or learned from."""
    stage = plan.stages[name]
    before = [each for each in (stage.start, *stage.teaching_models) if each in plan.stages]
    return _texts(name, plan, tasks).union(*(_seen(each, plan, tasks) for each in before))


def _texts(name: str, plan: Plan, tasks: Mapping[str, Task]) -> Texts:
    data = tasks[name].train
    return frozenset() if data is None or plan.stages[name].spec.kind != "train" else frozenset(row_texts(data))
