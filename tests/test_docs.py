"""What the documentation says is so: the links, recipes, code, commands, losses, tests and messages in it exist."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import typer

import distilnlp
from distilnlp.cli import app
from distilnlp.losses import base as losses_base
from distilnlp.losses import list_losses, loss_class
from distilnlp.parts import PARTS
from distilnlp.recipe import load_recipe, shipped_recipes
from distilnlp.teachers import TEACHERS
from tests.losses import test_contract
from tests.losses.cases import Case

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*DOCS, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A variable part of a message, in the code and in the docs.
HOLE = "…"


def blocks(page: Path, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(page.read_text("utf-8")) if language in languages]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


def rows(page: Path) -> Iterator[list[str]]:
    """The cells of every line of a table but its heading."""
    for line in prose(page).splitlines():
        if line.startswith("|") and not set(line) <= set("|-: "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


@cache
def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    titles = re.findall(r"^#+ (.*)", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_names_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", (ROOT / "docs" / "README.md").read_text("utf-8")))
    assert linked == {page.relative_to(ROOT / "docs").as_posix() for page in DOCS} - {"README.md"}


@every_page
def test_files_that_are_named_exist(page: Path) -> None:
    for path in re.findall(r"`((?:distilnlp|tests|tasks|docs)/[\w./-]*)", prose(page)):
        assert (ROOT / path).exists(), path


@every_page
def test_recipes_are_valid(page: Path, tmp_path: Path) -> None:
    from distilnlp.run.plan import make_plan

    for text in blocks(page, "yaml", "yml"):
        if text.startswith("# recipe") or "stages:" in text:
            (tmp_path / "recipe.yaml").write_text(text, "utf-8")
            make_plan(load_recipe(tmp_path / "recipe.yaml"))


def defined(module: str) -> set[str]:
    """The names that a module of ours offers, read from its text: importing them all would take seconds."""
    path = ROOT / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no __all__")


@every_page
def test_python_parses_and_imports_what_there_is(page: Path) -> None:
    for text in blocks(page, "python", "py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "distilnlp":
                assert {alias.name for alias in node.names} <= defined(str(node.module)), node.module


def commands(page: Path) -> Iterator[str]:
    """Everything that starts like a command of ours, in code: blocks without a language, and between backticks."""
    spans = re.findall(r"`([^`\n]+)`", prose(page))
    lines = [
        line for body in blocks(page, "", "bash", "sh", "console") for line in body.replace("\\\n", " ").splitlines()
    ]
    for code in [*spans, *lines]:
        yield from re.findall(r"(?:^|[\s/])(distilnlp [a-z][^#]*)", f" {code}")


@every_page
def test_commands_and_options_exist(page: Path) -> None:
    group = typer.main.get_command(app)
    for command in commands(page):
        words = command.replace(",", " ").split()[1:]
        assert words[0] in group.commands, command  # type: ignore[attr-defined]
        verb = group.commands[words[0]]  # type: ignore[attr-defined]
        known = {option for parameter in verb.params for option in (*parameter.opts, *parameter.secondary_opts)}
        options = {word for word in words if re.match(r"--?[a-z]", word)}
        assert options <= known | {"--help"}, command


@every_page
def test_settings_of_commands_fit_their_recipes(page: Path) -> None:
    for command in commands(page):
        words = shlex.split(command)[1:]
        if words[0] == "run" and "--set" in words:
            settings = [value for option, value in pairwise(words) if option == "--set"]
            load_recipe(words[1].removeprefix("tasks/"), settings)


def test_every_command_is_in_the_docs() -> None:
    group = typer.main.get_command(app)
    named = {command.split()[1].strip(",") for page in DOCS for command in commands(page)}
    assert set(group.commands) <= named  # type: ignore[attr-defined]


def test_the_table_of_losses_is_the_registry() -> None:
    # Other tests register losses of their own.
    ours = [name for name in list_losses() if loss_class(name).__module__.startswith("distilnlp.")]
    table = prose(ROOT / "docs" / "losses.md").split("## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == ours
    assert f"[{len(ours)} losses](docs/losses.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_tasks_is_that_of_the_code() -> None:
    from distilnlp.data.glue_table import GLUE

    table = {cells[0]: cells[1:] for cells in rows(ROOT / "docs" / "glue.md")}
    for name, info in GLUE.items():
        texts, labels, metrics = table[name]
        assert texts == ", ".join(info.text_columns)
        assert info.label_names is None or labels == ", ".join(info.label_names)
        rest = [metric for metric in info.metrics if metric != info.main_metric]
        assert metrics == ", ".join([info.main_metric, *rest])


@cache
def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_trap_has_a_row_and_tests_that_exist() -> None:
    page = ROOT / "docs" / "traps.md"
    table = [cells for cells in rows(page) if cells[0].isdigit()]
    assert [int(cells[0]) for cells in table] == list(range(1, 23))
    for number, _, _, tests in table:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
        assert named, number
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", page.read_text("utf-8")):
        assert name in functions(path), f"{path}::{name}"


@cache
def strings_of_the_package() -> tuple[str, ...]:
    """Every string in the package, implicit joins joined, with a hole for what an f-string fills in."""
    found = []
    for path in (ROOT / "distilnlp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(v.value) if isinstance(v, ast.Constant) else HOLE for v in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


@pytest.mark.slow
def test_messages_are_those_of_the_code() -> None:
    """Somebody who looks for a message on the page has to find it in the words of the program."""
    page = ROOT / "docs" / "troubleshooting.md"
    messages = [match[1] for cells in rows(page) if (match := re.match(r"`([^`]+)`", cells[0]))]
    assert len(messages) > 30
    for message in messages:
        pattern = re.compile(".*".join(re.escape(part) for part in message.split(HOLE)), re.DOTALL)
        assert any(pattern.search(text) for text in strings_of_the_package()), message


def test_the_loss_of_the_guide_runs_and_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code as it stands on the page, in one notebook; then every test that holds for each registered loss."""
    # Without it, for who has put it into the package by following the page.
    known = {name: loss for name, loss in losses_base._REGISTRY.items() if name != "logit_huber"}
    monkeypatch.setattr(losses_base, "_REGISTRY", known)
    namespace: dict[str, object] = {"__name__": "notebook"}
    page = ROOT / "docs" / "your-own-loss.md"
    cells = [text for text in blocks(page, "python") if text.startswith("# run")]
    assert len(cells) == 2
    for cell in [*cells, cells[0]]:  # a cell may be run twice
        exec(compile(cell, page.name, "exec"), namespace)  # the documentation is ours
    row = re.search(r"`(Case\([^`]*\))`", prose(page))
    assert row
    case = eval(row[1], {"Case": Case})
    checks = [
        check
        for name, check in vars(test_contract).items()
        if name.startswith("test_") and list(check.__annotations__) == ["case", "return"]
    ]
    assert len(checks) >= 10
    for check in checks:
        check(case)


