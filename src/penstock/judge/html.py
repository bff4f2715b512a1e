"""HTML as a reader sees it: visible text, hidden text, quoted text and every address it points to, in one linear pass.

No tree is built: every HTML5 tree builder is quadratic on mis-nested markup, because the standard is. What a tree
would tell (what is inside a hidden or quoted element) is told by counting elements of the same name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import unescape

from msgspec import Struct

MAX_ATTRIBUTES = 60
MAX_LABEL = 200
_LONGEST_TAG = 65_536
"""Characters of a tag in which attributes are looked for."""
_LONGEST_KEPT = 200
_LONGEST_RUN = 1000
"""Of text within a link, as white space folds to `MAX_LABEL` characters."""

_VALUE = r"""(?:"[^"]*+"?+|'[^']*+'?+|[^\s>]*+)"""
_ONE = rf"(?:[^\s=>/][^\s=>/]*+|=)(?:\s*+=\s*+{_VALUE})?+"
_TAG = re.compile(rf"<(?:(/?)([A-Za-z][A-Za-z0-9:_-]*+)((?:[\s/]*+{_ONE})*+)[\s/]*+(>?)|(!--|[!?]))")
"""A tag with all of its attributes, which end at a `>` or with the page; or what begins a comment or declaration."""
_ATTRIBUTE = re.compile(r"""([^\s=>/][^\s=>/]*+|=)(?:\s*+=\s*+(?:"([^"]*+)"?+|'([^']*+)'?+|([^\s>]*+)))?+""")
_LONG_NUMBER = re.compile(r"&#[xX]?[0-9a-fA-F]{9,}+;?+")
_SPACE = re.compile(r"[ \t\r\n\f\xa0\0]+")
_BREAK = "\0"
"""Stands for a line break that a reader sees; those in the source are blanks."""
_COMMENT_END = re.compile("--!?>")
_RAW_TEXT = frozenset(("script", "style", "title", "textarea", "noscript", "xmp", "iframe", "noembed", "noframes"))
_RAW_END = {name: re.compile(f"</{name}", re.IGNORECASE) for name in _RAW_TEXT}
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
_BLOCK = frozenset(
    "address article aside blockquote body center dd div dl dt fieldset footer form h1 h2 h3 h4 h5 h6 header hr html "
    "li main nav ol option p pre section select table tbody td tfoot th thead tr ul br".split()
)
_TELLING = frozenset(("base", "blockquote", "form", "meta"))
"""Elements that say something whatever their attributes are."""
_URL_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "a": ("href",), "area": ("href",), "link": ("href",), "img": ("src", "longdesc"), "form": ("action",),
    "input": ("src", "formaction"), "button": ("formaction",), "iframe": ("src",), "frame": ("src",),
    "embed": ("src",), "object": ("data",), "video": ("src", "poster"), "audio": ("src",), "source": ("src",),
    "body": ("background",), "table": ("background",), "td": ("background",), "svg": ("xlink:href",),
    "image": ("href", "xlink:href"), "use": ("href", "xlink:href"), "blockquote": (), "script": ("src",),
}  # fmt: skip
_WHERE = {"a": "href", "area": "href", "form": "form", "input": "form", "button": "form", "img": "image"}
_REFRESH = re.compile(r"url\s*+=\s*+['\"]?([^'\"\s>]{1,2000})", re.IGNORECASE)
_DECLARATION = re.compile(r"([a-z-]{1,40})\s*+:\s*+([^;]{0,200})", re.IGNORECASE)
_NUMBER = re.compile(r"^(-?[\d.]{1,10})\s*(px|pt|em|rem|%|ex|vw|vh)?")
_RGB = re.compile(r"rgba?\(\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})")
_HIDDEN_CLASS = re.compile(
    r"\.([\w-]{1,60})\s*\{[^{}]{0,500}?(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE
)
_COLOURS = {
    "white": (255, 255, 255), "black": (0, 0, 0), "red": (255, 0, 0), "blue": (0, 0, 255), "green": (0, 128, 0),
    "yellow": (255, 255, 0), "gray": (128, 128, 128), "grey": (128, 128, 128), "silver": (192, 192, 192),
    "snow": (255, 250, 250), "ivory": (255, 255, 240), "whitesmoke": (245, 245, 245), "navy": (0, 0, 128),
}  # fmt: skip
_WHITE = (255, 255, 255)
Colour = tuple[int, int, int]


