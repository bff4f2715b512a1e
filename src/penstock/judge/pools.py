"""Which class of sending IPs a message leaves through: standing × kind → pool, the most specific choice wins."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.model import Kind, Standing


def choose_pool(standing: Standing, kind: Kind, choices: Mapping[str, str]) -> str:
    """The pool for a standing and a kind, or the empty string where none is configured.

    The order is `standing/kind`, then `poor` and `new` standings before the kind (a poor account's newsletter is
    first of all a poor account's), then kind, then standing, then `default`.
    """
    order = [f"{standing}/{kind}"]
    if standing in (Standing.POOR, Standing.SUSPENDED, Standing.NEW):
        order += [standing.value, kind.value]
    elif kind is not Kind.NORMAL:
        order += [kind.value, standing.value]
    else:
        order += [standing.value, kind.value]
    for key in (*order, "default"):
        if key in choices:
            return choices[key]
    return ""
