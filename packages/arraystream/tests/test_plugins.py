"""Plug-ins: found by name, broken ones reported, unknown ones explained."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import arraystream
from arraystream import (
    CodecError,
    ItemDescriptor,
    PluginError,
    Ticket,
    list_plugins,
    load_plugin,
    open_decoder,
    redeem_ticket,
)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A place where distributions can be installed for one test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(arraystream._plugins, "_remembered", {})

    def install(name, entries, **modules):
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[test.things]\n{entries}\n")
        for module, source in modules.items():
            (tmp_path / f"{module}.py").write_text(source)
            monkeypatch.delitem(sys.modules, module, raising=False)

    return install


def test_our_own_plugins_are_there():
    assert {"raw"} <= set(list_plugins("arraystream.codecs"))
    assert {"memory", "tcp", "file"} <= set(list_plugins("arraystream.transports"))
    assert {"raw", "npy", "memory"} <= set(list_plugins("arraystream.sources"))
    raw = list_plugins("arraystream.codecs")["raw"]
    assert (raw.distribution, raw.error) == ("arraystream-protocol", None)
    assert load_plugin("arraystream.sources", "npy") is arraystream.open_npy


def test_a_broken_plugin_is_listed_with_its_error_and_disturbs_no_other(site):
    site("some-dist", "good = good_one:thing\nbad = bad_one:thing", good_one="thing = 42", bad_one="1 / 0")
    plugins = list_plugins("test.things")
    assert plugins["good"].error is None
    assert "ZeroDivisionError" in plugins["bad"].error
    assert (plugins["bad"].distribution, plugins["bad"].version) == ("some-dist", "1.2")
    assert load_plugin("test.things", "good") == 42
    with pytest.raises(PluginError, match=r"'bad' of test.things \(from some-dist 1.2\).*ZeroDivisionError"):
        load_plugin("test.things", "bad")


def test_listing_names_loads_nothing(site):
    site("some-dist", "bad = bad_one:thing", bad_one="raise SystemExit")
    assert list_plugins("test.things", check=False)["bad"].error is None


def test_a_name_claimed_twice_is_an_error_that_names_both(site):
    site("one-dist", "thing = good_one:thing", good_one="thing = 1")
    site("other-dist", "thing = good_one:other")
    with pytest.raises(PluginError, match="given by one-dist and other-dist"):
        load_plugin("test.things", "thing")
    assert "uninstall one" in list_plugins("test.things")["thing"].error


def test_what_is_installed_later_is_found(site):
    with pytest.raises(PluginError, match="installed: none"):
        load_plugin("test.things", "late")
    site("late-dist", "late = good_one:thing", good_one="thing = 1")
    assert load_plugin("test.things", "late") == 1


@pytest.mark.parametrize(
    ("group", "name", "package"),
    [
        ("arraystream.sources", "dectris", "detector-dectris"),
        ("arraystream.sources", "asi", "detector-asi"),
        ("udf_core.udfs", "com", "udf-4dstem"),
    ],
)
def test_an_unknown_name_says_what_is_there_and_what_to_install(group, name, package, monkeypatch):
    monkeypatch.setattr(arraystream._plugins, "_remembered", {})
    monkeypatch.setattr(arraystream._plugins, "_found", lambda group: {"this": [], "that": []})
    with pytest.raises(PluginError, match=f"installed: this, that. To get it: pip install {package}$"):
        load_plugin(group, name)


def test_an_unknown_codec_is_a_codec_error():
    with pytest.raises(CodecError, match=r"installed: .*raw"):
        open_decoder(ItemDescriptor(np.dtype("u1"), (2, 2), codec="no-such-codec"))


def test_a_ticket_of_a_transport_without_tickets_is_an_error():
    with pytest.raises(PluginError, match="gives no tickets"):
        redeem_ticket(Ticket("tcp", 0, b"", ()))
