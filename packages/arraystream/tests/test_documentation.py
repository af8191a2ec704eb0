"""What the README and the docstrings show is what happens."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import io
import pkgutil
import re
import socket
from pathlib import Path

import numpy as np
import pytest

import arraystream
from arraystream import TRANSITIONS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
MODULES = [
    module.name
    for module in pkgutil.walk_packages(arraystream.__path__, "arraystream.")
    if not module.name.endswith("_ticket_worker")
]


def test_the_readme_runs_and_prints_what_it_says():
    blocks = re.findall(r"```(python)?\n(.*?)```", README, flags=re.DOTALL)
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = str(reserved.getsockname()[1])
    namespace, printed = {}, ""
    for kind, text in blocks:
        if kind == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(text.replace("9371", port), "README.md", "exec"), namespace)
            printed = output.getvalue()
        elif "──" not in text:
            assert printed == text
            printed = ""
    assert printed == ""


def test_the_readme_has_the_table_of_transitions():
    rows = re.findall(r"^\| ([A-Z]+) \| ([A-Z]+) \| (.*) \|$", README, flags=re.MULTILINE)
    assert rows == [
        (old.name, new.name, when) for old in TRANSITIONS for new, when in TRANSITIONS[old].items()
    ]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    names = {key: getattr(arraystream, key) for key in arraystream.__all__}
    names |= {"np": np}
    options = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    result = doctest.testmod(module, extraglobs=names, optionflags=options)
    assert result.failed == 0


def test_everything_public_is_documented():
    public = {name: getattr(arraystream, name) for name in arraystream.__all__}
    assert [name for name, thing in public.items() if isinstance(thing, type) and not thing.__doc__] == []
    functions = {name: thing for name, thing in public.items() if inspect.isfunction(thing)}
    assert [name for name, thing in functions.items() if not thing.__doc__] == []
