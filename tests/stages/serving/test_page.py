"""The page at `/`, in a real browser: by keyboard, with both runtimes, and with a key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stages.images.runtime import runtime_files
from stages.serving import page
from stages.serving.app import About, Service
from stages.serving.decode import expectation
from stages.serving.predictor import Predictor
from tests.stages.serving.browser import DOWN, ENTER, TAB, Browser, browser
from tests.stages.serving.conftest import ROW, Live, serving


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module", params=["scikit-learn", "onnxruntime"])
def served(request: pytest.FixtureRequest, predictor: Predictor, onnx: Predictor) -> Iterator[Live]:
    chosen = predictor if request.param == "scikit-learn" else onnx
    assert chosen.runtime == request.param
    with serving(Service(chosen, About("demo", "3f2a" * 16))) as live:
        yield live


def opened(chromium: Browser, live: Live) -> Browser:
    chromium.go(f"http://127.0.0.1:{live.port}/")
    chromium.console()
    return chromium


# ---- in the browser -----------------------------------------------------------------------------------------


def test_a_prediction_by_keyboard_alone(chromium: Browser, served: Live) -> None:
    """Tab reaches every field in the contract's order, then the button; the answer is the service's own."""
    shown = opened(chromium, served)
    names: list[str] = []
    for keys in ("12.5", "100", "AA", "JF", DOWN, "2024-06-01T12:00:00"):
        shown.press(TAB)
        if not names:
            while shown.run("return document.activeElement.tagName") == "A":
                shown.press(TAB)
        names.append(shown.run("return document.activeElement.closest('.field').dataset.name"))
        shown.press(keys)
    assert names == [feature["name"] for feature in served.service.predictor.signature["features"]]
    shown.press(ENTER)
    shown.wait("!document.getElementById('answer').hidden")
    said = served.predict(ROW).body
    assert shown.run("return document.getElementById('prediction').textContent") == str(said["predictions"][0]).lower()
    cells = "[...document.querySelectorAll('tbody tr')].map(row => [...row.cells].slice(0, 2).map(c => c.textContent))"
    rows = shown.run(f"return {cells}")
    chances = sorted(said["probabilities"][0].items(), key=lambda item: -item[1])
    assert rows == [[name, f"{100 * chance:.2f} %"] for name, chance in chances]
    request = shown.run("return document.getElementById('request').textContent").split("\n\n")[1]
    assert json.loads(request) == {"rows": [ROW]}
    assert shown.console() == []


def test_what_is_wrong_stands_beside_the_field(chromium: Browser, served: Live) -> None:
    shown = opened(chromium, served)
    script = "document.querySelectorAll('.field')[arguments[0]].querySelector('input, select').value = arguments[1]"
    for place, value in ((0, "5000"), (1, "0"), (2, "AA"), (5, "yesterday")):
        shown.run(script, place, value)
    shown.run("document.querySelector('[type=submit]').click()")
    shown.wait("document.getElementById('problem').textContent")
    errors = shown.run(
        "return Object.fromEntries([...document.querySelectorAll('.field')]"
        ".map(f => [f.dataset.name, f.querySelector('.error').textContent]).filter(e => e[1]))"
    )
    assert errors == {
        "delay": "Give a number from -100 to 1000, or null.",
        "seats": "Give a whole number of at least 1.",
        "origin": "Give text (or a number or boolean, taken as text), one of: JFK, LGA, 1.",
        "when": errors["when"],
    }
    assert errors["when"].startswith("Give a date and time as ISO 8601 text")
    assert shown.run("return document.getElementById('problem').textContent") == "4 values do not meet the contract"
    assert shown.run("return document.activeElement.closest('.field').dataset.name") == "delay"
    assert shown.run("return document.querySelectorAll('[aria-invalid=true]').length") == 4
    assert shown.run("return document.getElementById('answer').hidden")
    # Corrected, the complaints go.
    for place, value in ((0, ""), (1, "9"), (3, "1"), (5, "2024-06-01T12:00:00")):
        shown.run(script, place, value)
    shown.run("document.querySelector('[type=submit]').click()")
    shown.wait("!document.getElementById('answer').hidden")
    assert shown.run("return document.querySelectorAll('[aria-invalid]').length") == 0
    assert shown.run("return document.getElementById('problem').textContent") == ""
    shown.run("document.querySelector('[type=reset]').click()")
    shown.wait("document.getElementById('answer').hidden")


def test_assistive_technology_is_told_everything(chromium: Browser, served: Live) -> None:
    shown = opened(chromium, served)
    tree = shown.devtools("Accessibility.getFullAXTree")["nodes"]
    found = [
        (node["role"]["value"], node["name"]["value"], node.get("description", {}).get("value", ""))
        for node in tree
        if not node["ignored"] and "name" in node
    ]
    assert ("spinbutton", "delay", "a number from -100 to 1000, or null; empty is null") in found
    assert [name for role, name, _ in found if role == "combobox"] == ["origin", "windy"]
    assert {("button", "Predict"), ("group", "One row"), ("heading", "demo")} <= {(r, n) for r, n, _ in found}
    named = {name for role, name, _ in found if role in ("spinbutton", "combobox", "textbox")}
    assert named == {feature["name"] for feature in served.service.predictor.signature["features"]}


_CONTRAST = """
const light = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (e) => {
  for (; e; e = e.parentElement) {
    const own = getComputedStyle(e).backgroundColor;
    if (!own.endsWith(", 0)")) return own;
  }
  return "rgb(255, 255, 255)";
};
const texts = "h1, h2, p, label, button, input, select, a, th, td, output, #problem";
return Math.min(...[...document.querySelectorAll(texts)].map(e => {
  const [one, other] = [light(getComputedStyle(e).color), light(ground(e))];
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}));
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_in_light_and_dark(chromium: Browser, served: Live, scheme: str, tmp_path: Path) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1 for text."""
    chromium.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    shown = opened(chromium, served)
    ground = shown.run("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is (scheme == "light")
    shown.run("document.getElementById('answer').hidden = false; document.querySelector('.error').textContent = 'x'")
    assert shown.run(_CONTRAST) >= 4.5
    assert shown.run("return document.documentElement.scrollWidth <= innerWidth")
    shown.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 5000


def test_with_an_api_key(chromium: Browser, serve: Callable[..., Any]) -> None:
    with serve(api_key="s3cret") as live:
        assert b"delay" not in live.ask("GET", "/").raw
        shown = opened(chromium, live)
        shown.press(TAB, "wrong", ENTER)
        shown.wait("document.getElementById('problem').textContent === 'This is not the API key'")
        shown.run("document.getElementById('key').value = ''")
        shown.press("s3cret", ENTER)
        shown.wait("document.getElementById('form')")
        assert shown.run("return document.activeElement.closest('.field').dataset.name") == "delay"
        values = ("", "9", "AA", "1", "", "2024-06-01T12:00:00")
        script = "document.querySelectorAll('input, select').forEach((e, i) => { e.value = arguments[0][i] })"
        shown.run(script, values)
        shown.press(ENTER)
        shown.wait("document.getElementById('prediction').textContent")
        assert "s3cret" not in shown.run("return document.body.textContent")


def test_a_service_that_is_gone_is_said(chromium: Browser, serve: Callable[..., Any]) -> None:
    with serve() as live:
        shown = opened(chromium, live)
    shown.run("document.querySelector('[type=submit]').click()")
    shown.wait("document.getElementById('problem').textContent.startsWith('The service did not answer')")


# ---- what is sent -------------------------------------------------------------------------------------------


class Outside(HTMLParser):
    """What a page would load or run of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads += [str(given[n]) for n in ("src", "href", "action") if given.get(n) and tag != "a"]
        self.inline += [f"{tag} {n}" for n in given if n.startswith("on") or n == "style"]
        self.inline += [tag] if tag == "style" or (tag == "script" and not given.get("src")) else []


