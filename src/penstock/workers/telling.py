"""Who is told of a suspension, and of its end: customer, reseller and abuse desk, each in a language of theirs."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, to_builtins

from penstock.judge.shutting import Shut
from penstock.model import Action, DecisionRow, OutboxItem
from penstock.notices.texts import Sample, Story
from penstock.store.ports import DecisionSearch, Store

_LOOKED_AT = 50
_MOST_SAMPLES = 5


class Contact(Struct, frozen=True):
    """Whom to tell about an account."""

    address: str = ""
    language: str = ""
    reseller: str = ""


class Contacts(Struct, frozen=True):
    """Contacts by account, `@domain` or tenant."""

    by_match: Mapping[str, Contact] = {}

    def of(self, account: str, tenant: str) -> Contact:
        """The closest: the account's own, its domain's, its customer's."""
        domain = f"@{account.rpartition('@')[2]}" if "@" in account else ""
        for match in (account, domain, tenant):
            if match and (found := self.by_match.get(match.lower())):
                return found
        return Contact()


def read_contacts(text: str) -> Contacts:
    """Contacts from lines of `match address [language [reseller]]`; `-` for none, `#` begins a comment.

    Raises ValueError with the line.
    """
    found: dict[str, Contact] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = ["" if word == "-" else word for word in line.partition("#")[0].split()]
        if not words:
            continue
        address, language, reseller = (*words[1:], "", "", "")[:3]
        if len(words) not in (2, 3, 4) or any(one and "@" not in one for one in (address, reseller)):
            raise ValueError(f'line {number}: "{line.strip()}" is not `match address [language [reseller]]`')
        found[words[0].lower()] = Contact(address, language.lower(), reseller)
    return Contacts(found)


class Telling(Struct, frozen=True):
    """What the operator says about telling."""

    contacts: Contacts = Contacts()
    language: str = "en"
    conditions: frozenset[str] = frozenset()
    """What is asked for before an account is let in."""
    probation_days: float = 7.0
    probation_recipients: int = 50


async def notices_of(
    telling: Telling,
    store: Store,
    name: str,
    shut: Shut,
    *,
    tenant: str,
    asked: tuple[str, ...],
    has_probation: bool = True,
) -> tuple[OutboxItem, ...]:
    """A notice for each who is to be told of the record's last change; its key is made of the change's number.

    `asked` are the conditions that apply. Raises StoreUnavailable.
    """
    contact = telling.contacts.of(name, tenant)
    own = name.partition(":")[2].lower()
    to = {"customer": contact.address, "reseller": contact.reseller}
    to = {role: address for role, address in to.items() if address and address.lower() != own}
    rows = await store.decisions(DecisionSearch(account=name, limit=_LOOKED_AT)) if shut.is_shut else []
    story = Story(
        "shut" if shut.is_shut else "opened",
        name,
        shut.at,
        tenant,
        tuple(shut.things),
        shut.reason,
        asked,
        samples_of(rows),
        tuple(to.values()),
        telling.probation_days if has_probation else 0.0,
        telling.probation_recipients,
    )
    told = to_builtins(story)
    found = []
    for role, address in (*to.items(), ("desk", "")):
        language = (contact.language if address else "") or telling.language
        payload: dict[str, object] = {"what": "story", "role": role, "language": language, "story": told}
        payload |= {"to": [address]} if address else {}
        found.append(OutboxItem(f"told/{name}/{shut.number}/{role}", shut.at, "notice", name, payload))
    return tuple(found)


def samples_of(rows: list[DecisionRow]) -> tuple[Sample, ...]:
    """The messages that show best what was wrong: those that were not to pass, and of them the worst."""
    worst = sorted(rows, key=lambda row: (row.decision.wanted is Action.ACCEPT, -row.decision.score, -row.decision.at))
    chosen = sorted(worst[:_MOST_SAMPLES], key=lambda row: row.decision.at)
    return tuple(Sample(row.decision.at, row.subject, row.mail_from, len(row.rcpt_to), row.client_ip) for row in chosen)
