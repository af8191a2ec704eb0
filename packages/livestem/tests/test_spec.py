"""The short text that names an algorithm."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livestem import AlgorithmSpec, SpecError
from livestem._spec import accepted_parameters, unique_labels

names = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,12}", fullmatch=True)
keys = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
values = plain | st.lists(st.integers(), max_size=3) | st.tuples(st.integers(), st.text(max_size=5))
specs = st.builds(AlgorithmSpec, names, st.dictionaries(keys, values, max_size=4), names)


@given(specs)
def test_text_and_spec_are_inverse(spec: AlgorithmSpec) -> None:
    assert AlgorithmSpec.parse(str(spec)) == spec


@given(st.text(max_size=40))
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    try:
        spec = AlgorithmSpec.parse(text)
    except SpecError:
        return
    assert spec.name


@pytest.mark.parametrize(
    ("text", "name", "parameters", "label"),
    [
        ("sum", "sum", {}, "sum"),
        ("ring:inner=20,outer=60", "ring", {"inner": 20, "outer": 60}, "ring"),
        ("adf=ring:inner=20.5", "ring", {"inner": 20.5}, "adf"),
        ("com:r=inf,flip_y=True", "com", {"r": math.inf, "flip_y": True}, "com"),
        ("disk:centre=(3, 4),label=a b", "disk", {"centre": (3, 4), "label": "a b"}, "disk"),
        ("x:text='a,b=c'", "x", {"text": "a,b=c"}, "x"),
        (" com : cy = 8 ", "com", {"cy": 8}, "com"),
        ("com:rotation=-12.5", "com", {"rotation": -12.5}, "com"),
    ],
)
def test_what_one_types_is_what_one_gets(
    text: str, name: str, parameters: dict[str, Any], label: str
) -> None:
    assert AlgorithmSpec.parse(text) == AlgorithmSpec(name, parameters, label)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no algorithm"),
        ("=sum", "nothing before"),
        ("sum:", "is not KEY=VALUE"),
        ("sum:5", "'5' in 'sum:5' is not KEY=VALUE"),
        ("sum:a=", "is not KEY=VALUE"),
        ("sum:a=1,a=2", "'a' is given twice"),
        ("a/b=sum", "can't be the label"),
        ("../sum", "can't be the name"),
    ],
)
def test_what_is_wrong_is_named(text: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        AlgorithmSpec.parse(text)


def test_labels_become_unique() -> None:
    labels = [
        spec.label
        for spec in unique_labels([AlgorithmSpec.parse(t) for t in ("ring", "ring", "a=ring", "ring")])
    ]

    assert labels == ["ring", "ring-2", "a", "ring-3"]


def test_parameters_of_an_algorithm_are_its_keywords() -> None:
    def algorithm(inner: float, outer: float = 5, *, centre: Any = None) -> None: ...

    def any_keywords(**kwargs: Any) -> None: ...

    assert list(accepted_parameters(algorithm)[0]) == ["inner", "outer", "centre"]
    assert accepted_parameters(any_keywords) == ({}, True)


def test_unknown_algorithm_lists_those_that_exist() -> None:
    with pytest.raises(LookupError, match="sum"):
        AlgorithmSpec("hologram").build()


def test_unknown_parameter_lists_those_that_exist() -> None:
    with pytest.raises(SpecError, match=r"'ring' has no parameter 'colour'; there are: .*inner"):
        AlgorithmSpec.parse("ring:colour=3").build()
