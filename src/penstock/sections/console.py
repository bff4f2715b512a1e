"""The settings of the console."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from penstock.sections.fields import Address, Network, Section


class ConsoleSection(Section):
    """The console: pages for the abuse desk and resellers, the JSON API, and the page that refusals lead to."""

    listen: list[Address] = []
    """Addresses to listen on, e.g. ["127.0.0.1:8025"], best behind a web server with TLS; empty turns it off."""
    base_url: str = ""
    """How browsers find it, e.g. "https://console.example.net"; forms from anywhere else are refused.

    Empty takes what the browser says in Host.
    """
    secure_cookies: bool = True
    """Let browsers send the session over HTTPS alone; browsers take 127.0.0.1 for safe. False only for plain HTTP."""
    session_hours: float = Field(12, gt=0)
    """A login lasts so long."""
    trusted_proxies: list[Network] = ["127.0.0.0/8", "::1/128"]
    """Web servers in front whose X-Forwarded-For is believed."""
    language: Literal["en", "de"] = "en"
    """Of pages, where a browser asks for none that there is."""
    link_days: float = Field(14, gt=0)
    """How long the link in a refusal leads somewhere."""

    @field_validator("base_url")
    @classmethod
    def _is_origin(cls, text: str) -> str:
        if text and not text.startswith(("https://", "http://")):
            raise ValueError(f'"{text}" is no address of a site; write "https://console.example.net"')
        return text.rstrip("/")
