"""The link, a reload, and the file as a browser saves it."""

import json

from . import models

STATE = """JSON.stringify([chosen, strokes, activations, shown.weight ?? null,
  Object.values(planes).map(({ pins, code }) => [pins, code]), Array.from(image)])"""
SIZES = """[...document.querySelectorAll("main *")].map((one) => one.tagName).join()"""
USE = """(() => {
  const pressed = ["border", "carpet", "again", "enlarge", "ring", "zero"];
  for (const id of pressed) $(id).click();
  $("legend").children[3].click();
  showTraining(0.4);
  $("weight").value = 2;
  $("weight").oninput();
  play();
  document.documentElement.className = "printed"; })()"""


def use(page):
    """Pins, a drawing, another weight."""
    page.click(".autoencoder .map", 0.3, 0.4)
    page.click(".variational .map", 0.7, 0.6)
    page.click(".variational .map", 0.2, 0.6)
    page.press("#weight", "ArrowRight", "ArrowRight")
    page.drag("#pad", (0.3, 0.3), (0.6, 0.6), (0.6, 0.8))
    page.settle()
    page.click(".variational .map", 0.25, 0.6)
    page.click(".autoencoder .map", 0.3, 0.45)


def test_a_reload_and_the_link_keep_the_state(visit):
    page = visit()
    assert page.run("location.hash") == ""
    use(page)
    state, anchor = page.run(STATE), page.run("location.hash")
    assert page.run("chosen") == "drawing"
    assert page.run("shown.weight") == models.WEIGHTS[1]
    page.reload()
    assert page.run(STATE) == state
    assert page.run("location.hash") == anchor
    assert page.run("$('weight').value") == "2"
    other = visit(anchor=anchor)
    assert other.run(STATE) == state
    other.run("$('choices').children[6].click(), $('undo').click(), 0")
    assert "drawing" not in other.run("location.hash")


def test_a_reload_of_an_unused_page(visit):
    page = visit()
    page.run(
        "$('weight').value = 2, $('moment').value = 0.5, 0"
    )  # which Firefox restores
    page.reload()
    assert page.run("[$('weight').value, $('moment').value]") == ["0", "1"]
    assert page.text("#sweep p") == "The model of codelet7.py"


LINKS = [
    "#constructor=1,2&toString=3",
    "#autoencoder=a,b&variational=1",
    "#autoencoder=1,2;x;;&drawing=zz&image=77&weight=abc",
    "#drawing=%%%&variational=,",
    "#__proto__=1,2&weight=&image=",
]


def test_any_link_opens(visit):
    page = visit(anchor=LINKS[0])
    for link in LINKS:
        page.run(f"location.hash = {json.dumps(link)}, 0")
        page.settle()
        assert page.run("chosen") == 4
        assert page.run("shown === choices[0]")
    page.run("location.hash = '#autoencoder=1,2;x', 0")
    page.until("planes.autoencoder.pins.length === 1")
    assert page.run("planes.autoencoder.pins") == [[1, 2]]
    page.run("location.hash = '#variational=1.2,0.3&image=7', 0")
    page.until("planes.variational.pins.length === 1")
    assert page.run("[chosen, planes.autoencoder.pins.length]") == [7, 0]
    assert page.run("planes.variational.code") == [1.2, 0.3]


def test_a_saved_page_is_as_the_original(visit, tmp_path):
    page = visit()
    text, sizes, state = page.text("body"), page.run(SIZES), page.run(STATE)
    page.drag("#pad", (0.3, 0.3), (0.6, 0.6))
    page.settle()
    page.run(USE)
    file = tmp_path / "saved.html"
    file.write_text(
        "<!doctype html>" + page.run("document.documentElement.outerHTML"), "utf-8"
    )
    saved = visit(file)
    assert saved.run("document.documentElement.className") == ""
    assert saved.run(SIZES) == sizes
    assert saved.text("body") == text
    assert saved.run(STATE) == state
    use(saved)
    assert saved.run("chosen") == "drawing"
    assert "nearest dots" in saved.run("tiles.autoencoder.answer.textContent")
    assert (
        saved.run("getComputedStyle(planes.autoencoder.picture).visibility")
        == "visible"
    )
    assert "<template" not in file.read_text("utf-8")
