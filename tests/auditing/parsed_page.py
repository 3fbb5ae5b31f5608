"""A page as a list of elements: what tests ask about."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"meta", "br", "img", "input", "link", "hr"})


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parents: tuple["Element", ...]
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self):
        return " ".join("".join(self.pieces).split())

    @property
    def classes(self):
        return self.attributes.get("class", "").split()

    def within(self, tag, name=None):
        return any(p.tag == tag and (name is None or name in p.classes) for p in self.parents)


class Page(HTMLParser):
    """Raises on tags that do not nest, which would let the text of one element run into another."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.elements, self._open = [], []
        self.feed(str(source))
        self.close()
        assert not self._open, f"never closed: {[element.tag for element in self._open]}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>"
        element = Element(tag, {name: value or "" for name, value in attrs}, tuple(self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data):
        for element in self._open:
            element.pieces.append(data)

    def all(self, tag, name=None):
        return [e for e in self.elements if e.tag == tag and (name is None or name in e.classes)]

    def one(self, tag, name=None):
        (found,) = self.all(tag, name)
        return found
