"""The playground in a browser: Chromium, headless, without a network but the server's."""

import runpy
import shutil
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
_tests = Path(__file__).parents[1]
write_bundle = runpy.run_path(str(_tests / "toy_bundle.py"))["write_bundle"]
Server = runpy.run_path(str(_tests / "server_process.py"))["Server"]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt install chromium"),
]
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    bundles, home = tmp_path_factory.mktemp("bundles"), tmp_path_factory.mktemp("home")
    write_bundle(bundles / "letters", seed=1)
    write_bundle(bundles / "others", seed=2)
    write_bundle(bundles / "translator", translates=True)
    with Server(bundles, home, ZOO_MAX_TOKENS="100000") as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    """The page with its models; whatever it asks of others, and whatever goes wrong, fails."""
    page = browser.new_page()
    asked, wrong = [], []

    def hear(message):
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            wrong.append(message.text)

    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", hear)
    page.goto(server.url)
    sync_api.expect(page.get_by_role("status")).to_have_text("3 models are served.")
    yield page
    page.close()
    assert all(url.startswith((f"{server.url}/", "data:")) for url in asked)
    assert not wrong


def section(page, title):
    return page.get_by_role("region", name=title)


def test_a_text_comes_token_by_token_with_alternatives(page):
    form = section(page, "Generate")
    form.get_by_label("Prompt").fill("the ")
    form.get_by_label("Model").select_option("letters")
    form.get_by_label("Tokens").fill("12")
    form.get_by_role("button", name="Generate").click()
    sync_api.expect(page.get_by_role("status")).to_have_text("Written.")
    tokens = form.get_by_role("group", name="Text of letters").get_by_role("button")
    assert 1 <= tokens.count() <= 12
    tokens.first.hover()
    sync_api.expect(form.get_by_role("row")).to_have_count(6)
    assert "probability" in tokens.first.get_attribute("aria-label")


def test_two_models_side_by_side_and_by_keyboard(page):
    form = section(page, "Generate")
    form.get_by_label("Compare with").select_option("others")
    form.get_by_label("Prompt").fill("a")
    form.get_by_label("Seed").press("Enter")
    sync_api.expect(page.get_by_role("status")).to_have_text("Written.")
    for model in ("letters", "others"):
        tokens = form.get_by_role("group", name=f"Text of {model}").get_by_role("button")
        tokens.first.focus()
        sync_api.expect(form.get_by_role("row").first).to_be_visible()


def test_what_runs_is_stopped(page):
    form = section(page, "Generate")
    form.get_by_label("Tokens").fill("100000")
    form.get_by_label("Temperature").fill("3")
    form.get_by_role("button", name="Generate").click()
    form.get_by_role("button", name="Stop").click()
    sync_api.expect(page.get_by_role("status")).to_have_text("Stopped.")


def test_a_translation(page):
    form = section(page, "Translate")
    form.get_by_label("Sentence").fill("a cat")
    form.get_by_label("Beams").fill("3")
    form.get_by_role("button", name="Translate").click()
    sync_api.expect(page.get_by_role("status")).to_have_text("Translated.")
    sync_api.expect(form.get_by_role("listitem")).to_have_count(3)


def test_attention_is_drawn(page):
    """What the server would answer for a model that tells what it looks at."""

    def add(route):
        answer = route.fetch()
        content = answer.json()
        (result,), (source,) = content["results"], content["source_tokens"]
        row = [1.0, *[0.0] * (len(source) - 1)]
        result["attention"] = {"layer_0/cross": [[row] * len(result["tokens"])]}
        route.fulfill(response=answer, json=content)

    page.route("**/translate", add)
    form = section(page, "Translate")
    form.get_by_label("Sentence").fill("a cat")
    form.get_by_role("button", name="Translate").click()
    matrix = form.get_by_role("table", name="Attention, layer_0/cross")
    sync_api.expect(matrix.get_by_role("columnheader")).to_have_text([*"a cat", "<eos>"])
    first, *rest = matrix.get_by_role("row").nth(1).get_by_role("cell").all()
    assert first.get_attribute("aria-label") == "100%"
    assert {cell.get_attribute("aria-label") for cell in rest} == {"0%"}


def test_what_is_not_possible_is_told(page):
    form = section(page, "Translate")
    form.get_by_label("Sentence").fill("a " * 5000)
    form.get_by_role("button", name="Translate").click()
    sync_api.expect(page.get_by_role("status")).to_contain_text("at most 2048 tokens")
