"""The chat page in real headless Chromium: what a person does with it, and what a hostile document cannot."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from house import House, document
from live import eventually
from screenshot import FLAGS

from lavra.serving.access import make_key
from lavra.serving.settings import ServeSettings

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect
Page = Any
Open = Callable[..., Page]

pytestmark = pytest.mark.browser

QUESTION = "How high is the daily allowance abroad?"
EXPECTED = "The daily allowance is 62 euros in the country and 94 euros abroad."


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Open]:
    """``open_page(address, **context)``: a page in a fresh profile. The test fails on any error or outside request."""
    contexts, problems = [], []

    def open_page(address: str, path: str = "/", **options: Any) -> Page:
        context = chromium.new_context(**({"locale": "en-GB"} | options))
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on(
            "console",
            lambda line: (
                line.type in ("error", "warning")
                and "the server responded with a status of" not in line.text
                and problems.append(f"console: {line.text}")
            ),
        )
        page.on(
            "request",
            lambda request: (
                request.url.startswith((address, "blob:", "data:")) or problems.append(f"request: {request.url}")
            ),
        )
        page.goto(address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


def ask(page: Page, question: str) -> Any:
    """Type a question, press Enter; the exchange on the page."""
    count = page.locator(".exchange").count()
    page.locator("#question").fill(question)
    page.keyboard.press("Enter")
    return page.locator(".exchange").nth(count)


def finished(exchange: Any) -> Any:
    expect(exchange.locator(".copy, .bad").first).to_be_visible()
    return exchange


def sideways(page: Page) -> int:
    """How many pixels the page can be scrolled sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_a_question_asked_by_keyboard_is_answered_as_a_stream_with_sources(serve: Any, open_page: Open) -> None:
    page = open_page(serve(House(delay=0.04)))
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("How high is the")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("daily allowance abroad?")
    page.keyboard.press("Enter")
    exchange = page.locator(".exchange")
    expect(exchange.locator("h2")).to_contain_text("daily allowance abroad?")
    expect(exchange).to_have_class(re.compile("streaming"))
    partial = exchange.locator(".prose").inner_text()
    assert len(partial) < len(EXPECTED)  # it is there before it is whole
    finished(exchange)
    assert exchange.locator(".prose").inner_text().startswith(EXPECTED)
    assert exchange.locator(".prose .cite").first.inner_text() == "1"
    expect(exchange.locator(".source q").first).to_have_text(EXPECTED)
    expect(page.locator("#question")).to_be_focused()
    expect(page.locator("#question")).to_have_value("")
    # A screen reader was told whole sentences, once, and that the answer is complete.
    live = page.locator("#live")
    assert live.get_attribute("aria-live") == "polite"
    spoken = live.locator("p").all_inner_texts()
    assert spoken[0] == EXPECTED
    assert len([line for line in spoken if EXPECTED in line]) == 1
    assert spoken[-1].startswith("Answer complete.")


def test_the_question_stays_in_view_while_a_long_answer_comes(serve: Any, open_page: Open) -> None:
    page = open_page(serve(House()), viewport={"width": 1280, "height": 700})
    finished(ask(page, QUESTION))
    long = finished(ask(page, "say " + "word " * 3000))
    page.wait_for_timeout(600)  # smooth scrolling
    box = long.locator("h2").bounding_box()
    assert 40 < box["y"] < 200
    assert page.locator("#question").bounding_box()["y"] < 700


def test_the_conversation_goes_on(serve: Any, open_page: Open) -> None:
    house = House()
    page = open_page(serve(house))
    finished(ask(page, QUESTION))
    finished(ask(page, "When is a flight paid instead of a train?"))
    assert [message.role for message in house.quoting.asked[-1][0]] == ["user", "assistant", "user"]
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".exchange")).to_have_count(0)
    expect(page.locator("#welcome")).to_be_visible()
    finished(ask(page, QUESTION))
    assert len(house.quoting.asked[-1][0]) == 1


def test_an_example_question_can_be_taken_with_the_keyboard(serve: Any, open_page: Open) -> None:
    page = open_page(serve(House()))
    page.locator("#examples button").nth(2).focus()
    page.keyboard.press("Enter")
    expect(finished(page.locator(".exchange")).locator(".prose")).to_contain_text("A lost receipt can be replaced")


def test_a_source_opens_beside_the_answer_at_the_cited_passage(serve: Any, open_page: Open) -> None:
    long = document("long.md", "\n\n".join(f"Paragraph {n} is filler." for n in range(9000)) + "\n\n" + EXPECTED)
    house = House()
    house.documents = [long]
    page = open_page(serve(house), viewport={"width": 1280, "height": 800})
    exchange = finished(ask(page, QUESTION))
    exchange.locator(".prose .cite").first.click()
    panel = page.locator("#panel")
    expect(panel.locator("mark")).to_have_text(EXPECTED)
    expect(panel.locator("mark")).to_be_in_viewport()
    expect(panel.locator("#panel-text")).to_be_focused()
    expect(panel.locator(".parts")).to_contain_text("Part ")  # a long document comes in parts
    expect(exchange).to_be_in_viewport()  # both can be read
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(exchange.locator(".prose .cite").first).to_be_focused()


