"""Options as people type them out of habit: others' words for ours, underscores for hyphens, and a file of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from distilnlp.errors import RequestError, nearest

__all__ = ["HABITS", "Habit", "HabitCommand", "Known", "options_from_file"]


@dataclass(frozen=True)
class Habit:
    """What another library calls an option of ours.

    Args:
        meant: our options; a command's first one of them is meant. In capitals the argument of a command with one.
        value: what ours is given, of a habit that is a switch.
    """

    meant: tuple[str, ...]
    value: str | None = None


# By the words of transformers' example scripts, TRL and torchrun. docs/cli.md has the same table.
HABITS = {
    "--model-name-or-path": Habit(("--model", "--student")),
    "--student-model": Habit(("--student",)),
    "--teacher-model": Habit(("--teacher",)),
    "--teacher-model-name-or-path": Habit(("--teacher",)),
    "--dataset-name": Habit(("TASK",)),
    "--task-name": Habit(("TASK",)),
    "--train-file": Habit(("TASK",)),
    "--validation-file": Habit(("--validation",)),
    "--text-column-name": Habit(("--text",)),
    "--label-column-name": Habit(("--label",)),
    "--num-train-epochs": Habit(("--epochs",)),
    "--per-device-train-batch-size": Habit(("--batch-size",)),
    "--lr": Habit(("--learning-rate",)),
    "--max-seq-length": Habit(("--max-length",)),
    "--bf16": Habit(("--precision",), "bf16"),
    "--fp16": Habit(("--precision",), "fp16"),
    "--use-peft": Habit(("--lora",)),
    "--output-dir": Habit(("--output",)),
    "--overwrite-output-dir": Habit(("--fresh",)),
    "--num-processes": Habit(("--processes",)),
    "--nproc-per-node": Habit(("--processes",)),
}
_YES_NO = {"true": True, "false": False}


class HabitCommand(TyperCommand):
    """A command whose options may be given by the names of `HABITS`, and with underscores."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # the type of a context is another in each Typer
        """As inherited, with our names in place of others'.

        Raises:
            RequestError: one option is given by two of its names.
        """
        return super().parse_args(ctx, args if ctx.resilient_parsing else Known.of(self.params).in_our_words(args))


@dataclass(frozen=True)
class Known:
    """What a command takes.

    Args:
        options: its options by each of their names, ``--output`` and ``-o``.
        arguments: what it takes without a name, by what its help calls them.
    """

    options: Mapping[str, Any]
    arguments: Mapping[str, Any]

    @classmethod
    def of(cls, parameters: Sequence[Any]) -> "Known":
        """Of a command's parameters."""
        named = [each for each in parameters if each.param_type_name == "option"]
        others = [each for each in parameters if each.param_type_name == "argument"]
        return cls(
            {name: each for each in named for name in (*each.opts, *each.secondary_opts)},
            {str(each.metavar or each.name).upper(): each for each in others},
        )

    def meant(self, said: str) -> tuple[str, str | None] | None:
        """Our name of what is called ``--other_name``, and the value it stands for; None for nothing of ours."""
        if said in self.options:
            return said, None
        hyphens = f"--{said[2:].replace('_', '-')}"
        if hyphens in self.options:
            return hyphens, None
        habit = HABITS.get(hyphens, Habit(()))
        for name in habit.meant:
            if name in self.options or (name in self.arguments and len(self.arguments) == 1):
                return name, habit.value
        return None

    def parameter(self, name: str) -> Any:
        """The parameter of one of our names."""
        return self.options[name] if name in self.options else self.arguments[name]

    def in_our_words(self, words: Sequence[str]) -> list[str]:
        """A command line with our names.

        Raises:
            RequestError: one option is given by two of its names, of which at least one is not ours.
        """
        ours: list[str] = []
        said: dict[str, str] = {}
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                return [*ours, word, *rest]
            long = word.startswith("--")
            name, equals, value = word.partition("=") if long else (word[:2], "", word[2:])
            found = self.meant(name) if long else (name, None) if name in self.options else None
            if found is None:  # an argument, or an option that the parser will refuse
                ours.append(word)
                continue
            if name == found[0]:
                self._note(name, found[0], said)
                ours.append(word)
                takes_next = not (self.options[name].is_flag or equals or (not long and value))
                ours += [rest.pop(0)] if takes_next and rest else []
                continue
            own, stands_for = found
            switch = stands_for is not None or (own in self.options and self.options[own].is_flag)
            if switch:  # transformers' own take a word behind them
                told = value if equals else rest.pop(0) if rest and rest[0].lower() in _YES_NO else "true"
                if told.lower() not in _YES_NO:
                    raise RequestError(f"{name} is {told}: true or false is needed, or nothing behind it")
                if _YES_NO[told.lower()]:
                    self._note(name, own, said)
                    ours += [own] if stands_for is None else [own, stands_for]
                continue
            self._note(name, own, said)
            if not equals and rest:
                value = rest.pop(0)
            elif not equals:
                raise RequestError(f"{name} is the last word, and its value is missing (see --help)")
            ours += [own, value] if own in self.options else [value]
        return ours

    def _note(self, name: str, own: str, said: dict[str, str]) -> None:
        key = self.parameter(own).name
        before = said.setdefault(key, name)
        if before != name and not {before, name} <= self.options.keys():
            raise RequestError(f"{before} and {name} are one option: give it once")


