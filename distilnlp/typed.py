"""Arguments of public functions are checked against their type hints: a wrong type is one line, at the border."""

import functools
import inspect
import numbers
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast, get_type_hints

from distilnlp.errors import RequestError

__all__ = ["typed"]

Function = TypeVar("Function", bound=Callable[..., Any])


def typed(function: Function) -> Function:
    """Decorator: raise RequestError for an argument that is not of the type that the function's signature says.

    Nothing is converted: a number in quotes is no number, and neither is True. A name that the signature does not
    have stays Python's own TypeError.
    """
    signature = inspect.signature(function)

    @functools.cache
    def adapters() -> dict[str, Any]:
        # Not when the module is loaded: the hints may name what is defined further down.
        return dict(_adapters(function))

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        from pydantic import ValidationError

        given = signature.bind(*args, **kwargs).arguments
        for name, adapter in adapters().items():
            if name not in given:
                continue
            try:
                adapter.validate_python(_plain(given[name]), strict=True)
            except ValidationError:
                shown = " ".join(repr(given[name]).split())  # a model's has many lines
                what = f"{shown:.40}, of type {type(given[name]).__name__}"
                needed = inspect.formatannotation(signature.parameters[name].annotation)
                raise RequestError(
                    f"{function.__qualname__.removesuffix('.__init__')}: {name} is {what}: give {needed}", key=[name]
                ) from None
        return function(*args, **kwargs)

    return cast("Function", checked)


def _adapters(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    for name, hint in get_type_hints(function).items():
        if name == "return":
            continue
        try:
            yield name, TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        except PydanticUserError:  # a class with settings of its own
            yield name, TypeAdapter(hint)


def _plain(value: Any) -> Any:
    """Whole and other numbers of numpy, and ranges, are as good as Python's own."""
    if isinstance(value, range):
        return list(value)
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    return value