def test_a_source_has_a_page_of_its_own_that_opens_at_the_passage(serve: Any, open_page: Open) -> None:
    long = document("long.md", "\n\n".join(f"Paragraph {n} is filler." for n in range(9000)) + "\n\n" + EXPECTED)
    house = House()
    house.documents.append(long)
    address = serve(house)
    start = long.text.index(EXPECTED)
    page = open_page(address, f"/sources/{long.id}?start={start}&end={start + len(EXPECTED)}#cite")
    mark = page.locator("mark#cite")
    expect(mark).to_have_text(EXPECTED)
    expect(mark).to_be_in_viewport()
    page.get_by_role("link", name="Previous part").click()
    expect(page.locator("mark")).to_have_count(0)
    page = open_page(address, f"/sources/{house.documents[0].id}")
    expect(page.get_by_role("heading", name="Daily allowance", exact=True)).to_be_visible()
    expect(page.locator(".turn")).to_have_text(["Page 1", "Page 2"])
    expect(page.locator("table tr").last.locator("td")).to_have_text(["Half day", "31", "47"])
    expect(page.locator(".facts")).to_contain_text("CC-BY-4.0")


@pytest.mark.parametrize("way", ["Escape", "button"])
def test_stopping_keeps_what_was_said_and_stops_the_model(serve: Any, open_page: Open, way: str) -> None:
    house = House()
    house.assistants = {"endless": house.endless}
    page = open_page(serve(house))
    exchange = ask(page, QUESTION)
    expect(exchange.locator(".prose")).to_contain_text("94 euros")
    if way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.get_by_role("button", name="Stop").click()
    expect(exchange.locator(".note")).to_have_text("Stopped.")
    expect(exchange.locator(".prose")).to_contain_text("94 euros")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.locator("#question")).to_be_focused()
    assert eventually(lambda: not house.endless.lock.locked(), 2)


def test_a_document_can_be_added_and_asked_about(serve: Any, open_page: Open, tmp_path: Path) -> None:
    page = open_page(serve(House()))
    expect(page.locator("#counts")).to_have_text("2 documents")
    (tmp_path / "bikes.md").write_text("# Bicycles\n\nThe institute lends bicycles to every visitor.")
    (tmp_path / "fake.pdf").write_bytes(b"PK\x03\x04")
    page.locator("#files").set_input_files([tmp_path / "bikes.md", tmp_path / "fake.pdf"])
    expect(page.locator(".notice")).to_have_text(
        ["uploads/bikes.md added: 1 passage", "fake.pdf was not added: it is a zip archive, whatever its name says"]
    )
    expect(page.locator("#counts")).to_have_text("3 documents")
    exchange = finished(ask(page, "Which institute lends bicycles to every visitor?"))
    expect(exchange.locator(".source").first).to_contain_text("uploads/bikes.md")


DROP = """([name, text]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([text], name));
  for (const type of ["dragenter", "dragover"]) window.dispatchEvent(new DragEvent(type, {dataTransfer: transfer}));
  const shown = !document.getElementById("drop").hidden;
  window.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, cancelable: true}));
  return shown;
}"""


def test_a_file_can_be_dropped_on_the_page(serve: Any, open_page: Open) -> None:
    page = open_page(serve(House()))
    assert page.evaluate(DROP, ["drop.txt", "Dropped from above."]) is True
    expect(page.locator(".notice")).to_have_text(["uploads/drop.txt added: 1 passage"])
    expect(page.locator("#drop")).to_be_hidden()


def test_a_file_above_the_limit_is_not_even_sent(serve: Any, open_page: Open, tmp_path: Path) -> None:
    house = House()
    page = open_page(serve(house, ServeSettings(max_upload_bytes=2**20)))
    (tmp_path / "big.txt").write_bytes(b"x" * (2**20 + 1))
    page.locator("#files").set_input_files(tmp_path / "big.txt")
    expect(page.locator(".notice.bad")).to_have_text("big.txt is larger than 1 MB")
    assert not house.uploaded


