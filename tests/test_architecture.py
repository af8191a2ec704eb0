"""The import rules of the house, beyond what the import-linter contracts can say."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {path.parent.name: path.parent for path in sorted(ROOT.glob("packages/*/pyproject.toml"))}
IMPORT_NAMES = {name.replace("-", "_"): name for name in PACKAGES}


def imports_of(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every absolute import below `folder` as a dotted name."""
    for source in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                yield from ((source, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield from ((source, f"{node.module}.{alias.name}") for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_a_private_module_of_another(package: str) -> None:
    own = package.replace("-", "_")
    foreign = [
        f"{source.relative_to(ROOT)}: {name}"
        for source, name in imports_of(PACKAGES[package] / "src")
        if (top := name.split(".")[0]) in IMPORT_NAMES
        and top != own
        and any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
    ]

    assert foreign == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_depends_on_the_stranger_called_arraystream(package: str) -> None:
    project = tomllib.loads((PACKAGES[package] / "pyproject.toml").read_text())["project"]
    optional = project.get("optional-dependencies", {}).values()
    wanted = [*project["dependencies"], *(name for group in optional for name in group)]

    distributions = {re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower() for requirement in wanted}

    assert "arraystream" not in distributions


def test_arraystream_speaks_no_word_of_microscopy() -> None:
    words = re.compile(
        r"\b(microscop\w*|stem|merlin|dectris|timepix\w*|nav_shape|sig_shape)\b", re.IGNORECASE
    )
    allowed = {"_plugins.py"}  # knows which `pip install` line to print for a well-known plug-in

    found = [
        f"{source.name}:{number}: {line.strip()}"
        for source in (PACKAGES["arraystream"] / "src").rglob("*.py")
        if source.name not in allowed
        for number, line in enumerate(source.read_text().splitlines(), 1)
        if words.search(line)
    ]

    assert found == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_its_papers(package: str) -> None:
    folder = PACKAGES[package]

    missing = [
        name for name in ("README.md", "CHANGELOG.md", "LICENSE", "tests") if not (folder / name).exists()
    ]

    assert missing == []
    assert (folder / "src" / package.replace("-", "_") / "py.typed").exists()
