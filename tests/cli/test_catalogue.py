"""The losses as they are listed without being imported are those that there are."""

import dataclasses
import inspect
import re

from distilnlp.cli._catalogue import shipped_losses
from distilnlp.losses import list_losses, loss_class


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