class Address(Struct, frozen=True):
    """An address that the page points to."""

    url: str
    label: str
    where: str
    """`href`, `form`, `image`, `resource`, `refresh`, `comment`."""
    is_quoted: bool


class Page(Struct, frozen=True):
    """What a reader sees of a page, and what not."""

    text: str
    quoted: str
    hidden: str
    addresses: tuple[Address, ...]
    anomalies: tuple[str, ...]
    """`unclosed-tag`, `comment-in-word`, `form`, `script`, `meta-refresh` …"""


def read_page(html: str, *, max_chars: int, max_addresses: int) -> Page:
    """Read a page; what lies beyond the bounds is left out. Never raises, linear in its input."""
    return _Reader(html, max_chars, max_addresses).read()


class _Inside(Struct):
    """An element whose end is waited for, by counting elements of the same name."""

    name: str
    count: int = 1


class _Element(Struct, frozen=True):
    """A start tag: its attributes, and what they say of being seen and quoted."""

    attributes: dict[str, str]
    classes: tuple[str, ...]
    ground: Colour | None
    colour: Colour | None
    is_removed: bool
    """Never shown, so that it is no ground either."""
    is_invisible: bool
    is_quote: bool
    points: bool
    """Whether it may point to an address."""


class _Reader:
    def __init__(self, html: str, max_chars: int, max_addresses: int) -> None:
        self._html = html.replace(_BREAK, "") if _BREAK in html else html
        self._max_chars = max_chars
        self._out: dict[str, list[str]] = {"text": [], "quoted": [], "hidden": []}
        self._into = self._out["text"]
        self._max_addresses = max_addresses
        self._addresses: list[Address] = []
        self._anomalies: dict[str, None] = {}
        self._hidden: _Inside | None = None
        self._quoted: _Inside | None = None
        self._grounds: list[tuple[str, Colour]] = []
        self._hidden_classes: frozenset[str] = frozenset()
        self._base = ""
        self._missing: set[str] = set()
        self._link: tuple[str, list[str], bool] | None = None

    def read(self) -> Page:
        html, at = self._html, 0
        search = _TAG.search
        while (found := search(html, at)) is not None:
            start, end = found.span()
            if start > at:
                self._text(html[at:start])
            slash, name, source, close, sign = found.groups()
            if sign:
                at = self._declaration(sign, end)
                continue
            at = end
            if not close:
                self._anomalies["unclosed-tag"] = None
            name = name.lower()
            if slash:
                self._end(name)
            elif name in _RAW_TEXT:
                at = self._raw_text(name, source, at)
            else:
                self._start(name, source)
        self._text(html[at:])
        self._close_link()
        texts = {name: _tidy("".join(runs))[: self._max_chars] for name, runs in self._out.items()}
        return Page(texts["text"], texts["quoted"], texts["hidden"], tuple(self._addresses), tuple(self._anomalies))

    def _declaration(self, sign: str, at: int) -> int:
        """Pass over a comment or a declaration; where to go on."""
        if sign == "!--":
            end = self._find_once("-->", at - 2, _COMMENT_END)
            if end < 0:
                self._anomalies["unclosed-comment"] = None
                return at
            return end + 3
        end = self._html.find(">", at)
        return len(self._html) if end < 0 else end + 1

    def _raw_text(self, name: str, source: str, at: int) -> int:
        """Elements whose content is no markup: it is not read as text, except a title's or a text area's."""
        self._urls(name, _attributes(source))
        end = self._find_once(f"</{name}", at, _RAW_END[name])
        content = self._html[at : end if end >= 0 else at]
        if name == "style" and not self._hidden_classes:
            plain = content[:20_000].partition("@media")[0]
            self._hidden_classes = frozenset(_HIDDEN_CLASS.findall(plain))
        elif name == "script":
            self._anomalies["script"] = None
        elif name in ("noscript", "noembed", "noframes"):
            return at
        if end < 0:
            self._anomalies["unclosed-raw-text"] = None
            return at
        return end

    def _find_once(self, what: str, at: int, pattern: re.Pattern[str]) -> int:
        """Where something ends; once it was not found it is not looked for again, which keeps the whole linear."""
        if what in self._missing:
            return -1
        found = pattern.search(self._html, at)
        if found is None:
            self._missing.add(what)
            return -1
        return found.start()

    def _start(self, name: str, source: str) -> None:
        if name in _BLOCK:
            self._break()
        if not source and self._into is self._out["text"] and name not in _TELLING:
            return
        element = _element(name, source)
        if name not in _VOID:
            self._enter(name, element)
        if element.points:
            self._urls(name, element.attributes)

    def _enter(self, name: str, element: _Element) -> None:
        if self._hidden is not None:
            self._hidden.count += self._hidden.name == name
        elif self._is_hidden(name, element):
            self._hidden = _Inside(name)
        if self._quoted is not None:
            self._quoted.count += self._quoted.name == name
        elif element.is_quote:
            self._quoted = _Inside(name)
        self._turn()

    def _end(self, name: str) -> None:
        if name in _BLOCK:
            self._break()
        if name == "a":
            self._close_link()
        if self._grounds and self._grounds[-1][0] == name:
            self._grounds.pop()
        if self._into is not self._out["text"]:
            self._hidden = _leave(self._hidden, name)
            self._quoted = _leave(self._quoted, name)
            self._turn()

    def _is_hidden(self, name: str, element: _Element) -> bool:
        if element.is_removed or not self._hidden_classes.isdisjoint(element.classes):
            return True
        if element.ground is not None and len(self._grounds) < 50:
            self._grounds.append((name, element.ground))
        if element.is_invisible or element.colour is None:
            return element.is_invisible
        return _is_near(element.colour, self._grounds[-1][1] if self._grounds else _WHITE)

    def _urls(self, name: str, attributes: dict[str, str]) -> None:
        if name == "base":
            self._base = self._base or attributes.get("href", "")[:2000]
            return
        if name == "meta" and attributes.get("http-equiv", "").strip().lower() == "refresh":
            self._anomalies["meta-refresh"] = None
            if found := _REFRESH.search(attributes.get("content", "")[:4000]):
                self._add(found[1], "", "refresh")
            return
        if name == "form":
            self._anomalies["form"] = None
        for attribute in _URL_ATTRIBUTES.get(name, ()):
            url = attributes.get(attribute, "")
            if not url:
                continue
            if name in ("a", "area") and attribute == "href":
                self._close_link()
                self._link = (url, [], self._quoted is not None)
            else:
                self._add(url, attributes.get("alt", ""), _WHERE.get(name, "resource"))

    def _close_link(self) -> None:
        if self._link is not None:
            url, label, is_quoted = self._link
            self._link = None
            self._add(url, _SPACE.sub(" ", "".join(label)[: 4 * _LONGEST_RUN]), "href", is_quoted)

    def _add(self, url: str, label: str, where: str, is_quoted: bool | None = None) -> None:
        if len(self._addresses) >= self._max_addresses:
            self._anomalies["too-many-links"] = None
            return
        url = url[:2000]
        if (
            self._base
            and "://" not in url[:20]
            and not url[:12].lower().startswith(("mailto:", "tel:", "data:", "cid:"))
        ):
            url = self._base.rstrip("/") + "/" + url.lstrip("/")
        quoted = self._quoted is not None if is_quoted is None else is_quoted
        self._addresses.append(Address(url, _SPACE.sub(" ", label[:MAX_LABEL]).strip(), where, quoted))

    def _text(self, run: str) -> None:
        run = decode_entities(run)
        self._into.append(run)
        if self._link is not None:
            self._label(run)

    def _break(self) -> None:
        self._into.append(_BREAK)
        if self._link is not None:
            self._label(_BREAK)

    def _label(self, run: str) -> None:
        if self._link is not None and self._hidden is None and len(self._link[1]) < 50:
            self._link[1].append(run[:_LONGEST_RUN])

    def _turn(self) -> None:
        """What is read next goes to where it belongs now."""
        place = "hidden" if self._hidden is not None else "quoted" if self._quoted is not None else "text"
        self._into = self._out[place]


