"""Plug-ins found through entry points and loaded by name.

Listing never fails because of one broken plug-in.  A name that came over a network may be looked up
here: only what is installed locally can be found, and no name is ever used as an import path.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ._chunk import ItemDescriptor
from ._codec import Decoder
from ._errors import CodecError, PluginError
from ._feed import Member, Ticket

# What to install for a name that is known but not there, by entry-point group.
_KNOWN: dict[str, dict[str, str]] = {
    "arraystream.sources": {
        "merlin": "detector-merlin",
        "mib": "detector-merlin",
        "dectris": "detector-dectris",
        "dectris-h5": "detector-dectris[hdf5]",
        "asi": "detector-asi",
    },
    "arraystream.codecs": {
        "merlin": "detector-merlin",
        "dectris": "detector-dectris",
        "bslz4": "detector-dectris",
        "lz4": "detector-dectris",
    },
    "arraystream.simulators": {
        "merlin": "detector-merlin",
        "dectris": "detector-dectris",
        "asi": "detector-asi",
    },
    "arraystream.transports": {"shm": "shmring"},
    "udf_core.udfs": dict.fromkeys(
        (
            *("sum", "sumsig", "masks", "disk", "ring", "point"),
            *("com", "stddev", "pick", "logsum", "record"),
        ),
        "udf-4dstem",
    ),
    "udf_core.executors": dict.fromkeys(("inline", "threads", "processes", "dask"), "udf-core"),
    "livestem.views": {},
}

VENDOR_FILES = {b"MQ1,": "mib", b"HDR,": "mib"}
"""How files of vendors begin, and the source in `arraystream.sources` that opens them."""


# Looking through all installed distributions takes tens of milliseconds.
_remembered: dict[str, dict[str, list[EntryPoint]]] = {}


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One plug-in as installed.

    Parameters
    ----------
    name
        Its name in the group.
    distribution, version
        What installed it; empty if unknown.
    error
        Why it can't be loaded, or ``None``.
    """

    name: str
    distribution: str
    version: str
    error: str | None = None


def _found(group: str) -> dict[str, list[EntryPoint]]:
    """Entry points of a group by name; the same one seen twice on ``sys.path`` counts once."""
    by_name: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=group), key=lambda e: e.name):
        same = by_name.setdefault(entry.name, [])
        if all(entry.value != other.value for other in same):
            same.append(entry)
    return by_name


def _owner(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist is not None else ("", "")


def _load(group: str, name: str, entries: list[EntryPoint]) -> Any:
    if len(entries) > 1:
        owners = " and ".join(sorted(_owner(e)[0] or e.value for e in entries))
        raise PluginError(f"Plug-in {name!r} of {group} is given by {owners}; uninstall one of them.")
    entry = entries[0]
    try:
        return entry.load()
    except Exception as error:
        owner = " ".join(_owner(entry)).strip() or "unknown distribution"
        raise PluginError(
            f"Plug-in {name!r} of {group} (from {owner}) can't be loaded: "
            f"{type(error).__name__}: {error}. Reinstall or update {owner}."
        ) from error


def list_plugins(group: str, *, check: bool = True) -> dict[str, PluginInfo]:
    """List the plug-ins of a group by name, broken ones included.

    Parameters
    ----------
    group
        Entry-point group, e.g. ``"arraystream.sources"``.
    check
        Load each plug-in to fill `PluginInfo.error`; without, only names are read, which is fast.

    Examples
    --------
    >>> list_plugins("arraystream.codecs")["raw"].distribution
    'arraystream-protocol'
    """
    plugins = {}
    for name, entries in _found(group).items():
        problem = None
        if check:
            try:
                _load(group, name, entries)
            except PluginError as error:
                problem = str(error)
        distribution, version = _owner(entries[0])
        plugins[name] = PluginInfo(name, distribution, version, problem)
    return plugins


def load_plugin(group: str, name: str) -> Any:
    """Load one plug-in.

    Raises
    ------
    PluginError
        If there is none of that name (the text lists those that exist, and what to install for a
        known one), if it is broken, or if two distributions claim the name.

    Examples
    --------
    >>> load_plugin("arraystream.codecs", "raw").__name__
    'RawCodec'
    """
    known = _remembered.get(group, {})
    if name not in known:
        # Not seen before, or installed since.
        known = _remembered[group] = _found(group)
    if name in known:
        return _load(group, name, known[name])
    there = ", ".join(known) or "none"
    message = f"No plug-in {name!r} in {group}; installed: {there}."
    package = _KNOWN.get(group, {}).get(name)
    if package is not None:
        message += f" To get it: pip install {package}"
    raise PluginError(message)


def open_decoder(descriptor: ItemDescriptor) -> Decoder:
    """Return a decoder for the items of a feed.

    Raises
    ------
    CodecError
        If the descriptor's codec isn't installed or refuses the descriptor.
    """
    try:
        codec = load_plugin("arraystream.codecs", descriptor.codec)
    except PluginError as error:
        raise CodecError(f"Items are encoded with {descriptor.codec!r}: {error}") from error
    decoder: Decoder = codec(descriptor)
    return decoder


def redeem_ticket(ticket: Ticket) -> Member:
    """Join the feed that made the ticket; its `fds` must be those of this process and are taken over.

    Raises
    ------
    PluginError
        If the ticket's transport isn't installed here, or gives no tickets.
    """
    transport = load_plugin("arraystream.transports", ticket.transport)
    redeem = getattr(transport, "redeem", None)
    if redeem is None:
        raise PluginError(f"Transport {ticket.transport!r} gives no tickets; use the feed's join() instead.")
    member: Member = redeem(ticket)
    return member
