"""Reading the links of Markdown files."""

import re
from pathlib import Path

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_DEFINITION = re.compile(r"^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_IMAGE = re.compile(r"<(?:img|a)\s[^>]*(?:src|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#+\s+(.*?)\s*#*$", re.MULTILINE)


def links(text: str) -> list[str]:
    """List the targets of a page's links and pictures, code left aside."""
    prose = _CODE.sub("", _FENCE.sub("", text))
    return [match for pattern in (_LINK, _DEFINITION, _IMAGE) for match in pattern.findall(prose)]


def anchors(text: str) -> set[str]:
    """List the names under which a page's headings are reached, as code hosts form them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        kept = re.sub(r"[^\w\- ]", "", heading.lower())
        name = slug = kept.replace(" ", "-")
        again = 0
        while name in found:
            again += 1
            name = f"{slug}-{again}"
        found.add(name)
    return found


def broken(page: Path) -> list[str]:
    """Say, a line each, which links of a page lead to no file or heading of the project."""
    text = page.read_text("utf-8")
    found = []
    for link in links(text):
        if re.match(r"[a-z][a-z+.-]*:", link):  # https:, mailto:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists():
            found.append(f"{page.name}: {link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text("utf-8")):
            found.append(f"{page.name}: {link}: no such heading")
    return found
