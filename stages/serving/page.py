"""The page at `/`: a form made from the signature, to try a prediction in a browser.

The form asks `POST /predict` like any other caller, so that the contract has one judge; the page's script only writes
the body and shows the answer.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from stages.data.cells import canonical
from stages.escaping import on_one_line
from stages.serving.decode import expectation

#: Nothing but what this service sends: no inline script or style, no frame, no other host. `data:` is the empty icon.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [(b"content-security-policy", CONTENT_POLICY.encode()), (b"referrer-policy", b"no-referrer")]

#: Path → type of the files beside this module that the page asks for.
RESOURCES = {"/page.css": b"text/css; charset=utf-8", "/page.js": b"text/javascript; charset=utf-8"}


def escape(text: str) -> str:
    """Text for the page, in which nothing is markup and nothing invisible."""
    return html.escape(on_one_line(text))


def resource(path: str) -> bytes:
    """Content of one of `RESOURCES`."""
    return (files("stages.serving") / path.removeprefix("/")).read_bytes()


def page(signature: Mapping[str, Any], version: str) -> bytes:
    """The whole page, for a caller who may ask the service."""
    fields = "\n".join(_field(i, feature) for i, feature in enumerate(signature["features"]))
    target = escape(signature["target"]["name"])
    body = f"""<p class="about">Predicts <strong>{target}</strong> · {escape(signature["task"])} ·
version <code>{escape(version[:12])}</code> ·
<a href="/model">model</a> · <a href="/openapi.json">OpenAPI</a></p>
<form id="form" novalidate>
<fieldset><legend>One row</legend>
<div class="fields">
{fields}
</div></fieldset>
<p class="buttons"><button type="submit">Predict</button> <button type="reset">Clear</button></p>
</form>
<div id="problem" role="alert" tabindex="-1"></div>
<section id="answer" aria-live="polite" aria-labelledby="answer-title" hidden>
<h2 id="answer-title">{target}</h2>
<output id="prediction" form="form"></output>
<table id="probabilities" hidden><caption>Probabilities</caption>
<thead><tr><th scope="col">class</th><th scope="col">probability</th>
<th scope="col"><span class="unseen">as a bar</span></th></tr></thead><tbody></tbody></table>
<details><summary>The request</summary><pre id="request" tabindex="0"></pre></details>
</section>"""
    return _document(str(signature["name"]), body)


def locked() -> bytes:
    """The page for a caller who has not said the API key: it tells nothing about the model."""
    body = """<form id="unlock" novalidate>
<div class="field"><label for="key">API key</label>
<input id="key" type="password" autocomplete="off" required aria-describedby="key-hint">
<p id="key-hint" class="hint">kept by this page until it is closed or loaded again</p></div>
<p class="buttons"><button type="submit">Unlock</button></p>
</form>
<div id="problem" role="alert" tabindex="-1"></div>"""
    return _document("Try a prediction", body)


def _document(title: str, body: str) -> bytes:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<noscript><p class="problem">This page needs JavaScript; the service itself does not: see
<a href="/openapi.json">its description</a>.</p></noscript>
{body}
</main>
</body>
</html>
""".encode()


def _field(i: int, feature: Mapping[str, Any]) -> str:
    """Label, input, what it takes, and room for what is wrong with it."""
    own = f"f{i}"
    nullable = bool(feature.get("nullable"))
    # What a form writes is text anyway.
    hint = expectation(feature).replace(" (or a number or boolean, taken as text)", "")
    hint += "; empty is null" if nullable else ""
    common = f'id="{own}" aria-describedby="{own}-hint {own}-error" autocomplete="off"'
    common += "" if nullable else " required"
    name, kind = escape(feature["name"]), feature["type"]
    key = html.escape(feature["name"])  # as the request needs it
    return f"""<div class="field" data-name="{key}" data-type="{kind}">
<label for="{own}">{name}</label>
{_input(feature, common)}
<p id="{own}-hint" class="hint">{escape(hint)}</p>
<p id="{own}-error" class="error"></p>
</div>"""


def _input(feature: Mapping[str, Any], common: str) -> str:
    kind = feature["type"]
    chosen = ["true", "false"] if kind == "boolean" else [canonical(value) for value in feature.get("values") or ()]
    if chosen:
        nothing = "null" if feature.get("nullable") else "choose"
        options = "".join(
            f'<option value="{html.escape(text)}">{escape(text) or "(empty)"}</option>' for text in chosen
        )
        # The first option stands for no value; a class that is the empty text has its own.
        return f'<select {common}><option value="" data-none>{nothing}</option>{options}</select>'
    if kind in ("number", "integer"):
        ends = [f' {end}="{canonical(feature[end])}"' for end in ("min", "max") if feature.get(end) is not None]
        step = "1" if kind == "integer" else "any"
        return f'<input type="number" step="{step}"{"".join(ends)} {common}>'
    shown = ""
    if kind == "datetime":
        shown = ' placeholder="{}"'.format(escape(feature.get("format") or "2026-01-31T12:00:00"))
    return f'<input type="text"{shown} {common}>'
