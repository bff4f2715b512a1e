"""Attribution: an ordered list of extractors tells whose mail this is; what strangers claim about it is ignored.

Identity comes from four places, in falling order of trust: the login that a listener vouches for, a header that a
*trusted host* wrote, the client's address, the envelope sender. A header is only as good as whoever could write it:

- The client that handed the message in is a trusted host (a web server, a panel host, a smarthost): all of its
  headers count.
- The client is a stranger, but the host that hands its mail to our relay is trusted and speaks for it (a Postfix
  before-queue proxy with XFORWARD): only the headers that this host put on top count, down to its own Received line,
  because everything below came from the stranger. A milter or an HTTP client does not show us that line, so there
  no header of a stranger's mail counts.
- Otherwise no header counts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct

from penstock.model import Account, Connection, Envelope

_LONGEST = 1000  # characters of a header that an extractor looks at; no login is longer
FORWARDS = "forwarded"
"""The source of what the inbound side forwards: apart from the places where the account itself acts."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Extractor(Struct, frozen=True):
    """One way to tell whose mail it is."""

    source: str
    """`login`, `header`, `client` or `sender`."""
    kind: str
    header: str = ""
    """Lower case, for `header`."""
    pattern: re.Pattern[str] | None = None


class Tenancy(Struct, frozen=True):
    """Who belongs to whom, and on which plan."""

    by_match: dict[str, tuple[str, str]] = {}
    """`kind:value` or `@domain` → (tenant, plan)."""

    def of(self, account: Account) -> tuple[str, str]:
        """Tenant and plan of an account; a login's own domain is its tenant where nothing else is said."""
        found = self.by_match.get(str(account).lower())
        domain = account.value.rpartition("@")[2].lower() if "@" in account.value else ""
        if found is None and domain:
            found = self.by_match.get("@" + domain)
        return found if found is not None else (domain, "")


def read_tenancy(text: str) -> Tenancy:
    """Tenants and plans from lines of `match tenant [plan]`; `#` begins a comment. Raises ValueError with the line."""
    by_match: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) not in (2, 3):
            raise ValueError(f'line {number}: "{line.strip()}" is not `match tenant [plan]`')
        match = words[0].lower()
        if not (match.startswith("@") or ":" in match):
            raise ValueError(f'line {number}: "{words[0]}" is neither kind:value nor @domain')
        by_match[match] = (words[1], words[2] if len(words) == 3 else "")
    return Tenancy(by_match)


class Attribution(Struct, frozen=True):
    """Whose mail it is, and from where it acts."""

    account: Account
    source: str
    """Where the account acts from: the client's network, or the script behind a header."""
    plan: str = ""

    @property
    def is_forward(self) -> bool:
        """Whether the inbound side hands this on for the account, so that others wrote it."""
        return self.source == FORWARDS


class Identity(Struct, frozen=True):
    """The rules of attribution of one provider."""

    extractors: tuple[Extractor, ...]
    trusted_hosts: tuple[Network, ...]
    tenancy: Tenancy = Tenancy()
    inbound_hosts: tuple[Network, ...] = ()
    """Hosts that take mail in and forward it for accounts; no customer can send from there."""
    forward_header: str = ""
    """Lower case; its first field names the account whose forward this is."""

    def attribute(self, connection: Connection, envelope: Envelope, headers: Sequence[tuple[str, str]]) -> Attribution:
        """Whose mail this is. `headers` are (lower-case name, value) top to bottom. Never raises."""
        if self._is_forward(connection, envelope):
            return self._forwarded(connection, headers)
        believed = self._believed(connection, headers)
        for extractor in self.extractors:
            value = self._extract(extractor, connection, envelope, believed)
            if value:
                return self._attributed(extractor.kind, value, connection)
        return Attribution(Account("none", "unidentified"), network_of(connection.client_ip))

    def _is_forward(self, connection: Connection, envelope: Envelope) -> bool:
        """By facts alone: who hands it in, and that nobody logged in. What the mail says of itself is a claim."""
        is_ours = connection.is_trusted_peer and not connection.login and bool(envelope.mail_from)
        return is_ours and is_in(connection.client_ip, self.inbound_hosts)

    def _forwarded(self, connection: Connection, headers: Sequence[tuple[str, str]]) -> Attribution:
        """The account that the inbound side names on top; its host where it names none."""
        name = _from_header(Extractor("header", "sasl", self.forward_header), headers)
        account = Account("sasl", name) if name else Account("host", connection.client_ip)
        tenant, plan = self.tenancy.of(account)
        return Attribution(Account(account.kind, account.value, tenant), FORWARDS, plan)

    def _attributed(self, kind: str, value: str, connection: Connection) -> Attribution:
        account = Account(kind, value)
        tenant, plan = self.tenancy.of(account)
        return Attribution(Account(kind, value, tenant), network_of(connection.client_ip), plan)

    def _believed(self, connection: Connection, headers: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        if not connection.is_trusted_peer:
            return ()
        if is_in(connection.client_ip, self.trusted_hosts):
            return headers
        if connection.listener != "smtp":
            # Postfix hides its own Received line from milters, so that the first one there is the stranger's own.
            return ()
        top: list[tuple[str, str]] = []
        for header in headers:
            top.append(header)
            if header[0] == "received":
                return top
        return ()  # without a Received line of its own, nothing shows what the trusted host wrote

    def _extract(
        self,
        extractor: Extractor,
        connection: Connection,
        envelope: Envelope,
        believed: Sequence[tuple[str, str]],
    ) -> str:
        match extractor.source:
            case "login":
                return connection.login.lower()
            case "header":
                return _from_header(extractor, believed)
            case "client":
                # A trusted host speaks for others: its address says nothing about whose mail it is.
                is_stranger = connection.client_ip and not is_in(connection.client_ip, self.trusted_hosts)
                return connection.client_ip if is_stranger else ""
            case _:
                return envelope.mail_from.lower()


def _from_header(extractor: Extractor, headers: Sequence[tuple[str, str]]) -> str:
    for name, value in headers:
        if name == extractor.header:
            text = value[:_LONGEST]
            if extractor.pattern is None:
                return _identifier(text, extractor.kind)
            found = extractor.pattern.search(text)
            return _identifier(next((group for group in found.groups() if group), ""), extractor.kind) if found else ""
    return ""


def _identifier(text: str, kind: str) -> str:
    """A value fit for a key: one line, printable, no blanks around, of bounded length. Logins are case-blind; a script
    is a file, and keeps its name as it is on disk, so that it is found there."""
    value = "".join(sign for sign in text.strip() if sign.isprintable())[:255]
    return value if kind == "script" else value.lower()


@lru_cache(maxsize=65536)
def is_in(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address lies in one of the networks; what is no address lies in none."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return any((mapped or ip) in network for network in networks)


@lru_cache(maxsize=65536)
def network_of(address: str) -> str:
    """The source network of an address: /24 for IPv4, /48 for IPv6, as users move within those every day."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    plain = mapped or ip
    return str(ipaddress.ip_network((plain, 24 if plain.version == 4 else 48), strict=False))
