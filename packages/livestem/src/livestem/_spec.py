"""The short text that names an algorithm on the command line.

    [LABEL=]NAME[:KEY=VALUE[,KEY=VALUE…]]

Values are Python literals (``20``, ``0.5``, ``(3, 4)``, ``True``, ``None``, ``inf``); anything else is
text.  Commas inside brackets and quotes do not separate.  `AlgorithmSpec.parse` and ``str()`` are
inverse to each other.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from arraystream import load_plugin

from ._errors import SpecError

GROUP = "udf_core.udfs"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPEN, _CLOSE = "([{", ")]}"
_NUMBERS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


@dataclass(frozen=True)
class AlgorithmSpec:
    """One algorithm with its parameters.

    Parameters
    ----------
    name
        Name in the entry-point group ``udf_core.udfs``.
    parameters
        Keyword arguments of the algorithm.
    label
        What its results are called in files and titles.

    Examples
    --------
    >>> spec = AlgorithmSpec.parse("adf=ring:inner=20,outer=60")
    >>> spec.label, spec.name, spec.parameters
    ('adf', 'ring', {'inner': 20, 'outer': 60})
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name)
        for noun, word in (("name", self.name), ("label", self.label)):
            if not _NAME.fullmatch(word):
                raise SpecError(
                    f"{word!r} can't be the {noun} of an algorithm: letters, digits, '_', '-' and '.' only, "
                    "a letter first"
                )

    @classmethod
    def parse(cls, text: str) -> AlgorithmSpec:
        """Read ``[LABEL=]NAME[:KEY=VALUE,…]``.

        Parameters
        ----------
        text
            As typed.

        Raises
        ------
        SpecError
            If the text is something else; names the part that is wrong.
        """
        head, colon, tail = text.partition(":")
        label, equals, name = head.rpartition("=")
        if equals and not label.strip():
            raise SpecError(f"{text!r} has nothing before '='; write LABEL=NAME or just NAME")
        if not name.strip():
            raise SpecError(f"{text!r} names no algorithm; write NAME or NAME:KEY=VALUE,…")
        parameters: dict[str, Any] = {}
        for part in _split(tail) if colon else ():
            key, equals, value = (word.strip() for word in part.partition("="))
            if not equals or not _KEY.fullmatch(key) or not value:
                raise SpecError(f"{part.strip()!r} in {text!r} is not KEY=VALUE")
            if key in parameters:
                raise SpecError(f"{key!r} is given twice in {text!r}")
            parameters[key] = _value(value)
        return cls(name.strip(), parameters, label.strip())

    def __str__(self) -> str:
        label = "" if self.label == self.name else f"{self.label}="
        parameters = ",".join(f"{key}={value!r}" for key, value in self.parameters.items())
        return f"{label}{self.name}{':' if parameters else ''}{parameters}"

    def build(self) -> Any:
        """Make the algorithm.

        Raises
        ------
        PluginError
            If no algorithm of that name is installed; the text lists those that are.
        SpecError
            If the parameters do not fit; the text lists those that there are.
        """
        make = maker(load_plugin(GROUP, self.name))
        known, open_ended = accepted_parameters(make)
        unknown = [key for key in self.parameters if key not in known]
        if unknown and not open_ended:
            there_are = ", ".join(known) or "none"
            raise SpecError(f"{self.name!r} has no parameter {unknown[0]!r}; there are: {there_are}")
        try:
            return make(**self.parameters)
        except (TypeError, ValueError) as error:
            raise SpecError(f"{self}: {error}") from error


def maker(algorithm: Any) -> Any:
    """Return what is called with single keywords: ``with_params`` if the class has it, else the class.

    Parameters
    ----------
    algorithm
        A UDF class.
    """
    return getattr(algorithm, "with_params", algorithm)


def accepted_parameters(algorithm: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the keywords an algorithm takes, and whether it takes any others.

    Parameters
    ----------
    algorithm
        A class or function.
    """
    try:
        signature = inspect.signature(algorithm)
    except (TypeError, ValueError):
        return {}, True
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {name: parameter for name, parameter in signature.parameters.items() if parameter.kind in kinds}
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    return known, open_ended


def unique_labels(specs: list[AlgorithmSpec]) -> list[AlgorithmSpec]:
    """Number the labels that occur more than once: ``ring``, ``ring-2`` and so on.

    Parameters
    ----------
    specs
        In the order given.
    """
    taken: set[str] = set()
    unique = []
    for spec in specs:
        label, number = spec.label, 1
        while label in taken:
            number += 1
            label = f"{spec.label}-{number}"
        taken.add(label)
        unique.append(AlgorithmSpec(spec.name, spec.parameters, label))
    return unique


def _split(text: str) -> Iterator[str]:
    """Split at commas that are outside of brackets and quotes."""
    depth, quote, start, escaped = 0, "", 0, False
    for position, character in enumerate(text):
        if quote:
            closes = character == quote and not escaped
            escaped = character == "\\" and not escaped
            quote = "" if closes else quote
        elif character in "'\"":
            quote = character
        elif character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:position]
            start = position + 1
    yield text[start:]


def _value(text: str) -> Any:
    if text in _NUMBERS:
        return _NUMBERS[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
