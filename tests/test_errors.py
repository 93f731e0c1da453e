"""Errors name the nearest match, and carry the place that they are about."""

import pytest

from distilnlp.errors import DistilError, RequestError, RunError, nearest, unknown


def test_the_exit_status_says_whose_fault_it_is():
    assert (RequestError("").exit_status, RunError("").exit_status) == (2, 1)
    for error, usual in ((RequestError, ValueError), (RunError, RuntimeError)):
        assert issubclass(error, DistilError)
        assert issubclass(error, usual)


def test_an_unknown_name_is_answered_with_the_nearest_and_all():
    error = unknown("metric", "acuracy", ["f1", "accuracy"], key=["data"])
    assert str(error) == "unknown metric 'acuracy': did you mean 'accuracy'? accepted: f1, accuracy"
    assert error.key == ("data",)


@pytest.mark.parametrize(("name", "match"), [("acuracy", "accuracy"), ("zzz", None)])
def test_only_what_is_close_is_offered(name, match):
    assert nearest(name, ["f1", "accuracy"]) == match


def test_whoever_hands_an_error_on_puts_its_own_keys_in_front():
    error = RequestError("no", ("layers", 0)).under("stages", "student")
    assert (str(error), error.key) == ("no", ("stages", "student", "layers", 0))
