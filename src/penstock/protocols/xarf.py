"""X-ARF (https://xarf.org, version 3): an abuse report as JSON, here about an account of one's own.

Names are those of the schemas in github.com/abusix/xarf, `schemas/3/spam.schema.json` and `xarf_shared.schema.json`.
They have no field for a subject or a count: those go into `Custom`, which is for that. Version 4 is the present one;
its parsers read version 3 too, and its names were still moving when this was written.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_SHORTEST_NAME = 3


def spam_report(
    *,
    organisation: str,
    reporter: str,
    at: float,
    source_ip: str,
    mail_from: str = "",
    subject: str = "",
    count: int = 1,
) -> dict[str, Any]:
    """A report of class Activity, type Spam. `count` is how many messages were seen."""
    report: dict[str, Any] = {
        "ReportClass": "Activity",
        "ReportType": "Spam",
        "Date": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "SourceIp": source_ip,
        "Ongoing": False,
        "Custom": {"MessageCount": count} | ({"Subject": subject} if subject else {}),
    }
    if mail_from:
        report["SmtpMailFromAddress"] = mail_from
    domain = reporter.rpartition("@")[2]
    name = organisation if len(organisation) >= _SHORTEST_NAME else domain
    who = {"ReporterOrg": name, "ReporterOrgDomain": domain, "ReporterOrgEmail": reporter}
    return {"Version": "3", "ReporterInfo": who, "Disclosure": False, "Report": report}
