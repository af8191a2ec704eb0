"""The import hook behind `udf_core.compat`, and the modules it serves.

Modules are described by tables, see `_names`.  Names are looked up when they are first used, so an alias
costs nothing and packages that are not installed are missed only by who needs them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from ._names import LIBERTEM

GROUP = "udf_core.aliases"
"""Entry-point group of further alias modules: ``libertem.masks`` -> a module, or a table of names."""

ROOT = "libertem"

Targets = Mapping[str, str]


class AliasError(ImportError):
    """The aliases can't be put in place, or a name has no counterpart here."""


class AliasModule(ModuleType):
    """A module whose names are ours.

    Parameters
    ----------
    name
        Of the alias, e.g. ``libertem.udf``.
    targets
        Where its names come from, each ``"module:name"``.
    """

    def __init__(self, name: str, targets: Targets) -> None:
        super().__init__(name, f"Stands for {name} of LiberTEM: the same names, from udf_core and others.")
        self.__path__: list[str] = []
        self.__all__ = sorted(targets)
        self._alias_targets = targets

    def __getattr__(self, name: str) -> Any:
        if name in self._alias_targets:
            value = _look_up(self.__name__, name, self._alias_targets[name])
            setattr(self, name, value)
            return value
        raise AttributeError(_missing(self.__name__, name))

    def __reduce__(self) -> tuple[Any, ...]:
        # A class in a program may refer to the module; a worker imports it.
        return importlib.import_module, (self.__name__,)

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *self._alias_targets})


class AliasFinder(MetaPathFinder, Loader):
    """Finds and makes alias modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to make an alias module; refuse names below LiberTEM that have no counterpart."""
        if fullname != ROOT and not fullname.startswith(f"{ROOT}."):
            return None
        if fullname in alias_modules():
            return ModuleSpec(fullname, self, origin="udf_core.compat", is_package=True)
        module, _, name = fullname.rpartition(".")
        raise AliasError(_missing(module, name), name=fullname)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make an alias module."""
        return AliasModule(spec.name, _targets(spec.name))

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to be done."""


_finder = AliasFinder()


def install(*, force: bool = False) -> None:
    """Make the names of LiberTEM importable, unless they are already.

    Processes that our executors start have the aliases, too.

    Parameters
    ----------
    force
        Also where LiberTEM is installed; it can't be imported then.

    Raises
    ------
    AliasError
        If LiberTEM is installed and `force` is not given, or if it has been imported already.
    """
    if active():
        return
    there = sys.modules.get(ROOT)
    if there is not None:
        raise AliasError(
            f"LiberTEM itself has been imported already, from {getattr(there, '__file__', None)}; its "
            f"objects and ours must not be mixed. Install the aliases first, in a new interpreter",
            name=ROOT,
        )
    if not force and (spec := importlib.util.find_spec(ROOT)) is not None:
        raise AliasError(
            f"LiberTEM itself is installed here, at {spec.origin}, and would be hidden. Use it with "
            f"udf_core.bridge, or hide it with udf_core.compat.install(force=True)",
            name=ROOT,
        )
    sys.meta_path.insert(0, _finder)
    importlib.invalidate_caches()


def uninstall() -> None:
    """Take the aliases away again; what has been imported stays usable."""
    if not active():
        return
    sys.meta_path.remove(_finder)
    for name in [n for n, module in sys.modules.items() if isinstance(module, AliasModule)]:
        del sys.modules[name]


def active() -> bool:
    """Tell whether the aliases are in place."""
    return _finder in sys.meta_path


@cache
def alias_modules() -> Mapping[str, Targets | Any]:
    """Return the names of all alias modules, each with its table or the entry point that has more of it."""
    found: dict[str, Any] = dict(LIBERTEM)
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, {})
        parent = point.name.rpartition(".")[0]
        while parent:
            found.setdefault(parent, {})
            parent = parent.rpartition(".")[0]
    return found


def _targets(module: str) -> Targets:
    targets = dict(LIBERTEM.get(module, {}))
    for point in entry_points(group=GROUP, name=module):
        more = point.load()
        if isinstance(more, ModuleType):
            names = getattr(more, "__all__", None) or [n for n in vars(more) if not n.startswith("_")]
            more = {name: f"{more.__name__}:{name}" for name in names}
        targets.update(more)
    return targets


def _look_up(module: str, name: str, target: str) -> Any:
    where, _, attribute = target.partition(":")
    try:
        value: Any = importlib.import_module(where)
        for part in attribute.split(".") if attribute else ():
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise AliasError(
            f"{module}.{name} stands for {attribute or where} of {where.partition('.')[0]}, which can't be "
            f"imported here ({error}); install it or a newer version",
            name=module,
        ) from error
    return value


def _missing(module: str, name: str) -> str:
    return (
        f"{module}.{name} has no counterpart in livestem, and LiberTEM itself is not in use. "
        f"{_advice(module, name)}"
    )


def _advice(module: str, name: str) -> str:
    elsewhere = sorted(m for m, targets in LIBERTEM.items() if name in targets and m != module)
    if elsewhere:
        return f"There is {elsewhere[0]}.{name}"
    return (
        "Leave it out, or run the program with LiberTEM (pip install libertem) and hand its UDFs over with "
        "udf_core.bridge"
    )
