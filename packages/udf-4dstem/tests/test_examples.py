"""The examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import udf_4dstem

MODULES = [name for _, name, _ in pkgutil.walk_packages(udf_4dstem.__path__, "udf_4dstem.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
