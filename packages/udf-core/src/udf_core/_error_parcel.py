"""Errors on their way from a worker to the main side."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

import cloudpickle

from ._errors import UDFException


def pack_error(error: BaseException) -> tuple[bytes, list[str], str]:
    """Make an error ready to travel: pickled if that works, its notes, and its traceback as text."""
    text = "".join(traceback.format_exception(error))
    notes = list(getattr(error, "__notes__", ()))
    if not isinstance(error, Exception):
        error = UDFException(f"{type(error).__name__} in a UDF: {error}")
    try:
        packed = cloudpickle.dumps(error)
        pickle.loads(packed)
    except Exception:
        packed = cloudpickle.dumps(UDFException(f"{type(error).__name__}: {error}"))
    return packed, notes, text


def unpack_error(packed: tuple[bytes, list[str], str]) -> tuple[Exception, str]:
    """Return the error and the text of its traceback."""
    data, notes, text = packed
    try:
        error: Any = pickle.loads(data)
    except Exception as unpickling:
        error = UDFException(f"a worker raised an error that can't be unpickled here: {unpickling}")
    have = getattr(error, "__notes__", [])
    for note in notes:
        if note not in have:
            error.add_note(note)
    return error, text
