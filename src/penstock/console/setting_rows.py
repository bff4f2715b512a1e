"""The settings as a table: what each is, what it says, and whether the file or Penstock said so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from penstock.sections.fields import Section

_TOLD = "(set; not shown)"


class SettingRow(Struct, frozen=True):
    """One setting."""

    name: str
    value: str
    is_from_file: bool
    """Whether the configuration file says it; else it is Penstock's own."""
    meaning: str


def setting_rows(section: Section, prefix: str = "") -> list[tuple[str, list[SettingRow]]]:
    """Tables by name, each with its settings; secrets are not shown."""
    own, tables = list[SettingRow](), list[tuple[str, list[SettingRow]]]()
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            tables += setting_rows(value, f"{prefix}{name}.")
            continue
        is_set = name in section.model_fields_set
        shown = _TOLD if not field.repr and value else "\n".join(_lines(value))
        own.append(SettingRow(f"{prefix}{name}", shown, is_set, " ".join((field.description or "").split())))
    return [(prefix.rstrip("."), own), *tables] if own else tables


def _lines(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, Section):
        for name, field in type(value).model_fields.items():
            if name in value.model_fields_set:
                inner = getattr(value, name)
                yield from [f"{prefix}{name} = {_TOLD}"] if not field.repr else _lines(inner, f"{prefix}{name} = ")
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _lines(inner, f"{prefix}{name}: ")
    elif isinstance(value, list) and any(isinstance(one, Section) for one in value):
        for one in value:
            yield f"{prefix}{' '.join(_lines(one))}"
    elif isinstance(value, list):
        yield f"{prefix}{', '.join(map(str, value)) or '–'}"
    else:
        yield f"{prefix}{value if value not in (None, '') else '–'}"
