"""One progress bar a stage; lines, not many, where nobody sees a bar move."""

import os
import sys
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["StageProgress"]


class StageProgress(TrainerCallback):
    """Shows how far a stage is: a bar on a terminal or in a notebook, else a line every tenth.

    Args:
        stage: the stage's name, in front of the bar.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.bar: Any = None
        self.loss = ""
        self.hidden = os.environ.get("DISTILNLP_PROGRESS") == "off"

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero and not self.hidden and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            steps = {"total": state.max_steps, "initial": state.global_step}
            self.bar = tqdm(**steps, desc=self.stage, unit="step", leave=False)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)
        elif state.is_world_process_zero and self._is_a_tenth(state) and not self.hidden:
            percent = 100 * state.global_step // state.max_steps
            step = f"step {state.global_step} of {state.max_steps}"
            sys.stderr.write(f"{self.stage}: {step} ({percent} %){self.loss}\n")
            sys.stderr.flush()

    def _is_a_tenth(self, state: TrainerState) -> bool:
        tenths = (10 * state.global_step // state.max_steps, 10 * (state.global_step - 1) // state.max_steps)
        return tenths[0] != tenths[1]

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs = kwargs.get("logs") or {}
        if "loss" not in logs:
            return
        self.loss = f", loss {logs['loss']:.4g}"
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {logs['loss']:.4g}", refresh=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away, also after a failure."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
