"""What the conformance tests need of a test framework, so that they import without one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def raises(*errors: type[BaseException]) -> Iterator[None]:
    """Fail unless the block raises one of `errors`."""
    try:
        yield
    except errors:
        return
    names = " or ".join(error.__name__ for error in errors)
    raise AssertionError(f"{names} was not raised")


def eventually(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Return the first true value of `condition`; fail with `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout_s} s")
        time.sleep(0.001)
