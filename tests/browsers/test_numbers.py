"""The page computes what PyTorch does, and draws it where it belongs."""

import json

import pytest
import torch

from . import models
from .conftest import chromium_only

TINY = 1.1 / 255  # between greys that are rounded


def palette(page):
    """The ten colours that the scheme has, (10, 3)."""
    return torch.tensor(page.run("palette.digits"))


def rightly_coloured(page, key="autoencoder", codes=models.CODES, limits=(-3, 3)):
    """Which of the dots that are seen have the colour of their digit, (N,) truth
    values; of the others, which are covered, most are others' dots."""
    found = page.pixels(f"planes.{key}.dots")
    low, high = limits
    shares = (codes - low) / (high - low)
    seen = ((shares > 0.02) & (shares < 0.98)).all(dim=1)
    place = (shares[seen] * len(found)).long()
    shown = found[len(found) - 1 - place[:, 1], place[:, 0], :3]
    labels = torch.from_numpy(models.LABELS)[: len(codes)][seen]
    return (shown == palette(page)[labels]).all(dim=1), labels


def test_codes_and_pictures_are_pytorchs(visit):
    page = visit()
    codes = 4 * torch.rand(20, 2) - 2
    for key in models.PLANES:
        one = f"(code) => Array.from(decode(models.{key}, code))"
        script = f"{json.dumps(codes.tolist())}.map({one})"
        expected = models.decode(key, codes)
        assert expected.std(dim=0).max() > 0.1
        assert (torch.tensor(page.run(script)) - expected).abs().max() < 0.5 / 255
        script = f"samples.map((one) => Array.from(encode(models.{key}, one).code))"
        found = torch.tensor(page.run(script))
        assert (found - models.encode(key, models.IMAGES)).abs().max() < 0.005


def test_the_ellipse_is_three_standard_deviations(visit):
    page = visit()
    with torch.no_grad():
        image = models.IMAGES[4].view(1, 28, 28)
        logvar = models.MODELS["variational"].encoder(image)[0, 2:]
    radius = 100 * 3 * (0.5 * logvar).exp() / 6
    ellipse = "planes.variational.marks.spread.getAttribute('{}')"
    found = [float(page.run(ellipse.format(axis))) for axis in ("rx", "ry")]
    assert found == pytest.approx(radius.tolist(), rel=0.01)


def test_dots_have_their_place_and_colour(visit):
    page = visit()
    for key in models.PLANES:
        right, _ = rightly_coloured(page, key)
        assert right.double().mean() > 0.6
    page.click("#enlarge")
    right, _ = rightly_coloured(page, limits=(-1, 1))
    assert right.double().mean() > 0.8
    assert page.text("#enlarge") == "Show the whole plane"


def test_the_legend_shows_one_digit(visit):
    page = visit()
    page.click("#legend button:nth-child(4)")
    right, labels = rightly_coloured(page)
    assert right[labels == 3].double().mean() > 0.9
    assert right[labels != 3].double().mean() < 0.05
    assert page.run("$('legend').children[3].ariaPressed") == "true"
    dot = "getComputedStyle($('legend').children[3].firstChild).backgroundColor"
    colour = ", ".join(str(part) for part in palette(page)[3].tolist())
    assert page.run(dot) == f"rgb({colour})"
    page.click("#legend button:nth-child(4)")
    right, labels = rightly_coloured(page)
    assert right[labels != 3].double().mean() > 0.6
    assert page.run("$('legend').children[3].ariaPressed") == "false"


def test_ticks_say_where_they_are(visit):
    page = visit()
    page.run(
        "window.said = [], CanvasRenderingContext2D.prototype.fillText ="
        " function (text, x, y) { said.push([text, x, y]) }, drawPlanes(), 0"
    )
    side = page.run("planes.autoencoder.map.clientWidth")
    ticks = [tick for tick in page.run("window.said") if not tick[0].startswith("c")]
    assert len(ticks) > 8
    for text, x, y in ticks:
        value = float(text.replace("\N{MINUS SIGN}", "-"))
        share = (x + 3) / side if y == side - 8 else 1 - (y - 4) / side
        assert -3 + 6 * share == pytest.approx(value, abs=0.01)
    assert [page.run(f"tickStep({width})") for width in (0.07, 6, 14, 90)] == [
        0.02,
        2,
        2,
        20,
    ]


def test_each_digits_name_stands_on_its_cluster(visit):
    page = visit()
    script = """[...planes.autoencoder.nameLayer.children].map((one) =>
      [one.textContent, parseFloat(one.style.left), parseFloat(one.style.top)])"""
    names = page.run(script)
    assert sorted(name for name, *_ in names) == list("0123456789")
    for name, left, top in names:
        place = torch.tensor([0.06 * left - 3, 3 - 0.06 * top])
        distances = (models.CENTRES - place).norm(dim=1)
        assert distances.argmin() == int(name)
        assert distances.min() < 0.4


