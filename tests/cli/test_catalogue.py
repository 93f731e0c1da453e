"""The losses as they are listed without being imported are those that there are."""

import dataclasses
import inspect
import re

import yaml

from distilnlp.cli._catalogue import shipped_losses
from distilnlp.cli.losses import snippet
from distilnlp.losses import Objective, get_loss, list_losses, loss_class


def test_the_catalogue_is_the_registry() -> None:
    losses = shipped_losses()
    assert list(losses) == [name for name in list_losses() if loss_class(name).__module__.startswith("distilnlp.")]
    for name, entry in losses.items():
        assert entry.doc == inspect.getdoc(loss_class(name))
        every = [field for field in dataclasses.fields(loss_class(name)) if field.init]
        fields = [field.name for field in sorted(every, key=lambda field: field.kw_only)]
        assert re.findall(r"(?:\(|, )(\w+): ", entry.signature) == fields


def test_a_setting_stands_there_as_it_is_written() -> None:
    shared = "class_weights: ClassWeights | None = None"
    assert shipped_losses()["soft_target"].signature == f"(temperature: float = 2.0, {shared})"
    assert shipped_losses()["margin_mse"].signature == f"({shared})"


def test_the_recipe_that_is_shown_of_a_loss_makes_it_with_its_defaults() -> None:
    for name, entry in shipped_losses().items():
        shown = yaml.safe_load(snippet(name, entry))["stages"]["student"]["objective"]
        (term,) = Objective.from_dict(shown)
        assert (term.weight, term.loss) == (1.0, get_loss(name))
