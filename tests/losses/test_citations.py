"""Where each loss was published: data on its class, from which help, the command line and the docs are written."""

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from distilnlp.losses import Citation, Loss, SoftTarget, list_losses, loss_class
from distilnlp.losses import base as losses_base
from distilnlp.recipe import load_recipe

DOCS = Path(__file__).resolve().parents[2] / "docs"
OURS = [name for name in list_losses() if loss_class(name).__module__.startswith("distilnlp.")]
every_loss = pytest.mark.parametrize("name", OURS)


@every_loss
def test_a_loss_cites_somebody_or_says_why_not(name: str) -> None:
    loss = loss_class(name)
    assert bool(loss.citations) != bool(loss.uncited)
    for citation in loss.citations:
        assert citation.authors and 1950 < citation.year < 2100
        # Nothing that a reader cannot look up: a number of arXiv, a DOI, or where it appeared and when.
        assert re.fullmatch(r"arXiv:\d{4}\.\d{5}|arXiv:\d{4}\.\d{4}|doi:10\.\S+|[A-Z]\w+ \d{4}.*", citation.id)
        assert not citation.differs or (citation.differs.endswith(".") and not citation.where.endswith("."))


def test_a_publication_is_named_in_one_way() -> None:
    named: dict[str, set[tuple[str, int, str]]] = {}
    for name in OURS:
        for each in loss_class(name).citations:
            named.setdefault(each.id, set()).add((each.authors, each.year, each.title))
    twice = {identifier: names for identifier, names in named.items() if len(names) > 1 and "arXiv" in identifier}
    assert twice == {}


@every_loss
def test_help_shows_each_citation(name: str) -> None:
    text = " ".join((inspect.getdoc(loss_class(name)) or "").split())
    assert text.count("Source: ") == 1
    assert all(" ".join(str(citation).split()) in text for citation in loss_class(name).citations)


def test_help_of_a_loss_of_ones_own_shows_its_citation_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses_base, "_REGISTRY", dict(losses_base._REGISTRY))

    @losses_base.register_loss("cited")
    @dataclass(frozen=True)
    class Cited(SoftTarget):
        """Mine."""

        citations: ClassVar[tuple[Citation, ...]] = (Citation("Me", 2026, "Mine", "arXiv:2601.00001"),)

    @losses_base.register_loss("plain")
    @dataclass(frozen=True)
    class Plain(Loss):
        """Mine too."""

    assert inspect.getdoc(Cited) == "Mine.\nSource: Me 2026, Mine, arXiv:2601.00001."
    assert inspect.getdoc(Plain) == "Mine too."


def test_the_docs_name_the_same_kinds_and_publications() -> None:
    """The last column of the table of losses is what the classes cite, in short; the second is their folder."""
    table = (DOCS / "losses.md").read_text("utf-8").partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \|.*\| ([^|]*) \|$", table, re.MULTILINE)
    assert {name: kind.replace(" ", "_") for name, kind, _ in rows} == {
        name: loss_class(name).__module__.split(".")[2] for name in OURS
    }
    shown = {name: source for name, _, source in rows}
    assert shown == {
        name: "; ".join(each.short for each in loss_class(name).citations)
        or loss_class(name).uncited.partition(";")[0]
        for name in OURS
    }


def test_a_recipe_of_a_paper_has_a_loss_that_cites_it() -> None:
    table = (DOCS / "methods.md").read_text("utf-8")
    papers = re.findall(r"^\| `([\w-]+)` \| ([^|]* \d{4}, [^|]*) \|", table, re.MULTILINE)
    assert len(papers) > 20
    for recipe, paper in papers:
        stages = load_recipe(f"methods/{recipe}.yaml").stages.values()
        used = {name for stage in stages for name in stage.objective or {}}
        assert paper in {each.short for name in used for each in loss_class(name).citations}, recipe
