"""Arrays and parameters as JSON: what is right survives the way there and back, all else is refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from arraystream import LimitError, ProtocolError
from detector_dectris._simplon_values import Parameter, decode_array, encode_array

GOOD = encode_array(np.arange(6, dtype=np.uint32).reshape(2, 3))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(
    st.sampled_from(["u1", "<u2", ">u4", "<f4", ">f8", "i4"]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 2**31),
)
def test_array_survives_the_way_there_and_back(dtype: str, rows: int, columns: int, seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 100, (rows, columns)).astype(dtype)
    found = decode_array(json.loads(json.dumps(encode_array(array))))
    assert_array_equal(found, array)
    assert found is not None
    assert found.dtype.isnative
    assert found.flags.writeable


@given(json_values)
def test_any_json_is_an_array_or_refused(value: Any) -> None:
    with contextlib.suppress(ProtocolError, LimitError):
        decode_array(value)


@given(st.sampled_from(sorted(GOOD)), json_values)
def test_any_wrong_field_is_refused_or_harmless(field: str, value: Any) -> None:
    try:
        found = decode_array(GOOD | {field: value})
    except (ProtocolError, LimitError):
        return
    assert found is None or found.nbytes <= 24


@given(json_values)
def test_any_json_is_a_parameter_or_refused(value: Any) -> None:
    with contextlib.suppress(ProtocolError):
        Parameter.parse(value).describe_range()


@pytest.mark.parametrize(
    ("changes", "kind", "match"),
    [
        ({"type": "<c8"}, ProtocolError, "type"),
        ({"type": "O"}, ProtocolError, "type"),
        ({"filters": ["base64", "bslz4"]}, ProtocolError, "filters"),
        ({"__darray__": [2, 0, 0]}, ProtocolError, "__darray__"),
        ({"shape": [3, 3]}, ProtocolError, "36 bytes"),
        ({"shape": [3, -2]}, ProtocolError, "shape"),
        ({"shape": [True, 6]}, ProtocolError, "shape"),
        ({"shape": [1 << 20, 1 << 20]}, LimitError, "too large"),
        ({"shape": [1 << 40]}, ProtocolError, "shape"),
        ({"data": "§"}, ProtocolError, "base64"),
        ({"data": "A" * 5000}, ProtocolError, "too long"),
        ({"data": None}, ProtocolError, "missing"),
    ],
)
def test_array_that_lies_is_refused(changes: dict[str, Any], kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        decode_array(GOOD | changes)


@pytest.mark.parametrize("rows", [[[1, 2], [3]], [["a"]], [[[1]]], [[None]], [[10**30]]])
def test_lists_that_are_no_rows_of_numbers_are_refused(rows: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        decode_array(rows)


def test_line_breaks_in_base64_are_allowed() -> None:
    broken = GOOD | {"data": "\n".join(GOOD["data"])}
    assert_array_equal(decode_array(broken), [[0, 1, 2], [3, 4, 5]])
