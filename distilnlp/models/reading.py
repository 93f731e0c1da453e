"""How a model reads texts where its kind of task leaves that open: kept in its config, so that all read alike."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

from distilnlp.errors import RequestError
from distilnlp.problems.reading import READING_FIELD

__all__ = ["reading_settings", "remember_reading"]


def remember_reading(config: PreTrainedConfig, settings: Mapping[str, Any]) -> None:
    """Put the settings into a model's config, which is saved with it as ``distilnlp_reading``; none leave it alone.

    Args:
        config: changed in place.
        settings: by name, plain values; those that are None are left out. Which there are, the kind of task says
            (`Problem.reader`).
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if given:
        config.distilnlp_reading = given


def reading_settings(config: PreTrainedConfig) -> dict[str, Any]:
    """What `remember_reading` has put into a config; empty where it was not.

    Raises:
        RequestError: something else stands there.
    """
    kept = config.to_dict().get(READING_FIELD)
    if kept is None:
        return {}
    if not isinstance(kept, Mapping):
        raise RequestError(
            f"{READING_FIELD} in the model's config is {kept!r:.60}: settings by name are needed, or nothing"
        )
    return {str(name): value for name, value in kept.items()}
