"""Sphinx extension of the book: claims, the list of chapters, and each chapter as a notebook.

Directives: ``{claim} ID`` prints a claim with what its test has measured, ``{claim-ledger}`` all claims,
``{chapter-list}`` all chapters, written and planned.
"""

import functools
import inspect
import re
from html import escape
from pathlib import Path

import jupytext
import ledger
import nbformat
from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

RELATIONS = {"at most": "≤ {}", "at least": "≥ {}", "equal": "{} ± {}"}
EXACTLY = "= {}"

# Read once: claims.json and claims.yml do not change during a build.
results = functools.cache(ledger.results)
chapters = functools.cache(ledger.chapters)


class measurement(nodes.General, nodes.Element):
    """What the test of a claim has measured; `record` is the entry of claims.json."""


class claim_ledger(nodes.General, nodes.Element):
    """Replaced by all claims once every page has been read."""


class ClaimDirective(SphinxDirective):
    """A box with the sentence of a claim, its measured numbers and a link to its test."""

    required_arguments = 1
    has_content = True

    def run(self):
        id = self.arguments[0]
        self.env.note_dependency(str(ledger.RESULTS))
        box = nodes.admonition(classes=["claim"], ids=[anchor(id)])
        box += nodes.title(id, f"Claim {id}")
        sentence = nodes.container(classes=["claim-text"])
        self.state.nested_parse(self.content, self.content_offset, sentence)
        box += [sentence, measurement(record=results().get(id))]
        self.env.optlab_claims[id] = self.env.docname, box.deepcopy()
        # So that [](#claim-cg-1) links to the box from any page.
        self.env.get_domain("std").note_hyperlink_target(
            anchor(id), self.env.docname, anchor(id), f"claim {id}"
        )
        return [box]


class LedgerDirective(SphinxDirective):
    def run(self):
        self.env.note_dependency(str(ledger.BOOK / "claims.yml"))
        self.env.metadata[self.env.docname]["claim-ledger"] = True
        return [claim_ledger()]


class Punctuation(SphinxPostTransform):
    """A full stop or comma stays on the line of the formula before it."""

    default_priority = 700
    formats = ("html",)

    def run(self):
        for formula in list(self.document.findall(nodes.math)):
            place = formula.parent.index(formula) + 1
            text = formula.parent[place] if place < len(formula.parent) else None
            marks = re.match(r"[.,;:!?)]+", text) if isinstance(text, nodes.Text) else None
            if marks is None:
                continue
            whole = nodes.inline("", "", classes=["punctuated"])
            formula.parent[place - 1 : place + 1] = [whole, nodes.Text(text[marks.end() :])]
            whole += [formula, nodes.Text(marks[0])]


class ChapterListDirective(SphinxDirective):
    def run(self):
        self.env.note_dependency(str(ledger.BOOK / "claims.yml"))
        listing = nodes.enumerated_list(classes=["chapter-list"], enumtype="arabic", prefix="", suffix=".")
        for chapter in chapters():
            line = nodes.paragraph()
            if chapter.name in self.env.found_docs:
                line += page_link(self.env.docname, chapter.name, nodes.strong("", chapter.title))
            else:
                line += [nodes.strong("", chapter.title), nodes.inline("", "planned", classes=["planned"])]
            listing += nodes.list_item("", line, nodes.paragraph("", chapter.about))
        return [listing]


class Ledger(SphinxPostTransform):
    """Fill the ledger before references are resolved, because the sentences of claims contain some."""

    default_priority = 5

    def run(self):
        for place in list(self.document.findall(claim_ledger)):
            done = sum(len(chapter.done) for chapter in chapters())
            planned = sum(len(chapter.open) for chapter in chapters())
            summary = nodes.paragraph("", f"{done} claims are asserted by tests, {planned} are open.")
            place.replace_self([summary, *(self.section(chapter) for chapter in chapters())])

    def section(self, chapter):
        section = nodes.section(ids=[chapter.name])
        section += nodes.title("", chapter.title)
        for id in chapter.done:
            if id not in self.env.optlab_claims:
                continue
            page, box = self.env.optlab_claims[id]
            box = box.deepcopy()
            for node in box.findall(nodes.Element):
                node["ids"] = node["names"] = []
                if isinstance(node, addnodes.pending_xref):
                    node["refdoc"] = self.env.docname
            link = page_link(self.env.docname, page, nodes.inline("", box[0].astext()), anchor(id))
            box[0].children = []
            box[0] += link
            section += box
            if any(box.findall(nodes.math)) or any(box.findall(nodes.math_block)):
                self.env.get_domain("math").data["has_equations"][self.env.docname] = True
        if chapter.open:
            section += nodes.paragraph("", "Open:")
            section += nodes.bullet_list(
                "",
                *(
                    nodes.list_item(
                        "", nodes.paragraph("", "", nodes.strong("", id), nodes.Text(f" {topic}"))
                    )
                    for id, topic in chapter.open.items()
                ),
                classes=["simple"],
            )
        return section


def anchor(id):
    return f"claim-{id.lower()}"


