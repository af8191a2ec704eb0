"""The examples in README and docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import udf_core

MODULES = sorted(m.name for m in pkgutil.iter_modules(udf_core.__path__) if m.name != "_worker_main")


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"udf_core.{name}"))
    assert result.failed == 0


def test_readme(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    namespace: dict[str, object] = {"__name__": "readme"}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, namespace)
    assert "256 positions" in capsys.readouterr().out
