"""Every package's wheel installs alone in an empty environment and passes its own tests there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "dev.lock"
DISTRIBUTIONS = {
    "arraystream": "arraystream-protocol",
    "shmring": "shmring",
    "detector-merlin": "detector-merlin",
    "detector-dectris": "detector-dectris",
    "detector-asi": "detector-asi",
    "udf-core": "udf-core",
    "udf-4dstem": "udf-4dstem",
    "livestem": "livestem[merlin]",
}
# Tests of optional features need what those need.
EXTRAS = {
    "arraystream": ["arraystream-protocol[test]"],
    "detector-dectris": ["detector-dectris[test]"],
    "udf-core": ["udf-core[test]"],
    "udf-4dstem": ["udf-core[test]"],
    "livestem": ["udf-core[test]"],
}
TEST_TOOLS = ["pytest", "pytest-timeout", "hypothesis"]

pytestmark = pytest.mark.timeout(1200)


def run(command: list[str], cwd: Path, **env: str) -> str:
    """Run a command outside any environment of ours; return what it printed."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTHON"))
    }
    finished = subprocess.run(
        command,
        cwd=cwd,
        env=clean | env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert finished.returncode == 0, f"{' '.join(command)}\n{finished.stdout[-8000:]}"
    return finished.stdout


def uv() -> str:
    """Return the installer's path."""
    found = shutil.which("uv")
    assert found, "uv is missing: run the tests through `make test`"
    return found


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheels of all packages."""
    folder = tmp_path_factory.mktemp("wheels")
    for package in DISTRIBUTIONS:
        command = [uv(), "build", "--wheel", "--no-build-isolation", "--python", sys.executable]
        run([*command, "--out-dir", str(folder), str(ROOT / "packages" / package)], ROOT)
    return folder


@pytest.mark.parametrize("package", DISTRIBUTIONS)
def test_wheel_installs_alone_and_passes_its_own_tests(
    package: str, wheelhouse: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    run([uv(), "venv", "--quiet", "--python", sys.executable, str(environment)], tmp_path)
    python = str(environment / "bin" / "python")
    install = [uv(), "pip", "install", "--quiet", "--python", python, "--constraint", str(LOCK)]
    run([*install, "--find-links", str(wheelhouse), DISTRIBUTIONS[package]], tmp_path)

    installed = run([uv(), "pip", "list", "--quiet", "--format=freeze", "--python", python], tmp_path)
    names = {line.split("==")[0] for line in installed.splitlines()}
    assert "arraystream" not in names, "the stranger of that name was pulled in"
    run([python, "-c", f"import {package.replace('-', '_')}"], tmp_path)

    extras = EXTRAS.get(package, [])
    run([*install, "--find-links", str(wheelhouse), *extras, *TEST_TOOLS], tmp_path)
    # Tests read READMEs, guides and the specification, never the sources.
    repository = tmp_path / "repository"
    papers = repository / "packages" / package
    hidden = shutil.ignore_patterns("src", "rust", "__pycache__", "pyproject.toml")
    shutil.copytree(ROOT / "packages" / package, papers, ignore=hidden)
    for folder in ("docs", "examples"):
        shutil.copytree(ROOT / folder, repository / folder, ignore=hidden)
    shutil.copy(ROOT / "README.md", repository)
    pytest_command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    output = run(
        [*pytest_command, str(papers / "tests")],
        tmp_path,
        PATH=f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        LIVESTEM_TEST_DATA=os.environ.get("LIVESTEM_TEST_DATA", str(ROOT.parent / "shared" / "data")),
    )
    assert " passed" in output