@pytest.mark.parametrize(
    ("locale", "path", "language", "heading"),
    [
        ("pt-BR", "/", "pt", "Pergunte aos seus documentos"),
        ("es-MX", "/", "es", "Pregunte a sus documentos"),
        ("de-DE", "/", "en", "Ask your documents"),
        ("de-DE", "/?lang=pt", "pt", "Pergunte aos seus documentos"),
    ],
)
def test_the_page_speaks_the_browsers_language(
    serve: Any, open_page: Open, locale: str, path: str, language: str, heading: str
) -> None:
    page = open_page(serve(House()), path, locale=locale)
    expect(page.locator("h1")).to_have_text(heading)
    assert page.locator("html").get_attribute("lang") == language
    if language == "pt":
        exchange = finished(ask(page, QUESTION))
        expect(exchange.locator("h3")).to_have_text("Fontes")
        expect(page.locator("#live p").last).to_contain_text("Resposta completa.")


def test_a_phone_shows_everything_without_scrolling_sideways(serve: Any, open_page: Open) -> None:
    house = House()
    house.documents.append(document("w/" + "very" * 30 + ".md", "# " + "Donau" * 20 + f"\n\n{'ab' * 300} {EXPECTED}\n"))
    address = serve(house)
    page = open_page(address, viewport={"width": 360, "height": 700}, has_touch=True, is_mobile=True)
    assert sideways(page) == 0
    exchange = finished(ask(page, "say **bold** `" + "x" * 200 + "`\n```\n" + "y" * 300 + "\n```"))
    assert sideways(page) == 0
    exchange = finished(ask(page, QUESTION))
    assert sideways(page) == 0
    exchange.locator(".source").first.click()
    expect(page.locator("#panel mark").first).to_be_in_viewport()
    assert sideways(page) == 0
    assert page.locator("#panel").bounding_box()["width"] == 360
    page.locator("#panel-close").click()
    for control in page.locator(".bar button:visible, .composer button:visible").all():
        box = control.bounding_box()
        assert min(box["width"], box["height"]) >= 40  # a thumb's width
    page = open_page(address, f"/sources/{house.documents[2].id}", viewport={"width": 360, "height": 700})
    assert sideways(page) == 0


