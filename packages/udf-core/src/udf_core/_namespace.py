"""What a UDF sees as ``self.params``, ``self.results``, ``self.task_data`` and ``self.worker_data``.

Reading an attribute is plain attribute access (the engine puts the current views into the instance
dictionary, so it costs nothing).  Assigning to a result writes *into* the array, so ``self.results.x += y``
adds to the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from ._buffer import Array, BufferWrapper
from ._errors import UseDiscouragedWarning


def _missing(what: str, name: str, names: Mapping[str, Any]) -> str:
    return f"there is no {what} {name!r}; there are: {', '.join(names) or 'none'}"


def _discourage(name: str) -> None:
    warnings.warn(
        f"access buffers as attributes (.{name}) instead of items ([{name!r}])",
        UseDiscouragedWarning,
        stacklevel=3,
    )


def _write(view: Any, name: str, value: Any) -> None:
    try:
        view[...] = value
    except (ValueError, TypeError) as error:
        what = type(value).__name__
        error.add_note(
            f"buffer {name!r} has shape {view.shape} and dtype {view.dtype} here; assigned was "
            f"{what} of shape {getattr(value, 'shape', ())}"
        )
        raise


class Namespace:
    """Values by attribute; behind ``task_data`` and ``worker_data``."""

    _what = "value"

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.__dict__.update(values or {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(_missing(self._what, name, self.__dict__))

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value, or `default` if there is none."""
        return getattr(self, name) if name in self else default

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self.__dict__.keys()

    def items(self) -> ItemsView[str, Any]:
        """Return names and values."""
        return self.__dict__.items()

    def values(self) -> ValuesView[Any]:
        """Return the values."""
        return self.__dict__.values()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self)}>"


class TaskData(Namespace):
    """Free values of one partition, from `UDF.get_task_data`."""

    _what = "task data"


class WorkerData(Namespace):
    """Free values of one worker and run, from `UDF.get_worker_data`."""

    _what = "worker data"


class Params(Namespace):
    """The keyword arguments of a UDF; aux data appears as the array that belongs to the current slice.

    The engine keeps the current arrays of aux data in the instance dictionary while frames are
    processed.  Outside of that they are looked up through `resolve_with`.
    """

    _what = "parameter"
    __slots__ = ("_late", "_resolve")

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "_late", frozenset())
        object.__setattr__(self, "_resolve", None)
        super().__init__(values)

    def resolve_with(self, names: frozenset[str], resolve: Callable[[str], Any] | None) -> None:
        """Let `resolve` answer for these names from now on."""
        object.__setattr__(self, "_late", names)
        object.__setattr__(self, "_resolve", resolve)
        for name in names:
            self.__dict__.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__ or name in self._late

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in self._late and self._resolve is not None:
            return self._resolve(name)
        return super().__getattr__(name)

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state)  # type: ignore[misc]


class Results:
    """The result buffers of a UDF as the arrays it may write to at the moment.

    ``results.name = value`` writes into the array.  `get_buffer` returns the `BufferWrapper`.
    """

    __slots__ = ("__dict__", "_buffers")

    _buffers: Mapping[str, BufferWrapper]

    def __init__(
        self, buffers: Mapping[str, BufferWrapper] | None = None, views: Mapping[str, Any] | None = None
    ) -> None:
        object.__setattr__(self, "_buffers", buffers or {})
        self.__dict__.update(dict.fromkeys(self._buffers))
        self.__dict__.update(views or {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(_missing("result buffer", name, self.__dict__))

    def __setattr__(self, name: str, value: Any) -> None:
        view = getattr(self, name)
        if view is None:
            raise AttributeError(
                f"result buffer {name!r} is declared as result_only and can't be written here"
            )
        if view is not value:
            _write(view, name, value)

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __getitem__(self, name: str) -> BufferWrapper:
        _discourage(name)
        return self.get_buffer(name)

    def get_buffer(self, name: str) -> BufferWrapper:
        """Return the buffer's declaration and memory."""
        return self._buffers[name]

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self.__dict__.keys()

    def items(self) -> ItemsView[str, Any]:
        """Return names and current arrays."""
        return self.__dict__.items()

    def values(self) -> ValuesView[Any]:
        """Return the current arrays."""
        return self.__dict__.values()

    def __getstate__(self) -> dict[str, Any]:
        return {"buffers": dict(self._buffers), "views": dict(self.__dict__)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"<Results: {', '.join(self)}>"


class MergeView:
    """`dest` or `src` of `UDF.merge`: arrays by attribute; assignment writes into the array."""

    __slots__ = ("__dict__",)

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.__dict__.update(arrays)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise KeyError(_missing("buffer to merge", name, self.__dict__))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dict__:
            raise KeyError(_missing("buffer to merge", name, self.__dict__))
        view = self.__dict__[name]
        if view is not value:
            _write(view, name, value)

    def __getitem__(self, name: str) -> Array:
        _discourage(name)
        if name not in self.__dict__:
            raise KeyError(_missing("buffer to merge", name, self.__dict__))
        array: Array = self.__dict__[name]
        return array

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self.__dict__.keys()

    def items(self) -> ItemsView[str, Array]:
        """Return names and arrays."""
        return self.__dict__.items()

    def values(self) -> ValuesView[Array]:
        """Return the arrays."""
        return self.__dict__.values()

    def __repr__(self) -> str:
        return f"<MergeView: {', '.join(self)}>"
