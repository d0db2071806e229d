"""Links from names to where they are explained: types in signatures, and `code` in any page."""

import importlib
import re
from functools import cache
from typing import Any

from docutils import nodes
from public_names import homes, places
from sphinx.domains.python import PythonDomain
from sphinx.util.nodes import make_refnode


def _missing(app: Any, env: Any, node: Any, contnode: nodes.Element) -> nodes.Element | None:
    """Resolve a type that is named by the private file in which it is written."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    module, _, name = target.rpartition(".")
    place = homes().get((module, name)) or _by_last_word().get(name if module.startswith("regard") else target)
    if place:
        return _reference(app, env.domains["py"], node.get("refdoc", ""), place, contnode)
    # A name that exists and is not public stays plain text; one that does not exist is an error.
    return contnode if module.startswith("regard.") and hasattr(importlib.import_module(module), name) else None


@cache
def _by_last_word() -> dict[str, str]:
    """Map the last word of a name to its place, where only one public name ends so."""
    found: dict[str, set[str]] = {}
    for name, place in places().items():
        found.setdefault(name.rpartition(".")[2], set()).add(place)
    return {word: next(iter(ends)) for word, ends in found.items() if len(ends) == 1}


def _reference(app: Any, domain: PythonDomain, page: str, name: str, content: nodes.Node) -> nodes.reference | None:
    entry = domain.objects.get(name)
    if entry is None:
        return None
    return make_refnode(app.builder, page, entry.docname, entry.node_id, content, name)


def _link_literals(app: Any, doctree: nodes.document, page: str) -> None:
    """Make `regard.masks.causal()`, `masks.causal` and `AttentionWeights.pooled` links, in pages and docstrings."""
    domain = app.env.domains["py"]
    for literal in list(doctree.findall(nodes.literal)):
        if isinstance(literal.parent, nodes.reference | nodes.title) or literal.get("classes") == ["xref"]:
            continue
        room = domain.modules.get(literal.astext())
        if room is not None and room.docname != page:
            content = literal.deepcopy()
            literal.parent.replace(literal, make_refnode(app.builder, page, room.docname, room.node_id, content))
            continue
        name = _meant(literal.astext())
        link = _reference(app, domain, page, name, literal.deepcopy()) if name else None
        if link is not None and not link.get("refuri", "").endswith(f"#{_enclosing(literal)}"):
            literal.parent.replace(literal, link)


def _enclosing(node: nodes.Node) -> str:
    """Return the name of the entry in which a node stands; a link to it from inside is noise."""
    while node is not None:
        if getattr(node, "tagname", "") == "desc":
            ids = node[0].get("ids", [])
            return ids[0] if ids else " "
        node = node.parent
    return " "


def _meant(text: str) -> str | None:
    match = re.match(r"([A-Za-z_][\w.]*)(\(.*\))?$", text)
    if match is None:
        return None
    name = match[1]
    for candidate in (name, f"regard.{name}"):
        if candidate in places():
            return places()[candidate]
    head, _, member = name.rpartition(".")
    if head and head[:1].isalpha():
        owner = places().get(head) or places().get(f"regard.{head}") or _by_last_word().get(head)
        return f"{owner}.{member}" if owner else None
    return _by_last_word().get(name) if name[0].isupper() and name not in ("Mask", "Span", "Event") else None


def setup(app: Any) -> dict[str, bool]:
    """Join the build."""
    app.connect("missing-reference", _missing)
    app.connect("doctree-resolved", _link_literals)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
