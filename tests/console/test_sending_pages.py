"""Pools and IPs at the console: what moved and why, what is listed day by day, what the last mail would use now."""

from console_house import MINE, decision
from selectolax.lexbor import LexborHTMLParser as HTMLParser

from penstock.model import Action, Audit, make_id
from penstock.pool_past import listed_days, pool_history
from penstock.sending import Listing, Severity
from penstock.store.ports import Records

DAY_S = 86400.0


def listing(since, until=0.0, severity=Severity.HIGH, ip="192.0.2.1"):
    return Listing(ip, "zen", since * DAY_S, since * DAY_S, until * DAY_S, severity=severity)


def test_each_day_has_the_worst_listing_of_the_day():
    """From the day it was seen to the day it was gone, both among them; what ended before the first has no row."""
    listings = [
        listing(10.5, 12.2),
        listing(12.4, severity=Severity.LOW),
        listing(2.0, 3.0, ip="192.0.2.2"),
        listing(14.9, ip="192.0.2.3"),
    ]
    starts, rows = listed_days(listings, 14.0 * DAY_S + 5.0, 5)
    assert [start / DAY_S for start in starts] == [10, 11, 12, 13, 14]
    assert [row.ip for row in rows] == ["192.0.2.1", "192.0.2.3"]
    high, low = Severity.HIGH, Severity.LOW
    assert rows[0].days == (high, high, high, low, low)


async def test_moves_are_found_among_everything_else_on_record(house, visit):
    """Page by page, newest first, with their reasons; the API, the page and one account's moves say the same."""
    moves = tuple(
        Audit(house.now + n, "penstock", "move-pool", MINE, "normal to poor", f"normal to pool{n}") for n in range(60)
    )
    noise = tuple(Audit(house.now + n + 0.5, "ann", "note", MINE, "nothing") for n in range(1500))
    await house.store.update((), lambda: Records(audit=moves + noise))
    first = await pool_history(house.store, limit=50)
    assert not first.rows
    client, headers = await visit("desk"), await house.token("desk")
    found, before, calls = [], "", 0
    while calls == 0 or before:
        params = {"target": MINE, "limit": 25} | ({"before": before} if before else {})
        page = (await client.get("/api/v1/pools/moves", params=params, headers=headers)).json()
        found, before, calls = found + page["rows"], page["next"] or "", calls + 1
    assert [one["detail"] for one in found] == [one.detail for one in reversed(moves)]
    text = (await client.get("/pools/moves", params={"before": house.now + 60})).text
    assert HTMLParser(text).css_first("#rows th a").text() == MINE
    assert "normal to pool59" in text
    assert "moved to another pool" in text


async def test_the_plan_says_who_would_move(house, visit):
    """One account's mail, which left by no IP of ours, would leave by the pool's; so say page and API."""
    row = decision(make_id(house.now - 60, 77), MINE, Action.ACCEPT, "lunch")
    await house.store.update((), lambda: Records(decisions=(row,)))
    client, headers = await visit("reader"), await house.token("reader")
    plan = (await client.get("/api/v1/pools/plan", headers=headers)).json()
    assert [one["name"] for one in plan["moves"]] == [MINE]
    assert plan["messages"] == 2
    tree = HTMLParser((await client.get("/pools/plan")).text)
    assert tree.css("tbody th a")[0].text() == MINE
    assert [node.text() for node in tree.css("tbody tr:first-child td.num")][2:4] == ["100%", "0%"]
    assert plan["moves"][0]["after"] in tree.body.text()
    answer = await client.get("/pools/plan", params={"days": "nan"})
    assert answer.status_code == 200


async def test_a_listing_stands_in_the_matrix_and_in_todays_column(house, visit):
    """As a word too, for who does not see the square."""
    client = await visit("reader")
    tree = HTMLParser((await client.get("/pools")).text)
    row = tree.css_first("table.days tbody tr")
    assert row.css_first("th").text() == "192.0.2.1"
    assert [bool(node.text()) for node in row.css("td")[1:]] == [False] * 27 + [True]
    assert row.css("td")[-1].css_first(".hidden").text() == "medium"
    assert "zen" in tree.css_first("table.matrix").text()
