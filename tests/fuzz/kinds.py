"""The kinds of cases, and what all of them stand on: a small data file and a tiny model."""

import importlib
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.fuzz.answers import Answer, Case, ask
from tests.tiny import tiny_model, tiny_tokenizer

__all__ = ["KINDS_OF_CASES", "Fuzzer"]

LABELS = ("good", "bad", "long")


@dataclass(frozen=True)
class Kind:
    """Where its cases are made (module and function), of every so many cases how many, and how long one may take."""

    module: str
    function: str
    share: float
    seconds: int = 20

    def make(self) -> Callable[[random.Random, Path, str, str], Case]:
        made: Callable[[random.Random, Path, str, str], Case] = getattr(
            importlib.import_module(f"tests.fuzz.{self.module}"), self.function
        )
        return made


KINDS_OF_CASES = {
    "recipe": Kind("recipes", "damaged_recipe", 25),
    "set": Kind("recipes", "damaged_setting", 20),
    "data": Kind("data", "damaged_data", 25),
    "form": Kind("forms", "damaged_form", 15),
    "folder": Kind("models", "damaged_folder", 15),
    "command": Kind("commands", "strange_command", 12),
    "training": Kind("recipes", "strange_training", 3, seconds=180),
}


class Fuzzer:
    """Makes cases out of seeds and asks them, each in a folder of its own; used in a ``with``."""

    def __enter__(self) -> "Fuzzer":
        self.folder = Path(tempfile.mkdtemp(prefix="distilnlp-fuzz-"))
        self.given = self.folder / "given"
        tiny_model("bert", layers=2, label_names=LABELS).save_pretrained(self.given / "model")
        tiny_tokenizer().save_pretrained(self.given / "model")
        rows = "".join(f"the film {row} was {LABELS[row % 3]},{LABELS[row % 3]}\n" for row in range(36))
        (self.given / "films.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def make(self, kind: str, seed: int) -> Case:
        """The case of a seed: always the same."""
        place = self.folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        # Each has its own: a command may write over what it is given.
        given = Path(shutil.copytree(self.given, place / "given"))
        make = KINDS_OF_CASES[kind].make()
        return make(random.Random(f"{kind} {seed}"), place, str(given / "films.csv"), str(given / "model"))

    def ask(self, kind: str, seed: int) -> tuple[Case, Answer]:
        """The case of a seed, and its answer."""
        case = self.make(kind, seed)
        return case, ask(case, KINDS_OF_CASES[kind].seconds)