def page_link(from_page, page, text, target=None):
    """A link to a page of the book, or to a place on it."""
    kind = {"reftype": "ref", "reftarget": target} if target else {"reftype": "doc", "reftarget": f"/{page}"}
    return addnodes.pending_xref(
        "", text, refdomain="std", refdoc=from_page, refexplicit=True, refwarn=True, **kind
    )


def source_page(source):
    """Page that shows the test file `source`."""
    return f"tests/{Path(source).stem}"


def visit_measurement(self, node):
    record = node["record"]
    if record is None:
        raise nodes.SkipNode
    rows = [check_row(check) for check in record["checks"]]
    self.body.append(table(rows[:1]))
    if rows[1:]:
        more = f"{len(rows) - 1} more measurement{'s' if len(rows) > 2 else ''}"
        self.body.append(f"<details><summary>{more}</summary>{table(rows[1:])}</details>")
    page = self.builder.get_relative_uri(self.builder.current_docname, source_page(record["source"]))
    name = escape(record["test"].rpartition("::")[2])
    self.body.append(
        f'<p class="claim-test">Asserted by <a href="{page}#L-{record["line"]}"><code>{name}</code></a></p>'
    )
    raise nodes.SkipNode


def check_row(check):
    form = EXACTLY if check["tolerance"] == 0 else RELATIONS[check["relation"]]
    digits = ledger.digits(check["expected"], check["tolerance"])
    promised = form.format(ledger.written(check["expected"], digits), ledger.written(check["tolerance"]))
    cells = escape(check["name"]), ledger.written(check["measured"], digits), promised
    return "<tr><td>{}</td><td>{}</td><td>{}</td></tr>".format(*cells)


def table(rows):
    head = '<tr><th scope="col">Quantity</th><th scope="col">Measured</th><th scope="col">Promised</th></tr>'
    return f'<table class="claim-table"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def check_claims(app):
    """Whatever is wrong with the claims is a warning, and the book is built with warnings as errors."""
    tests = ledger.claims_in_tests()
    found = ledger.disagreements(chapters(), ledger.claims_in_text(), tests)
    for sentence in found + ledger.failures(tests, results()):
        logger.warning("claim %s", sentence, type="claim")


def prepare(app, env, docnames):
    if not hasattr(env, "optlab_claims"):
        env.optlab_claims = {}


def forget_page(app, env, docname):
    env.optlab_claims = {
        id: (page, box) for id, (page, box) in getattr(env, "optlab_claims", {}).items() if page != docname
    }


def ledger_pages(app, env):
    """The ledger is written anew in every build: it shows what other pages say."""
    return [page for page, data in env.metadata.items() if "claim-ledger" in data]


def test_pages(app):
    """Pages with the source of the tests, so that the link of a claim works offline."""
    formatter = HtmlFormatter(linespans="L")
    for source in sorted({record["source"] for record in results().values()}):
        code = highlight((ledger.ROOT / source).read_text("utf-8"), PythonLexer(), formatter)
        body = f'<h1>{escape(source)}</h1><div class="highlight-python notranslate test-source">{code}</div>'
        yield source_page(source), {"title": escape(source), "body": body}, "page.html"


def offer_notebook(app, pagename, templatename, context, doctree):
    """Write the chapter as a notebook without outputs; the theme's download menu then offers it."""
    if doctree is None or "kernelspec" not in app.env.metadata.get(pagename, {}):
        return
    notebook = jupytext.read(app.env.doc2path(pagename))
    # Random ids would change the file in every build.
    for k, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{k}"
    nbformat.validate(notebook)
    file = Path(app.outdir, "_sources", f"{pagename}.ipynb")
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, file)
    context["ipynb_source"] = f"{pagename}.ipynb"


def plain_signature(app, what, name, obj, options, signature, returns):
    """Cython's text of a method has `self` and types of C."""
    if not signature or not signature.startswith("(self"):
        return None
    parameters = list(inspect.signature(obj).parameters.values())
    return str(inspect.Signature(parameters[1:])), returns


def drop_thebe(app):
    """Jupyter Book puts Thebe on every page; it would run code on a public server, and logs an error."""
    for listeners in app.events.listeners.values():
        listeners[:] = [each for each in listeners if each.handler.__module__ != "sphinx_thebe"]
    app.registry.css_files = [each for each in app.registry.css_files if "thebe" not in each[0]]


def forget_compiled_modules(app, env):
    """Modules without Python source have no page of it, and no place in the list of sources."""
    modules = getattr(env, "_viewcode_modules", {})
    for name in [name for name, source in modules.items() if not source]:
        del modules[name]


def setup(app):
    drop_thebe(app)
    app.add_node(measurement, html=(visit_measurement, None))
    app.add_node(claim_ledger)
    app.add_directive("claim", ClaimDirective)
    app.add_directive("claim-ledger", LedgerDirective)
    app.add_directive("chapter-list", ChapterListDirective)
    app.add_post_transform(Ledger)
    app.add_post_transform(Punctuation)
    app.connect("builder-inited", check_claims)
    app.connect("env-before-read-docs", prepare)
    app.connect("env-purge-doc", forget_page)
    app.connect("env-updated", ledger_pages)
    app.connect("env-updated", forget_compiled_modules)
    app.connect("html-collect-pages", test_pages)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("html-page-context", offer_notebook, priority=400)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
