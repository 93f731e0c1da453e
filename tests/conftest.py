"""What holds for every test: no network, no cache or token of the user's, seeded, one thread under xdist."""

import gc
import logging
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

# Read once by huggingface_hub and by OpenMP when they load, so set before anything imports them. The workers of xdist
# inherit the folder of the process that started them, which removes it.
if "PYTEST_XDIST_WORKER" not in os.environ:
    HF_HOME = tempfile.TemporaryDirectory(prefix="distilnlp-tests-")
    os.environ["HF_HOME"] = HF_HOME.name
else:
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_ENDPOINT"):
    os.environ.pop(name, None)

import hypothesis
import numpy as np
import pytest
import torch

from tests.savings import save_time

GLUE_DIR = os.environ.get("DISTILNLP_DATA_DIR")
MORE_DIR = os.environ.get("DISTILNLP_MORE_DIR")
SLOW = 3  # seconds that a slow test takes, where its mark says no more
HOST_OF = {  # audit event -> where among its arguments the host is
    "socket.connect": lambda args: args[1],
    "socket.sendto": lambda args: args[1],
    "socket.getaddrinfo": lambda args: args[0],
}

hypothesis.settings.register_profile("distilnlp", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("distilnlp")

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that no process is left with one of them when the rest is done."""
    seconds: Counter[Path] = Counter()
    for item in items:
        marked = item.get_closest_marker("slow")
        if marked is not None:
            seconds[item.path] += marked.args[0] if marked.args else SLOW
    items.sort(key=lambda item: -seconds[item.path])


def pytest_collection_finish() -> None:
    """Take from each test what it need not pay for; runs end without their page too, unless a recipe names it."""
    from distilnlp.run import runner

    save_time()
    show = runner.show_run

    def show_where_asked(plan: Any, *rest: Any) -> None:
        if "html" in plan.recipe.report.model_fields_set:
            show(plan, *rest)

    runner.show_run = show_where_asked


@pytest.fixture(scope="module", autouse=True)
def freeze_what_is_loaded() -> None:
    """The garbage collector, which each training calls, takes a second to look through all libraries and tests."""
    gc.collect()
    gc.freeze()


class NetworkUsed(RuntimeError):
    """A test tried to leave this machine.

    Not an OSError: code that falls back on something when the network is down must not hide it.
    """


def is_local(address: object) -> bool:
    """Whether an address, as given to the socket module, is this machine's own."""
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, bytes):
        host = host.decode()
    if not isinstance(host, str) or host.startswith(("/", "\0")):
        return True  # None (any interface) or the path of a unix socket
    return host in {"", "localhost", "::1", "0.0.0.0"} or host.startswith("127.")


def refuse_network(event: str, args: tuple[object, ...]) -> None:
    """An audit hook: it sees every connection of this process, whichever library and thread makes it."""
    if event in HOST_OF and not is_local(HOST_OF[event](args)):
        raise NetworkUsed(f"tests must not use the network: {event} to {HOST_OF[event](args)}")


sys.addaudithook(refuse_network)


@pytest.fixture(autouse=True)
def _same_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random numbers, data folder and log handlers as they are at the start, in whichever order tests run."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    monkeypatch.delenv("DISTILNLP_DATA_DIR", raising=False)
    # The command line, run inside the test process, shows our warnings on the screen from then on.
    monkeypatch.setattr(logging.getLogger("distilnlp"), "handlers", [])


@pytest.fixture(scope="session")
def glue_dir() -> Path:
    """The folder with the full GLUE sets; they may not be redistributed, so the test needs them from outside."""
    if GLUE_DIR is None:
        pytest.skip("DISTILNLP_DATA_DIR names no folder with the GLUE sets")
    return Path(GLUE_DIR)


@pytest.fixture(scope="session")
def more_dir() -> Path:
    """The folder with further real data sets, ``<name>/train.parquet`` and ``validation.parquet``; as `glue_dir`."""
    if MORE_DIR is None:
        pytest.skip("DISTILNLP_MORE_DIR names no folder with further data sets")
    return Path(MORE_DIR)
