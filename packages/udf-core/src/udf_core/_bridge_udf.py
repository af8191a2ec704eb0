"""A UDF of the real LiberTEM inside one of ours.

The engine works with a `BridgedUDF`; its methods hand over to the LiberTEM object, whose ``params``,
``results``, ``task_data`` and ``meta`` are the engine's.  Shapes and slices that UDFs get from ``meta`` are
LiberTEM's, since helpers of LiberTEM insist on their own types.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, Self

import numpy.typing as npt

from ._buffer import AuxBuffer, BufferWrapper, MaskedResult
from ._meta import UDFMeta
from ._namespace import MergeView
from ._shape import Shape, Slice
from ._udf import UDF, UDFMethod

_ROOT = "libertem"
_OPTIONAL = ("process_tile", "process_frame", "process_partition", "preprocess", "postprocess")
_FACTS = ("dataset_shape", "partition_shape", "slice", "sig_slice")


def is_libertem_udf(udf: object) -> bool:
    """Tell whether this is a UDF object of the real LiberTEM; does not import it."""
    if isinstance(udf, UDF) or _ROOT not in sys.modules:
        return False
    return any(
        cls.__name__ == "UDF" and cls.__module__.partition(".")[0] == _ROOT for cls in type(udf).__mro__
    )


def adapt(udf: Any) -> Any:
    """Return a UDF of ours that does what a LiberTEM UDF does; ours are returned as they are.

    Parameters
    ----------
    udf
        A UDF object, or several in a list or tuple.

    Returns
    -------
    UDF or list of UDF
        For `Context.run_udf`.  Results are ours.

    Examples
    --------
    >>> adapt(UDF()).__class__.__name__
    'UDF'
    """
    if isinstance(udf, UDF):
        return udf
    if is_libertem_udf(udf):
        cls: Any = type(udf)
        return bridged_class(cls).around(udf)
    if isinstance(udf, Iterable) and not isinstance(udf, (str, bytes)):
        return [adapt(one) for one in udf]
    return udf


class BridgedUDF(UDF):
    """Does what a UDF of LiberTEM does; a subclass for each of their classes is made by `adapt`.

    Attributes
    ----------
    theirs
        The LiberTEM object.
    """

    their_class: ClassVar[type[Any]]
    theirs: Any

    def __init__(self, **kwargs: Any) -> None:
        object.__setattr__(self, "theirs", self.their_class(**kwargs))
        self._take_over(kwargs)

    @classmethod
    def around(cls, theirs: Any) -> Self:
        """Wrap an object that exists already."""
        made = cls.__new__(cls)
        object.__setattr__(made, "theirs", theirs)
        made._take_over({name: _our_value(value) for name, value in theirs._kwargs.items()})
        return made

    def _take_over(self, kwargs: Mapping[str, Any]) -> None:
        UDF.__init__(self, **kwargs)
        for name in _OPTIONAL:
            method = getattr(self.theirs, name, None)
            if method is not None:
                object.__setattr__(self, name, method)

    def __setattr__(self, name: str, value: Any) -> None:
        # What the engine shows to its UDF, the other one sees, too.
        super().__setattr__(name, value)
        if name in ("params", "results", "task_data"):
            setattr(self.theirs, name, value)
        elif name == "meta" and value is not None:
            self.theirs.meta = _MetaView(value)

    # -- what the engine asks ---------------------------------------------------------------------

    def get_method(self) -> Any:
        """Return the way of processing, as a member of our enumeration."""
        method = self.theirs.get_method()
        return UDFMethod(method.value) if hasattr(method, "value") else method

    def get_result_buffers(self) -> dict[str, BufferWrapper]:
        """Return the declarations as ours."""
        declared = self.theirs.get_result_buffers()
        return {
            name: BufferWrapper(b.kind, b.extra_shape, b.dtype, b.where, b.use)
            for name, b in declared.items()
        }

    def get_task_data(self) -> Mapping[str, Any]:
        """Hand over."""
        # The array library is known from here on.
        self.theirs.set_backend(self.meta.array_backend or "numpy")
        data: Mapping[str, Any] = self.theirs.get_task_data()
        return data

    def get_preferred_input_dtype(self) -> npt.DTypeLike:
        """Hand over."""
        dtype: npt.DTypeLike = self.theirs.get_preferred_input_dtype()
        return dtype

    def get_tiling_preferences(self) -> dict[str, Any]:
        """Return what they want, with our stand-ins for *best* and *default*."""
        stand_ins = {
            self.theirs.TILE_SIZE_BEST_FIT: UDF.TILE_SIZE_BEST_FIT,
            self.theirs.TILE_DEPTH_DEFAULT: UDF.TILE_DEPTH_DEFAULT,
        }
        wanted = self.theirs.get_tiling_preferences()
        return {name: stand_ins.get(value, value) for name, value in wanted.items()}

    def get_backends(self) -> str | Iterable[str]:
        """Hand over."""
        names: str | Iterable[str] = self.theirs.get_backends()
        return names

    def cleanup(self) -> None:
        """Hand over."""
        if hasattr(self.theirs, "cleanup"):
            self.theirs.cleanup()

    def merge(self, dest: MergeView, src: MergeView) -> None:
        """Hand over, unless they leave it to the engine."""
        if _overrides(type(self.theirs), "merge"):
            self.theirs.merge(dest=dest, src=src)
        else:
            super().merge(dest, src)

    def get_results(self) -> dict[str, Any]:
        """Hand over, unless they leave it to the engine."""
        if not _overrides(type(self.theirs), "get_results"):
            return dict(super().get_results())
        results = self.theirs.get_results()
        return {name: _our_value(value) for name, value in results.items()}


@cache
def bridged_class(their_class: type[Any]) -> type[BridgedUDF]:
    """Return the class of ours for a UDF class of LiberTEM."""
    return type(their_class.__name__, (BridgedUDF,), {"their_class": their_class})


class _MetaView:
    """Our `UDFMeta` with LiberTEM's types of shapes and slices."""

    __slots__ = ("_cached", "_ours")

    def __init__(self, ours: UDFMeta) -> None:
        self._ours = ours
        self._cached: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._ours, name)
        if name in _FACTS:
            return _theirs(value)
        if name == "tiling_scheme" and value is not None:
            if name not in self._cached:
                self._cached[name] = _their_scheme(value, self._ours.dataset_shape)
            return self._cached[name]
        return value


