"""The page of the trained models: what is written into it and, in three browsers without a network, what it does.

The browsers' tests need Debian's chromium, firefox-esr, webkit2gtk-driver and xvfb, the packages playwright (below
1.65) and selenium and, at the path AXE_JS, npm's axe.min.js. REQUIRE_BROWSERS=1 makes a missing one a failure.
"""

import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from autoencoder import Autoencoder, VariationalAutoencoder
from codelet7 import MEAN, STD, SparseAutoencoder
from extras import page as pages

PLANES, BARS = ("autoencoder", "variational"), "bars.map((bar) => Number(bar.value))"
INKED = "ink.getImageData(0, 0, PAD, PAD).data.filter((value) => value === 255).length"
COMMANDS = {
    "autoencoder": "python autoencoder.py",
    "variational": "python autoencoder.py --variational",
}
COMMANDS |= {"sparse": "python codelet7.py", "sweep": "python codelet7.py --sweep"}


# Models that are not trained, and ten clusters of codes in a ring, in which those of 4s and 9s are neighbours.
torch.manual_seed(0)
MODELS = {
    "autoencoder": Autoencoder(),
    "variational": VariationalAutoencoder(),
    "sparse": SparseAutoencoder(784, 10),
}
for (
    key
) in PLANES:  # as sharp as after a training, for which rounded weights matter most
    nn.init.normal_(MODELS[key].decoder[-3].weight, std=0.9)
SWEEP = [SparseAutoencoder(784, 10) for _ in range(3)]
ANGLES = torch.pi / 5 * torch.tensor([0, 1, 2, 3, 4, 6, 7, 8, 9, 5])
LABELS = np.arange(2000) % 10
CODES = 1.6 * torch.stack((ANGLES.cos(), ANGLES.sin()), 1)[LABELS] + 0.3 * torch.randn(
    2000, 2
)
KEPT = torch.stack([torch.randn(200, 2) * 10.0**k for k in range(-2, 2)])
UNFOLDING = {
    "steps": [0, 10, 100, 1000],
    "losses": [0.5, 0.4, 0.3, 0.2],
    "codes": KEPT,
    "labels": LABELS[:200],
}
PLANE = SimpleNamespace(
    codes=CODES.numpy(), labels=LABELS, limits=((-3, 3),) * 2, middle=((-1, 1),) * 2
)
SAMPLES = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)
IMAGES = torch.from_numpy(SAMPLES).flatten(1) / 255


def put(page, key, facts="MNIST, 1,000 steps", nodes=10, drawn=False):
    if key == "sweep":
        entry = pages.sweep_entry(
            SWEEP, [0, 0.001, 0.3], [0.4, 0.41, 0.6], [0.45, 0.3, 0.05], MEAN, STD
        )
    elif key == "sparse":
        entry = pages.sparse_entry(
            MODELS[key] if nodes == 10 else SparseAutoencoder(784, nodes),
            MEAN,
            STD,
            facts,
        )
    else:
        entry = pages.plane_entry(
            MODELS[key], PLANE, UNFOLDING, CODES[:100], "from N(0, I)", facts
        )
    return pages.put(
        page,
        key,
        entry,
        SAMPLES,
        SAMPLES.mean(axis=0).astype(np.uint8),
        drawn,
        ["#c33", "#36c"] * 5,
    )


def save(folder, *keys, **more):
    text = functools.reduce(lambda page, key: put(page, key, **more), keys, None)
    (path := folder / "explore.html").write_text(text, "utf-8")
    return path


def sparse(model, kept=1):
    codes = model.encoder((IMAGES - MEAN) / STD)
    return codes, model.decoder(codes * kept) * STD + MEAN


def around(code):
    """How many of the 50 dots nearest to a code are of each digit, and the distance of the last."""
    far = (CODES.double() - torch.as_tensor(code, dtype=torch.float64)).norm(dim=1)
    return np.bincount(LABELS[far.argsort()[:50]], minlength=10), far.sort()[0][
        49
    ].item()


