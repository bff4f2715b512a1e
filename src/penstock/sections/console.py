"""The settings of the console."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from penstock.sections.fields import Address, Network, Section


class SignOnRole(Section):
    """What those may who have one value of the claim `roles_claim`."""

    value: str = Field(min_length=1)
    """The claim's value, e.g. a group's name."""
    role: Literal["read", "desk", "admin"]
    """What they may: see; steer too; see the settings too."""
    tenant: str = ""
    """Only this tenant's accounts: for a reseller."""


class OidcSection(Section):
    """Single sign-on by OpenID Connect, beside passwords."""

    issuer: str = ""
    """The provider, e.g. "https://id.example.net/realms/staff", as it calls itself; empty turns it off."""
    client_id: str = ""
    """What the provider calls this console. There, the address to come back to is base_url + "/login/sign-on/back"."""
    client_secret_file: Path | None = None
    """File with the secret that the provider gave; none for a public client."""
    name: str = Field("single sign-on", min_length=1, max_length=60)
    """What people call the provider; stands on the button."""
    scopes: list[str] = ["openid", "email", "profile"]
    """What the provider is asked to say."""
    person_claim: str = "email"
    """Which claim names the person here; `email` counts only where the provider says that it is verified.

    Never one that people may choose as they please.
    """
    roles_claim: str = "groups"
    """Which claim has the values that `roles` are about: a text, a list of texts, or an object's names."""
    roles: list[SignOnRole] = []
    """What people may by that claim; the first row that fits counts, and who fits none does not get in.

    Without rows, people may what `penstock people` says.
    """
    new_people: bool = False
    """Make people at their first login, with the role that their claim gives; else only those of `penstock people`."""

    @field_validator("issuer")
    @classmethod
    def _is_safe(cls, text: str) -> str:
        where = urlsplit(text)
        is_here = where.scheme == "http" and where.hostname in ("127.0.0.1", "::1", "localhost")
        if text and not (where.netloc and (where.scheme == "https" or is_here)):
            raise ValueError(f'"{text}" is no address of a provider; write "https://id.example.net"')
        return text

    @field_validator("scopes")
    @classmethod
    def _has_openid(cls, scopes: list[str]) -> list[str]:
        if "openid" not in scopes:
            raise ValueError('"openid" is missing; without it a provider does not say who somebody is')
        return scopes

    @model_validator(mode="after")
    def _fits_together(self) -> OidcSection:
        if self.issuer and not self.client_id:
            raise ValueError("client_id is missing: what the provider calls this console")
        if self.new_people and not self.roles:
            raise ValueError("new_people needs roles: which value of the claim lets somebody in, and as what")
        return self


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
    oidc: OidcSection = OidcSection()

    @model_validator(mode="after")
    def _can_be_found(self) -> ConsoleSection:
        if self.oidc.issuer and not self.base_url:
            raise ValueError("oidc needs base_url, to which the provider sends people back")
        return self

    @field_validator("base_url")
    @classmethod
    def _is_origin(cls, text: str) -> str:
        if text and not text.startswith(("https://", "http://")):
            raise ValueError(f'"{text}" is no address of a site; write "https://console.example.net"')
        return text.rstrip("/")
