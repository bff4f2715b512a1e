"""Writes small databases in MaxMind's format (maxmind.github.io/MaxMind-DB), for IPv4, with records of 24 bits."""

import ipaddress
import struct
from pathlib import Path

_STRING, _DOUBLE, _UINT16, _UINT32, _MAP, _UINT64, _ARRAY = 2, 3, 5, 6, 7, 9, 11


def _control(kind, size):
    """Type and size of a field; sizes from 29 on follow in one more byte."""
    first, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    head = bytes([kind << 5 | first]) if kind < 8 else bytes([first, kind - 7])
    return head + more


def _field(value, kind=_UINT32):
    match value:
        case dict():
            return _control(_MAP, len(value)) + b"".join(_field(key) + _field(one) for key, one in value.items())
        case []:
            return _control(_ARRAY, 0)
        case str():
            return _control(_STRING, len(value.encode())) + value.encode()
        case float():
            return _control(_DOUBLE, 8) + struct.pack(">d", value)
        case int():
            data = value.to_bytes(4, "big").lstrip(b"\0")
            return _control(kind, len(data)) + data
        case _:
            raise TypeError(value)


def write_mmdb(path: Path, networks: dict[str, dict]) -> Path:
    """A database that knows these networks."""
    nodes, data, places = [[None, None]], b"", []
    for text, record in networks.items():
        places.append(len(data))
        data += _field(record)
        network, node = ipaddress.ip_network(text), 0
        bits = [int(network.network_address) >> (31 - depth) & 1 for depth in range(network.prefixlen)]
        for bit in bits[:-1]:
            if nodes[node][bit] is None:
                nodes.append([None, None])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit]
        nodes[node][bits[-1]] = -1 - (len(places) - 1)
    count = len(nodes)
    tree = b""
    for pair in nodes:
        for one in pair:
            value = count if one is None else one if one >= 0 else count + 16 + places[-1 - one]
            tree += value.to_bytes(3, "big")
    kinds = {"record_size": _UINT16, "ip_version": _UINT16, "binary_format_major_version": _UINT16,
             "binary_format_minor_version": _UINT16, "build_epoch": _UINT64}  # fmt: skip
    facts = {"node_count": count, "record_size": 24, "ip_version": 4, "database_type": "test", "description": {},
             "languages": [], "binary_format_major_version": 2,
             "binary_format_minor_version": 0, "build_epoch": 17}  # fmt: skip
    written = b"".join(_field(key) + _field(one, kinds.get(key, _UINT32)) for key, one in facts.items())
    path.write_bytes(tree + b"\0" * 16 + data + b"\xab\xcd\xefMaxMind.com" + _control(_MAP, len(facts)) + written)
    return path
