"""Several processes for one command: what is refused at once, and accelerate's launcher behind ``--processes``."""

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from distilnlp.cli._errors import GOES_ON
from distilnlp.errors import RequestError

if TYPE_CHECKING:
    from distilnlp.recipe import Recipe

__all__ = ["check_can_launch", "check_launched", "run_in_processes"]

# What accelerate's launcher leaves for the processes that it starts.
_SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config",
}


def check_launched() -> None:
    """Refuse to be one of the processes of a launcher that shards models, before anything is loaded.

    Raises:
        RequestError: FSDP, DeepSpeed, Megatron-LM, tensor or context parallelism.
    """
    used = [name for variable, name in _SHARDING.items() if os.environ.get(variable, "").lower() == "true"]
    if used:
        raise RequestError(
            f"accelerate was told to use {used[0]}, which shards parameters that capture and projections need whole,"
            " and an encoder that has to be distilled fits on one device: use --processes, or 'accelerate launch"
            " --multi_gpu'"
        )


def check_can_launch() -> None:
    """Raise RequestError in a process that a launcher has started already."""
    if "LOCAL_RANK" in os.environ:
        raise RequestError("--processes starts the launcher that has started this process: leave out one of the two")


def run_in_processes(
    recipe: "Recipe", count: int, folder: Path, *, fresh: bool = False, stages: str | None = None
) -> int:
    """Run a recipe in several processes of this machine, as `accelerate launch --multi_gpu` does.

    Args:
        recipe: checked, so that what is wrong with it is said once.
        count: of the processes, 2 or more: one for each GPU, or so many on the CPU where there is none.
        folder, fresh, stages: as for `distilnlp.run.run_recipe`.
    Returns:
        the exit status of the first process that failed; 0 without any.
    Raises:
        RequestError: fewer GPUs than processes.
    """
    import torch

    gpus = torch.cuda.device_count()
    if 0 < gpus < count:
        raise RequestError(f"--processes {count}, and there are {gpus} GPUs: give {gpus} at most")
    # Otherwise each would have one, with a warning that is not for who has asked for processes.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // count)))
    with tempfile.TemporaryDirectory(prefix="distilnlp-") as place:
        file = Path(place) / f"{recipe.name}.yaml"
        file.write_text(recipe.to_yaml(), encoding="utf-8")
        words = ["run", str(file), "--output", str(folder)]
        words += ["--fresh"] if fresh else []
        words += [] if stages is None else ["--stages", stages]
        return _launch(count, words)


def _launch(count: int, words: list[str]) -> int:
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # Port 0: any that is free. `--multi_gpu` is its word for several processes, on the CPU too.
    launcher = ["--multi_gpu", "--num_processes", str(count), "--num_machines", "1", "--main_process_port", "0"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--module"]
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # it repeats what the processes say
    try:
        launch_command(launch_command_parser().parse_args([*launcher, "distilnlp", *words]))
    except ChildFailedError as error:  # each has said what was wrong
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except SignalException as error:
        print(f"distilnlp: stopped; {GOES_ON}", file=sys.stderr)
        return 128 + error.sigval
    return 0
