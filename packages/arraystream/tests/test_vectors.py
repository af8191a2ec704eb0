"""The golden vectors: our decoder, a second decoder, and the generator agree on them."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arraystream import Encoded, StreamDecoder, StreamEncoder, StreamError, TruncatedStream
from arraystream._protocol.buffers import TABLE_KEY
from arraystream._protocol.fields import to_header

PACKAGE = Path(__file__).parents[1]
VECTORS = sorted((PACKAGE / "spec" / "vectors").glob("*.bin"))
REFERENCE = runpy.run_path(str(Path(__file__).with_name("reference_decoder.py")))

vectors = pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)


def expectation(path):
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def plain(value):
    """JSON has lists only."""
    return json.loads(json.dumps(value))


def content(buffer):
    return (buffer.data if isinstance(buffer, Encoded) else np.ascontiguousarray(buffer)).tobytes().hex()


@vectors
def test_our_decoder_makes_of_a_vector_what_is_written_beside_it(path):
    expected = expectation(path)
    decoder = StreamDecoder(expected["sender"], greeted=expected["greeted"], verify_sums=True)
    outcome, error = "clean", None
    try:
        decoder.feed(path.read_bytes())
        decoder.eof()
    except TruncatedStream:
        outcome = "truncated"
    except StreamError as problem:
        outcome, error = "error", problem.code
    assert (outcome, error) == (expected["end"], expected["error"])
    arrivals = list(decoder.events())
    assert [a.seq for a in arrivals] == [m["seq"] for m in expected["messages"]]
    for arrival, wanted in zip(arrivals, expected["messages"], strict=True):
        header = {k: v for k, v in wanted["header"].items() if k != TABLE_KEY and "grease" not in k}
        assert wanted["type"] == arrival.message.TYPE
        assert plain(to_header(arrival.message)) == header
        buffers = getattr(arrival.message, "buffers", {})
        assert {role: content(b) for role, b in buffers.items()} == wanted["buffers"]


@vectors
def test_the_reference_decoder_agrees_on_the_framing(path):
    expected = expectation(path)
    messages, outcome = [], None
    try:
        for message in REFERENCE["decode"](path.read_bytes()):
            messages.append(message)
    except REFERENCE["Refused"] as refused:
        outcome = refused.args[0]
    except REFERENCE["Cut"]:
        outcome = "cut"
    known = [m for m in messages if m["type"] < 64]
    n = len(expected["messages"])
    assert known[:n] == expected["messages"]
    # What the reference decoder does not look at: limits and meaning.
    assert outcome in (None, "cut", expected["error"])
    if expected["end"] == "clean":
        assert outcome is None


CANONICAL = ("minimal", "dense", "sparse", "nested", "encoded", "consumer", "producer")


@pytest.mark.parametrize("path", [p for p in VECTORS if p.stem in CANONICAL], ids=lambda path: path.stem)
def test_encoding_what_was_decoded_gives_the_same_bytes(path):
    expected, data = expectation(path), path.read_bytes()
    decoder = StreamDecoder(expected["sender"], greeted=expected["greeted"])
    decoder.feed(data)
    encoder = StreamEncoder(expected["sender"], greeted=expected["greeted"])
    again = b"".join(part for a in decoder.events() for part in encoder.encode(a.message))
    assert again == data


def test_the_generator_still_writes_the_same_vectors(tmp_path):
    script = PACKAGE / "spec" / "generate_vectors.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in (PACKAGE / "spec" / "vectors").iterdir()}


def test_every_error_a_stream_of_bytes_can_cause_has_a_vector():
    codes = {expectation(path)["error"] for path in VECTORS} - {None}
    # 14 to 17 come from greeting, credit, time and our own faults.
    assert codes == set(range(1, 14))
