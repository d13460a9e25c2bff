"""Photograph the chat page of a running server, for the README and for one's own eyes.

    python tests/serving/screenshot.py http://127.0.0.1:8000 docs/images/chat.png --question "How …?"
    python tests/serving/screenshot.py ADDRESS OUT.png --scheme dark --width 390 --open-source

Asks the question (the page's first example where none is given), waits for the answer and takes the picture.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("out", type=Path)
    parser.add_argument("--question", help="the page's first example where not given; '' for the empty page")
    parser.add_argument("--scheme", choices=["light", "dark"], default="light")
    parser.add_argument("--language", default="en")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=860)
    parser.add_argument("--open-source", action="store_true", help="open the first source beside the answer")
    parser.add_argument("--timeout", type=float, default=180, help="seconds for the answer")
    given = parser.parse_args()

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        raise SystemExit("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(
            viewport={"width": given.width, "height": given.height},
            color_scheme=given.scheme,
            locale=given.language,
            device_scale_factor=2 if given.width < 600 else 1.5,
        )
        page.goto(given.address)
        question = given.question
        if question is None:
            question = page.locator("#examples button").first.inner_text()
        if question:
            page.locator("#question").fill(question)
            page.keyboard.press("Enter")
            page.locator(".exchange .sources, .exchange .note, .unanswered").first.wait_for(
                timeout=given.timeout * 1000
            )
            if given.open_source:
                page.locator(".exchange .source").first.click()
                page.locator("#panel mark").first.wait_for()
            page.wait_for_timeout(700)  # smooth scrolling comes to rest
        given.out.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=given.out)
        browser.close()


if __name__ == "__main__":
    main()
