"""Names of array types ("backends"), what lives where, and how arrays get from one type to another.

The sixteen names of the contract are those of the package ``sparseconverter``, which detects and converts
them and knows what that costs.  Beside them there are ``"array-api:<module>"``, for any installed module with
the Python array API, and the types of registered device classes.  Nothing is imported before it is used.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ._devices import CUDA, device_class_of, device_classes, has_cupy
from ._shape import prod

NUMPY = "numpy"
MATRIX = "numpy.matrix"
ARRAY_API = "array-api:"
CSR = "scipy.sparse.csr_matrix"
CSR_ARRAY = "scipy.sparse.csr_array"

_FORMS = ("coo", "csr", "csc")
SCIPY = tuple(f"scipy.sparse.{form}_{what}" for what in ("matrix", "array") for form in _FORMS)
CUPYX = tuple(f"cupyx.scipy.sparse.{form}_matrix" for form in _FORMS)
PYDATA = ("sparse.COO", "sparse.GCXS", "sparse.DOK")
CUDA_NAMES = frozenset(("cuda", "cupy", *CUPYX))
SPARSE = frozenset((*SCIPY, *PYDATA, *CUPYX))
D2 = frozenset((MATRIX, *SCIPY, *CUPYX))
"""Types that have two axes only: frames, and pixels of a frame."""
CPU_NAMES = frozenset((NUMPY, MATRIX, *SCIPY, *PYDATA))

OFFERS_DENSE = (NUMPY, "cuda")
"""What dense data can be read as without conversion."""

OFFERS_SPARSE = (
    *(CSR, CSR_ARRAY, "sparse.GCXS"),
    *(
        "scipy.sparse.coo_matrix",
        "scipy.sparse.coo_array",
        "scipy.sparse.csc_matrix",
        "scipy.sparse.csc_array",
    ),
    *("sparse.COO", "sparse.DOK", *CUPYX, NUMPY, MATRIX, "cuda", "cupy"),
)
"""Types for data in sparse rows, the best first: by kind of type, then by device, then by cost."""

_READ_AS_SPARSE = (CSR, CSR_ARRAY, NUMPY, "cuda")


def offers_of(codec: str, *, corrected: bool = False) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return in which types data of this codec are welcome, and in which they can be read.

    Corrected data are dense, however they are stored.
    """
    if codec == "csr" and not corrected:
        return OFFERS_SPARSE, _READ_AS_SPARSE
    return OFFERS_DENSE, OFFERS_DENSE


def names_of(backends: Any) -> tuple[str, ...]:
    """Return what `UDF.get_backends` or a user says as a tuple."""
    return (backends,) if isinstance(backends, str) else tuple(backends)


def is_known(name: Any) -> bool:
    """Tell whether there is a backend of this name, installed or not."""
    if not isinstance(name, str):
        return False
    if name.startswith(ARRAY_API):
        return len(name) > len(ARRAY_API)
    return name in CPU_NAMES or name in CUDA_NAMES or device_class_of(name) is not None


def is_sparse(name: str) -> bool:
    """Tell whether arrays of this type are sparse."""
    return name in SPARSE


def is_native(name: str, device_class: str) -> bool:
    """Tell whether arrays of this type live on devices of this class."""
    owner = device_class_of(name)
    return device_class == ("cpu" if owner is None else owner.name)


def is_available(name: str, device_class: str) -> bool:
    """Tell whether a worker of this class can make arrays of this type."""
    owner = device_class_of(name)
    if owner is not None:
        if owner.name != device_class:
            return False
        return device_class != CUDA or name == "cuda" or has_cupy()
    return _is_installed(name[len(ARRAY_API) :]) if name.startswith(ARRAY_API) else True


@functools.cache
def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def conversion_cost(origin: str, target: str) -> float:
    """Return what it costs to make `target` from `origin`, in arbitrary units."""
    if origin == target:
        return 0.0
    own_origin, own_target = _is_ours(origin), _is_ours(target)
    if own_origin:  # only the host side is ever converted further
        return float("inf")
    import sparseconverter

    if own_target:
        on_device = device_class_of(target) is not None
        there = "cupy" if on_device else NUMPY
        return conversion_cost(origin, NUMPY) + float(sparseconverter.conversion_cost(NUMPY, there))
    return float(sparseconverter.conversion_cost(origin, target))


