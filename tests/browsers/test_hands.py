"""Mouse, keys and fingers in the planes, and on the pad and the sliders."""

import re

import pytest

from . import models
from .conftest import chromium_only

MAP = ".autoencoder .map"
PINS = "planes.autoencoder.pins"


def code(page, key="autoencoder"):
    text = page.text(f".{key} .code")
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", text)]


def test_the_mouse_decodes_and_pins(visit):
    page = visit()
    resting = code(page)
    page.hover(MAP, 0.25, 0.25)
    assert code(page) == pytest.approx([-1.5, 1.5], abs=0.03)
    counts, radius = models.around(page.run("planes.autoencoder.code"))
    share = f"In the circle: {2 * counts.max()}% {counts.argmax()}s"
    assert page.text(".autoencoder .near").startswith(share)
    radius_shown = float(page.run("planes.autoencoder.marks.circle.getAttribute('r')"))
    assert radius_shown == pytest.approx(100 * radius / 6, rel=1e-3)
    picture = models.decode("autoencoder", [page.run("planes.autoencoder.code")])[0]
    assert (page.shown("planes.autoencoder.picture") - picture).abs().max() < 1.1 / 255
    page.hover("h1", 0.1, 0.5)
    assert code(page) == resting
    page.click(MAP, 0.25, 0.25)
    assert page.run(f"{PINS}[0]") == pytest.approx([-1.5, 1.5], abs=0.03)
    assert code(page) == page.run(f"{PINS}[0]")


def test_a_walk_between_two_pins(visit):
    page = visit()
    page.click(MAP, 0.25, 0.25)
    page.click(MAP, 0.25, 0.25)  # again in the same place
    assert page.run(f"{PINS}.length") == 1
    page.click(MAP, 0.75, 0.25)
    page.click(MAP, 0.75, 0.75)  # B moves
    a, b = page.run(PINS)
    assert [*a, *b] == pytest.approx([-1.5, 1.5, 1.5, -1.5], abs=0.03)
    marks = page.run(
        "planes.autoencoder.marks.pins.map((one) => [one.hidden, one.style.left])"
    )
    assert [hidden for hidden, _ in marks] == [False, False]
    assert float(marks[0][1].removesuffix("%")) == pytest.approx(25, abs=1)
    page.press(".autoencoder .walk input", "Home", "ArrowRight", "ArrowRight")
    expected = [one + 0.01 * (other - one) for one, other in zip(a, b, strict=True)]
    assert code(page) == pytest.approx(expected, abs=0.011)
    page.click("#enlarge")  # the middle holds neither
    away = (
        "planes.autoencoder.marks.pins.every((one) => one.classList.contains('away'))"
    )
    assert page.run(away)
    page.click("#enlarge")
    page.click(".autoencoder .walk button")
    assert page.run(f"{PINS}.length") == 0
    assert page.run("document.activeElement === planes.autoencoder.map")


def test_the_border_between_4s_and_9s(visit):
    page = visit()
    page.click("#border")
    for key in models.PLANES:
        a, b = page.run(f"planes.{key}.pins")
        assert models.around(a)[0].argmax() == 4
        assert models.around(b)[0].argmax() == 9
        counts, _ = models.around(page.run(f"planes.{key}.code"))
        assert min(counts[4], counts[9]) > 15
        assert f"{2 * counts[4]}% 4s" in page.text(f".{key} .near")
    page.until("$('said').textContent.includes('Decoded picture')")


def test_the_keyboard_does_it_all_and_is_told_once(visit):
    page = visit()
    page.run(
        "window.times = 0, new MutationObserver(() => times++)"
        ".observe($('said'), { childList: true }), 0"
    )
    before = code(page)
    page.press(MAP, "ArrowRight", "ArrowRight", "Shift+ArrowUp", "Enter")
    assert code(page) == pytest.approx([before[0] + 0.12, before[1] + 0.4], abs=0.011)
    page.until("times")
    assert page.run("times") == 1
    assert "Decoded picture of the code" in page.run("$('said').textContent")
    page.press(MAP, *["Shift+ArrowRight"] * 16, *["Shift+ArrowDown"] * 16)
    assert code(page) == [3, -3]  # not out of the plane
    page.press(MAP, "Space")
    assert page.run(PINS) == [page.run(f"{PINS}[0]"), [3, -3]]
    page.press(MAP, "Delete")
    assert page.run(PINS) == []
    page.press(
        "#bars div:nth-child(4) input",
        "Home",
        "ArrowRight",
        "ArrowUp",
        "ArrowUp",
        "ArrowLeft",
    )
    assert page.run("activations[3]") == pytest.approx(0.02)


