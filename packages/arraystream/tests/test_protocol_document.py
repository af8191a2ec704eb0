"""PROTOCOL.md and the code say the same: its tables are parsed and compared."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from arraystream import STREAM_TABLE, ErrorCode, Limits
from arraystream._protocol.buffers import DTYPES
from arraystream._protocol.fields import KINDS, wire_fields
from arraystream._protocol.framing import FLAGS
from arraystream._protocol.layouts import INDEX_DTYPES, LAYOUTS
from arraystream._protocol.messages import CRITICAL_TYPES, MESSAGES
from arraystream._protocol.stream_state import DELIVERIES, END_STATUSES, GAP_REASONS

TEXT = (Path(__file__).parents[1] / "PROTOCOL.md").read_text(encoding="utf-8")


def section(title):
    match = re.search(rf"^#+ {re.escape(title)}$(.*?)(?=^#|\Z)", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert match, f"no section {title!r}"
    return match[1]


def table(title):
    rows = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_flags():
    assert {name: 1 << int(bit) for bit, name in table("1.1 Flags")} == FLAGS


def test_message_types():
    expected = [
        [str(number), cls.__name__.upper(), "yes" if number in CRITICAL_TYPES else "no"]
        for number, cls in MESSAGES.items()
    ]
    assert table("1.4 Message types") == expected


@pytest.mark.parametrize(
    ("title", "sender"),
    [("2.1 What a producer sends", "producer"), ("2.2 What a consumer sends", "consumer")],
)
def test_state_table(title, sender):
    expected = [[old.name, event, new.name] for (old, event), new in STREAM_TABLE[sender].items()]
    assert table(title) == expected


@pytest.mark.parametrize("cls", MESSAGES.values(), ids=lambda cls: cls.__name__)
def test_header_fields(cls):
    def default(field):
        if field.default_factory is not dataclasses.MISSING:
            return "{}"
        if field.default is dataclasses.MISSING:
            return "required"
        return json.dumps(field.default)

    expected = [[f.metadata["key"], f.metadata["kind"], default(f)] for f in wire_fields(cls)]
    assert table(cls.__name__.upper()) == expected
    assert all(field.metadata["kind"].lstrip("?") in KINDS for field in wire_fields(cls))


def test_layouts():
    expected = [[name, " ".join(needed), " ".join(optional)] for name, (needed, optional) in LAYOUTS.items()]
    assert table("3.3 Layouts") == expected


def test_limits():
    expected = [[f.name, str(f.default)] for f in dataclasses.fields(Limits)]
    assert table("4. Limits") == expected


def test_error_codes():
    assert table("5. Errors") == [[str(int(code)), code.name] for code in ErrorCode]


@pytest.mark.parametrize("words", [DTYPES, INDEX_DTYPES, GAP_REASONS, DELIVERIES])
def test_lists_of_words(words):
    assert f"`{' '.join(words)}`" in " ".join(TEXT.split())


def test_verdicts():
    assert "`complete`, `aborted` or `failed`" in TEXT
    assert END_STATUSES == ("complete", "aborted", "failed")
