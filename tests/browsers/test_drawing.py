"""Part 2: the pad, the models' answers, and that nothing moves or goes meanwhile."""

import numpy as np
import pytest
import torch

from . import models

FOUR = [(0.4, 0.2), (0.3, 0.6), (0.7, 0.6)]
LINE = [(0.6, 0.35), (0.6, 0.85)]
INKED = "ink.getImageData(0, 0, PAD, PAD).data.filter((value) => value === 255).length"
PLACE = """(() => {
  const box = pad.getBoundingClientRect();
  return [box.left, box.top + scrollY]; })()"""


def draw(page, *strokes):
    for stroke in strokes:
        page.drag("#pad", *stroke)
        page.settle()


def image(page):
    """What the models get, (784,)."""
    return torch.tensor(page.run("Array.from(image)"))


def a(digit):
    return f"an {digit}" if digit == 8 else f"a {digit}"


def expected_answer(key, pixels, label=None):
    """What is said of an image; `label` is that of a test image."""
    code = models.encode(key, pixels[None])
    counts, _ = models.around(code[0])
    read, second = np.argsort(-counts, kind="stable")[:2]
    painted = models.decode(key, code)
    again = np.argmax(models.around(models.encode(key, painted)[0])[0])
    this = "" if label in (None, read) else f"this {label} is "
    text = (
        f"{counts[read]} of the 50 nearest dots are {read}s: {this}read as {a(read)}."
    )
    meet = "the star lies where {}s and {}s meet."
    if again != read:
        end = f"Its reconstruction is read as {a(again)}: {meet.format(read, again)}"
    elif this and counts[label]:
        end = f"So is its reconstruction: {meet.format(read, label)}"
    elif counts[second] >= 10:
        end = f"So is its reconstruction, but {meet.format(read, second)}"
    else:
        end = "So is its reconstruction."
    return f"{text} {end}"


def answer(page, key):
    found = page.run(f"tiles.{key}.answer.textContent")
    return found.replace("\N{NO-BREAK SPACE}", " ")


def test_a_drawing_is_brought_into_mnists_form(visit):
    page = visit()
    draw(page, FOUR, LINE)
    pixels = image(page).view(28, 28).numpy()
    assert np.ptp(np.nonzero(pixels)[0]) == 19  # the longer side fills 20 pixels
    centre = [pixels.sum(axis=axis) @ np.arange(28) / pixels.sum() for axis in (0, 1)]
    assert centre == pytest.approx([14, 14], abs=0.51)
    assert page.shown("tiles.image.canvas") == pytest.approx(image(page), abs=0.005)
    page.click("#clear")
    page.drag("#pad", (0.3, 0.3))  # a press without a move
    page.settle()
    assert page.run(INKED) > 1600


def test_every_stroke_is_answered(visit):
    page = visit()
    for stroke in (FOUR, LINE):
        draw(page, stroke)
        for key in models.PLANES:
            assert answer(page, key) == expected_answer(key, image(page))
    for key in models.PLANES:
        code = models.encode(key, image(page)[None])[0]
        shown = page.run(
            f"[planes.{key}.miniStar.style.left, planes.{key}.miniStar.style.top]"
        )
        found = [float(one.removesuffix("%")) for one in shown]
        expected = [100 * (code[0].item() + 3) / 6, 100 * (3 - code[1].item()) / 6]
        assert found == pytest.approx(expected, abs=0.1)
        sides = f"[planes.{key}.miniDots.clientWidth, planes.{key}.mini.clientWidth]"
        dots, mini = page.run(sides)
        assert dots == mini


def test_every_test_image_is_answered(visit):
    page = visit()
    kinds = set()
    for digit in range(10):
        page.run(f"$('choices').children[{digit}].click()")
        for key in models.PLANES:
            expected = expected_answer(key, models.IMAGES[digit], digit)
            assert answer(page, key) == expected
            kinds.add(
                ("this" in expected, "read as" in expected[40:], "but" in expected)
            )
    assert len(kinds) >= 3


