"""An error knows what it is about, so that nobody has to read its text to find the place."""

import pickle

from distilnlp.errors import DistilError, RequestError, RunError, nearest, unknown


def test_a_key_is_seen_from_further_out_at_every_hand() -> None:
    error = RequestError("temperature must be positive", key=["temperature"])
    outer = error.under("soft_target").under("stages", "student", "objective")
    assert outer.key == ("stages", "student", "objective", "soft_target", "temperature")
    assert str(outer) == str(error)
    assert error.key == ("temperature",)
    assert RequestError("as a whole").key == ()


def test_an_error_survives_the_way_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(RequestError("no", key=["a", 1])))
    assert (str(error), error.key, error.exit_status) == ("no", ("a", 1), 2)


def test_a_name_that_is_unknown_gets_the_nearest_and_all_that_is_accepted() -> None:
    error = unknown("task", "mrcp", ["mrpc", "rte"], key=["task"])
    assert str(error) == "unknown task 'mrcp': did you mean 'mrpc'? accepted: mrpc, rte"
    assert error.key == ("task",)
    assert nearest("zzz", ["mrpc"]) is None


def test_the_exit_status_says_whose_fault_it_is() -> None:
    assert (RequestError("").exit_status, RunError("").exit_status) == (2, 1)
    for error, usual in ((RequestError, ValueError), (RunError, RuntimeError)):
        assert issubclass(error, DistilError)
        assert issubclass(error, usual)


def test_no_error_quotes_a_secret() -> None:
    token = "hf_" + "aB3" * 12
    for kind in (RequestError, RunError):
        said = str(kind(f"http://ada:s3cret@host/ does not take {token}"))
        assert said == "http://(removed)@host/ does not take (removed)"
