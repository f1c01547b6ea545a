"""Dead letters of strangers in the page: whatever they hold, they show as text."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from html.parser import HTMLParser

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from keda_jobs.domain.subjects import DEAD_LETTER
from stack import NatsServer, publish_raw
from stack.streams import apply_streams

from .conftest import serving
from .test_ui_dead_letters import rows

# Text that turns the direction, ends lines, moves a cursor, hides, or is no text at all.
ODD = "\u202e\u2066\u200b\u2028\x00\x1b\x7f\x85\ufeff\ud800"
texts = (
    st.text() | st.text(alphabet=ODD + "<>&\"'{}%/") | st.sampled_from(["</pre></main><script>1</script>", "{{ 7*7 }}"])
)
bodies = st.binary(max_size=200) | st.tuples(texts, texts).map(
    lambda parts: json.dumps({"subject": parts[0], "data": parts[1], "num_delivered": 3}).encode()
)
lines = st.tuples(
    st.sampled_from(
        [b"Keda-Jobs-Job", b"Keda-Jobs-Reason", b"Keda-Jobs-Error-Class", b"Keda-Jobs-Data", b"X", b"\xff"]
    ),
    st.binary(max_size=60) | texts.map(lambda text: text.encode(errors="replace")),
).map(lambda pair: b"%s: %s" % pair)
blocks = st.lists(lines, max_size=6).map(lambda fields: b"\r\n".join([b"NATS/1.0", *fields, b"", b""]))


class Checked(HTMLParser):
    """Parser of a page: its tags, and the text that a viewer sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.shown = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_data(self, data: str) -> None:
        self.shown += data


@settings(max_examples=10, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(blocks, bodies), min_size=1, max_size=10))
def test_any_dead_letter_is_text(nats_server: NatsServer, sent: list[tuple[bytes, bytes]]) -> None:
    async def look() -> None:
        await apply_streams(nats_server.url)
        assert await publish_raw(nats_server, DEAD_LETTER, sent) == []
        async with serving(nats_server) as viewer:
            page = await viewer.get("/dead-letters")
            assert page.status == 200
            assert len(rows(page.text)) >= len(sent)
            paths = ["/dead-letters", "/dead-letters/count", "/dead-letters/replay"]
            for number in rows(page.text)[: len(sent)]:
                paths += [f"/dead-letters/{number}", f"/dead-letters/{number}?view=raw"]
            for path in paths:
                page = await viewer.get(path)
                checked = Checked(page.text)
                assert (page.status, checked.tags["script"], checked.tags["main"]) == (200, 1, 1)
                assert not set(checked.shown) & set(ODD)

    asyncio.run(look())