def test_nothing_comes_from_elsewhere(live: Live) -> None:
    said = live.ask("GET", "/")
    assert (said.status, said.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = said.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    seen = Outside()
    seen.feed(said.raw.decode())
    assert (sorted(seen.loads), seen.inline) == (["/page.css", "/page.js", "data:,"], [])
    for path, kind in page.RESOURCES.items():
        other = live.ask("GET", path)
        assert (other.status, other.headers["content-type"].encode()) == (200, kind)
        assert not re.search(rb"url\(|@import|https?://|innerHTML|eval\(", other.raw)
        assert live.ask("HEAD", path).raw == b""
    assert live.ask("POST", "/", b"{}").status == 405


def test_names_of_the_contract_are_text(predictor: Predictor) -> None:
    bad = '"><script>alert(1)</script>'
    features = [
        {"name": bad, "type": "category", "values": [bad, ""], "nullable": True},
        {"name": "t", "type": "datetime", "format": bad},
    ]
    signature = {"name": bad, "task": bad, "features": features, "target": {"name": bad}}
    text = page.page(signature, bad).decode()
    assert "<script>alert" not in text
    seen = Outside()
    seen.feed(text)
    assert seen.inline == []


def test_nothing_invisible_reaches_the_page_but_as_a_name_to_send(predictor: Predictor) -> None:
    name, value = "a\x1b[2Jb", "x\x9b\u202ey\n"
    features = [{"name": name, "type": "category", "values": [value]}]
    signature = {"name": name, "task": name, "features": features, "target": {"name": name}}
    text = page.page(signature, name).decode()
    visible = text.replace(f'data-name="{name}"', "").replace(f'value="{value}"', "")
    assert visible.replace("\n", "").isprintable()
    assert r"<h1>a\x1b[2Jb</h1>" in visible
    expected = expectation({"type": "text", "values": [value], "pattern": "\x1b\u2028+"})
    assert expected.isprintable()


def test_an_image_has_the_page() -> None:
    assert {"stages/serving/page.py", "stages/serving/page.css", "stages/serving/page.js"} <= runtime_files().keys()
