"""What every table of the settings file is made of: addresses, networks, patterns, each saying what it wants."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def _address(text: str) -> str:
    """`host:port`, `[v6]:port`, `:port` is refused, `unix:/path`."""
    if text.startswith("unix:"):
        if not text.removeprefix("unix:").startswith("/"):
            raise ValueError(f'"{text}" needs an absolute path; write "unix:/run/penstock/milter.sock"')
        return text
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f'"{text}" has no address; write "127.0.0.1:{text if text.isdigit() else 2525}"')
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f'"{text}" has no port number after the last colon')
    if not host:
        raise ValueError(f'"{text}" has no address; write "127.0.0.1:{port}", or "0.0.0.0:{port}" for every one')
    return text


def _next_hop(text: str) -> str:
    """An address, or `maildir:/path`."""
    if not text.startswith("maildir:"):
        return _address(text)
    if not text.removeprefix("maildir:").startswith("/"):
        raise ValueError(f'"{text}" needs an absolute path; write "maildir:/var/mail/sink"')
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f'"{text}" is no IP address or network; write 192.0.2.0/24') from None


def _pattern(text: str) -> str:
    try:
        compiled = re.compile(text)
    except re.error as error:
        raise ValueError(f'"{text}" is no regular expression: {error}') from None
    if compiled.groups == 0:
        raise ValueError(f'"{text}" has no group; put what identifies the account in brackets')
    return text


Address = Annotated[str, AfterValidator(_address)]
NextHopAddress = Annotated[str, AfterValidator(_next_hop)]
Network = Annotated[str, AfterValidator(_network)]
Pattern = Annotated[str, AfterValidator(_pattern)]


class Section(BaseModel):
    """A table of the file: unknown keys and numbers without end are faults, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
