"""The HTML report: one file, no network, no library; tables, plots and every question."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}
td,th{padding:.25em .7em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}
svg{max-width:760px;width:100%}
pre{white-space:pre-wrap;background:#f6f6f6;padding:.8em}
input,select{font:inherit;padding:.2em .4em}
details{border-bottom:1px solid #eee;padding:.3em 0}
summary{cursor:pointer}
.bad{color:#a00}
"""

# Text is put into the page by textContent alone, so nothing in the data can become markup.
_SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent);
const list = document.getElementById('list'), run = document.getElementById('run');
const find = document.getElementById('find'), count = document.getElementById('count');
for (const name of Object.keys(data)) run.add(new Option(name, name));
function block(tag, text, into) {
  const node = document.createElement(tag); node.textContent = text; into.append(node); return node;
}
function show() {
  const words = find.value.toLowerCase();
  const rows = data[run.value].filter(r => JSON.stringify(r).toLowerCase().includes(words));
  count.textContent = rows.length + ' questions' + (rows.length > 200 ? ', first 200 shown' : '');
  list.replaceChildren();
  for (const r of rows.slice(0, 200)) {
    const box = document.createElement('details'); list.append(box);
    const head = block('summary', r.id + ' · ' + r.group + ' · ' + r.question, box);
    if (r.answer.startsWith('FAILED')) head.className = 'bad';
    block('p', 'Answer: ' + r.answer, box);
    block('p', 'Gold: ' + r.gold, box);
    block('p', 'Tier ' + r.tier + ', rounds ' + r.rounds + ', context tokens ' + r.tokens +
      ', scores ' + JSON.stringify(r.scores), box);
    block('pre', r.context, box);
  }
}
run.onchange = find.oninput = show;
if (run.options.length) show();
"""


def html_page(
    markdown: str, plots: Mapping[str, str], questions: Mapping[str, Sequence[Mapping[str, Any]]]
) -> str:
    """The page: ``markdown`` tables, ``plots`` (title → SVG) and per-run ``questions``."""
    figures = "".join(f"<h2>{escape(title)}</h2>{svg}" for title, svg in plots.items() if svg)
    # "</script>" in the data would end the element it stands in.
    data = json.dumps(questions, ensure_ascii=True).replace("<", "\\u003c")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>HyMem evaluation</title><style>{_STYLE}</style></head><body>"
        f"{markdown_to_html(markdown)}{figures}"
        '<h2>Questions</h2><p><select id="run"></select> '
        '<input id="find" placeholder="search"> <span id="count"></span></p>'
        '<div id="list"></div>'
        f'<script type="application/json" id="data">{data}</script>'
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def markdown_to_html(text: str) -> str:
    """The Markdown that our own reports use: headings, tables, list items, paragraphs."""
    parts: list[str] = []
    table: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
            continue
        if table:
            parts.append(_table(table))
            table = []
        if heading := re.match(r"(#+) (.*)", line):
            level = len(heading[1])
            parts.append(f"<h{level}>{escape(heading[2])}</h{level}>")
        elif line.startswith("- "):
            parts.append(f"<p>• {escape(line[2:])}</p>")
        elif line:
            parts.append(f"<p>{escape(line)}</p>")
    return "\n".join(parts)


def _table(lines: Sequence[str]) -> str:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[2:]
    )
    return f"<table><tr>{head}</tr>{body}</table>"
