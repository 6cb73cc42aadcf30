"""What is written into the page of the trained models."""

import base64
import itertools
import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from extras import page as pages
from tests.browsers.models import MODELS, MOMENTS, make_page

KEYS = ("autoencoder", "variational", "sparse", "sweep")
# Machado et al. 2009: linear RGB as seen without red or without green cones.
DEUTERANOPE = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]
PROTANOPE = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]
TO_XYZ = [
    [0.412456, 0.357576, 0.180438],
    [0.212673, 0.715152, 0.072175],
    [0.019334, 0.119192, 0.950304],
]
WHITE = [0.95047, 1, 1.08883]


def read(text):
    """The data of a page."""
    block = r'type="application/json" id="run">(.*?)</script>'
    return json.loads(re.search(block, text, re.DOTALL)[1])


def unpack(array):
    """An array of the page's data."""
    return np.frombuffer(base64.b64decode(array["base64"]), array["dtype"])


def test_a_model_is_put_beside_those_that_are_there():
    text = make_page("sparse", facts="one </script>")
    text = make_page("autoencoder", page=text)
    before = read(text)["models"]
    assert before["sparse"]["facts"] == "one </script>"
    older = text.replace("<h1>", "<h1>An older page: ")
    text = make_page("sparse", page=older, facts="other")
    after = read(text)["models"]
    assert after["sparse"]["facts"] == "other"
    assert after["autoencoder"] == before["autoencoder"]
    assert "An older page" not in text


def unreadable_pages():
    text = make_page("autoencoder")
    yield ""
    yield "<html>"
    yield text[:-60_000]
    yield text.replace('"run">{', '"run">')
    yield text.replace(f'"version":{pages.VERSION}', '"version":1')
    yield re.sub(r'"run">.*?</script>', '"run">[1]</script>', text, flags=re.DOTALL)


def test_what_cannot_be_read_is_replaced():
    for text in unreadable_pages():
        assert set(read(make_page("variational", page=text))["models"]) == {
            "variational"
        }


def test_arrays_are_packed():
    entry = read(make_page("autoencoder"))["models"]["autoencoder"]
    weights = MODELS["autoencoder"].decoder[0].weight
    layer = entry["decoder"][0]
    rows = unpack(layer["weight"]).reshape(weights.shape)
    unpacked = rows * unpack(layer["scale"])[:, None]
    assert layer["weight"]["dtype"] == "int16"
    assert np.abs(unpacked - weights.detach().numpy()).max() < 1e-4
    pictures = unpack(entry["unfolding"]["pictures"]).reshape(MOMENTS.shape)
    assert np.abs(pictures / 255 - MOMENTS.numpy()).max() < 0.51 / 255
    assert entry["posterior"] is False
    assert read(make_page("variational"))["models"]["variational"]["posterior"] is True


def test_the_page_asks_for_no_network():
    assert not re.search(r"https?://|src=|@import|url\(", make_page(*KEYS))


def test_what_the_page_cannot_compute_is_refused():
    with pytest.raises(ValueError, match="cannot compute Softplus"):
        pages.describe(nn.Sequential(nn.ReLU(), nn.Softplus()))
    with pytest.raises(ValueError, match="JSON"):
        pages.put(None, "sweep", {"errors": [float("nan")]}, [], np.zeros(1))


def test_16_bits_are_enough():
    values = torch.randn(5, 100) * torch.tensor([1e-3, 1, 10, 0, 1e3])[:, None]
    whole, scale = pages.to_int16(values, dim=1)
    largest = values.abs().amax(dim=1, keepdim=True)
    assert ((whole * scale - values).abs() <= largest / 32_000 + 1e-30).all()


def schemes():
    """Of each scheme the card's colour and those of the ten digits, RGB in [0, 1]."""
    style = pages.TEMPLATE.read_text("utf-8").split("</style>")[0]
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    for part in (light, dark.split("@media")[0]):
        card = re.search(r"--card: (#\w+)", part)[1]
        digits = re.findall(r"--digit-\d: (#\w+)", part)
        assert len(digits) == 10
        yield to_rgb(card), np.array([to_rgb(colour) for colour in digits])


def to_rgb(colour):
    digits = colour[1:]
    if len(digits) == 3:
        digits = "".join(2 * digit for digit in digits)
    return np.array([int(digits[place : place + 2], 16) for place in (0, 2, 4)]) / 255


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def cielab(rgb):
    """L, a, b of linear RGB."""
    share = rgb @ np.transpose(TO_XYZ) / WHITE
    root = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def closest(colours):
    """The smallest difference of any two."""
    pairs = itertools.combinations(cielab(colours), 2)
    return min(np.linalg.norm(one - other) for one, other in pairs)


def test_dots_stand_out_and_differ_in_both_schemes():
    for card, digits in schemes():
        colours = linear(digits)
        luminance = np.append(colours, [linear(card)], axis=0) @ TO_XYZ[1] + 0.05
        contrast = luminance[:-1] / luminance[-1]
        assert np.maximum(contrast, 1 / contrast).min() >= 3
        assert closest(colours) >= 43
        for cones in (DEUTERANOPE, PROTANOPE):
            assert closest((colours @ np.transpose(cones)).clip(0, 1)) >= 28
