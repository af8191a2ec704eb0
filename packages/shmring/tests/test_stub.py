"""The hand-written stub says what the extension module has."""

import ast
import doctest
import inspect
from pathlib import Path

import pytest

import shmring
from shmring import _shmring

STUB = ast.parse(Path(_shmring.__file__).with_name("_shmring.pyi").read_text())
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def public(names):
    return {name for name in names if not name.startswith("_")}


def test_stub_names_the_public_classes():
    classes = {name for name, value in vars(_shmring).items() if inspect.isclass(value)}
    assert classes == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_stub_names_the_members(name):
    said = {node.name for node in CLASSES[name].body if isinstance(node, ast.FunctionDef)}
    assert public(said) == public(vars(getattr(_shmring, name)))


@pytest.mark.parametrize("name", CLASSES)
def test_stub_has_the_parameters(name):
    for node in CLASSES[name].body:
        method = getattr(getattr(_shmring, name), getattr(node, "name", ""), None)
        if not isinstance(node, ast.FunctionDef) or node.decorator_list or node.name.startswith("_"):
            continue
        said = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        assert said == list(inspect.signature(method).parameters), node.name


def test_every_public_name_is_documented():
    for node in CLASSES.values():
        assert ast.get_docstring(node), node.name
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                assert ast.get_docstring(member), f"{node.name}.{member.name}"


def test_examples_in_the_stub_run():
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    globs = {"shmring": shmring}
    n_examples = 0
    for name, node in CLASSES.items():
        test = doctest.DocTestParser().get_doctest(ast.get_docstring(node) or "", globs, name, None, 0)
        n_examples += len(test.examples)
        assert runner.run(test).failed == 0
    assert finder is not None
    assert n_examples > 0