def test_a_model_is_put_beside_those_that_are_there():
    def models(text):
        return json.loads(
            re.search(
                r'type="application/json" id="run">(.*?)</script>', text, re.DOTALL
            )[1]
        )["models"]

    text = put(put(None, "sparse", facts="one </script>"), "autoencoder")
    kept, text = (
        models(text),
        put(text.replace("<h1>", "<h1>An older page: "), "sparse", facts="other"),
    )
    assert (
        kept["sparse"]["facts"] == "one </script>"
        and models(text)["sparse"]["facts"] == "other"
    )
    assert (
        models(text)["autoencoder"] == kept["autoencoder"]
        and "An older page" not in text
    )
    assert kept["autoencoder"]["unfolding"]["codes"]["dtype"] == "int16"
    for unreadable in (
        "",
        "<html>",
        text[:-60_000],
        text.replace('"models"', '"others"'),
        text.replace('"run">{', ""),
    ):
        assert set(models(put(unreadable, "variational"))) == {"variational"}
    assert not re.search(r"https?://|src=|@import", put(None, "sweep"))
    with pytest.raises(ValueError, match="cannot compute Softplus"):
        pages.describe(nn.Sequential(nn.ReLU(), nn.Softplus()))


def need(found, what):
    if not found:
        (pytest.fail if os.environ.get("REQUIRE_BROWSERS") else pytest.skip)(
            f"{what} is not installed"
        )


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    return save(tmp_path_factory.mktemp("page"), *COMMANDS)


OPTIONS = {
    "chromium": {"args": ["--no-sandbox"]},
    "firefox-esr": {"channel": "moz-firefox"},
}
OPTIONS["firefox-esr"]["firefox_user_prefs"] = {"ui.systemUsesDarkTheme": 1}


@pytest.fixture(scope="session", params=OPTIONS)
def browser(request):
    program = shutil.which(request.param)
    need(
        importlib.util.find_spec("playwright") and program,
        f"playwright or {request.param}",
    )
    with importlib.import_module("playwright.sync_api").sync_playwright() as playwright:
        engine = getattr(playwright, request.param.removesuffix("-esr"))
        yield engine.launch(executable_path=program, **OPTIONS[request.param])


@pytest.fixture
def visit(browser, path):
    """Function that opens a page; at the end none may have printed to the console or asked for more than its file."""
    visited, said = [], []

    def visit(where=path, anchor="", width=1400, **options):
        visited.append(
            page := browser.new_page(
                viewport={"width": width, "height": 844}, **options
            )
        )
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(error))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(where.as_uri()) or said.append(request.url)
            ),
        )
        page.goto(f"{where.as_uri()}{anchor}")
        return page

    yield visit
    for page in visited:
        page.close()
    assert said == []


def until(page, condition):
    """Waits until a JavaScript expression is true; Playwright's own wait is an eval, which the page forbids."""
    end = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def shows(page, selector, expected):
    """Whether a canvas shows these values, 0 to 255, rounded."""
    script = """one => { const to = new OffscreenCanvas(28, 28).getContext("2d", { willReadFrequently: true });
      to.drawImage(one, 0, 0); return Array.from(to.getImageData(0, 0, 28, 28).data).filter((_, i) => i % 4 === 0) }"""
    found = torch.tensor(page.locator(selector).first.evaluate(script))
    return (found - expected.clamp(0, 255).flatten()).abs().max() <= 1.01


def text(page, selector):
    found = " ".join(page.locator(selector).all_inner_texts())
    return found.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ")


def numbers(page, selector):
    return [
        float(number) for number in re.findall(r"-?\d+\.?\d*", text(page, selector))
    ]


@torch.no_grad()
def test_all_that_is_computed_is_pytorchs(visit):
    page, codes, paintings = visit(), 4 * torch.rand(50, 2) - 2, []
    page.locator("#tests button").nth(7).click()
    for key in PLANES:
        model, expected = MODELS[key], MODELS[key].decoder(codes).flatten(1)
        script = "([key, codes]) => codes.map((code) => Array.from(decode(planes[key].model, code)))"
        assert expected.std(dim=0).max() > 0.1
        assert (
            torch.tensor(page.evaluate(script, [key, codes.tolist()])) - expected
        ).abs().max() < 0.5 / 255
        script = f"run.samples.map((one) => Object.values(encode({key}, one)).flatMap((part) => Array.from(part)))"
        found = torch.tensor(page.evaluate(script))
        found[:, 2:] = 2 * found[:, 2:].log()  # from standard deviations to logvar
        assert (found - model.encoder(IMAGES)).abs().max() < 0.002
        paintings.append(model.decoder(model.encoder(IMAGES)[:, :2])[7].flatten())
        assert shows(page, f".{key} .picture", 255 * paintings[-1])
    for i, painting in enumerate([*paintings, sparse(MODELS["sparse"])[1][7]], 1):
        error = (painting - IMAGES[7]).square().mean().item()
        assert numbers(page, f"#tiles figcaption >> nth={i}")[0] == pytest.approx(
            error, abs=1e-4
        )


