"""Opens the page in Chromium, Firefox and WebKit, with one interface for all.

Needs Debian's chromium, firefox-esr, webkit2gtk-driver and xvfb, the packages
playwright (below 1.65) and selenium and, at the path AXE_JS, npm's axe.min.js. What is
missing skips its tests; with REQUIRE_BROWSERS=1 it fails them.
"""

import base64
import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from . import models

PACKAGES = {"chromium": "playwright", "firefox": "playwright", "webkit": "selenium"}
PROGRAMS = {
    "chromium": ["chromium"],
    "firefox": ["firefox-esr"],
    "webkit": ["WebKitWebDriver", "Xvfb"],
}
NARROWEST = 447  # pixels, of a window of WebKit; there the body is made narrower
# A test that sends a finger, another scheme or forced colours needs Chromium.
chromium_only = pytest.mark.parametrize("engine", ["chromium"], indirect=True)


def need(found, name):
    """Skips a test, or fails it where all browsers are required."""
    if found:
        return
    if os.environ.get("REQUIRE_BROWSERS"):
        pytest.fail(f"{name} is not installed")
    pytest.skip(f"{name} is not installed")


class Page:
    """An open page. Places are shares of an element's width and height."""

    path = None

    def run(self, script):
        """The value of a JavaScript expression."""
        raise NotImplementedError

    def load(self, address):
        """Opens an address."""
        raise NotImplementedError

    def visit(self, path, anchor=""):
        """Opens a file; the slow walk is stopped, which would move the codes."""
        self.path = path
        self.load(f"{path.as_uri()}{anchor}")
        self.until("document.readyState === 'complete'")
        self.run("stopTour(), location.hash.length > 1 || choose(chosen), 0")
        self.settle()

    def settle(self):
        """Waits until what was done is on the screen."""
        self.run(
            "window.frame = 0, requestAnimationFrame(function step() {"
            "window.frame += 1; if (window.frame < 3) requestAnimationFrame(step) }), 0"
        )
        self.until("window.frame >= 3")

    def until(self, condition):
        """Waits until a JavaScript expression is true."""
        end = time.monotonic() + 10
        while not self.run(condition):
            assert time.monotonic() < end, condition
            time.sleep(0.02)

    def text(self, selector):
        """The text of the first element, with plain spaces and minus signs."""
        found = self.run(f"document.querySelector({json.dumps(selector)}).innerText")
        return found.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ")

    def box(self, selector):
        """Left, top, width and height of the first element, scrolled into view."""
        return self.run(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            "const before = one.getBoundingClientRect();"
            "if (before.top < 0 || before.bottom > innerHeight)"
            "  one.scrollIntoView({ block: 'center', behavior: 'instant' });"
            "const box = one.getBoundingClientRect();"
            "return [box.left, box.top, box.width, box.height]; })()"
        )

    def place(self, selector, x, y):
        """A place in an element, in pixels from the left and the top of the window."""
        left, top, width, height = self.box(selector)
        return left + x * width, top + y * height

    def click(self, selector, x=0.5, y=0.5):
        """Presses the mouse in an element."""
        self.drag(selector, (x, y))
        self.settle()

    def pixels(self, canvas, x=0, y=0, side=None):
        """A square part of a canvas, an expression, as (side, side, 4) bytes."""
        script = f"""(() => {{
          const canvas = {canvas};
          const side = {side or "canvas.width"};
          const copy = document.createElement("canvas");
          Object.assign(copy, {{ width: side, height: side }});
          const context = copy.getContext("2d", {{ willReadFrequently: true }});
          context.drawImage(canvas, -{x}, -{y});
          let text = "";
          for (const byte of context.getImageData(0, 0, side, side).data)
            text += String.fromCharCode(byte);
          return btoa(text); }})()"""
        found = np.frombuffer(base64.b64decode(self.run(script)), np.uint8)
        side = round((len(found) / 4) ** 0.5)
        return torch.from_numpy(found.reshape(side, side, 4).copy())

    def shown(self, canvas, x=0, y=0):
        """The greys of a picture on a canvas, an expression, (784,) in [0, 1]."""
        return self.pixels(canvas, x, y, 28)[..., 0].flatten() / 255

    def element(self, selector, place=0):
        """The expression for an element."""
        return f"document.querySelectorAll({json.dumps(selector)})[{place}]"


class PlaywrightPage(Page):
    """In Chromium or Firefox."""

    def __init__(self, page):
        self.page = page
        self.said = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda problem: self.said.append(str(problem)))
        page.on("request", self.note_request)

    def note_request(self, request):
        if not request.url.startswith(("file:", "data:")):
            self.said.append(request.url)

    def run(self, script):
        return self.page.evaluate(script)

    def load(self, address):
        self.page.goto("about:blank")
        self.page.goto(address)

    def reload(self):
        self.page.reload()
        self.run("stopTour()")
        self.settle()

    def resize(self, width, height):
        self.page.set_viewport_size({"width": width, "height": height})

    def hover(self, selector, x, y):
        self.page.mouse.move(*self.place(selector, x, y))
        self.settle()

    def drag(self, selector, *points, button="left"):
        for number, point in enumerate(points):
            steps = 4 if number else 1
            self.page.mouse.move(*self.place(selector, *point), steps=steps)
            if number == 0:
                self.page.mouse.down(button=button)
        self.page.mouse.up(button=button)

    def press(self, selector, *keys):
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()


