"""The body of an AMQP 1.0 message, found without decoding the rest. Pure.

A message is a row of sections, each a described value; the body is the bytes of its data sections. Properties and
annotations are skipped by their lengths. http://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-complete-v1.0-os.pdf,
parts 1.6 (type constructors) and 3.2 (sections).
"""

_DATA = 0x75
_SECTIONS = range(0x70, 0x79)
_BINARY_8, _BINARY_32 = 0xA0, 0xB0
_DESCRIBED, _SMALL_ULONG, _ULONG = 0x00, 0x53, 0x80
# Bytes of a value after its constructor byte, by the constructor's upper half: fixed widths, then widths of the
# length that precedes variable, compound and array values.
_FIXED = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
_LENGTH = {0xA: 1, 0xB: 4, 0xC: 1, 0xD: 4, 0xE: 1, 0xF: 4}


class NotAmqp(Exception):
    """The bytes are no AMQP 1.0 message with a data section."""


def data_of(message: bytes) -> bytes:
    """The bytes of the message's data sections, joined. Raises `NotAmqp` and nothing else, whatever the bytes."""
    parts = []
    position = 0
    try:
        while position < len(message):
            section, start = _descriptor(message, position)
            end = _end_of_value(message, start)
            if section == _DATA:
                parts.append(_binary(message, start, end))
            position = end
    except IndexError:
        raise NotAmqp("cut off inside a section") from None
    if not parts:
        raise NotAmqp("no data section")
    return b"".join(parts)


def _descriptor(message: bytes, position: int) -> tuple[int, int]:
    """The section's code and where its value begins."""
    if message[position] != _DESCRIBED:
        raise NotAmqp(f"expected a section at byte {position}")
    form = message[position + 1]
    if form == _SMALL_ULONG:
        code, start = message[position + 2], position + 3
    elif form == _ULONG:
        code, start = int.from_bytes(message[position + 2 : position + 10], "big"), position + 10
    else:
        raise NotAmqp(f"descriptor of type 0x{form:02x} at byte {position}")
    if code not in _SECTIONS:
        raise NotAmqp(f"unknown section 0x{code:x} at byte {position}")
    return code, start


def _end_of_value(message: bytes, position: int) -> int:
    """Where the value ends whose constructor byte is at `position`."""
    kind = message[position] >> 4
    if kind in _FIXED:
        end = position + 1 + _FIXED[kind]
    elif kind in _LENGTH:
        start = position + 1 + _LENGTH[kind]
        end = start + int.from_bytes(message[position + 1 : start], "big")
    else:
        raise NotAmqp(f"unknown type 0x{message[position]:02x} at byte {position}")
    if end > len(message):
        raise IndexError
    return end


def _binary(message: bytes, position: int, end: int) -> bytes:
    if message[position] == _BINARY_8:
        return message[position + 2 : end]
    if message[position] == _BINARY_32:
        return message[position + 5 : end]
    raise NotAmqp(f"data section of type 0x{message[position]:02x}")