def drag(page, selector, *points):
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    for x, y in points:
        page.mouse.move(
            box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5
        )
        page.mouse.down()
    page.mouse.up()
    page.evaluate("() => new Promise(requestAnimationFrame)")


def test_a_drawn_digit_is_brought_into_mnists_form_and_moves_everything(visit):
    page = visit()
    before = text(page, ".code, #tiles"), page.evaluate(BARS)
    drag(page, "#pad", (0.4, 0.2), (0.3, 0.6), (0.6, 0.8))
    image = np.reshape(page.evaluate("Array.from(present)"), (28, 28))
    assert np.ptp(np.nonzero(image)[0]) == 19  # the longer side fills 20 pixels
    assert [
        image.sum(axis=k) @ np.arange(28) / image.sum() for k in (0, 1)
    ] == pytest.approx([14, 14], abs=0.51)
    assert text(page, ".code, #tiles") != before[0] and page.evaluate(BARS) != before[1]
    page.locator("#clear").click()
    assert before == (text(page, ".code, #tiles"), page.evaluate(BARS))
    drag(page, "#pad", (0.3, 0.3))  # a press without a move
    assert page.evaluate(INKED) > 1600


@torch.no_grad()
def test_the_mouse_decodes_and_pins_and_a_picture_is_passed_on(visit):
    page = visit(anchor="#variational=1.2,0.3")
    part, resting = (
        page.locator(".autoencoder").locator,
        text(page, ".autoencoder .code"),
    )
    side = part(".map").bounding_box()["width"]
    part(".map").hover(position={"x": side / 4, "y": side / 4})
    assert text(page, ".autoencoder .code") != resting
    page.mouse.move(5, 5)
    assert text(page, ".autoencoder .code") == resting
    part(".map").click(position={"x": side / 4, "y": side / 4})
    pinned = numbers(page, ".autoencoder .code")
    assert pinned == pytest.approx([-1.5, 1.5], abs=0.03)
    assert (
        page.evaluate("location.hash")
        == f"#autoencoder={pinned[0]:g},{pinned[1]:g}&variational=1.2,0.3"
    )
    counts, radius = around(pinned)
    assert f"{2 * counts.max()} % {counts.argmax()}s" in text(
        page, ".autoencoder .near"
    )
    assert float(part(".ring").get_attribute("r")) == pytest.approx(
        100 * radius / 6, rel=1e-3
    )
    part(".random").click()
    assert text(page, ".autoencoder .told") == "Drawn at random: from N(0, I)."
    assert (
        numbers(page, ".autoencoder .code")
        != pinned
        == numbers(page, ".autoencoder .pins")
    )  # there is no B
    for y in (side / 4, 3 * side / 4):
        part(".map").click(position={"x": 3 * side / 4, "y": y})
    assert numbers(page, ".autoencoder .pins") == pytest.approx(
        [*pinned, 1.5, -1.5], abs=0.03
    )
    for away in (2, 0):  # the enlarged middle holds neither
        part(".zoom").click()
        assert part(".pin.away").count() == away
    part(".play").click()
    until(page, "planes.autoencoder.part.walk.value % 1 > 0")
    page.get_by_text("Remove pins").click()
    assert part(".play").is_disabled() and text(page, ".autoencoder .play") == "Play"
    page.locator(".variational .use").click()
    decoded = MODELS["variational"].decoder(torch.tensor([[1.2, 0.3]]))
    assert shows(page, "#tiles canvas", 255 * decoded) and numbers(
        page, ".variational .code"
    ) == [1.2, 0.3]  # kept
    again = MODELS["variational"].encoder(decoded)[0, :2].tolist()
    assert numbers(page, ".variational .told")[2:] == pytest.approx(again, abs=0.02)