class SeleniumPage(Page):
    """In WebKit."""

    def __init__(self, driver):
        self.driver = driver
        self.said = []
        self.chains = importlib.import_module("selenium.webdriver").ActionChains
        keys = importlib.import_module("selenium.webdriver.common.keys").Keys
        self.keys = {
            "ArrowLeft": keys.ARROW_LEFT,
            "ArrowRight": keys.ARROW_RIGHT,
            "ArrowUp": keys.ARROW_UP,
            "ArrowDown": keys.ARROW_DOWN,
            "Enter": keys.ENTER,
            "Delete": keys.DELETE,
            "Home": keys.HOME,
            "End": keys.END,
            "Tab": keys.TAB,
            "Space": " ",
        }
        self.shift = keys.SHIFT

    def run(self, script):
        return self.driver.execute_script(f"return ({script});")

    def load(self, address):
        self.driver.get("about:blank")
        self.driver.get(address)

    def reload(self):
        self.driver.refresh()
        self.until("document.readyState === 'complete'")
        self.run("stopTour()")
        self.settle()

    def resize(self, width, height):
        self.width = width
        window = max(width, NARROWEST)
        self.driver.set_window_size(window, height)
        self.until(f"innerWidth === {window}")

    def visit(self, path, anchor=""):
        super().visit(path, anchor)
        if self.width < NARROWEST:
            self.run(f"document.body.style.width = '{self.width}px'")
            self.settle()

    def chain(self):
        return self.chains(self.driver, duration=10)

    def hover(self, selector, x, y):
        self.move(self.chain(), self.place(selector, x, y)).perform()
        self.settle()

    def move(self, chain, place):
        chain.w3c_actions.pointer_action.move_to_location(*map(round, place))
        return chain

    def drag(self, selector, *points, button="left"):
        number = {"left": 0, "right": 2}[button]
        places = [self.place(selector, *point) for point in points]
        chain = self.move(self.chain(), places[0])
        chain.w3c_actions.pointer_action.pointer_down(number)
        for place in places[1:]:
            self.move(chain, place)
        chain.w3c_actions.pointer_action.pointer_up(number)
        chain.perform()

    def press(self, selector, *keys):
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        chain = self.chain()
        for key in keys:
            *shift, name = key.split("+")
            if shift:
                chain.key_down(self.shift)
            chain.send_keys(self.keys[name])
            if shift:
                chain.key_up(self.shift)
        chain.perform()
        self.settle()


def start_playwright(name):
    """Yields a function that opens a new page."""
    options = {"chromium": {"args": ["--no-sandbox"]}}
    options["firefox"] = {
        "channel": "moz-firefox",
        "firefox_user_prefs": {"ui.systemUsesDarkTheme": 1},
    }
    playwright = importlib.import_module("playwright.sync_api").sync_playwright
    with playwright() as engines:
        program = shutil.which(PROGRAMS[name][0])
        engine = getattr(engines, name)
        browser = engine.launch(executable_path=program, **options[name])

        def new_page(width, height, **more):
            size = {"width": width, "height": height}
            return PlaywrightPage(browser.new_page(viewport=size, **more))

        yield new_page
        browser.close()


def start_selenium():
    """Yields a function that gives the page of the only window."""
    program = next(Path("/usr/lib").glob("*/webkit2gtk-4*/MiniBrowser"), None)
    need(program, "webkit2gtk-driver")
    webdriver = importlib.import_module("selenium.webdriver")
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "2000x1200x24"]
    screen = subprocess.Popen(command, pass_fds=[writer])
    display = os.read(reader, 10).decode().strip()
    environment = os.environ | {"DISPLAY": f":{display}"}
    environment["WEBKIT_DISABLE_COMPOSITING_MODE"] = "1"
    options = webdriver.WebKitGTKOptions()
    browser_options = {"binary": str(program), "args": ["--automation"]}
    options.set_capability("webkitgtk:browserOptions", browser_options)
    driver_path = shutil.which("WebKitWebDriver")
    service = webdriver.WebKitGTKService(driver_path, env=environment)
    driver = webdriver.WebKitGTK(options=options, service=service)

    def new_page(width, height):
        page = SeleniumPage(driver)
        page.resize(width, height)
        return page

    yield new_page
    driver.quit()
    screen.terminate()


@pytest.fixture(scope="session", params=list(PACKAGES))
def engine(request):
    """Function that opens a page in one of the browsers."""
    name = request.param
    need(importlib.util.find_spec(PACKAGES[name]), PACKAGES[name])
    for program in PROGRAMS[name]:
        need(shutil.which(program), program)
    yield from start_selenium() if name == "webkit" else start_playwright(name)


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    """The page with all models."""
    path = tmp_path_factory.mktemp("page") / "explore.html"
    path.write_text(models.make_page(*models.KEYS), "utf-8")
    return path


@pytest.fixture
def visit(engine, path):
    """Function that opens the page; at the end none may have printed to the console or
    asked for more than its file."""
    opened = []

    def visit(file=path, anchor="", width=1400, height=900, **options):
        page = engine(width, height, **options)
        opened.append(page)
        page.visit(file, anchor)
        return page

    yield visit
    for page in opened:
        if isinstance(page, PlaywrightPage):
            page.page.close()
        assert page.said == []
