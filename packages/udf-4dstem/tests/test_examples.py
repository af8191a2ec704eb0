"""The examples in docstrings and in the README run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import udf_4dstem

MODULES = [name for _, name, _ in pkgutil.walk_packages(udf_4dstem.__path__, "udf_4dstem.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_the_readme_runs():
    readme = Path(__file__).parents[1] / "README.md"
    (code,) = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    atoms = names["scan"].phase > 0.8
    dark_field = names["dark_field"]["intensity"].data
    assert dark_field[atoms].mean() > 2 * dark_field.mean()
    assert names["com"]["divergence"].data[atoms].mean() < 0