def test_the_keyboard_alone_does_it_all_and_is_told_once(visit):
    page = visit()
    page.evaluate(
        "window.times = 0, new MutationObserver(() => times++).observe(said, { childList: true })"
    )
    codes = [numbers(page, ".variational .code")]
    steps = (
        (".map", "ArrowRight ArrowRight Shift+ArrowUp Enter"),
        ("#pad", "Space ArrowDown ArrowDown"),
    )
    for selector, keys in steps:
        for key in keys.split():
            page.locator(selector).last.press(key)
        page.evaluate("() => new Promise(requestAnimationFrame)")
        codes.append(numbers(page, ".variational .code"))
        until(page, "times")
    assert (
        codes[1][0] > codes[0][0]
        and codes[1][1] > codes[0][1] + 0.3
        and codes[2] != codes[1]
    )
    assert page.evaluate(
        "times"
    ) == 1 and "Decoded picture of the code" in page.evaluate("said.textContent")
    page.locator("#bars input").nth(3).fill("0.5")
    for key, value in (
        ("ArrowRight", 0.51),
        ("ArrowUp", 0.52),
        ("ArrowLeft", 0.51),
        ("ArrowDown", 0.5),
        ("End", 1),
    ):
        page.locator("#bars input").nth(3).press(key)
        assert page.evaluate(BARS)[3] == value, key


@torch.no_grad()
def test_bars_nodes_and_the_weight_of_the_penalty(visit):
    page, model = visit(), MODELS["sparse"]
    drag(page, "#bars input >> nth=2", (0.5, 0.9), (0.5, 0.25))
    assert page.evaluate(BARS)[2] == pytest.approx(0.75, abs=0.03)
    shown = model.decoder(torch.tensor([page.evaluate(BARS)])) * STD + MEAN
    assert shows(page, "#painted canvas", 255 * shown / (MEAN + STD))
    page.locator("#zero").click()
    assert "bias" in text(page, "#painted")
    errors = [
        (sparse(model, kept)[1] - IMAGES).square().mean(dim=1)
        for kept in (*(1 - torch.eye(10)), 1)
    ]
    rises = (
        torch.stack(errors[:10]) - errors[10]
    )  # of the error of each image without each node
    node, digit = divmod(rises.argmax().item(), 10)
    page.locator("#suffers").click()
    assert f"Without node {node} the {digit} suffers most" in text(
        page, "#suffers + span"
    )
    assert text(page, "#bars [aria-pressed=true]") == f"node {node}"
    assert numbers(page, "#ten")[1::2] == pytest.approx(
        rises[node].tolist(), abs=0.0006
    )
    page.locator("#seen").click()
    said = (
        "Weight 0: .* 0.45 .* sparsity",
        "0.001: .* 0.30 .* 1.02 times",
        "1.50 times .* picture",
    )
    for at, model in enumerate(SWEEP):
        page.locator("#weight").fill(str(at))
        assert re.search(said[at], text(page, "#sweep p"))
        (codes, paintings), weights = sparse(model), model.decoder[0].weight[:, 1]
        assert page.evaluate(BARS) == pytest.approx(codes[digit].tolist(), abs=0.006)
        error = (paintings - IMAGES)[digit].square().mean().item()
        assert numbers(page, "#painted")[0] == pytest.approx(error, abs=0.001)
        assert shows(
            page, "#bars canvas >> nth=1", 127.5 * (1 + weights / weights.abs().max())
        )


