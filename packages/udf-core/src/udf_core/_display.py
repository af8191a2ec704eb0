"""A UDF described for a notebook."""

from __future__ import annotations

import html
from typing import Any

from ._dataset import StreamDataset
from ._dry_run import inspect_udf
from ._udf import UDF, UDFMethod


class UDFDisplay:
    """Method, parameters and result buffers of a UDF for a data set, as HTML table and as text."""

    def __init__(self, dataset: StreamDataset, udf: UDF, roi: Any = None) -> None:
        self._name = type(udf).__name__
        method = udf.get_method()
        backends = udf.get_backends()
        self._facts = {
            "method": method.value,
            "input dtype": str(udf.get_preferred_input_dtype()),
            "backends": backends if isinstance(backends, str) else ", ".join(backends),
            "parameters": ", ".join(f"{n}={v!r:.80}" for n, v in udf._kwargs.items()) or "none",
        }
        if method is UDFMethod.TILE:
            wanted = udf.get_tiling_preferences()
            self._facts["tiling preferences"] = ", ".join(f"{n}={v}" for n, v in wanted.items())
        self._buffers = inspect_udf(udf, dataset, roi)

    def _repr_html_(self) -> str:
        facts = "".join(f"<tr><th>{n}</th><td>{html.escape(v)}</td></tr>" for n, v in self._facts.items())
        rows = "".join(
            f"<tr><td>{html.escape(n)}</td><td>{b.kind}</td><td>{b.extra_shape}</td><td>{b.dtype}</td>"
            f"<td>{b.use or ''}</td></tr>"
            for n, b in self._buffers.items()
        )
        head = "".join(f"<th>{h}</th>" for h in ("buffer", "kind", "extra shape", "dtype", "use"))
        return f"<h3>{html.escape(self._name)}</h3><table>{facts}</table><table>{head}{rows}</table>"

    def __repr__(self) -> str:
        facts = "\n".join(f"  {name}: {value}" for name, value in self._facts.items())
        return f"{self._name}\n{facts}\n  buffers: {', '.join(map(repr, self._buffers.values()))}"
