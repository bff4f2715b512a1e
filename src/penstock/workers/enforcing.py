"""Shutting and letting back in, put together from the settings: drivers, planner, lanes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.clients.drivers.driver import Driver
from penstock.clients.drivers.known import make_drivers
from penstock.config import Settings
from penstock.judge.ladder import Never, read_never
from penstock.judge.way_back import Terms
from penstock.model import Mode
from penstock.pipeline import Pipeline
from penstock.store.ports import Store
from penstock.workers.enforcement import EnforcementSettings, Lane, Planner
from penstock.workers.queue_hold import queue_drivers
from penstock.workers.telling import Contacts, Telling, read_contacts
from penstock.workers.upkeep import Chore
from penstock.workers.way_back import WayBack

_LOOK_S = 1.0
_RELEASE_S = 30.0


def never_of(settings: Settings) -> Never:
    """What may never be shut."""
    return read_never(settings.judge.exempt_accounts, settings.own_addresses, settings.enforcement.never)


def telling_of(settings: Settings) -> Telling:
    """Who is told. Raises OSError, and ValueError with the contacts file."""
    section, file = settings.enforcement, settings.notices.contacts_file
    try:
        contacts = read_contacts(file.read_text("utf-8")) if file is not None else Contacts()
    except ValueError as trouble:
        raise ValueError(f"{file}: {trouble}") from None
    days, recipients = section.probation_days, section.probation_recipients_per_day
    return Telling(contacts, settings.notices.language, frozenset(section.release_conditions), days, recipients)


class Enforcing:
    """Everything that carries suspensions to where accounts live."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        pipeline: Pipeline,
        *,
        hostname: str,
        now: Callable[[], float],
    ) -> None:
        section = settings.enforcement
        terms = Terms.of(section.release_conditions, section.release_after_hours, ends_sessions=section.ends_sessions)
        drivers: Mapping[str, Driver] = {**make_drivers(section), **queue_drivers(settings, store)}
        acts = settings.judge.mode is Mode.ENFORCE and not section.dry_run
        rules = EnforcementSettings(acts, never_of(settings), section.domain_after, telling_of(settings))
        self.planner = Planner(rules, drivers, store, pipeline, hostname=hostname, now=now)
        self.way_back = WayBack(terms, store, pipeline, hostname=hostname, now=now)
        self._drivers = drivers
        hosts = section.hosts()
        give_up_s = section.give_up_hours * 3600.0
        self._lanes = {
            name: Lane(name, driver, store, now, holder=hostname, give_up_s=give_up_s)
            for name, driver in drivers.items()
            if acts and hosts[name] in ("", hostname)
        }

    def chores(self) -> list[Chore]:
        """What runs, and how often: each lane by itself, so that a slow driver keeps no other waiting."""
        lanes = [(_LOOK_S, f"enforcement-{name}", lane.run_once) for name, lane in self._lanes.items()]
        own = [(_LOOK_S, "enforcement", self.planner.run_once), (_RELEASE_S, "way-back", self.way_back.run_once)]
        return [*own, *lanes]

    async def close(self) -> None:
        """Let go of what drivers hold open."""
        for driver in self._drivers.values():
            await driver.close()
