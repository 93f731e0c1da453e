"""Each command leaves the process as it was for the next test."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    logger = logging.getLogger("distilnlp")
    before = list(logger.handlers)
    yield
    logger.handlers[:] = before
