"""``import udf_core.compat.libertem`` makes the names of LiberTEM importable; see `udf_core.compat`."""

from ._finder import install

install()
