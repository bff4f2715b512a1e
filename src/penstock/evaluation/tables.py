"""Reports of accounts as tables for people, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.evaluation.accounts import AccountsReport, Rate, Spread

ATTACKS_HEAD = (
    "| model | campaigns | contained | leaked messages: median / mean / p95 / max | leaked recipients | "
    "seconds to containment: median / p95 | suspended | nats per message | leak / bound |"
)
OWNERS_HEAD = (
    "| class | accounts | account-years | messages | false suspensions per account-year (95 %) | "
    "false holds per account-year (95 %) | late or refused per 10,000 |"
)


def table(report: AccountsReport) -> str:
    """Both tables of one judge."""
    lines = [
        f"**{report.judge}**: {report.messages} messages, {report.accounts} accounts, {report.days:.0f} days, "
        f"{report.cpu_ms_per_message:.2f} ms CPU per message; h = {report.threshold_nats:.1f} nats; "
        f"{report.owner_messages_stopped_in_incidents} messages of owners stopped while an abuser held the account",
        "",
        ATTACKS_HEAD,
        "|---" * 9 + "|",
    ]
    for model, one in report.attacks.items():
        seconds = one.seconds_to_containment
        lines.append(
            f"| {model} | {one.campaigns} | {one.contained_share:.0%} | {_spread(one.leaked_messages)} | "
            f"{_spread(one.leaked_recipients)} | {f'{seconds.median:.0f} / {seconds.p95:.0f}' if seconds else '-'} | "
            f"{one.suspended_share:.0%} | {one.nats_per_message:.2f} | {_ratio(one.leak_to_bound)} |"
        )
    lines += ["", OWNERS_HEAD, "|---" * 7 + "|"]
    for kind, owner in report.owners.items():
        lines.append(
            f"| {kind} | {owner.accounts} | {owner.account_years:.1f} | {owner.messages} | "
            f"{_rate(owner.false_suspensions)} | {_rate(owner.false_holds)} | "
            f"{owner.delayed_or_refused_per_10000:.1f} |"
        )
    lines += ["", "| class | evidence named by what was stopped |", "|---|---|"]
    named = [(model, one.named) for model, one in report.attacks.items()]
    named += [(kind, owner.named) for kind, owner in report.owners.items() if kind != "all"]
    lines += [f"| {kind} | {_names(names)} |" for kind, names in named if names]
    for account, kind, reasons in report.false_suspension_reasons:
        lines.append(f"\nfalse suspension: {account} ({kind}): {reasons}")
    return "\n".join(lines) + "\n"


def comparison(reports: Sequence[AccountsReport]) -> str:
    """One line a judge: median leak per attack model, false suspensions, late messages."""
    models = list(dict.fromkeys(model for report in reports for model in report.attacks))
    lines = [
        "| judge | " + " | ".join(models) + " | false suspensions per account-year | late or refused per 10,000 |",
        "|---" * (len(models) + 3) + "|",
    ]
    for report in reports:
        cells = [_leak(report, model) for model in models]
        everyone = report.owners.get("all")
        cells.append(_rate(everyone.false_suspensions) if everyone else "-")
        cells.append(f"{everyone.delayed_or_refused_per_10000:.1f}" if everyone else "-")
        lines.append(f"| {report.judge} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def curve_table(report: AccountsReport) -> str:
    """Leak and false alarms at other thresholds."""
    models = list(report.attacks)
    lines = ["| h | false alarms per account-year | " + " | ".join(models) + " |", "|---" * (len(models) + 2) + "|"]
    for point in report.curve:
        leaks = " | ".join(f"{point.leaked_messages[model]:g}" for model in models)
        lines.append(f"| {point.threshold_nats:g} | {point.false_alarms_per_account_year:.3g} | {leaks} |")
    return "\n".join(lines) + "\n"


def _names(named: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in named.items())


def _leak(report: AccountsReport, model: str) -> str:
    one = report.attacks.get(model)
    return f"{one.leaked_messages.median:g} ({one.contained_share:.0%})" if one else "-"


def _spread(spread: Spread) -> str:
    return f"{spread.median:g} / {spread.mean:.1f} / {spread.p95:g} / {spread.max:g}"


def _rate(rate: Rate) -> str:
    return f"{rate.count}: {rate.per_account_year:.3g} ({rate.low:.2g}-{rate.high:.2g})"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
