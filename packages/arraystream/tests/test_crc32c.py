"""CRC-32C against its definition and known values."""

from __future__ import annotations

import runpy
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from arraystream._protocol.crc32c import crc32c_fast, crc32c_plain

BITWISE = runpy.run_path(str(Path(__file__).with_name("reference_decoder.py")))["crc32c"]


def test_known_values():
    # RFC 3720, section B.4.
    assert crc32c_plain(bytes(32)) == 0x8A9136AA
    assert crc32c_plain(b"\xff" * 32) == 0x62A8AB43
    assert crc32c_plain(bytes(range(32))) == 0x46DD794E
    assert crc32c_plain(b"123456789") == 0xE3069283
    assert crc32c_plain(b"") == 0


@given(st.binary(max_size=100), st.integers(0, 100))
def test_it_is_the_bitwise_definition_also_in_parts(data, cut):
    assert crc32c_plain(data) == BITWISE(data)
    assert crc32c_plain(data[cut:], crc32c_plain(data[:cut])) == BITWISE(data)
    assert crc32c_plain(memoryview(bytearray(data))) == BITWISE(data)
    if crc32c_fast is not None:
        assert crc32c_fast(memoryview(data)) == BITWISE(data)