def test_the_plane_unfolds_and_has_a_border(visit):
    page = visit(reduced_motion="reduce")
    page.locator(".autoencoder .time").fill("1.5")
    found = torch.tensor(
        page.evaluate("Array.from(planes.autoencoder.dotsAt(1.5).codes)")
    ).view(200, 2)
    assert (found - KEPT[1:3].mean(dim=0)).abs().max() < 0.001
    assert (
        text(page, ".autoencoder .code") == "Step 100"
        and not page.locator(".autoencoder .picture").is_visible()
    )
    page.locator(".autoencoder .map").click()  # back to the trained model
    assert numbers(page, ".autoencoder .code") == pytest.approx([0, 0], abs=0.03)
    assert page.locator(".autoencoder .picture").is_visible()
    page.locator(".autoencoder .learn").click()
    page.wait_for_timeout(700)
    calm = page.evaluate("calm.matches")  # a still each second
    assert (page.evaluate("planes.autoencoder.part.time.value") == "3") == calm
    until(page, "planes.autoencoder.part.time.value < 1")
    page.locator(".variational .border").click()
    counts, pins = (
        around(numbers(page, ".variational .code"))[0],
        numbers(page, ".variational .pins"),
    )
    assert list(counts[[4, 9]]) == pytest.approx(
        numbers(page, ".variational .told")[3::2], abs=1
    )
    assert min(counts[4], counts[9]) > 15 and [
        around(pin)[0].argmax() for pin in (pins[:2], pins[2:])
    ] == [4, 9]
    page.locator("#four").click()
    stars = [page.evaluate(f"Array.from(planes.{key}.star.code)") for key in PLANES]
    assert re.findall(r"(\d+) %", text(page, "#four + span")) == [
        str(2 * around(star)[0][4]) for star in stars
    ]


def wrong(page):
    """What is cut off, lies over something else or is too small for a finger."""
    return page.evaluate("""() => {
      scrollTo(0, 0);
      const all = document.querySelectorAll("h1, h2, h3, p, button, input, canvas, figcaption, .map, #pad, footer");
      const shown = [...all].filter((one) => one.getClientRects().length && !one.closest(".map > *, .mini, .unseen"));
      const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
      return shown.filter((one) => {
        const box = one.getBoundingClientRect(), others = shown.filter((two) => !one.contains(two));
        const small = one.matches("button, input") && Math.min(box.width, box.height) < 43.5;
        return small || others.some((two) => !two.contains(one) && over(box, two.getBoundingClientRect()))
          || box.left < 0 || box.right > innerWidth + 0.5;
      }).map((one) => `${one.tagName} ${one.className} ${one.textContent}`); }""")


CASES = (
    (390, "sparse", 2),
    (768, "sparse", 40),
    (1400, "autoencoder", 10),
    (390, "variational", 10),
    (768, "sweep", 10),
)


@pytest.mark.parametrize(("width", "key", "nodes"), CASES)
def test_everything_has_its_place_and_name_and_a_missing_model_its_command(
    visit, tmp_path, width, key, nodes
):
    need(
        (axe := Path(os.environ.get("AXE_JS", ""))).is_file(),
        "axe-core, AXE_JS=axe.min.js,",
    )
    looks = {
        "width": width,
        "color_scheme": "dark" if width == 390 else "light",
    }  # in Firefox always dark
    page = visit(anchor="#variational=1.2,0.3", **looks)
    until(
        page,
        "Math.abs(planes.variational.part.map.getBoundingClientRect().top - 150) < 150",
    )
    page.locator(".variational .border").click()
    assert wrong(page) == []
    assert (box := page.locator(".map").first.bounding_box())["y"] + box[
        "height"
    ] / 2 < 844  # on the first screen
    other = visit(save(tmp_path, key, nodes=nodes, drawn=True), **looks)
    for looked_at in (page, other) if key in PLANES else [other]:
        looked_at.evaluate(axe.read_text("utf-8"))
        assert [
            (one["id"], one["nodes"][0]["html"])
            for one in looked_at.evaluate("axe.run()")["violations"]
        ] == []
    commands = {
        one.inner_text() for one in other.locator("code").all() if one.is_visible()
    }
    assert commands == {*COMMANDS.values()} - {COMMANDS[key]}
    assert (
        other.locator("#bars input").count() == (nodes if key.startswith("s") else 0)
        and wrong(other) == []
    )
    assert other.locator("#drawn").is_visible() and other.get_by_text(
        "A star marks"
    ).is_visible() == (key in PLANES)