def options_from_file(context: typer.Context, file: Path | None) -> None:
    """Let a YAML file say what the command line does not (``--config``); names are those that can be typed.

    Args:
        context: of a command, which looks there for its options before it takes their defaults.
        file: option -> value; a list for an option that may be repeated.
    Raises:
        RequestError: not readable, an unknown option (with the nearest match), a value that no option can have, an
            option by two names; with the line.
    """
    if file is None or context.resilient_parsing:
        return
    from distilnlp.yaml_text import read_yaml

    try:
        values, places = read_yaml(file.read_text(encoding="utf-8"), file.name)
    except UnicodeDecodeError as error:
        raise RequestError(f"--config {file}: not UTF-8 text (byte {error.start}); a YAML file is needed") from error
    except OSError as error:
        raise RequestError(f"--config {file} cannot be read: {error.strerror}") from error
    if not isinstance(values, dict):
        raise RequestError(f"--config {file}: options and their values are needed, like 'epochs: 3'")
    known = Known.of(context.command.params)
    given: dict[str, Any] = {}
    said: dict[str, str] = {}
    for key, value in values.items():
        place = places[(key,)]
        found = known.meant(f"--{key}")
        if found is None and key.upper() in known.arguments:
            found = (key.upper(), None)
        if found is None or found[0] == "--config":
            names = [name.removeprefix("--").replace("-", "_") for name in known.options if name.startswith("--")]
            match = nearest(key, [*names, *map(str.lower, known.arguments)])
            hint = f"did you mean '{match}'?" if match else f"see distilnlp {context.command.name} --help"
            raise RequestError(f"{place}: unknown option '{key}' of {context.command.name}: {hint}")
        parameter = known.parameter(found[0])
        if value is False and found[1] is not None:  # as fp16: false beside bf16: true, which says nothing
            continue
        if (before := said.setdefault(parameter.name, key)) != key:
            raise RequestError(f"{place}: {before} and {key} are one option: give it once")
        given[parameter.name] = _value(key, value, found[1], parameter, place)
    context.default_map = {name: value for name, value in given.items() if value is not None}


def _value(key: str, value: Any, stands_for: str | None, parameter: Any, place: str) -> Any:
    """The value of an option as the parser takes it."""
    if value is None:
        return None
    if stands_for is not None or getattr(parameter, "is_flag", False):
        if not isinstance(value, bool):
            raise RequestError(f"{place}: {key} is {value!r}: true or false is needed")
        return value if stands_for is None else stands_for
    several = parameter.multiple if parameter.param_type_name == "option" else False
    listed = value if isinstance(value, list) else [value]
    if any(isinstance(each, bool | list | dict | None) for each in listed) or (
        isinstance(value, list) and not several
    ):
        needed = "a value or a list of them" if several else "one value"
        raise RequestError(f"{place}: {key} is {value!r}: {needed} is needed")
    return [str(each) for each in listed] if several else str(value)