def _element(name: str, source: str) -> _Element:
    """What a start tag says; most tags of a page are the same few again and again."""
    if len(source) <= _LONGEST_KEPT and "://" not in source:
        return _kept_element(name, source)
    return _new_element(name, source)


def _new_element(name: str, source: str) -> _Element:
    attributes = _attributes(source)
    style = attributes.get("style", "")[:2000]
    is_font = name == "font"
    ground, colour, is_invisible = _style(
        style, attributes.get("bgcolor", "")[:100], attributes.get("color", "")[:100] if is_font else ""
    )
    return _Element(
        attributes,
        tuple(attributes.get("class", "").split()),
        ground,
        colour,
        "hidden" in attributes,
        is_invisible or (is_font and colour is None and attributes.get("size", "").strip() == "0"),
        _is_quote(name, attributes),
        name in _TELLING or any(attributes.get(one) for one in _URL_ATTRIBUTES.get(name, ())),
    )


_kept_element = lru_cache(maxsize=4096)(_new_element)


def _attributes(source: str) -> dict[str, str]:
    """Attributes by lower-case name; of several with one name the first counts."""
    found = _ATTRIBUTE.findall(source[:_LONGEST_TAG])[:MAX_ATTRIBUTES]
    attributes = {name.lower(): double or single or bare for name, double, single, bare in reversed(found)}
    if "&" in source:
        return {name: decode_entities(value) for name, value in attributes.items()}
    return attributes


