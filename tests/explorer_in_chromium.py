"""The explorer as one uses it, in headless Chromium: ``make test-explorer``.

Under another name than tests have, so that the rest of them need no browser.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from urllib.parse import urljoin

import pytest
from playwright.sync_api import sync_playwright

from figures.explorer.choices import Choices, View, to_link
from figures.explorer.curves import theory

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run",
]  # fmt: skip
PICTURE = re.compile(" of ")
OTHER = Choices(
    rules=("fa",), K=3, M=1, lr=0.37, lr_v=0.15, feedback_scale=0.7, noise=0.3,
    activation="linear", t_max=4.5, N=300, n_runs=2, seed=4,
)  # fmt: skip
SECONDS = 60.0
"""How long to wait for anything."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the page is served, until the last test has ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "figures.explorer", "--headless", "--port", str(port)]
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            for _ in range(int(10 * SECONDS)):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                    break
                except OSError:
                    assert server.poll() is None, log.read_text()
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(SECONDS)
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium with a profile of its own."""
    with sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=shutil.which("chromium"),
            args=FLAGS, viewport={"width": 1300, "height": 1000},
        )  # fmt: skip
        context.set_default_timeout(1000 * SECONDS)
        yield context
        context.close()


@pytest.fixture
def page(browser, address):
    """The page as it opens; afterwards, no errors, and nothing asked of any other machine."""
    page = browser.new_page()
    errors, asked = [], []
    page.on("console", lambda said: said.type == "error" and errors.append(said.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    opened(page, address)
    yield page
    assert "Traceback" not in page.content()
    page.close()
    assert not errors
    assert len(asked) > 1
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]


def opened(page, address):
    """The page there, once it has curves."""
    page.goto(address)
    page.get_by_role("img", name=PICTURE).wait_for()


def picture(page, address):
    """The bytes of the picture, once there is one."""
    at = page.get_by_role("img", name=PICTURE).get_attribute("src")
    return page.request.get(urljoin(address, at)).body()


def until_other(page, address, before):
    """Wait for another picture than that."""
    until = time.monotonic() + SECONDS
    while picture(page, address) == before:
        assert time.monotonic() < until
        page.wait_for_timeout(100)


def table(page):
    """The rows below the picture, by rule."""
    rows = page.locator("table tbody tr").all()
    cells = [[cell.inner_text() for cell in row.locator("td").all()] for row in rows]
    return {rule: rest for rule, *rest in cells}


def final_error(choices, rule):
    """As the table has it."""
    return f"{theory(choices, rule).trajectory.generalization_error[-1]:.4g}"


def slide(page, label, key, times=1):
    """Move a slider by keys."""
    thumb = page.locator("marimo-slider", has_text=label).first.get_by_role("slider")
    for _ in range(times):
        thumb.press(key)


def test_sliders_move_the_curves(page, address):
    assert table(page)["FA"][:2] == ["ok", final_error(Choices(), "FA".lower())]
    before = picture(page, address)
    slide(page, "hidden units K", "ArrowRight")
    until_other(page, address, before)
    expected = final_error(Choices(K=3), "afa")
    page.get_by_role("cell", name=expected, exact=True).wait_for()
    slide(page, "label noise", "End")
    expected = final_error(Choices(K=3, noise=1.0), "bp")
    page.get_by_role("cell", name=expected, exact=True).wait_for()


def test_the_button_adds_simulations_and_says_how_far_they_are(page, address):
    opened(page, f"{address}?rules=bp&N=200&t_max=100&n_runs=3")
    before = picture(page, address)
    assert table(page)["BP"][2] == ""
    page.get_by_role("button", name="Simulate").click()
    page.get_by_text("BP, 3 runs of N = 200").wait_for()
    until_other(page, address, before)
    assert re.fullmatch(r"0\.\d+ ± \S+", table(page)["BP"][2])
    slide(page, "label noise", "ArrowRight")
    page.wait_for_function("() => !document.querySelector('table').innerText.includes('±')")


def test_what_is_wrong_is_explained_and_mended_without_a_trace(page, address):
    field = page.locator("marimo-number", has_text="inputs N").get_by_role("textbox")
    before = picture(page, address)
    field.fill("3")
    field.press("Enter")
    words = "Argument N must be at least K + M + O = 5, but is 3."
    page.get_by_text(words).first.wait_for()
    assert page.get_by_role("img", name=PICTURE).count() == 0
    field.fill("1000")
    field.press("Enter")
    page.get_by_role("img", name=PICTURE).wait_for()
    assert page.get_by_text(words).count() == 0
    assert picture(page, address) == before


def test_a_wrong_link_is_explained_and_a_right_one_followed(page, address):
    opened(page, f"{address}?lr=fast")
    page.get_by_text("Argument lr must be a number, but is 'fast'.").wait_for()
    assert table(page)["BP"][1] == final_error(Choices(), "bp")
    opened(page, address + to_link(OTHER, View()))
    expected = final_error(OTHER, "fa")
    assert {rule: row[1] for rule, row in table(page).items()} == {"FA": expected}
    slide(page, "label noise", "End")
    expected = final_error(OTHER._replace(noise=1.0), "fa")
    page.get_by_role("cell", name=expected, exact=True).wait_for()
    page.get_by_role("link", name="Link to this page").click()
    page.wait_for_url(re.compile("noise=1.0"))
    page.get_by_role("cell", name=expected, exact=True).wait_for()


def test_views_and_the_script_of_what_is_seen(page, tmp_path):
    for view, word in (
        ("order parameters", "order parameter"), ("alignment", "BP has no angle of"),
        ("phase plane", "x"),
    ):  # fmt: skip
        page.get_by_role("radio", name=view).click()
        page.get_by_role("img", name=f"{view} of bp, fa, afa").wait_for()
        page.get_by_text(word, exact=len(word) == 1).first.wait_for()
    page.locator("marimo-dropdown", has_text=re.compile("^y")).get_by_role(
        "combobox"
    ).select_option("v_2")
    slide(page, "label noise", "End")
    page.get_by_role("cell", name=final_error(Choices(noise=1.0), "fa"), exact=True).wait_for()
    link = page.get_by_role("link", name="Link to this page").get_attribute("href")
    assert "view=phase+plane" in link
    assert "x=R_11&y=v_2" in link
    with page.expect_download() as given:
        page.get_by_role("link", name="explored.py").click()
    given.value.save_as(tmp_path / "explored.py")
    subprocess.run([sys.executable, "explored.py"], cwd=tmp_path, check=True,
                   env=os.environ | {"MPLBACKEND": "Agg"})  # fmt: skip
    assert (tmp_path / "explored.png").stat().st_size > 10_000
