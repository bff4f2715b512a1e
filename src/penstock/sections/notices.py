"""The settings of notices: who is told, how often, in which language, and by which other ways."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from penstock.sections.fields import Section


class NoticesSection(Section):
    """Notices: to the postmaster about suspensions, limits, queues and lists; to customers and resellers about their
    accounts."""

    to: list[str] = []
    """Addresses that get them, by mail through the next hop; empty: notices are logged only."""
    sender: str = ""
    """Envelope sender and From of notices; empty means penstock@ this host."""
    per_hour: int = Field(20, ge=1)
    """Mails of notices an hour at most; what comes beyond is put together in the next one."""
    language: str = Field("en", pattern=r"^[a-z]{2,3}$")
    """Of notices to you, and to customers whose language nobody wrote down: en or de, or another in `templates`."""
    contacts_file: Path | None = None
    """Whom to tell about a customer's account: lines of `match address language reseller`; match is an account
    (`sasl:joe@x.example`), `@domain` or a customer (tenant); `-` for none. Never the address that is shut itself."""
    templates: Path | None = None
    """A folder with texts of your own, e.g. `de/shut-customer.txt`; what is not there is Penstock's."""
    webhook: str = ""
    """URL that gets each notice to you as a signed POST too."""
    webhook_secret: str = Field("", repr=False)
    """Secret of the signature in `X-Penstock-Signature`."""
    chat: list[str] = Field([], repr=False)
    """Where notices to you go as chat messages too, as URLs of Apprise (https://github.com/caronc/apprise), e.g.
    "slack://…", "matrix://…", "ntfy://…". Needs the extra: `pip install penstock[notify]`."""