def test_the_keyboard_draws(visit):
    page = visit()
    page.press("#pad", "Space", *["ArrowDown"] * 4, *["ArrowRight"] * 3, "Space")
    assert page.run("strokes.length") == 1
    assert page.run("strokes[0][0]") == [140, 140]
    assert page.run("strokes[0].at(-1)") == [161, 168]
    assert page.run("chosen") == "drawing"
    page.until("$('said').textContent.includes('nearest dots')")
    page.press("#pad", "Delete")
    assert page.run("strokes.length") == 0


class Finger:
    """Sends touches to Chromium."""

    def __init__(self, page):
        self.page = page
        self.session = page.page.context.new_cdp_session(page.page)

    def send(self, kind, *points):
        touches = [
            {"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)
        ]
        message = {"type": kind, "touchPoints": touches}
        self.session.send("Input.dispatchTouchEvent", message)
        self.page.page.wait_for_timeout(20)

    def swipe(self, selector, dx, dy, rest=20):
        """Rests in the middle and moves 12 times; returns how far the page scrolled."""
        x, y = self.page.place(selector, 0.5, 0.5)
        top = self.page.run("scrollY")
        self.send("touchStart", (x, y))
        self.page.page.wait_for_timeout(rest)
        for step in range(1, 13):
            self.send("touchMove", (x + step * dx, y + step * dy))
        self.send("touchEnd")
        self.page.page.wait_for_timeout(500)
        return self.page.run("scrollY") - top


@pytest.fixture
def phone(visit):
    page = visit(width=390, height=844, has_touch=True, is_mobile=True)
    return page, Finger(page)


@chromium_only
def test_a_finger_scrolls_decodes_and_pins(phone):
    page, finger = phone
    first = code(page)
    assert finger.swipe(MAP, 0, -14) > 80
    assert code(page) == first
    assert finger.swipe(MAP, 0, -5, rest=400) == 0  # it has rested
    held = code(page)
    assert held != first
    assert finger.swipe(MAP, 8, 1) == 0  # sideways
    assert code(page) != held
    assert page.run("location.hash") == ""
    page.page.locator(MAP).tap()
    assert page.run(f"{PINS}.length") == 1


@chromium_only
def test_one_finger_draws(phone):
    page, finger = phone
    x, y = page.place("#pad", 0.3, 0.3)
    top = page.run("scrollY")
    finger.send("touchStart", (x, y))
    finger.send("touchStart", (x, y), (x + 90, y))
    for step in range(1, 8):
        finger.send("touchMove", (x, y + 10 * step), (x + 90, y + 10 * step))
    finger.send("touchEnd")
    page.settle()
    assert page.run("scrollY") == top
    assert page.run("strokes.length") == 1
    across = page.run("strokes[0].map(([x]) => x)")
    assert across == pytest.approx([0.3 * 280] * len(across), abs=3)  # the first
    assert page.run("getComputedStyle(hint).display") == "none"


@chromium_only
@pytest.mark.parametrize("slider", ["weight", "moment"])
def test_a_scroll_that_begins_on_a_slider_does_not_set_it(phone, slider):
    page, finger = phone
    before = (
        page.run(f"$('{slider}').value"),
        page.text("#sweep p"),
        page.run("view.training"),
    )
    assert finger.swipe(f"#{slider}", 1, -14) > 80
    after = (
        page.run(f"$('{slider}').value"),
        page.text("#sweep p"),
        page.run("view.training"),
    )
    assert after == before
    page.page.locator(f"#{slider}").tap()
    assert page.run(f"$('{slider}').value") != before[0]