def _overrides(cls: type[Any], name: str) -> bool:
    """Tell whether a class has a method of its own rather than the engine's default."""
    owner = next((c for c in cls.__mro__ if name in vars(c)), None)
    return owner is not None and owner.__module__ not in ("libertem.udf.base", "libertem.common.udf")


def _our_value(value: Any) -> Any:
    """Return aux data and masked results as ours; anything else as it is."""
    if type(value).__module__ != "libertem.common.buffers":
        return value
    if hasattr(value, "arr") and hasattr(value, "mask"):
        return MaskedResult(value.arr, value.mask)
    if type(value).__name__ == "AuxBufferWrapper":
        return AuxBuffer(value.raw_data, value.kind, value.extra_shape, value.dtype)
    return value


def _theirs(value: Any) -> Any:
    """Return a shape or slice as LiberTEM's."""
    if isinstance(value, Shape):
        return importlib.import_module("libertem.common.shape").Shape(value.to_tuple(), value.sig_dims)
    if isinstance(value, Slice):
        make = importlib.import_module("libertem.common.slice").Slice
        return make(value.origin, _theirs(value.shape))
    return value


def _their_scheme(scheme: Any, dataset_shape: Shape) -> Any:
    make = importlib.import_module("libertem.io.dataset.base").TilingScheme
    depth = scheme.depth or dataset_shape.nav.size
    shape = Shape((depth, *scheme[0].shape), dataset_shape.sig_dims)
    return make([_theirs(part) for part in scheme], _theirs(shape), _theirs(dataset_shape), scheme.intent)
