"""One HTML page from headings, tables, facts and plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; font-size: 14px; }
th, td { border-bottom: 1px solid #ddd; padding: 3px 10px; text-align: right; }
th:first-child, td:first-child { text-align: left; }
tr.ours td { font-weight: 600; }
td.note { text-align: left; color: #777; font-style: italic; }
.good { color: #186a18; } .bad { color: #b01818; }
svg text { font: 12px system-ui, sans-serif; fill: #333; } svg .grid { stroke: #e4e4e4; }
dt { font-weight: 600; float: left; clear: left; width: 11em; } dd { margin-left: 12em; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Return the whole page."""
    body = "\n".join(part for part in parts if part)
    head = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"


def heading(text: str, level: int = 2) -> str:
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    return f"<p class='{kind}'>{escape(text)}</p>"


def facts(values: Mapping[str, object]) -> str:
    """Return names with their values."""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in values.items()) + "</dl>"


def table(head: Sequence[str], rows: Iterable[tuple[bool, Sequence[str]]]) -> str:
    """Return a table. Rows say whether they are ours; one with fewer cells than the head ends in a note."""
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for ours, cells in rows:
        shown = [f"<td>{escape(cell)}</td>" for cell in cells]
        if len(cells) < len(head):
            shown[-1] = f"<td class='note' colspan='{len(head) - len(cells) + 1}'>{escape(cells[-1])}</td>"
        lines.append(f"<tr class='{'ours' if ours else ''}'>{''.join(shown)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def listing(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>" if items else ""
