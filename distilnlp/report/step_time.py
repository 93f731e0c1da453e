"""What an optimizer step of a stage took its time for; kept beside its model, apart from its log.

Two equal trainings have equal logs and never equal times, so that these are in no log and in no checkpoint.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from distilnlp.errors import RequestError
from distilnlp.report.schema import again
from distilnlp.whole_files import write_text

__all__ = ["PHASES", "STEP_TIME", "StepTime", "read_step_time", "write_step_time"]

STEP_TIME = "step_time.json"
VERSION = 1
# What a step consists of -> what is done then.
PHASES = {
    "data": "waiting for the batches",
    "teacher": "the teacher's answers, given or read",
    "student": "the student's forward pass",
    "losses": "comparing the two",
    "backward": "the gradients, and clipping them",
    "optimizer": "changing the weights",
    "rest": "what follows a step: the schedule, averages, callbacks",
}


class StepTime(BaseModel):
    """Where the time of a training went, in the process that ended it.

    Args:
        version: of the file.
        device: that the student was trained on (``cpu``, ``cuda``).
        begun_at: how many steps had been done before, by a process that was broken off; 0 of a training in one go.
        steps: how many optimizer steps this process did; measured: of how many of them the time was taken.
        seconds: by the names of `PHASES`, over all measured steps together; 0 or more. Evaluations, logs and
            checkpoints stand between two steps, and are in none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = VERSION
    device: str
    begun_at: int = Field(0, ge=0)
    steps: int = Field(ge=1)
    measured: int = Field(ge=1)
    seconds: dict[str, float]

    @field_validator("seconds")
    @classmethod
    def _known(cls, seconds: dict[str, float]) -> dict[str, float]:
        if not seconds.keys() <= PHASES.keys() or not all(0 <= value < float("inf") for value in seconds.values()):
            raise ValueError(f"seconds are of {', '.join(PHASES)}, and 0 or more")
        return {name: seconds[name] for name in PHASES if name in seconds}

    @property
    def milliseconds(self) -> dict[str, float]:
        """Of one step, by the names of `PHASES`, in their order."""
        return {name: 1000 * value / self.measured for name, value in self.seconds.items()}

    @property
    def whole(self) -> float:
        """Milliseconds of one step."""
        return sum(self.milliseconds.values())


def write_step_time(stage: Path, taken: StepTime) -> None:
    """Write ``step_time.json`` into the folder of a stage, complete or not at all."""
    write_text(stage / STEP_TIME, json.dumps(taken.model_dump(), indent=2, allow_nan=False) + "\n")


def read_step_time(stage: Path) -> StepTime | None:
    """What the steps of the model in a folder took; None where that was not kept.

    Raises:
        RequestError: the file cannot be read, is damaged, or is of another version.
    """
    path = stage / STEP_TIME
    try:
        taken = StepTime.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = " ".join(str(error).split()).partition(" [")[0]
        raise RequestError(f"'{path}' cannot be read ({reason}): {again(stage)}") from error
    if taken.version != VERSION:
        raise RequestError(f"'{path}' is of version {taken.version}, and this one reads version {VERSION}")
    return taken
