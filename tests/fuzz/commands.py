"""Arguments of every command, drawn from its own options."""

import os
import random
from pathlib import Path
from typing import Any

import typer

from distilnlp.cli import app
from tests.fuzz.answers import Case
from tests.fuzz.mutate import strange, typo

__all__ = ["strange_command"]

TRAINS = ("finetune", "distill", "run")
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def strange_command(rng: random.Random, folder: Path, data: str, model: str) -> Case:
    """A command with likely and unlikely words; what would train says what it would do."""
    name = rng.choice(sorted(COMMANDS))
    words = [name]
    for each in COMMANDS[name].params:
        if each.param_type_name == "argument":
            words += [_word(rng, each, data, model) for _ in range(rng.choice((1, 1, 1, 1, 0, 2)))]
        elif each.required or rng.random() < 0.15:
            words.append(rng.choice((*each.opts, *each.secondary_opts)))
            if not each.is_flag:
                words.append(_word(rng, each, data, model))
    if rng.random() < 0.1:
        words.insert(rng.randrange(len(words) + 1), typo(rng, rng.choice(words)))
    if name in TRAINS:
        words.append("--dry-run")
    elif name == "quickstart":
        words.append("--nothing")

    def call() -> None:
        os.chdir(folder)
        app(args=words, prog_name="distilnlp", standalone_mode=False)

    return Case(f"distilnlp {' '.join(repr(word)[:80] for word in words)}", call)


def _word(rng: random.Random, parameter: Any, data: str, model: str) -> str:
    likely = [
        data,
        model,
        "out",
        "out.csv",
        "out.jsonl",
        "mrpc",
        "glue/mrpc",
        "quickstart",
        "soft_target",
        "owner/name",
    ]
    likely += ["text", "label", "the film was good", "1", "3", "0", "-1", "1e-3", "0.5", "nan", "regression", "auto"]
    likely += ["stages.student.training.seed=1", "data.max_length=32"]
    value = rng.choice(likely) if rng.random() < 0.75 else strange(rng)
    # What a shell cannot hand over is no argument.
    return str(value).replace("\x00", "\\0").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