def test_every_public_name_is_in_the_docs() -> None:
    text = "\n".join(page.read_text("utf-8") for page in DOCS)
    assert [name for name in distilnlp.__all__ if name not in (*re.findall(r"\w+", text), "__version__")] == []


KINDS = {"loss": list_losses, "teacher": TEACHERS.names, "part": PARTS.names, "recipe": lambda: [*shipped_recipes()]}


def test_what_the_survey_is_here_exists() -> None:
    """Losses, kinds of teachers, parts and recipes that its tables name; and every scheme stands there."""
    text = (ROOT / "docs" / "survey.md").read_text(encoding="utf-8")
    lists = re.findall(r"\b(loss|teacher|part|recipe)(?:e?s)?((?:,? ?(?:and|or)? ?`[^`]+`)+)", text)
    named = {(kind, name) for kind, names in lists for name in re.findall(r"`([^`]+)`", names)}
    assert len(named) > 60
    assert {(kind, name) for kind, name in named if name not in KINDS[kind]()} == set()
    schemes = {name for name in shipped_recipes() if name.startswith("schemes/")}
    assert schemes - {name for kind, name in named if kind == "recipe"} == set()


def test_every_scheme_is_in_the_table_of_when_to_use_it() -> None:
    when, _ = (ROOT / "docs" / "schemes.md").read_text(encoding="utf-8").split("## What came out")
    schemes = {name.removeprefix("schemes/") for name in shipped_recipes() if name.startswith("schemes/")}
    assert {name for name in schemes if f"`{name}`" not in when} == set()