def luminance(page: Page, selector: str, prop: str) -> float:
    """WCAG's relative luminance of a colour as the browser computed it."""
    value = page.locator(selector).first.evaluate(f"node => getComputedStyle(node).{prop}")
    channels = [float(part) / 255 for part in re.findall(r"[\d.]+", value)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_both_readable(serve: Any, open_page: Open, scheme: str) -> None:
    page = open_page(serve(House()), color_scheme=scheme, viewport={"width": 1280, "height": 800})
    finished(ask(page, QUESTION)).locator(".cite").first.click()
    expect(page.locator("#panel mark")).to_be_visible()
    paper = luminance(page, "body", "backgroundColor")
    assert paper > 0.8 if scheme == "light" else paper < 0.05
    for text, behind in [
        (".prose", "body"),
        (".counts", "body"),
        (".source .place", ".source"),
        (".cite", ".cite"),
        ("#panel mark", "#panel mark"),
        (".small", "body"),
    ]:
        shown = contrast(luminance(page, text, "color"), luminance(page, behind, "backgroundColor"))
        assert shown >= 4.5, text  # WCAG AA


def test_focus_is_always_visible_and_reaches_everything(serve: Any, open_page: Open) -> None:
    page = open_page(serve(House()))
    page.locator("body").focus()
    page.evaluate("document.activeElement.blur()")
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if not focused.count():
            continue
        seen.append(focused.evaluate("node => node.id || node.textContent.trim()"))
        style = focused.evaluate(
            "node => { const s = getComputedStyle(node.id === 'question' ? node.parentElement : node);"
            " return [s.outlineStyle, parseFloat(s.outlineWidth)]; }"
        )
        assert style[0] != "none", seen[-1]
        assert style[1] >= 1, seen[-1]
    assert {"question", "send", "add", "Português", QUESTION} <= set(seen)


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def test_hostile_text_stays_text_everywhere(serve: Any, open_page: Open, tmp_path: Path) -> None:
    house = House()
    hostile = document(
        f"evil/{HOSTILE}.md",
        f"# {HOSTILE}\n\nThe hostile password {HOSTILE} is never executed. </p><svg onload=alert(3)>\n",
        owner=f"{HOSTILE}",
        licence="javascript:alert(4)",
    )
    house.documents.append(hostile)
    house.example_questions = lambda: [f"{HOSTILE} example"]  # type: ignore[method-assign]
    address = serve(house, ServeSettings(title=f"Lavra {HOSTILE}"))
    page = open_page(address, viewport={"width": 1280, "height": 800})
    expect(page.locator("#examples button")).to_have_text(f"{HOSTILE} example")
    # the question, the document's text, title, name
    exchange = finished(ask(page, f"What is the hostile password that is never executed? {HOSTILE}"))
    expect(exchange.locator("h2")).to_contain_text(HOSTILE)
    expect(exchange.locator(".source").first).to_contain_text(HOSTILE)
    exchange.locator(".source").first.click()
    expect(page.locator("#panel mark")).to_contain_text(HOSTILE)
    page.locator("#panel-close").click()
    # the model's output, as HTML and as Markdown
    markdown = "![a](http://evil.example/x) [b](javascript:alert(5)) <a href='http://evil.example'>c</a> [9] [1]"
    exchange = finished(ask(page, f"say {HOSTILE} {markdown} `{HOSTILE}` **{HOSTILE}**"))
    expect(exchange.locator(".prose")).to_contain_text(f"{HOSTILE} {markdown}"[:80])
    assert exchange.locator(".prose :is(img, script, svg, a:not(.cite), iframe)").count() == 0
    # a file's name
    (tmp_path / "<img src=x onerror=alert(6)>.txt").write_text("harmless")
    (tmp_path / "<svg onload=alert(7)>.pdf").write_bytes(b"PK\x03\x04")
    page.locator("#files").set_input_files(sorted(tmp_path.iterdir()))
    expect(page.locator(".notice")).to_have_count(2)
    assert page.locator(".notice :is(img, script, svg, iframe)").count() == 0
    # the document's own page
    page = open_page(address, f"/sources/{hostile.id}?start=0&end=60")
    expect(page.locator("h1")).to_contain_text(HOSTILE)
    expect(page.locator(".facts")).to_contain_text("javascript:alert(4)")
    assert page.locator("article :is(img, script, svg, a)").count() == 0
    page.wait_for_timeout(200)  # an alert would have fired by now; the fixture fails on any


def test_the_policy_stops_what_would_still_get_through(address: str, chromium: Any) -> None:
    page = chromium.new_page()  # not by ``open_page``: the browser's complaints are what is wanted here
    page.goto(address)
    ran = page.evaluate(
        """async () => {
          const script = document.createElement("script");
          try { script.textContent = "window.inline = true"; } catch { /* refused already here */ }
          document.head.append(script);
          try { document.body.innerHTML = "<p>"; window.html = true; } catch { /* refused */ }
          try { await fetch("https://evil.example/"); window.left = true; } catch { /* refused */ }
          return [window.inline, window.html, window.left].filter(Boolean).length;
        }"""
    )
    assert ran == 0
    page.close()


def test_with_keys_the_page_asks_for_one_and_shows_what_it_may_see(serve: Any, open_page: Open) -> None:
    key, record = make_key("council", ["public", "council"])
    house = House()
    page = open_page(serve(house, ServeSettings(keys=(record,))), viewport={"width": 1280, "height": 800})
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    assert "allowance" not in page.content()
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-problem")).to_have_text("This key is not known here.")
    page.keyboard.press("Escape")
    expect(page.locator("#key")).to_be_visible()
    field.fill(key)
    page.keyboard.press("Enter")
    expect(page.locator("#counts")).to_have_text("2 documents")
    expect(page.locator("#examples button")).to_have_count(3)
    exchange = finished(ask(page, "How much did the council agree that salaries rise?"))
    expect(exchange.locator(".prose")).to_contain_text("3.1 percent")
    exchange.locator(".source").first.click()
    expect(page.locator("#panel mark")).to_contain_text("3.1 percent")
    assert page.evaluate("Object.values(localStorage).length") == 0
    assert page.evaluate("document.cookie") == ""


def test_a_refusal_is_said_and_can_be_tried_again(serve: Any, open_page: Open) -> None:
    page = open_page(serve(House()))
    exchange = finished(ask(page, "too long"))
    expect(exchange.locator(".bad")).to_contain_text("longer than the model's window")
    exchange.get_by_role("button", name="Try again").click()
    expect(page.locator(".exchange")).to_have_count(1)
    expect(page.locator(".exchange .bad")).to_be_visible()


def test_a_server_that_is_gone_is_said(chromium: Any) -> None:
    from live import serving

    page = chromium.new_page(locale="pt-BR")
    with serving(House()) as address:
        page.goto(address)
    exchange = ask(page, QUESTION)
    expect(exchange.locator(".bad")).to_contain_text("O servidor não responde.")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(serve: Any, open_page: Open, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    house = House()
    address = serve(house)
    # bypass_csp: axe is a script from elsewhere, which is just what the policy keeps out.
    page = open_page(address, bypass_csp=True, color_scheme=scheme, viewport={"width": 1280, "height": 800})
    reports = [axe.Axe().run(page)]
    finished(ask(page, QUESTION)).locator(".source").first.click()
    expect(page.locator("#panel mark")).to_be_visible()
    reports.append(axe.Axe().run(page))
    page.goto(f"{address}/sources/{house.documents[0].id}?start=10&end=90")
    reports.append(axe.Axe().run(page))
    assert [report.generate_report() for report in reports if report.violations_count] == []
