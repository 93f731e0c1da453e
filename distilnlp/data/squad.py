"""Files of questions as SQuAD has them: articles of paragraphs, each with its questions."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distilnlp.errors import RequestError

__all__ = ["LOOK", "looks_nested", "questions_of"]

LOOK = 1 << 16  # characters at the beginning of a file that tell its form


def looks_nested(start: str) -> bool:
    """Whether a JSON file that begins so may be one of articles, and is worth to be parsed whole."""
    return start.lstrip().startswith("{") and '"data"' in start and '"paragraphs"' in start


def questions_of(parsed: object, path: Path) -> list[dict[str, Any]] | None:
    """The questions of a parsed file, each an object with ``id, title, question, context, answers``; None of another.

    The answers are ``{text: [...], answer_start: [...]}``, as the Hub's data sets have them; empty where the question
    is marked as impossible.

    Raises:
        RequestError: a part that is not there, or is of another type, with its place in the file.
    """
    articles = parsed.get("data") if isinstance(parsed, Mapping) else None
    nested = isinstance(articles, list) and any(
        isinstance(each, Mapping) and "paragraphs" in each for each in articles
    )
    if not nested or not isinstance(articles, list):
        return None
    return list(_questions(articles, path))


def _questions(articles: list[Any], path: Path) -> Iterator[dict[str, Any]]:
    for i, article in enumerate(articles):
        here = f"data[{i}]"
        for j, paragraph in enumerate(_part(article, "paragraphs", list, path, here)):
            there = f"{here}.paragraphs[{j}]"
            context = _part(paragraph, "context", str, path, there)
            for k, asked in enumerate(_part(paragraph, "qas", list, path, there)):
                where = f"{there}.qas[{k}]"
                question = _part(asked, "question", str, path, where)
                impossible = asked.get("is_impossible", False)
                if not isinstance(impossible, bool):
                    raise RequestError(f"{path}: {where}.is_impossible is {impossible!r:.40}: true or false is needed")
                if "is_impossible" in asked and not impossible and asked.get("answers") == []:
                    raise RequestError(
                        f"{path}: {where} has no answers and is_impossible is false: give its answer, or say"
                        " is_impossible: true where it has none"
                    )
                given = [] if impossible else _part(asked, "answers", list, path, where)
                yield {
                    "id": str(asked.get("id", "")),
                    "title": str(article.get("title", "")),
                    "question": question,
                    "context": context,
                    "answers": {
                        key: [_part(each, key, kind, path, f"{where}.answers[{n}]") for n, each in enumerate(given)]
                        for key, kind in (("text", str), ("answer_start", int))
                    },
                }


def _part(whole: object, key: str, kind: type, path: Path, where: str) -> Any:
    value = whole.get(key) if isinstance(whole, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        found = "is missing" if value is None else f"is a {type(value).__name__}"
        raise RequestError(f"{path}: {where}.{key} {found}: a {_WORDS[kind]} is needed")
    return value


_WORDS = {list: "list", str: "text", int: "whole number"}
