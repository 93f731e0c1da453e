"""Names of classes that recipes use, and how an object is made by name and settings."""

import inspect
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from distilnlp.errors import RequestError, nearest, unknown

__all__ = ["Registry"]

T = TypeVar("T")
Class = TypeVar("Class", bound=type)


class Registry(Generic[T]):
    """Classes by name. What a class can be set to is what its constructor takes, which is `typed`.

    Args:
        kind: what they are, for messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[Class], Class]:
        """Class decorator: put a class under ``name``.

        Raises:
            ValueError: the name is taken (a meaning never changes under a name).
        """

        def put(cls: Class) -> Class:
            taken = self._classes.get(name)
            # The same class defined again is a notebook's cell run twice.
            if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(f"the {self.kind} '{name}' is taken by {taken.__module__}.{taken.__qualname__}")
            self._classes[name] = cls
            return cls

        return put

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._classes)

    def get(self, name: str) -> type[T]:
        """The class of a name. Raises RequestError with the nearest match."""
        if name not in self._classes:
            raise unknown(self.kind, name, self.names())
        return self._classes[name]

    def settings(self, name: str) -> list[str]:
        """What a class can be set to: the names that its constructor takes by keyword.

        What it takes by position alone is not the user's to set.
        """
        taken = inspect.signature(self.get(name)).parameters.values()
        return [each.name for each in taken if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)]

    def make(self, name: str, settings: Mapping[str, object], *given: object) -> T:
        """An object of a class.

        Args:
            name: of the class.
            settings: what the user says.
            given: what the constructor takes by position alone.
        Raises:
            RequestError: an unknown name or setting (with the nearest match), or a value that it cannot be, with the
                setting as its key.
        """
        cls, accepted = self.get(name), self.settings(name)
        for key in settings:
            if key not in accepted:
                match = nearest(key, accepted)
                hint = f"did you mean '{match}'? " if match else ""
                raise RequestError(
                    f"{name} has no setting '{key}': {hint}it takes {', '.join(accepted) or 'none'}", key=[key]
                )
        missing = [
            each.name
            for each in inspect.signature(cls).parameters.values()
            if each.name in accepted and each.default is each.empty and each.name not in settings
        ]
        if missing:
            raise RequestError(f"{name} needs the setting '{missing[0]}'")
        made: Callable[..., T] = cls
        return made(*given, **settings)
