"""What scaling.py measures, in a process of its own: ``data FILE`` (read, tokenise, train) or ``train ROWS``."""

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._harness import answer, make_student, make_teacher, make_tokenizer, rss_mb, set_up

MAX_LENGTH = 128
WARM_UP = 3  # steps that are not counted: the first ones allocate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("data", "train"))
    parser.add_argument("source", help="data: the file; train: rows of the harness's data")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True, help="of one process")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    set_up(arguments.threads)
    (data if arguments.what == "data" else train)(arguments)


def data(arguments: argparse.Namespace) -> None:
    """Seconds for reading, tokenising and ordering all rows; then of some steps; the peak of the memory.

    The steps are on the first rows in their order, which are the same whatever the size.
    """
    from distilnlp import load_task
    from distilnlp.data import LengthBucketSampler, tokenize
    from distilnlp.data.inspect import token_lengths

    path, tokenizer = Path(arguments.source), make_tokenizer()
    held_out = path.parent / f"validation{path.suffix}"
    tokenize(load_task(held_out, validation=held_out).train, tokenizer, MAX_LENGTH)  # what happens once only
    before, times = rss_mb(), [time.perf_counter()]
    task = load_task(path, validation=held_out)
    times.append(time.perf_counter())
    tokens = tokenize(task.train, tokenizer, MAX_LENGTH)
    times.append(time.perf_counter())
    sampler = LengthBucketSampler(token_lengths(tokens), arguments.batch_size)
    read = sum(len(tokens[row]["input_ids"]) for row in sampler)
    times.append(time.perf_counter())
    seconds = [end - start for start, end in itertools.pairwise(times)]
    grown = rss_mb("VmHWM") - before
    answer(
        rows=len(tokens),
        tokens=read,
        read_s=seconds[0],
        tokenise_s=seconds[1],
        sample_s=seconds[2],
        data_mb=grown,
        **_steps(task, tokens, arguments),
        peak_mb=rss_mb("VmHWM"),
    )


def train(arguments: argparse.Namespace) -> None:
    """Examples a second over all processes; the first one answers."""
    from distilnlp.data import tokenize

    task = _task(int(arguments.source))
    tokens = tokenize(task.train, make_tokenizer(), MAX_LENGTH)
    figures = _steps(task, tokens, arguments)
    if figures.pop("first"):
        answer(**figures)


def _task(rows: int) -> Any:
    from benchmarks._harness import load_data

    return load_data(rows)


def _steps(task: Any, tokens: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    from transformers import PrinterCallback, TrainerCallback, TrainingArguments

    from distilnlp import DistillationTrainer
    from distilnlp.teachers import CacheSettings

    teacher = make_teacher(task)
    starts: list[float] = []

    class _Clock(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            starts.append(time.perf_counter())

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            starts.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        trainer = DistillationTrainer(
            model=make_student(teacher),
            teacher=teacher,
            args=TrainingArguments(
                folder,
                per_device_train_batch_size=arguments.batch_size,
                max_steps=WARM_UP + arguments.steps,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                train_sampling_strategy="sequential",
                use_cpu=True,
                disable_tqdm=True,
            ),
            train_dataset=tokens,
            processing_class=make_tokenizer(),
            cache=CacheSettings(use="never"),  # every step with its teacher pass, however often the rows come
            callbacks=[_Clock()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    seconds = starts[-1] - starts[WARM_UP]
    seen = arguments.steps * arguments.batch_size * trainer.accelerator.num_processes
    first = trainer.is_world_process_zero()
    return {
        "first": first,
        "processes": trainer.accelerator.num_processes,
        "step_s": seconds / arguments.steps,
        "examples_per_s": seen / seconds,
    }


if __name__ == "__main__":
    main()
