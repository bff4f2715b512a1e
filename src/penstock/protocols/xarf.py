"""X-ARF (https://xarf.org, version 3): an abuse report as JSON, here about an account of one's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


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
        "Count": count,
    }
    if mail_from:
        report["SmtpMailFromAddress"] = mail_from
    if subject:
        report["SmtpMessageSubject"] = subject
    domain = reporter.rpartition("@")[2]
    who = {"ReporterOrg": organisation, "ReporterOrgDomain": domain, "ReporterOrgEmail": reporter}
    return {"Version": "3", "ReporterInfo": who, "Disclosure": False, "Report": report}
