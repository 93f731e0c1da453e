"""How a model reads texts is kept in its config."""

import pytest
from transformers import BertConfig

from distilnlp.errors import RequestError
from distilnlp.models.reading import reading_settings, remember_reading


def test_what_is_remembered_is_read_back_and_nothing_is_nothing() -> None:
    config = BertConfig()
    remember_reading(config, {"stride": None})
    assert reading_settings(config) == {} and "distilnlp_reading" not in config.to_dict()
    remember_reading(config, {"stride": 8, "pieces": None})
    assert reading_settings(BertConfig.from_dict(config.to_dict())) == {"stride": 8}


def test_something_else_in_its_place_is_refused() -> None:
    with pytest.raises(RequestError, match="distilnlp_reading in the model's config is 'all': settings by name"):
        reading_settings(BertConfig(distilnlp_reading="all"))
