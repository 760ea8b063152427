"""Every link inside the book leads somewhere."""

from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit


class Anchors(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.ids = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        self.links |= {attrs[key] for key in ("href", "src") if attrs.get(key) and tag != "base"}


@cache
def anchors(file):
    return Anchors(file.read_text("utf-8"))


def test_links_lead_somewhere(book):
    broken = []
    for here in book.rglob("*.html"):
        if here.relative_to(book).parts[0] in ("_static", "mathjax3"):
            continue
        for link in sorted(anchors(here).links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = (here.parent / unquote(parts.path)).resolve() if parts.path else here
            place = unquote(parts.fragment)
            if not there.exists() or (place and there.suffix == ".html" and place not in anchors(there).ids):
                broken.append((here.name, link))
    assert broken == []
