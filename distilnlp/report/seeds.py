"""What several seeds of one run say together: means, deviations, and the interval of a student's gain."""

import math
from collections.abc import Sequence

import numpy as np

from distilnlp.report.schema import Fidelity, Gain, OverSeeds, Spread, StageResult

__all__ = ["averaged", "gain_interval", "half_width", "of_one_seed", "over_seeds", "spread"]

CONFIDENCE = 0.95


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample deviation (of n - 1) of two numbers or more."""
    return Spread(mean=float(np.mean(values)), deviation=float(np.std(values, ddof=1)))


def half_width(count: int) -> float:
    """How many deviations the 95 % t interval of the mean of ``count`` numbers reaches to each side; count >= 2.

    4.30 / sqrt(3) = 2.48 of three, 0.72 of ten.

    Source: Student 1908, doi:10.2307/2331554.
    """
    from scipy.special import stdtrit  # of a fifth of a second, and only where there are seeds

    return float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) / math.sqrt(count)


def gain_interval(differences: Sequence[float]) -> tuple[float, float]:
    """The ends of the 95 % t interval of the mean of paired differences: where the mean over all seeds may lie.

    It holds where the differences are about normal; it tells of other seeds and not of other held-out examples.
    """
    found, reach = spread(differences), half_width(len(differences))
    return found.mean - reach * found.deviation, found.mean + reach * found.deviation


def over_seeds(rows: Sequence[StageResult]) -> list[StageResult]:
    """The rows of a run; of a stage with several seeds the row of the first tells what all of them give.

    Args:
        rows: each with its ``seed``, and those of further seeds with the stage that they repeat.
    """
    groups = {row.stage: [row, *(each for each in rows if each.repeats == row.stage)] for row in rows}
    made = []
    for row in rows:
        group = groups[row.stage]
        found = _together(group) if len(group) > 1 else None
        if found is not None and row.role == "student":
            controls = [groups[each.stage] for each in rows if each.role == "control" and each.repeats is None]
            found = found.model_copy(update={"gain": _gain(group, controls)})
        made.append(row.model_copy(update={"over_seeds": found}))
    return made


def averaged(rows: Sequence[StageResult]) -> list[StageResult]:
    """The rows with one for each stage: in that of several seeds stand the means, and what one seed gives does not."""
    return [
        row
        if (all_seeds := row.over_seeds) is None
        else row.model_copy(
            update={
                "score": None if all_seeds.score is None else all_seeds.score.mean,
                "metrics": {name: each.mean for name, each in all_seeds.metrics.items()},
                "fidelity": all_seeds.fidelity,
            }
        )
        for row in rows
        if row.repeats is None
    ]


def of_one_seed(rows: Sequence[StageResult], stage: str) -> list[StageResult]:
    """The rows of a run as if it had no other seed than that of a stage; all of them where it has none."""
    seeds = {row.stage: row.seed for row in rows}
    own = seeds.get(stage)
    kept = [row for row in rows if own is None or row.seed in (None, own)]
    return [row.model_copy(update={"repeats": None, "over_seeds": None}) if own is not None else row for row in kept]


def _together(group: Sequence[StageResult]) -> OverSeeds:
    scores = [row.score for row in group if row.score is not None]
    scores = scores if len(scores) == len(group) else []
    shared = [name for name in group[0].metrics if all(name in row.metrics for row in group)]
    return OverSeeds(
        seeds=[int(row.seed or 0) for row in group],
        stages=[row.stage for row in group],
        scores=scores,
        score=spread(scores) if scores else None,
        metrics={name: spread([row.metrics[name] for row in group]) for name in shared},
        fidelity=_mean_fidelity([row.fidelity for row in group if row.fidelity is not None]),
    )


def _mean_fidelity(found: Sequence[Fidelity]) -> Fidelity | None:
    if not found:
        return None
    values = [each.model_dump(exclude_none=True) for each in found]
    shared = [key for key in values[0] if all(key in each for each in values)]
    return Fidelity.model_validate({key: float(np.mean([each[key] for each in values])) for key in shared})


def _gain(student: Sequence[StageResult], controls: Sequence[Sequence[StageResult]]) -> Gain | None:
    """Over the first control with the same seeds and the same held-out examples."""
    for control in controls:
        same = [row.seed for row in control] == [row.seed for row in student]
        pairs = list(zip(student, control, strict=True)) if same else []
        differences = [
            own.score - other.score
            for own, other in pairs
            if own.score is not None and other.score is not None and own.held_out == other.held_out
        ]
        if same and len(differences) == len(student):
            found = spread(differences)
            return Gain(
                control=control[0].stage,
                differences=differences,
                interval=gain_interval(differences),
                **found.model_dump(),
            )
    return None