def test_errors_are_pytorchs(visit):
    page = visit()
    page.run("$('choices').children[7].click()")
    own = models.IMAGES[7]
    pictures = {"average": torch.from_numpy(models.AVERAGE).flatten() / 255}
    for key in models.PLANES:
        pictures[key] = models.decode(key, models.encode(key, own[None]))[0]
    with torch.no_grad():
        pictures["sparse"] = models.paint_sparse(models.MODELS["sparse"], own)[1]
    largest = models.error(own, pictures["average"])
    for key, picture in pictures.items():
        error = models.error(own, picture)
        found = page.run(f"tiles.{key}.error.textContent").removeprefix("error ")
        assert float(found) == pytest.approx(error, abs=1e-4)
        width = page.run(f"tiles.{key}.scale.fill.style.width")
        assert float(width.removesuffix("%")) == pytest.approx(
            min(100, 100 * error / largest), abs=0.5
        )
    for key in models.PLANES:
        found = page.shown(f"tiles.{key}.canvas")
        assert (found - pictures[key]).abs().max() < 1.1 / 255


def test_undo_and_clear(visit):
    page = visit()
    assert page.run("[$('undo').disabled, $('clear').disabled]") == [True, True]
    draw(page, FOUR)
    first, inked = image(page), page.run(INKED)
    draw(page, LINE)
    assert page.run(INKED) > inked
    page.click("#undo")
    assert torch.equal(image(page), first)
    assert page.run(INKED) == inked
    page.click("#clear")
    assert page.run(INKED) == 0
    assert torch.equal(image(page), models.IMAGES[4])
    page.click("#undo")  # of the clearing
    assert torch.equal(image(page), first)
    page.click("#undo")
    assert page.run("[$('undo').disabled, strokes.length, $('mine').disabled]") == [
        True,
        0,
        True,
    ]


# Presses every button but those that change the drawing; says what moved or went.
PRESS_ALL = """(() => {
  const place = () => pad.getBoundingClientRect().top + scrollY;
  const kept = JSON.stringify(strokes);
  const top = place();
  const faults = [];
  for (const button of document.querySelectorAll("button")) {
    if (["undo", "clear", "play"].includes(button.id)) continue;
    button.click();
    const name = `${button.id} ${button.ariaLabel} ${button.textContent}`;
    if (Math.abs(place() - top) > 0.6) faults.push(`${name}: ${place() - top}`);
    if (JSON.stringify(strokes) !== kept) faults.push(`${name}: no drawing`);
    choose("drawing");
    if (Math.abs(place() - top) > 0.6) faults.push(`after ${name}: ${place() - top}`);
  }
  return faults; })()"""


@pytest.mark.parametrize("width", [1400, 320])
def test_the_drawing_stays_and_the_pad_stands_still(visit, width):
    """Through every button of the page, and through a stroke after that."""
    page = visit(width=width)
    place = page.run(PLACE)
    draw(page, FOUR)
    assert page.run(PLACE) == pytest.approx(place, abs=0.6)
    assert page.run(PRESS_ALL) == []
    assert page.run(INKED) > 0
    page.click("#ring")
    draw(page, LINE)
    assert page.run("strokes.length") == 2
    assert page.run("chosen") == "drawing"
    assert page.run(PLACE) == pytest.approx(place, abs=0.6)
    page.run("$('choices').children[7].click()")
    page.click("#mine")
    assert page.run("chosen") == "drawing"


@pytest.mark.parametrize("engine", ["chromium", "firefox"], indirect=True)
def test_only_the_left_button_draws(visit):
    page = visit()
    draw(page, FOUR)
    assert page.run("strokes.length") == 1
    page.drag("#pad", (0.3, 0.3), (0.6, 0.6), button="right")
    page.settle()
    assert page.run("strokes.length") == 1