@lru_cache(maxsize=1024)
def _style(style: str, ground: str, colour: str) -> tuple[Colour | None, Colour | None, bool]:
    """Ground, colour and whether it hides, by a style and by attributes for ground and colour."""
    declared = {key.lower(): value.strip().lower() for key, value in _DECLARATION.findall(style)}
    return (
        _colour(declared.get("background-color") or declared.get("background") or ground),
        _colour(declared.get("color") or colour),
        bool(declared) and _is_invisible(declared),
    )


def decode_entities(text: str) -> str:
    """Decode character references; numbers too long to be one are dropped (int() refuses them)."""
    if "&" not in text:
        return text
    return unescape(_LONG_NUMBER.sub("", text))


def _leave(inside: _Inside | None, name: str) -> _Inside | None:
    if inside is not None and inside.name == name:
        inside.count -= 1
        if inside.count <= 0:
            return None
    return inside


def _is_quote(name: str, attributes: dict[str, str]) -> bool:
    if name == "blockquote":
        return True
    names = f" {attributes.get('class', '').lower()} {attributes.get('id', '').lower()} "
    return name == "div" and any(
        mark in names
        for mark in (" gmail_quote ", " yahoo_quoted ", " divrplyfwdmsg ", " appendonsend ", " protonmail_quote ")
    )


def _is_invisible(declared: dict[str, str]) -> bool:
    if declared.get("display", "").startswith("none") or declared.get("visibility", "").startswith("hidden"):
        return True
    if declared.get("mso-hide", "").startswith("all"):
        return True
    for key, least in (("font-size", 2.0), ("opacity", 0.05), ("max-height", 0.5), ("max-width", 0.5), ("height", 0.5)):
        if key in declared and (value := _size(declared[key])) is not None and value < least:
            if key in ("height", "max-height", "max-width") and "overflow" not in declared:
                continue
            return True
    offset = min(
        (_size(declared.get(key, "")) or 0.0 for key in ("left", "top", "text-indent", "margin-left")), default=0.0
    )
    return offset <= -500


def _size(text: str) -> float | None:
    """A length in something like pixels."""
    found = _NUMBER.match(text)
    if found is None:
        return None
    try:
        number = float(found[1])
    except ValueError:
        return None
    return number * {"em": 16, "rem": 16, "%": 0.16, "pt": 1.33}.get(found[2] or "", 1.0)


def _colour(text: str) -> Colour | None:
    text = text.strip().lower()
    if text.startswith("#"):
        digits = text[1:7]
        if len(digits) >= 6:
            pairs = (digits[0:2], digits[2:4], digits[4:6])
        elif len(digits) >= 3:
            pairs = (digits[0] * 2, digits[1] * 2, digits[2] * 2)
        else:
            return None
        try:
            return (int(pairs[0], 16), int(pairs[1], 16), int(pairs[2], 16))
        except ValueError:
            return None
    if found := _RGB.match(text):
        return (min(int(found[1]), 255), min(int(found[2]), 255), min(int(found[3]), 255))
    return _COLOURS.get(text.partition(" ")[0])


@lru_cache(maxsize=1024)
def _is_near(one: Colour, other: Colour) -> bool:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) < 24


def _tidy(text: str) -> str:
    """White space as a reader sees it: one blank for any of it, and lines only where elements break them."""
    for sign in "\n\t\r\f\xa0":
        text = text.replace(sign, " ")
    while "  " in text:
        text = text.replace("  ", " ")
    return "\n".join(filter(None, map(str.strip, text.split(_BREAK))))