def test_the_plane_is_painted_with_digits_and_back(visit):
    page = visit()
    page.click("#carpet")
    found = page.pixels("planes.variational.dots")[..., 0].double()
    places = (torch.arange(15, dtype=torch.float64) + 0.5) / 15
    for row, column in ((0, 0), (3, 11), (14, 7)):
        code = [[6 * places[column] - 3, 3 - 6 * places[row]]]
        expected = 255 * models.decode("variational", code).mean()
        size = len(found) / 15
        top, left = round(row * size), round(column * size)
        tile = found[top : top + int(size), left : left + int(size)]
        assert tile.mean() == pytest.approx(expected.item(), abs=4)
    assert page.run("planes.variational.nameLayer.children.length") == 0
    page.click("#carpet")
    right, _ = rightly_coloured(page)
    assert right.double().mean() > 0.6


def test_25_random_codes_are_the_same_for_both(visit):
    page = visit()
    page.run(
        "window.drawn = [], window.before = normal,"
        "normal = () => { const one = before(); drawn.push(one); return one }, 0"
    )
    for _ in range(2):
        page.run("window.drawn = [], 0")
        page.click("#again")
        codes = torch.tensor(page.run("window.drawn")).view(25, 2)
        for key in models.PLANES:
            found = page.shown(f"planes.{key}.randomSheet", 56, 28)
            assert (found - models.decode(key, codes[7:8])).abs().max() < TINY
            crosses = page.run(f"planes.{key}.marks.crosses.getAttribute('d')")
            assert crosses.count("M") == 25
    said = "recognises 31% of 1,000: 4.3 different digits."
    assert page.text("#grids figcaption") == f"Autoencoder\nA classifier {said}"
    many = torch.tensor(page.run("Array.from({ length: 4000 }, normal)"))
    assert many.mean().abs() < 0.1
    assert many.std() == pytest.approx(1, abs=0.1)


def test_the_training_shows_codes_and_pictures_of_its_moments(visit):
    page = visit()
    page.run("$('moment').value = 0.5, $('moment').oninput(), 0")
    found = torch.tensor(
        page.run("Array.from(planes.autoencoder.unfolding.at(0.5).codes)")
    )
    expected = models.UNFOLDED[1:3].mean(dim=0)
    assert (found.view(200, 2) - expected).abs().max() < 0.001
    limits = page.run(
        "[planes.autoencoder.square().low, planes.autoencoder.square().width]"
    )
    assert limits[1] > 2
    assert page.text(".autoencoder .code") == "Step 100"
    assert "0.3" in page.text(".autoencoder .near")
    found = page.shown("planes.autoencoder.moments", 84, 28)
    assert (found - models.MOMENTS[2, 7].flatten()).abs().max() < TINY
    hidden = "getComputedStyle(planes.autoencoder.picture).visibility"
    assert page.run(hidden) == "hidden"
    page.click(".autoencoder .map")  # back to the trained model
    assert page.run("Number($('moment').value)") == 1
    assert page.run(hidden) == "visible"
    assert page.text(".autoencoder .code") != "Step 100"


@chromium_only
def test_another_scheme_is_another_palette(visit):
    page = visit(color_scheme="light")
    light = palette(page)
    page.page.emulate_media(color_scheme="dark")
    page.settle()
    assert (palette(page) != light).any()
    right, _ = rightly_coloured(page)
    assert right.double().mean() > 0.6


@chromium_only
def test_the_page_moves_until_somebody_does_something(visit, path):
    page = visit()
    code = "planes.autoencoder.code.join()"
    for action in ("Shift", "mouse", "still"):
        motion = "reduce" if action == "still" else "no-preference"
        page.page.emulate_media(reduced_motion=motion)
        page.load(path.as_uri())
        first = page.run(code)
        if action == "still":
            page.settle()
            assert page.run(code) == first
            continue
        page.until(f"{code} !== {json.dumps(first)}")
        if action == "mouse":
            page.hover(".variational .map", 0.5, 0.5)
        else:
            page.page.keyboard.press(action)
        page.settle()
        stopped = page.run(code)
        page.settle()
        assert page.run(code) == stopped
    counts, _ = models.around([float(one) for one in stopped.split(",")])
    assert counts.sum() == models.NEAR


@chromium_only
def test_the_training_plays_to_its_end(visit):
    page = visit(reduced_motion="no-preference")
    page.run("performance.now = () => Date.now(), 0")
    page.click("#play")
    page.until("view.training > 0.01 && view.training < 1")
    assert page.text("#play") == "Stop"
    page.click("#play")
    share = page.run("view.training")
    page.settle()
    assert page.run("view.training") == share
    page.run("showTraining(0.995), play(), 0")
    page.until("view.training === 1")
    assert page.text("#play") == "Play"
