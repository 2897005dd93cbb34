"""MODEL_CARD.md as a page that Jenkins shows under its default content policy: no script, no inline style.

Reads the Markdown that `stages/model/card.py` writes: headings, paragraphs, lists, tables, code.
"""

from __future__ import annotations

import html
import re
from importlib.resources import files
from pathlib import Path

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><link rel="stylesheet" href="report.css"></head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def write(card: Path, folder: Path) -> None:
    """Write `folder`/index.html and its style sheet. Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    text = card.read_text(encoding="utf-8")
    title = next((line[2:] for line in text.splitlines() if line.startswith("# ")), "Model card")
    page = _PAGE.format(title=html.escape(title), body="\n".join(blocks(text)))
    (folder / "index.html").write_text(page, encoding="utf-8")
    (folder / "report.css").write_bytes((files("stages.gate.report") / "report.css").read_bytes())


def blocks(text: str) -> list[str]:
    """The page's elements: text between blank lines is a heading, a table, a list or a paragraph."""
    found = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        heading = re.match(r"(#{1,4}) (.+)", lines[0])
        if heading:
            level = len(heading[1])
            found.append(f"<h{level}>{inline(heading[2])}</h{level}>")
            lines = lines[1:]
        if not lines:
            continue
        if lines[0].startswith("|"):
            found.append(_table(lines))
        elif lines[0].startswith("- "):
            items = "".join(f"<li>{inline(line.removeprefix('- '))}</li>" for line in lines)
            found.append(f"<ul>{items}</ul>")
        else:
            found.append(f"<p>{inline(' '.join(lines))}</p>")
    return found


def _table(lines: list[str]) -> str:
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]] for line in lines]
    head = "".join(f'<th scope="col">{inline(cell)}</th>' for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{inline(cell)}</td>" for cell in row) + "</tr>" for row in rows[2:])
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def inline(text: str) -> str:
    """Escaped text, with code and strong words marked; nothing else of Markdown, so no link and no markup of others."""
    kept = re.sub(r"\\([!-/:-@\[-`{-~])", lambda match: f"\ue000{ord(match[1])}\ue001", text)
    escaped = html.escape(kept)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    escaped = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)
    return re.sub("\ue000([0-9]+)\ue001", lambda match: html.escape(chr(int(match[1]))), escaped)
