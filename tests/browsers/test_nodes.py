"""Part 3: the nodes of the sparse autoencoder, and the weight of the penalty."""

import pytest
import torch

from . import models

BARS = "nodes.map(({ bar }) => Number(bar.value))"
WHITE = models.MEAN + models.STD


def painted(page):
    return page.shown("paintedTile.canvas")


def share(page, expression):
    """A width or a place in percent, as a number."""
    return float(page.run(expression).removesuffix("%"))


@torch.no_grad()
def test_bars_paint(visit):
    page = visit()
    model = models.MODELS["sparse"]
    codes, own = models.paint_sparse(model, models.IMAGES[4])
    assert page.run(BARS) == pytest.approx(codes.tolist(), abs=0.006)
    page.drag("#bars div:nth-child(3) input", (0.5, 0.9), (0.5, 0.6), (0.5, 0.25))
    page.settle()
    values = torch.tensor(page.run("activations"))
    assert values[2] == pytest.approx(0.75, abs=0.05)
    pixels = model.decoder(values) * models.STD + models.MEAN
    assert (painted(page) - (pixels / WHITE).clamp(0, 1)).abs().max() < 1.1 / 255
    error = models.error(models.IMAGES[4], pixels)
    found = page.run("paintedTile.error.textContent").removeprefix("error ")
    assert float(found) == pytest.approx(error, abs=2e-4)
    average = models.error(
        models.IMAGES[4], torch.from_numpy(models.AVERAGE).flatten() / 255
    )
    mark = min(100, 100 * models.error(models.IMAGES[4], own) / average)
    assert share(page, "paintedTile.scale.mark.style.left") == pytest.approx(
        mark, abs=0.5
    )
    weights = model.decoder[0].weight[:, 2]
    expected = 0.5 + 0.5 * weights / weights.abs().max()
    assert (page.shown("nodes[2].canvas") - expected).abs().max() < 1.1 / 255
    line = float(page.run("nodes[2].bar.style.getPropertyValue('--own')"))
    assert line == pytest.approx(codes[2].item(), abs=1e-3)


def test_all_to_0_and_reset(visit):
    page = visit()
    before = page.run(BARS)
    page.click("#zero")
    assert set(page.run(BARS)) == {0}
    assert "same for every image" in page.text("#painted p")
    page.click("#own")
    assert page.run(BARS) == before
    assert page.text("#painted p") == ""


@torch.no_grad()
def test_a_node_is_switched_off_and_on(visit):
    page = visit()
    model = models.MODELS["sparse"]
    kept = torch.ones(10)
    kept[3] = 0
    page.click("#bars div:nth-child(4) button")
    assert page.run("[nodes[3].button.ariaPressed, nodes[3].bar.disabled]") == [
        "true",
        True,
    ]
    assert page.run(BARS)[3] == 0
    _, pixels = models.paint_sparse(model, models.IMAGES, kept)
    errors = models.error(models.IMAGES, pixels)
    assert (painted(page) - (pixels[4] / WHITE).clamp(0, 1)).abs().max() < 1.1 / 255
    for digit in (0, 6):
        found = page.shown(f"ten[{digit}].canvas")
        assert (found - (pixels[digit] / WHITE).clamp(0, 1)).abs().max() < 1.1 / 255
        label = page.run(f"ten[{digit}].canvas.ariaLabel")
        assert float(label.split()[-1]) == pytest.approx(errors[digit], abs=0.001)
    page.click("#bars div:nth-child(4) button")
    assert page.run("nodes[3].bar.disabled") is False
    codes, _ = models.paint_sparse(model, models.IMAGES[4])
    assert page.run(BARS)[3] == pytest.approx(codes[3].item(), abs=0.006)


@torch.no_grad()
def test_the_node_that_the_0_needs_most_is_switched_off(visit):
    page = visit()
    model = models.MODELS["sparse"]
    errors = []
    for kept in (*(1 - torch.eye(10)), torch.ones(10)):
        _, pixels = models.paint_sparse(model, models.IMAGES[0], kept)
        errors.append(models.error(models.IMAGES[0], pixels))
    rises = torch.tensor(errors[:10]) - errors[10]
    page.click("#ring")
    assert page.run("Array.from(off)") == [rises.argmax().item()]
    assert page.run("chosen") == 0
    text = f"Without this node the error of the 0 rises by {rises.max():.3f}."
    assert page.text("#found") == text


@torch.no_grad()
def test_the_slider_of_the_weight(visit):
    page = visit()
    first = page.run(BARS)
    assert page.text("#sweep p") == "The model of codelet7.py"
    assert page.run("$('weight').value") == "0"
    page.click("#bars div:nth-child(4) button")  # a node of this model alone
    for place, model in enumerate(models.SWEEP):
        page.press("#weight", "ArrowRight")
        assert page.run("off.size") == 0
        codes, _ = models.paint_sparse(model, models.IMAGES[4])
        assert page.run(BARS) == pytest.approx(codes.tolist(), abs=0.006)
        weights = model.decoder[0].weight[:, 1]
        expected = 0.5 + 0.5 * weights / weights.abs().max()
        assert (page.shown("nodes[1].canvas") - expected).abs().max() < 1.1 / 255
        mean, error = models.MEANS[place], models.ERRORS[place]
        text = f"mean activation {mean:.2f}, test error {error:.3f}."
        assert page.text("#sweep p") == f"Weight {models.WEIGHTS[place]}: {text}"
        page.click("#bars div:nth-child(2) button")
    page.press("#weight", "Home")
    assert page.run(BARS) == first
    assert page.text("#sweep p") == "The model of codelet7.py"
