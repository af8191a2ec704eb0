"""The unrelated project called arraystream: alone, beside us, and over us."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import arraystream
from arraystream._stranger import REPAIR

PACKAGE = Path(arraystream.__file__).parent
README = Path(__file__).parents[1] / "README.md"


def install(site, name, version, *files):
    """Leave behind what an installer leaves behind."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def install_us(site):
    shutil.copytree(PACKAGE, site / "arraystream", dirs_exist_ok=True)
    install(site, "arraystream-protocol", "0.1.0")


def install_stranger(site):
    (site / "arraystream").mkdir(parents=True, exist_ok=True)
    (site / "arraystream" / "__init__.py").write_text("def unrelated(): ...\n")
    install(site, "arraystream", "3.1.4", "arraystream/__init__.py")


def run(program, *path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )


def guard():
    """Return the guard of dependents as the README prints it."""
    text = README.read_text(encoding="utf-8")
    return re.search(r"```python\n(# guard.*?)```", text, flags=re.DOTALL)[1]


def test_alone_we_are_fine(tmp_path):
    install_us(tmp_path)
    done = run("import arraystream; print(arraystream.__file__)", tmp_path)
    assert done.stdout.startswith(str(tmp_path)), done.stderr


def test_installed_over_the_stranger_we_refuse_and_say_what_to_do(tmp_path):
    install_stranger(tmp_path)
    install_us(tmp_path)
    done = run("from arraystream import Feed", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: An unrelated project, arraystream 3.1.4")
    assert REPAIR in done.stderr


def test_a_stranger_elsewhere_on_the_path_does_no_harm(tmp_path):
    install_us(tmp_path / "ours")
    install_stranger(tmp_path / "theirs")
    done = run("from arraystream import Feed", tmp_path / "ours", tmp_path / "theirs")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("over_us", [False, True])
def test_the_guard_of_dependents_says_what_to_do(tmp_path, over_us):
    if over_us:
        install_us(tmp_path)
    install_stranger(tmp_path)
    done = run(guard() + "\nfrom arraystream import Feed", tmp_path)
    assert done.returncode == 1
    assert REPAIR in done.stderr.splitlines()[-1]


def test_the_guard_lets_us_pass(tmp_path):
    install_us(tmp_path)
    done = run(guard() + "\nfrom arraystream import Feed", tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_guard_names_the_same_repair_as_we_do():
    assert REPAIR in guard()
    assert len(guard().strip().splitlines()) <= 8