@pytest.mark.parametrize(
    "browser", ["chromium"], indirect=True
)  # Playwright sends Firefox no touches
def test_a_finger_scrolls_decodes_pins_and_draws(visit):
    page = visit(width=390, has_touch=True, is_mobile=True)
    session = page.context.new_cdp_session(page)

    def touch(selector, dx, dy, rest=20):
        """A finger in the middle rests and moves; returns the code then, and how far the page is scrolled."""
        box = page.locator(selector).bounding_box()
        for i, kind in enumerate(["touchStart", *["touchMove"] * 12, "touchEnd"]):
            point = {
                "x": box["x"] + box["width"] / 2 + i * dx,
                "y": box["y"] + box["height"] / 2 + i * dy,
            }
            points = [] if kind == "touchEnd" else [point]
            session.send(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
            )
            page.wait_for_timeout(20 if i else rest)
        page.wait_for_timeout(600)
        return text(page, ".autoencoder .code"), page.evaluate("scrollY")

    first = text(page, ".autoencoder .code")
    assert (
        page.get_by_text("Tap a place").is_visible()
        and not page.get_by_text("Arrow").first.is_visible()
    )
    swiped = touch(".autoencoder .map", 0, -14)
    assert swiped[0] == first and swiped[1] > 80
    held = touch(".autoencoder .map", 0, -5, rest=400)
    assert held[0] != first and held[1] == swiped[1]
    assert (
        touch(".autoencoder .map", 8, 1)[0] != held[0]
        and page.evaluate("location.hash") == ""
    )
    page.locator(".autoencoder .map").tap()
    assert "#autoencoder=" in page.evaluate("location.hash")
    page.locator("#pad").scroll_into_view_if_needed()
    top = page.evaluate("scrollY")
    assert touch("#pad", 4, -8)[1] == top and not page.locator("#pad span").is_visible()


@pytest.mark.parametrize(
    "arguments", [[], ["--features=+VerticalFormControls"]], ids=["as it is", "upright"]
)
def test_webkit_pins_sets_bars_and_draws(path, request, arguments):
    program, tools = (
        next(Path("/usr/lib").glob("*/webkit2gtk-4*/MiniBrowser"), None),
        ("WebKitWebDriver", "Xvfb"),
    )
    found = (
        importlib.util.find_spec("selenium")
        and program
        and all(map(shutil.which, tools))
    )
    need(found, "selenium, webkit2gtk-driver or xvfb")
    webdriver, (reader, writer) = (
        importlib.import_module("selenium.webdriver"),
        os.pipe(),
    )
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1500x1200x24"],
        pass_fds=[writer],
    )
    request.addfinalizer(screen.terminate)
    environment = os.environ | {"DISPLAY": f":{os.read(reader, 10).decode().strip()}"}
    environment["WEBKIT_DISABLE_COMPOSITING_MODE"] = "1"
    options, service = (
        webdriver.WebKitGTKOptions(),
        webdriver.WebKitGTKService(shutil.which(tools[0]), env=environment),
    )
    options.set_capability(
        "webkitgtk:browserOptions",
        {"binary": str(program), "args": ["--automation", *arguments]},
    )
    browser = webdriver.WebKitGTK(options=options, service=service)
    request.addfinalizer(browser.quit)
    run = browser.execute_script

    def press(selector, x, y, *moves):
        """Presses at a place, in pixels from an element's middle, moves, and lets go."""
        element = browser.find_element("css selector", selector)
        run("arguments[0].scrollIntoView({ block: 'center' })", element)
        chain = (
            webdriver.ActionChains(browser, duration=50)
            .move_to_element_with_offset(element, x, y)
            .click_and_hold()
        )
        for move in moves:
            chain.move_by_offset(*move)
        chain.release().perform()
        browser.execute_async_script(
            "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
        )

    browser.set_window_size(1400, 1000)
    browser.get(path.as_uri())
    press(".autoencoder .map", 60, -60)
    pinned = "const { pins, part } = planes.autoencoder; return pins[0].map((value) => value * part.map.clientWidth)"
    assert run(pinned) == pytest.approx([360, 360], abs=12)
    assert run(
        "return [...$('bars').children].every(({ firstChild: one }) => one.scrollHeight <= one.clientHeight)"
    )
    press("#bars div:nth-child(3) input", 0, 60, (0, -40), (0, -56))
    assert run("return Number(bars[2].value)") == pytest.approx(110 / 148, abs=0.06)
    star = run("return Array.from(planes.variational.star.code)")
    press("#pad", -60, -60)
    assert (dot := run(f"return {INKED}")) > 1600
    press("#pad", -60, -60, (20, 80), (60, 20))
    assert (
        run(f"return {INKED}") > 2 * dot
        and run("return Array.from(planes.variational.star.code)") != star
    )
