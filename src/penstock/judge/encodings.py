"""Bytes to text: transfer encodings and charsets, tolerant, linear, and never by a codec that mail may not name."""

from __future__ import annotations

import binascii
import re

# Charset names that mail may ask for, and the codec that reads them as browsers do (WHATWG Encoding):
# supersets stand in for their subsets, so that Windows text with a Latin-1 label reads right.
_CODECS = {
    "utf-8": "utf-8", "utf8": "utf-8", "unicode-1-1-utf-8": "utf-8", "utf-7": "utf-7", "utf7": "utf-7",
    "unicode-1-1-utf-7": "utf-7", "utf-16": "utf-16", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be",
    "utf-32": "utf-32", "utf-32le": "utf-32-le", "utf-32be": "utf-32-be",
    "iso-8859-1": "cp1252", "latin1": "cp1252", "latin-1": "cp1252", "l1": "cp1252", "iso8859-1": "cp1252",
    "iso-8859-9": "cp1254", "iso-8859-11": "cp874", "tis-620": "cp874", "windows-874": "cp874",
    "koi8-r": "koi8-r", "koi8-u": "koi8-u", "koi8": "koi8-r", "gb2312": "gb18030", "gbk": "gb18030",
    "gb18030": "gb18030", "x-gbk": "gb18030", "cp936": "gb18030", "hz-gb-2312": "hz", "big5": "big5hkscs",
    "big5-hkscs": "big5hkscs", "cp950": "cp950", "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932",
    "x-sjis": "cp932", "windows-31j": "cp932", "cp932": "cp932", "euc-jp": "euc_jp", "eucjp": "euc_jp",
    "x-euc-jp": "euc_jp", "iso-2022-jp": "iso2022_jp_ext", "iso-2022-jp-1": "iso2022_jp_ext",
    "iso-2022-jp-2": "iso2022_jp_2", "euc-kr": "cp949", "ks_c_5601-1987": "cp949", "ks_c_5601": "cp949",
    "cp949": "cp949", "windows-949": "cp949", "iso-2022-kr": "iso2022_kr", "macintosh": "mac-roman",
    "mac-roman": "mac-roman", "x-mac-roman": "mac-roman", "x-mac-cyrillic": "mac-cyrillic",
    **{f"iso-8859-{n}": f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    **{f"iso8859-{n}": f"iso8859-{n}" for n in (2, 5, 7, 15)},
    "iso-8859-8-i": "iso8859-8", "iso-8859-8-e": "iso8859-8", "iso-8859-6-i": "iso8859-6",
    **{f"windows-{n}": f"cp{n}" for n in range(1250, 1259)},
    **{f"cp{n}": f"cp{n}" for n in (437, 850, 852, 855, 858, 862, 866, *range(1250, 1259))},
    **{f"ibm{n}": f"cp{n}" for n in (437, 850, 852, 866)},
}  # fmt: skip
_UNNAMED = frozenset(("", "us-ascii", "ascii", "ansi_x3.4-1968", "8bit", "7bit", "binary", "unknown-8bit", "x-unknown",
                      "unknown", "default", "_iso-2022-jp$esc"))  # fmt: skip

_BASE64_AFTER_PAD = re.compile(rb"=[=\s]*+[A-Za-z0-9+/]")
_UU_BEGIN = re.compile(rb"^begin [0-7]{3,4} [^\r\n]*\r?\n", re.MULTILINE)


def codec_of(charset: str) -> str | None:
    """The codec for a charset name; empty where bytes have to speak for themselves; None for a name not allowed."""
    name = charset.strip(" \t\"'").lower().replace("_", "-")
    if name in _UNNAMED:
        return ""
    return _CODECS.get(name) or _CODECS.get(name.replace("-", "_"))


def decode_text(data: bytes, charset: str) -> str:
    """Read bytes as text; a charset that is missing, unknown or plainly wrong is guessed (UTF-8, else Windows-1252)."""
    codec = codec_of(charset)
    if not codec:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data.decode("cp1252", "replace")
    return data.decode(codec, "replace")


def decode_base64(data: bytes) -> tuple[bytes, bool]:
    """Decode base64, skipping what is none of it; the flag says whether it was malformed."""
    if _BASE64_AFTER_PAD.search(data):
        return b"".join(_base64_run(run) for run in re.split(rb"=+", data)), True
    try:
        return binascii.a2b_base64(data), False
    except binascii.Error:
        return _base64_run(data), True


def _base64_run(data: bytes) -> bytes:
    """One run without padding inside; a lone last character carries less than a byte and goes."""
    for tail in (b"==", b"A=="):
        try:
            return binascii.a2b_base64(data + tail)
        except binascii.Error:
            continue
    return b""


def decode_uu(data: bytes) -> bytes:
    """Decode uuencoded lines between `begin` and `end`; broken lines are left out."""
    begin = _UU_BEGIN.search(data)
    out = []
    for line in data[begin.end() if begin else 0 :].splitlines():
        if line == b"end":
            break
        try:
            out.append(binascii.a2b_uu(line[: ((line[0] - 32 & 63) + 2) // 3 * 4 + 1] if line else b""))
        except binascii.Error:
            continue
    return b"".join(out)


def decode_transfer(data: bytes, encoding: str) -> tuple[bytes, str]:
    """Undo a Content-Transfer-Encoding; the second value names what was wrong with it, or is empty."""
    match encoding:
        case "" | "7bit" | "8bit" | "binary":
            return data, ""
        case "quoted-printable":
            return binascii.a2b_qp(data), ""
        case "base64":
            decoded, is_bad = decode_base64(data)
            return decoded, "bad-base64" if is_bad else ""
        case "x-uuencode" | "uuencode" | "x-uue" | "uue":
            return decode_uu(data), ""
        case _:
            return data, "bad-transfer-encoding"
