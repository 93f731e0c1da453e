"""How far a stage is: step, time left, terms of the loss, tokens a second, the score so far."""

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from distilnlp.progress import watcher
from distilnlp.report.scores import SCORES
from distilnlp.run.time_left import PASS_SHARE, TimeLeft, as_time

__all__ = ["StageProgress", "measurements_after"]


def measurements_after(step: int, arguments: TrainingArguments, state: TrainerState) -> int:
    """How often the model is still measured after an optimizer step, with the one at the end of its stage."""
    if arguments.eval_strategy == IntervalStrategy.EPOCH:
        of_epoch = state.max_steps / max(1, state.num_train_epochs)
        return max(0, state.num_train_epochs - int((step + 1e-6) / of_epoch)) + 1
    if arguments.eval_strategy == IntervalStrategy.STEPS and state.eval_steps:
        return int(state.max_steps // state.eval_steps - step // state.eval_steps) + 1
    return 1


class StageProgress(TrainerCallback):
    """Shows how far a stage is to whoever watches: a live view, or a line every tenth.

    Args:
        stage: its name.
        metric: the score that counts, as it is logged without ``eval_``; None where there is none.
        held_out: how many examples it is measured on.
        tokens: how many tokens all processes have read, padding left out.
        clock: seconds.
    """

    def __init__(
        self,
        stage: str,
        metric: str | None = None,
        held_out: int = 0,
        tokens: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stage, self.metric, self.held_out, self.tokens, self.clock = stage, metric, held_out, tokens, clock
        self.left: TimeLeft | None = None
        self.state = TrainerState()
        self.loss = self.score = self.speed = ""
        self.terms: dict[str, float] = {}
        self.best: float | None = None
        self._measuring = False
        self._measured_at = -1  # the step
        self._counted = (0.0, 0)  # when tokens were counted, and how many there were

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        size = max(1, args.train_batch_size * args.gradient_accumulation_steps)
        self.state = state
        self.left = TimeLeft(
            state.max_steps,
            lambda step: measurements_after(step, args, state) if self.held_out else 0,
            PASS_SHARE * self.held_out / (size * args.world_size),
            self.clock,
        )
        self.left.begin(state.global_step)
        self._counted = (self.clock(), self.tokens())
        if state.is_world_process_zero:
            watcher().show(self.lines)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.left is not None:
            self.left.step(state.global_step)
        if state.is_world_process_zero and self._is_a_tenth(state):
            said = [f"{self.stage}: {self._step()}{self.loss}", self.score, self._time()]
            watcher().tell(", ".join(filter(None, said)))
        watcher().advance(0)

    def _is_a_tenth(self, state: TrainerState) -> bool:
        tenths = (10 * state.global_step // state.max_steps, 10 * (state.global_step - 1) // state.max_steps)
        return tenths[0] != tenths[1]

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs = kwargs.get("logs") or {}
        if "loss" not in logs:
            return
        self.loss = f", loss {logs['loss']:.4g}"
        before = "weighted/"
        self.terms = {name.removeprefix(before): value for name, value in logs.items() if name.startswith(before)}
        now, tokens = self.clock(), self.tokens()
        (then, earlier), self._counted = self._counted, (now, tokens)
        self.speed = f"{(tokens - earlier) / (now - then):,.0f} tokens/s" if now > then and tokens > earlier else ""

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not self._measuring:
            self._measuring = True
            watcher().begin(f"{self.stage}: measuring", None)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._end_measuring()
        if self.left is not None:
            self.left.measured(more=self._measured_at == state.global_step)
        self._measured_at = state.global_step
        self._counted = (self.clock(), self.tokens())
        score = (kwargs.get("metrics") or {}).get(f"eval_{self.metric}")
        if score is not None:
            known = SCORES.get(str(self.metric))  # of several tasks it is the mean of theirs
            better = max if known is None or known.higher_is_better else min
            self.best = score if self.best is None else better(self.best, score)
            best = f" (best {self.best:.4f})" if self.best != score else ""
            self.score = f"{self.metric} {score:.4f}{best} at step {state.global_step}"

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the view away, also after a failure."""
        self._end_measuring()
        watcher().show(None)

    def _end_measuring(self) -> None:
        if self._measuring:
            self._measuring = False
            watcher().end()

    def lines(self) -> list[str]:
        """What is to be seen of the stage now."""
        first = [f"{self.stage}: {self._step()}", self._time(), self.speed]
        terms = [f"{name} {value:.4g}" for name, value in self.terms.items()]
        loss = self.loss.removeprefix(", ")
        second = f"{loss} = {' + '.join(terms)}" if loss and len(terms) > 1 else loss
        below = [f"  {each}" for each in (second, self.score) if each]
        return [", ".join(filter(None, first)), *below]

    def _step(self) -> str:
        done, steps = self.state.global_step, max(1, self.state.max_steps)
        return f"step {done} of {steps} ({100 * done // steps} %)"

    def _time(self) -> str:
        seconds = None if self.left is None else self.left.seconds()
        return "" if seconds is None else f"{as_time(seconds)} left"
