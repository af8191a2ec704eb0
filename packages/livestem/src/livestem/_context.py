"""The session: connections, acquisitions and runs from one object."""

from __future__ import annotations

from typing import Any

from arraystream import (
    Connection,
    ConnectionBuilder,
    Controller,
    PendingAcquisition,
    PluginError,
    load_plugin,
)
from udf_core import Context, Scan

from ._acquisition import Acquisition
from ._hooks import Hooks

SOURCES = "arraystream.sources"


class UrlConnectionBuilder:
    """Opens the connection that a URL names.

    Parameters
    ----------
    builder
        Of the detector that the URL's scheme names.
    url
        E.g. ``merlin://192.168.0.10:6342``.
    """

    def __init__(self, builder: ConnectionBuilder, url: str) -> None:
        self._builder = builder
        self._url = url

    def open(self, **kwargs: Any) -> Connection:
        """Open the connection; keywords win over what the URL says.

        Parameters
        ----------
        **kwargs
            As the detector's own builder takes them, e.g. ``timeout``.
        """
        return self._builder.from_url(self._url, **kwargs)

    def from_url(self, url: str, **kwargs: Any) -> Connection:
        """Open another URL of the same detector.

        Parameters
        ----------
        url, **kwargs
            As for the detector's own builder.
        """
        return self._builder.from_url(url, **kwargs)


class LiveContext(Context):
    """Process live and recorded data.  Names and meaning are LiberTEM-live's.

    Everything of `udf_core.Context` is here too: ``load``, ``run_udf``, ``run_udf_iter``.

    Examples
    --------
    >>> with LiveContext() as ctx:  # doctest: +SKIP
    ...     with ctx.make_connection("merlin").open(data_host="127.0.0.1") as conn:
    ...         pending = conn.wait_for_acquisition(timeout=10)
    ...         aq = ctx.make_acquisition(conn=conn, pending_aq=pending, nav_shape=(128, 128))
    ...         result = ctx.run_udf(dataset=aq, udf=SumUDF(), progress=True)
    """

    def make_connection(self, detector_type: str) -> ConnectionBuilder:
        """Return what opens connections to a kind of detector.

        Parameters
        ----------
        detector_type
            Name of the detector, e.g. ``"merlin"``, or a URL such as ``"merlin://host:port"``.

        Raises
        ------
        PluginError
            If there is no such detector; the text lists those that are installed and how to get a
            known one.
        """
        name, separator, _ = detector_type.partition("://")
        builder = load_plugin(SOURCES, name)
        if isinstance(builder, type):
            builder = builder()
        if not isinstance(builder, ConnectionBuilder):
            raise PluginError(f"{name!r} is a kind of file, not a detector: use ctx.load({name!r}, …)")
        return UrlConnectionBuilder(builder, detector_type) if separator else builder

    def make_acquisition(
        self,
        conn: Connection,
        nav_shape: tuple[int, ...] | None = None,
        frames_per_partition: int | None = None,
        controller: Controller | None = None,
        pending_aq: PendingAcquisition | None = None,
        hooks: Hooks | None = None,
        *,
        scan: Scan | None = None,
        sync_offset: int = 0,
        flyback: int = 0,
        flyback_lines: int = 0,
        snake: bool = False,
        repeats: int = 1,
        endless: bool = False,
        timeout: float | None = None,
    ) -> Acquisition:
        """Describe a scan that a run will read.

        Parameters
        ----------
        conn
            An open connection.
        nav_shape
            Shape of the scan; −1 is filled in from the number of frames announced.  If it isn't
            given: the hook's answer, the controller's, the detector's, or a square.
        frames_per_partition
            A hint, kept for scripts written for LiberTEM-live.
        controller
            From ``conn.get_active_controller(…)``: the run arms the detector.  Without: passive.
        pending_aq
            From ``conn.wait_for_acquisition(…)``.  Without, the run waits for the next one.
        hooks
            User code to be called on the way.
        scan
            Everything about the scan in one object; wins over `nav_shape`, and the following are left out.
        sync_offset, flyback, flyback_lines, snake, repeats, endless
            How the shape is scanned, see `udf_core.Scan`; `sync_offset` is its ``offset``.
        timeout
            Seconds to wait for an acquisition and for its first frame; ``None`` waits.

        Raises
        ------
        ShapeMismatch
            If the shape can't be found out or does not fit the frames announced, as soon as that is
            known: here, or at the start of the run.
        ValueError
            If a length is 0 or below −1, or arguments contradict each other.
        """
        options = {
            "offset": sync_offset,
            "flyback": flyback,
            "flyback_lines": flyback_lines,
            "snake": snake,
            "repeats": repeats,
            "endless": endless,
        }
        usual = Scan((1,))
        return Acquisition(
            conn,
            nav_shape=nav_shape,
            frames_per_partition=frames_per_partition,
            controller=controller,
            pending=pending_aq,
            hooks=hooks,
            scan=scan,
            scan_options={name: value for name, value in options.items() if value != getattr(usual, name)},
            timeout=timeout,
        )
