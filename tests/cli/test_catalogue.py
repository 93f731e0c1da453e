"""The losses as they are listed without being imported are those that there are."""

import dataclasses
import inspect
import re

import pytest
import yaml

from distilnlp.cli import main
from distilnlp.cli._catalogue import shipped_losses
from distilnlp.losses import Objective, get_loss, list_losses, loss_class


def test_the_catalogue_is_the_registry() -> None:
    losses = shipped_losses()
    assert list(losses) == [name for name in list_losses() if loss_class(name).__module__.startswith("distilnlp.")]
    for name, entry in losses.items():
        assert entry.doc == inspect.getdoc(loss_class(name))
        fields = [field.name for field in dataclasses.fields(loss_class(name)) if field.init]
        assert re.findall(r"(?:\(|, )(\w+): ", entry.signature) == fields


def test_a_setting_stands_there_as_it_is_written() -> None:
    assert shipped_losses()["soft_target"].signature == "(temperature: float = 2.0)"
    assert shipped_losses()["hard_label"].signature == "()"


@pytest.mark.parametrize("name", shipped_losses())
def test_the_snippet_of_a_loss_makes_that_loss_with_its_defaults(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is copied into a recipe: it has to be YAML that means the loss, with every setting in sight."""
    assert main(["losses", name]) == 0
    snippet = yaml.safe_load(capsys.readouterr().out.split("\nIn a recipe:\n\n")[1])
    fields = [field.name for field in dataclasses.fields(loss_class(name)) if field.init]
    assert list(snippet["objective"][name]) == ["weight", *fields]
    (term,) = Objective.from_dict(snippet["objective"])
    assert (term.weight, term.loss) == (1.0, get_loss(name))
