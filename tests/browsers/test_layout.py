"""Every screen: nothing is cut off, covered, too small, or without a name."""

import contextlib
import os
import re
import zlib
from pathlib import Path

import pytest

from . import models
from .conftest import chromium_only, need

WIDTHS = [(320, 640), (360, 780), (768, 1024), (1400, 900), (1920, 1080)]
COMMANDS = {
    "autoencoder": "python autoencoder.py",
    "variational": "python autoencoder.py --variational",
    "sparse": "python codelet7.py",
    "sweep": "python codelet7.py --sweep",
}
FAULTS = """(() => {
  scrollTo(0, 0);
  const all = document.querySelectorAll(
    "h1, h2, h3, p, button, input, canvas, figcaption," +
    "summary, .map, .mini, .scale, #pad");
  const apart = ".map > *, .mini > *, .pad > *, figcaption > :not(p)," +
    ".moments, .unseen";
  const shown = [...all].filter((one) =>
    one.getClientRects().length && !one.closest(apart));
  const boxes = new Map(shown.map((one) => [one, one.getBoundingClientRect()]));
  const overlap = (a, b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  const faults = [];
  const right = document.body.getBoundingClientRect().right;
  for (const [one, box] of boxes) {
    const text = one.textContent.slice(0, 40);
    const name = `${one.tagName} ${one.id} ${one.className} ${text}`;
    if (one.matches("button, input") && Math.min(box.width, box.height) < 43.5)
      faults.push(`small: ${name} ${box.width} ${box.height}`);
    if (box.left < 0 || box.right > right + 0.5)
      faults.push(`cut off: ${name}`);
    const card = one.closest(".card")?.getBoundingClientRect();
    if (card && (box.left < card.left - 1 || box.right > card.right + 1))
      faults.push(`sticks out: ${name}`);
    if (one.scrollWidth > one.clientWidth + 1 && one.matches("button, p, figcaption"))
      faults.push(`too long: ${name}`);
    if (one.scrollHeight > one.clientHeight + 3 && one.matches("button, p, figcaption"))
      faults.push(`too high: ${name} ${one.scrollHeight} ${one.clientHeight}`);
    for (const [other, place] of boxes)
      if (!one.contains(other) && !other.contains(one) && overlap(box, place))
        faults.push(`overlap: ${name} and ${other.tagName} ${other.className}`);
  }
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth)
    faults.push("sideways scroll");
  return faults; })()"""


@pytest.mark.parametrize(("width", "height"), WIDTHS)
def test_everything_has_its_place(visit, width, height):
    page = visit(width=width, height=height)
    assert page.run(FAULTS) == []
    for button in ("carpet", "again", "enlarge", "border", "ring"):
        page.run(f"$('{button}').click()")
    page.drag("#pad", (0.3, 0.3), (0.6, 0.6))
    page.settle()
    assert page.run(FAULTS) == []
    if width == 1920:
        assert page.run("planes.variational.map.clientWidth") >= 550
    if width >= 1400:  # the first screen holds the planes
        page.run("scrollTo(0, 0)")
        bottom = "planes.variational.map.getBoundingClientRect().bottom - innerHeight"
        assert page.run(bottom) < 0


@pytest.mark.parametrize("width", [768])
def test_large_text_covers_nothing(visit, width):
    page = visit(width=width)
    page.run("document.documentElement.style.fontSize = '200%', drawAnew(), 0")
    page.settle()
    assert page.run(FAULTS) == []
    size = "parseFloat(getComputedStyle(planes.autoencoder.marks.pins[0]).fontSize)"
    assert page.run(size) > 25


def test_few_words(visit):
    page = visit()
    assert page.run(r"document.body.innerText.match(/\S+/g).length") <= 330
    assert page.run("document.querySelectorAll('details[open]').length") == 0


@chromium_only
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_axe_finds_nothing(visit, width, scheme):
    axe = Path(os.environ.get("AXE_JS", ""))
    need(axe.is_file(), "axe-core, AXE_JS=axe.min.js,")
    page = visit(width=width, color_scheme=scheme)
    page.run(
        "$('border').click(), document.querySelectorAll('details').forEach((one) =>"
        " one.open = true), 0"
    )
    page.page.evaluate(axe.read_text("utf-8"))
    found = page.page.evaluate("axe.run()")["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


@chromium_only
@pytest.mark.parametrize(
    ("key", "nodes"),
    [
        ("sparse", 2),
        ("sparse", 40),
        ("autoencoder", 10),
        ("variational", 10),
        ("sweep", 10),
    ],
)
def test_a_missing_model_has_its_command(visit, tmp_path, key, nodes):
    file = tmp_path / "explore.html"
    file.write_text(models.make_page(key, nodes=nodes), "utf-8")
    page = visit(file, width=360)
    assert page.run(FAULTS) == []
    commands = page.run(
        "[...document.querySelectorAll('code')].map((one) => one.textContent)"
    )
    assert set(commands) == {*COMMANDS.values()} - {COMMANDS[key]}
    bars = nodes if key in ("sparse", "sweep") else 0
    assert page.run("document.querySelectorAll('#bars input').length") == bars
    has_planes = page.run("$('random').getClientRects().length > 0")
    assert has_planes == (key in models.PLANES)
    page.drag("#pad", (0.3, 0.3), (0.6, 0.6))
    page.settle()
    assert page.run("chosen") == "drawing"


@chromium_only
def test_forced_colours_leave_everything_visible(visit):
    page = visit(forced_colors="active")
    page.click("#bars div:nth-child(4) button")
    seen = page.run("""(() => {
      const look = (selector, name, pseudo) =>
        getComputedStyle(document.querySelector(selector), pseudo)[name];
      return {
        dots: look("#legend i", "backgroundColor"),
        slider: look("#moment", "backgroundImage"),
        bar: look("#bars input", "backgroundImage"),
        scale: look(".scale .fill", "backgroundColor"),
        pad: look("#pad", "backgroundColor"),
        pressed: look("#bars [aria-pressed=true]", "backgroundColor"),
        plain: look("#bars [aria-pressed=false]", "backgroundColor"),
        star: look(".mark.star", "backgroundColor", "::after"),
        highlight: (document.body.style.color = "Highlight",
          getComputedStyle(document.body).color),
      }; })()""")
    assert seen["dots"] != seen["plain"]
    assert "gradient" in seen["slider"]
    assert seen["bar"].count("gradient") == 2
    assert seen["scale"] == seen["pressed"] == seen["highlight"]
    assert seen["pad"] == "rgb(0, 0, 0)"
    assert seen["star"] != seen["plain"]
    dots = page.pixels("planes.autoencoder.dots")
    assert (dots[..., 3] > 0).double().mean() > 0.05


def printed(pdf):
    """The pages with pictures of a PDF of Chromium."""
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        with contextlib.suppress(zlib.error):
            content = zlib.decompress(stream)
            if content.count(b" Do") > 5:  # pictures
                yield content


@chromium_only
def test_print_is_light_and_has_no_empty_page(visit):
    page = visit(color_scheme="dark")
    pdf = page.page.pdf(format="A4", print_background=True)
    assert len(re.findall(rb"/Type /Page\b", pdf)) == len(list(printed(pdf))) <= 3
    page.run("dispatchEvent(new Event('beforeprint')), 0")
    assert page.run("palette.card") == "#fff"
    assert (
        page.run("getComputedStyle(document.body).backgroundColor")
        == "rgb(246, 246, 244)"
    )
    page.run("dispatchEvent(new Event('afterprint')), 0")
    assert page.run("palette.card") == "#1b1e25"
