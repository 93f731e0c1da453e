"""Objects by name and settings: what a user may say, and how a slip is told."""

import pytest

from distilnlp.errors import RequestError
from distilnlp.registry import Registry
from distilnlp.typed import typed

SHAPES: Registry[object] = Registry("shape")


@SHAPES.register("circle")
class Circle:
    @typed
    def __init__(self, of: str = "air", /, radius: float = 1.0, *, filled: bool = False) -> None:
        if radius <= 0:
            raise RequestError("radius lies above 0", key=["radius"])
        self.said = (of, radius, filled)


@SHAPES.register("square")
class Square:
    @typed
    def __init__(self, side: float) -> None:
        self.side = side


def test_what_a_class_can_be_set_to_is_what_its_constructor_takes_by_name() -> None:
    assert SHAPES.names() == ["circle", "square"]
    assert SHAPES.settings("circle") == ["radius", "filled"]  # what is given by position is not the user's to set
    made = SHAPES.make("circle", {"radius": 2}, "wood")
    assert isinstance(made, Circle) and made.said == ("wood", 2, False)


@pytest.mark.parametrize(
    ("name", "settings", "told", "key"),
    [
        ("cirle", {}, "unknown shape 'cirle': did you mean 'circle'?", ()),
        ("circle", {"radios": 1.0}, "circle has no setting 'radios': did you mean 'radius'?", ("radios",)),
        ("circle", {"of": "wood"}, "circle has no setting 'of'", ("of",)),
        ("circle", {"radius": "2"}, "radius is '2', of type str: give float", ("radius",)),
        ("circle", {"radius": -1.0}, "radius lies above 0", ("radius",)),
        ("square", {}, "square needs the setting 'side'", ()),
    ],
)
def test_a_slip_is_told_with_the_setting_that_it_is_about(
    name: str, settings: dict[str, object], told: str, key: tuple[str, ...]
) -> None:
    with pytest.raises(RequestError) as error:
        SHAPES.make(name, settings)
    assert told in str(error.value)
    assert error.value.key == key


def test_a_name_never_changes_its_meaning() -> None:
    with pytest.raises(ValueError, match="the shape 'circle' is taken"):
        SHAPES.register("circle")(Square)
    assert SHAPES.register("circle")(Circle) is Circle  # a notebook's cell run twice
