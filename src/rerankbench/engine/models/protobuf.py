"""Protobuf wire format, as far as reading model files needs it.

https://protobuf.dev/programming-guides/encoding/. Views, no copies: nothing here allocates more than it is
given. Cut-off or corrupt bytes raise ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator

Value = int | memoryview

# Long lists of numbers come as raw bytes in practice; packed ones are short, and slow to read one by one.
MAX_PACKED_BYTES = 1 << 20


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield (field number, value) of one message: an int for varints, a view of the bytes for all else."""
    position = 0
    while position < len(message):
        key, position = varint(message, position)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise ValueError("corrupt protobuf: field number 0")
        if wire_type == 0:
            value, position = varint(message, position)
            yield number, value
            continue
        size, position = payload_size(message, position, wire_type)
        if size > len(message) - position:
            raise ValueError(f"cut-off protobuf: a field of {size} bytes has only {len(message) - position}")
        yield number, message[position : position + size]
        position += size


def payload_size(message: memoryview, position: int, wire_type: int) -> tuple[int, int]:
    """(bytes of the field's payload, position where it starts)."""
    if wire_type == 2:
        return varint(message, position)
    if wire_type in (1, 5):
        return (8 if wire_type == 1 else 4), position
    raise ValueError(f"corrupt protobuf: wire type {wire_type}")


def varint(message: memoryview, position: int) -> tuple[int, int]:
    """(unsigned 64-bit value, position after it) of the base-128 number at `position`; at most ten bytes."""
    value = 0
    for index, byte in enumerate(message[position : position + 10]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value & (2**64 - 1), position + index + 1
    raise ValueError("cut-off protobuf: a number without an end")


def packed_varints(message: memoryview) -> list[int]:
    """All numbers of a packed field, signed: negative ones are stored as 64-bit two's complement."""
    if len(message) > MAX_PACKED_BYTES:
        raise ValueError(f"unsupported protobuf: {len(message)} bytes of packed numbers")
    numbers, position = [], 0
    while position < len(message):
        number, position = varint(message, position)
        numbers.append(number - 2**64 if number >= 2**63 else number)
    return numbers


def as_bytes(value: Value) -> memoryview:
    """The value of a field that must hold bytes."""
    if isinstance(value, int):
        raise ValueError("corrupt protobuf: a number where bytes belong")
    return value


def as_int(value: Value) -> int:
    """The value of a field that must hold a number."""
    if not isinstance(value, int):
        raise ValueError("corrupt protobuf: bytes where a number belongs")
    return value


def as_text(value: Value) -> str:
    """The value of a field that must hold UTF-8 text."""
    try:
        return bytes(as_bytes(value)).decode()
    except UnicodeDecodeError:
        raise ValueError("corrupt protobuf: text that is not UTF-8") from None
