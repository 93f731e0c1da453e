"""What a test need not pay for: a training in it takes less than what a run does around a training."""

import gc
from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

__all__ = ["save_time"]


def save_time() -> None:
    """In this process, what runs do around their trainings is done once or shortly.

    Each model is timed on one text and one batch, not on hundreds. What has taken a step on two rows takes none
    again before another run that says the same. No training that begins looks for garbage: that search goes through
    all libraries, and takes a quarter of a second.
    """
    from accelerate.utils import memory

    from distilnlp.report import cost
    from distilnlp.run import report, runner, trial

    gc.freeze()
    memory.gc = SimpleNamespace(collect=lambda: 0)

    def measure_shortly(*models: Any, **settings: Any) -> Any:
        with patch.object(cost, "LATENCY_RUNS", (1, cost.WARM_UP)), patch.object(cost, "THROUGHPUT_RUNS", (1, 1)):
            return cost.measure_costs(*models, **{**settings, "budget_seconds": 0.0})

    report.measure_costs = measure_shortly
    known: set[str] = set()

    def try_once(
        plan: Any, tasks: Mapping[str, Any], models: Any, sketches: Mapping[str, Any], names: Collection[str] | None
    ) -> None:
        rows = [(name, task.problem.name, task.label_names, _columns(task)) for name, task in tasks.items()]
        configs = [each.config.to_json_string() for each in sketches.values()]
        said = repr((plan.precision, plan.recipe.to_dict(), sorted(names or ()), rows, configs))
        if said not in known:
            trial.try_stages(plan, tasks, models, sketches, names)
            known.add(said)

    runner.try_stages = try_once


def _columns(task: Any) -> list[Any]:
    return [getattr(rows, "features", type(rows)) for rows in (task.train, task.validation)]
