"""The drawing of leak against false alarms is well-formed and shows every model."""

from pathlib import Path
from xml.etree import ElementTree

from stage import Told, decide, message, write_trace

from penstock.evaluation.accounts import evaluate
from penstock.evaluation.plots import amoc_svg
from penstock.evaluation.trace import Trace
from penstock.model import Action


async def test_every_model_has_its_line(tmp_path: Path) -> None:
    """Two models make two lines of as many points as there are thresholds."""
    events = [message(float(n), f"m{n}", truth="abuse", model=f"A{n}", campaign=f"c{n}") for n in (1, 2)]
    found = await evaluate(
        Trace(write_trace(tmp_path, events)), Told(lambda s: decide(s, Action.ACCEPT, nats=s.received_at * 4))
    )

    drawn = ElementTree.fromstring(amoc_svg(found))
    lines = drawn.findall("{http://www.w3.org/2000/svg}polyline")

    assert len(lines) == 2
    assert all(len(line.attrib["points"].split()) == len(found.curve) == 12 for line in lines)
