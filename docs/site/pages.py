"""What the site adds to Sphinx: pages of a door, and a link behind every public name that is written as code."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import desc_signature, pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

from docs.site.doors import entries, page
from docs.site.equations import parts

TARGETS = {(e.name, e.door): f"{e.home}.{e.name}" for e in entries()}


def target_of(name: str, module: str | None) -> str | None:
    """The entry that a short name means on a page of `module`; None where there is none, or several."""
    if module is not None and (name, module) in TARGETS:
        return TARGETS[name, module]
    meant = {full for (short, _), full in TARGETS.items() if short == name}
    return meant.pop() if len(meant) == 1 else None


def complete(app: Sphinx, docname: str, content: list[str]) -> None:
    """What a page has on the site beyond its text: the first the contents, one of docs/api/ the door that it is named for.

    A link to a file that is no page leads to the file itself, one to a folder to its first page.
    """
    path = Path(docname)
    if docname == app.config.root_doc:
        contents = (Path(__file__).parent / "contents.md").read_text()
        listed = {docname, *contents.split()}
        more = [
            d
            for d in sorted(app.env.found_docs)
            if d not in listed and not d.startswith(("docs/api/", "docs/decisions/"))
        ]
        content[0] += "\n" + contents
        if more:  # CHANGELOG, CONTRIBUTING and whatever else is added: a page is never lost
            content[0] += "\n".join(["\n```{toctree}", ":hidden:", ":caption: The project", "", *more, "```\n"])
    if path.parent == Path("docs/api") and path.name != "index":
        content[0] += "\n" + page(path.name)

    def led(match: re.Match[str]) -> str:
        there = os.path.splitext(os.path.normpath(path.parent / match[1]))[0]
        return match[0] if there in app.env.found_docs else f"](path:{match[1]})"

    content[0] = re.sub(r"\]\(([^():#\s]+\.(?:py|md))\)", led, content[0])

    def into(match: re.Match[str]) -> str:
        there = os.path.normpath(path.parent / match[1])
        first = next((n for n in ("index", "README") if f"{there}/{n}" in app.env.found_docs), None)
        return f"]({match[1]}{first}.md)" if first else match[0]

    content[0] = re.sub(r"\]\(([^():#\s]+/)\)", into, content[0])


class Types(SphinxPostTransform):
    """A type in a signature is written by its short name, and here gets its full one; a name that may mean two has no link."""

    default_priority = 5

    def run(self, **_: object) -> None:
        for node in list(self.document.findall(pending_xref)):
            name = node["reftarget"].rpartition(".")[2]
            if node.get("refdomain") != "py" or not any(name == short for short, _ in TARGETS):
                continue
            full = (
                node["reftarget"] if node["reftarget"] in TARGETS.values() else target_of(name, node.get("py:module"))
            )
            if full:
                node["reftarget"], node["refspecific"] = full, False
            else:
                node.replace_self(node.children[0])


def _link(app: Sphinx, env: BuildEnvironment, docname: str, full: str, shown: nodes.Node) -> nodes.reference | None:
    found = env.domains.python_domain.objects.get(full)
    return make_refnode(app.builder, docname, found.docname, found.node_id, [shown], full) if found else None


class Names(SphinxPostTransform):
    """`HybridModel`, as code in any page, leads to its entry; a plain word, as `fit`, does on the page of its door."""

    default_priority = 400

    def run(self, **_: object) -> None:
        door = Path(self.env.docname).name if self.env.docname.startswith("docs/api/") else None
        for node in list(self._plain()):
            name = node.astext()
            if door is None and name.islower() and "_" not in name:
                continue
            full = target_of(name, door)
            if full and (link := _link(self.app, self.env, self.env.docname, full, node.deepcopy())):
                node.replace_self(link)

    def _plain(self) -> Iterator[nodes.literal]:
        for node in self.document.findall(nodes.literal):
            above = node.parent
            while above is not None and not isinstance(
                above, nodes.reference | nodes.title | desc_signature | pending_xref
            ):
                above = above.parent
            if above is None and node.astext().isidentifier():
                yield node


class Equations(SphinxPostTransform):
    """Sets exponents and indices in text, and in the theorem page's blocks, but never in code."""

    default_priority = 450  # when links stand

    def run(self, **_: object) -> None:
        for node in list(self.document.findall(nodes.Text)):
            if self._set(node):
                pieces = [_piece(kind, words) for kind, words in parts(node.astext()) if words]
                if len(pieces) > 1:
                    node.parent.replace(node, pieces)

    def _set(self, node: nodes.Node) -> bool:
        kept = nodes.literal | nodes.literal_block | nodes.raw | desc_signature
        above = node.parent
        while above is not None and not isinstance(above, kept):
            above = above.parent
        if isinstance(above, nodes.literal_block):  # an indented equation has no language
            return self.env.docname == "docs/certification" and above.get("language", "none") in ("default", "none")
        return above is None


def _piece(kind: str, words: str) -> nodes.Node:
    if not kind:
        return nodes.Text(words)
    return nodes.superscript("", words) if kind == "up" else nodes.subscript("", words)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", complete)
    app.add_post_transform(Types)
    app.add_post_transform(Names)
    app.add_post_transform(Equations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
