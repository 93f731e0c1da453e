"""How a stage was trained: the lines of its log, and which layers were compared; kept beside its model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distilnlp.errors import RequestError
from distilnlp.report.schema import again
from distilnlp.whole_files import write_text

__all__ = ["HISTORY", "History", "read_history", "thinned", "write_history"]

HISTORY = "history.json"
VERSION = 1
MOST_LINES = 2000  # that are kept of the losses: more can be told apart in no picture


class History(BaseModel):
    """A training, as it went.

    Args:
        version: of the file.
        log: the lines of `transformers.Trainer`, each with its ``step``: ``loss``, ``raw/<term>``,
            ``weighted/<term>``, ``learning_rate`` of a training, ``eval_<metric>`` of an evaluation.
        layers: term -> the pairs ``(student layer, teacher layer)`` that it compared.
        made_of: for each layer of the student the teacher's that it was copied from, counted from 1; None where it was
            not made of layers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    version: int = VERSION
    log: list[dict[str, float]] = Field(default_factory=list)
    layers: dict[str, list[tuple[int, int]]] = Field(default_factory=dict)
    made_of: list[int] | None = None

    def steps(self, key: str) -> list[int]:
        """After which steps a key was logged."""
        return [int(line["step"]) for line in self.log if key in line]

    def values(self, key: str) -> list[float]:
        """What was logged under a key, in the order of `steps`."""
        return [line[key] for line in self.log if key in line]

    def named(self, before: str) -> list[str]:
        """The names that stand after ``before`` in the keys of the log, in their order."""
        found = (key.removeprefix(before) for line in self.log for key in line if key.startswith(before))
        return list(dict.fromkeys(found))


def thinned(log: Iterable[Mapping[str, Any]], most: int = MOST_LINES) -> list[dict[str, float]]:
    """The lines of a log that are numbers; of those of losses at most so many, each the mean of its neighbours.

    Args:
        log: as `transformers.TrainerState.log_history` has it.
        most: 1 or more.
    """
    lines = [
        {key: float(value) for key, value in line.items() if isinstance(value, int | float)}
        for line in log
        if "step" in line
    ]
    losses = [line for line in lines if "loss" in line]
    together = max(1, math.ceil(len(losses) / most))
    groups = [losses[start : start + together] for start in range(0, len(losses), together)]
    kept = [_mean(group) for group in groups] + [line for line in lines if "loss" not in line]
    return sorted(kept, key=lambda line: line["step"])


def _mean(lines: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of the keys that all have; at the last of their steps."""
    keys = [key for key in lines[-1] if all(key in line for line in lines)]
    return {key: sum(line[key] for line in lines) / len(lines) for key in keys} | {"step": lines[-1]["step"]}


def write_history(stage: Path, history: History) -> None:
    """Write ``history.json`` into the folder of a stage, complete or not at all."""
    values = json.loads(history.model_dump_json())
    write_text(stage / HISTORY, json.dumps(values, allow_nan=False) + "\n")


def read_history(stage: Path) -> History | None:
    """How the model in a folder was trained; None where that was not kept.

    Raises:
        RequestError: the file cannot be read, is damaged, or is of another version.
    """
    path = stage / HISTORY
    try:
        history = History.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = " ".join(str(error).split()).partition(" [")[0]
        raise RequestError(f"'{path}' cannot be read ({reason}): {again(stage)}") from error
    if history.version != VERSION:
        raise RequestError(f"'{path}' is of version {history.version}, and this one reads version {VERSION}")
    return history
