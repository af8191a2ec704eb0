"""The wire format of PROTOCOL.md: bytes to messages and back, without any I/O."""