def _is_ours(name: str) -> bool:
    """Whether `sparseconverter` does not know it."""
    return name not in CPU_NAMES and name not in CUDA_NAMES


def dtype_for(dtype: npt.DTypeLike, backends: Iterable[str]) -> np.dtype[Any]:
    """Return the smallest type that holds `dtype` and that all these backends can have."""
    made = np.dtype(dtype)
    for name in backends:
        if _is_ours(name):
            made = _dtype_in_namespace(made, name)
        elif name in SPARSE:
            import sparseconverter

            made = np.dtype(sparseconverter.result_type(made, name))
    return made


_WIDER = {
    "b": ("uint8", "float32", "float64"),
    "i": ("int16", "int32", "int64", "float64"),
    "u": ("uint16", "int32", "uint32", "int64", "uint64", "float64"),
    "f": ("float32", "float64"),
    "c": ("complex64", "complex128"),
}


def _dtype_in_namespace(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    info = getattr(namespace(name), "__array_namespace_info__", None)
    if info is None:
        return dtype
    there = info().dtypes()
    if dtype.name in there:
        return dtype
    for wider in _WIDER.get(dtype.kind, ()):
        if wider in there and np.can_cast(dtype, wider, "safe"):
            return np.dtype(wider)
    raise TypeError(f"backend {name!r} has no type for data of {dtype}; ask for another input dtype")


@functools.cache
def namespace(backend: str | None) -> ModuleType:
    """Return the array library for ``self.xp``.

    Raises
    ------
    ImportError
        If the library is not installed.
    """
    if backend is None or backend in CPU_NAMES or backend == "cuda":
        return np
    owner = device_class_of(backend)
    if owner is not None:
        return owner.namespace()
    module = importlib.import_module(backend[len(ARRAY_API) :])
    import array_api_compat

    found: ModuleType = array_api_compat.array_namespace(module.empty(1))
    return found


Convert = Callable[[Any], Any]


def converter(origin: str, target: str, sig_shape: Sequence[int]) -> Convert:
    """Return a function that makes tiles of type `target` from tiles of type `origin`.

    Parameters
    ----------
    origin, target
        Names of types.
    sig_shape
        Shape of a tile without its first axis.
    """
    if _is_ours(target):
        dense = _densifier(origin, tuple(sig_shape))
        make = _maker(target)
        return make if dense is None else lambda tile: make(dense(tile))
    if target == MATRIX:
        host = _densifier(origin, tuple(sig_shape)) or _as_it_is
        return lambda tile: host(tile).reshape((tile.shape[0], -1)).view(np.matrix)
    if target == NUMPY or target == "cuda":
        return _densifier(origin, tuple(sig_shape)) or _as_it_is
    if origin in OFFERS_DENSE and target == "cupy":
        owner = device_class_of(target)
        assert owner is not None
        return owner.to_device
    import sparseconverter

    convert: Convert = sparseconverter.get_converter(origin, target, True)
    if target in D2 or origin not in D2:
        return convert
    shape = tuple(sig_shape)
    return lambda tile: convert(tile).reshape((tile.shape[0], *shape))


def _as_it_is(tile: Any) -> Any:
    return tile


def _densifier(origin: str, sig_shape: tuple[int, ...]) -> Convert | None:
    """Function to NumPy; ``None`` if there is nothing to do."""
    if origin in OFFERS_DENSE:
        return None

    def dense(tile: Any) -> npt.NDArray[Any]:
        host = to_numpy(tile)
        return np.ascontiguousarray(host.reshape((tile.shape[0], *sig_shape)))

    return dense


def _maker(target: str) -> Convert:
    owner = device_class_of(target)
    if owner is not None:
        return owner.to_device
    xp: Any = namespace(target)

    def make(tile: npt.NDArray[Any]) -> Any:
        # Libraries disagree about read-only memory in DLPack; these tiles must not be written to anyway.
        if tile.flags.writeable and hasattr(xp, "from_dlpack"):
            return xp.from_dlpack(tile)
        return xp.asarray(np.array(tile))

    return make


def frames_of(tile: Any, backend: str) -> Iterable[Any]:
    """Return a tile frame by frame; 2-D types stay 2-D, of shape ``(1, n_pixels)``."""
    if backend in PYDATA or backend == MATRIX:
        return (tile[i] for i in range(tile.shape[0]))
    if backend not in D2:
        return (tile[i, ...] for i in range(tile.shape[0]))
    # Indexing with one number gives 1-D arrays or none at all, depending on the type, but slices of CSR work.
    rows = tile.tocsr()
    form = backend.rsplit(".", 1)[1].split("_")[0]
    return (rows[i : i + 1].asformat(form) for i in range(rows.shape[0]))


def to_numpy(array: Any) -> npt.NDArray[Any]:
    """Return any array as a plain NumPy array, densified and copied to the host if need be."""
    if type(array) is np.ndarray:
        return array
    if isinstance(array, np.ndarray | np.generic):
        return np.asarray(array)
    module = type(array).__module__.partition(".")[0]
    if module in ("scipy", "sparse", "cupy", "cupyx"):
        import sparseconverter

        return np.asarray(sparseconverter.for_backend(array, NUMPY))
    return _host_array(array)


def _host_array(array: Any) -> npt.NDArray[Any]:
    for kind in device_classes().values():
        if kind.name != CUDA and _belongs_to(array, kind.namespace()):
            return np.asarray(kind.to_host(array))
    if hasattr(array, "detach"):  # torch
        array = array.detach().cpu()
    if hasattr(array, "__dlpack__"):
        return np.asarray(np.from_dlpack(array))
    return np.asarray(array)


def _belongs_to(array: Any, module: ModuleType) -> bool:
    root = module.__name__.removeprefix("array_api_compat.").partition(".")[0]
    return type(array).__module__.partition(".")[0] == root


def is_foreign(array: Any) -> bool:
    """Tell whether this is an array, but not one of NumPy's."""
    return not isinstance(array, np.ndarray) and hasattr(array, "shape") and hasattr(array, "dtype")


def fit_to(array: Any, target: Any) -> Any:
    """Bring an array into the type and shape of `target`; what is no array passes through."""
    if type(array) is type(target) and array.shape == target.shape:
        return array
    if not hasattr(array, "shape") or not hasattr(target, "shape"):
        return array
    if isinstance(target, np.ndarray):
        if isinstance(array, np.generic):
            return array
        made: Any = to_numpy(array)
    elif is_foreign(array) and type(array) is type(target):
        made = array
    else:
        made = _like_device(to_numpy(array), target)
    if made.shape != target.shape and prod(made.shape) == prod(target.shape):
        reshape = getattr(made, "reshape", None)
        shape = tuple(target.shape)
        if reshape is not None:
            return reshape(shape)
        return made.__array_namespace__().reshape(made, shape)
    return made


def _like_device(array: npt.NDArray[Any], target: Any) -> Any:
    for kind in device_classes().values():
        if (kind.name != CUDA or has_cupy()) and _belongs_to(target, kind.namespace()):
            return kind.to_device(np.ascontiguousarray(array))
    if type(target).__module__.partition(".")[0] in ("scipy", "sparse"):
        import sparseconverter

        return sparseconverter.make_like(array, target, strict=False)
    import array_api_compat

    return array_api_compat.array_namespace(target).asarray(np.array(array))


def device_zeros(backend: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Any:
    """Return zeroed memory for ``where="device"``: where arrays of this backend live."""
    xp: Any = namespace(backend)
    if xp is np:
        return np.zeros(tuple(shape), dtype)
    wanted = dtype if backend in CUDA_NAMES else getattr(xp, dtype.name)
    return xp.zeros(tuple(shape), dtype=wanted)
