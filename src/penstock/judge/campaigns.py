"""The sequential test with a campaign as its entity: one fingerprint over all accounts.

Each account counts once for each fingerprint, with its message's content evidence, so that what one account repeats
says nothing about others. That it comes from unrelated customers at all is evidence of its own, unless accounts
in good standing of several customers have long been sending it too: then it is a popular page or a shared
signature.
"""

from __future__ import annotations

from msgspec import Struct

from penstock.judge.history import encode, read_campaign, remember, tag

_MOST_TAGS = 64
_MOST_NATS = 30.0
_UNRELATED = 1.5
"""Nats for a further customer without relation to those before."""
_LIFE_S = 7 * 86400.0
"""A campaign that was silent for so long begins anew."""
GOOD_TENANTS = 3


class Share(Struct, frozen=True):
    """What one message is worth for its campaigns, in nats."""

    nats: float
    """Its text and its recipients."""
    login: float
    """A place that is new to the account; nothing where others of the campaign came from there too, such as a webmail
    that the provider has opened."""
    is_usual: bool
    """Whether an account with a past sends it from where its good mail comes from."""


class CampaignView(Struct, frozen=True):
    """What a message is told of one of its campaigns."""

    fingerprint: str
    accounts: int
    tenants: int
    """Unrelated customers."""
    sources: int
    recipients: int
    nats: float
    """The campaign's statistic, with this message counted."""
    is_common: bool
    """Whether several good customers send it as part of harmless mail."""


def observe_campaign(
    state: bytes | None,
    fingerprint: str,
    *,
    account: str,
    tenant: str,
    source: str,
    recipients: int,
    share: Share,
    now: float,
) -> tuple[bytes, CampaignView]:
    """Count one message for one fingerprint."""
    campaign = read_campaign(state, now)
    if now - campaign.seen_at > _LIFE_S and campaign.seen_at:
        campaign.nats, campaign.accounts, campaign.tenants, campaign.sources = 0.0, [], [], []
    campaign.seen_at = now
    campaign.recipients += recipients
    customer = tenant or account
    is_new_account = remember(campaign.accounts, account, _MOST_TAGS)
    is_new_tenant = remember(campaign.tenants, customer, _MOST_TAGS)
    nats = share.nats + (share.login if remember(campaign.sources, source, _MOST_TAGS) else 0.0)
    if is_new_account:
        if is_new_tenant and len(campaign.tenants) > 1 and nats > 1.0:
            nats += _UNRELATED
        campaign.nats = min(_MOST_NATS, max(0.0, campaign.nats + nats))
    if (share.is_usual or nats < -0.5) and tag(customer) not in campaign.good_tenants:
        remember(campaign.good_tenants, customer, 8)
    return encode(campaign), CampaignView(
        fingerprint,
        len(campaign.accounts),
        len(campaign.tenants),
        len(campaign.sources),
        campaign.recipients,
        campaign.nats,
        len(campaign.good_tenants) >= GOOD_TENANTS,
    )
