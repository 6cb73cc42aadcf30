"""One page to explore the trained models in a browser: fills `explore.html` with their weights, codes and images."""

import base64
import copy
import json
import os
import sys
import webbrowser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import utils
from autoencoder import COLOURS

TEMPLATE = Path(__file__).with_name("explore.html")
EMPTY = '<script type="application/json" id="run">null</script>'  # where the page takes its data
# By how much storing weights in 8 or 16 bits may change a pixel (in [0, 1]), and a code (in widths of the plane)
PIXEL_BOUND, CODE_BOUND = 1.5 / 255, 0.005
ACTIVATIONS = (nn.ReLU, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid)
MODELS = {  # key on the page: name, and command that trains it
    "autoencoder": ("autoencoder", "python autoencoder.py"),
    "variational": ("variational autoencoder", "python autoencoder.py --variational"),
    "sparse": ("sparse autoencoder", "python codelet7.py"),
}


class Trained(NamedTuple):
    """A trained model, and what the page shows of it."""

    model: nn.Module
    facts: str  # how it was trained, such as "50,000 steps"
    plane: Any = None  # codes `(N, 2)`, labels `(N,)` and limits of the square to show, as in `latent.Plane`


# --- The networks ----------------------------------------------------------------------------


def describe(module):
    """A network as the page's interpreter reads it: a list of layers, each a dictionary.

    Args:
        module: an `nn.Linear`, `nn.LayerNorm` or one of `ACTIVATIONS`; an `nn.Sequential` of such; or a module named
            `Residual`, whose children in a row give what it adds to its input.

    Raises:
        TypeError: another kind of module.
    """
    kind = type(module).__name__
    if isinstance(module, nn.Sequential):
        return [layer for child in module for layer in describe(child)]
    if isinstance(module, nn.Linear):
        return [{"type": kind, "weight": module.whole, "scale": module.scale, "bias": module.bias}]
    if isinstance(module, nn.LayerNorm):
        return [{"type": kind, "weight": module.weight, "bias": module.bias, "eps": module.eps}]
    if kind == "Residual":
        return [{"type": kind, "layers": [layer for child in module.children() for layer in describe(child)]}]
    if isinstance(module, ACTIVATIONS) and getattr(module, "approximate", "none") == "none":
        return [{"type": kind}]
    raise TypeError(f"the page cannot compute {module}; it knows Linear, LayerNorm, Residual and {ACTIVATIONS}")


@torch.no_grad()
def pack(net, inputs, bound):
    """`describe` of a network, each row of weights as whole numbers and their scale: in 8 bits, layer by layer from
    the largest on, where the outputs of `inputs` stay within `bound` of the exact ones, else in 16."""
    net = copy.deepcopy(net)
    exact = net(inputs)
    for linear in sorted((m for m in net.modules() if isinstance(m, nn.Linear)), key=lambda m: -m.weight.numel()):
        weights = linear.weight.clone()
        for kind in (torch.int8, torch.int16):
            linear.scale = weights.abs().amax(dim=1).clamp(min=1e-30) / torch.iinfo(kind).max
            linear.whole = (weights / linear.scale.unsqueeze(1)).round().to(kind)
            linear.weight.copy_(linear.whole * linear.scale.unsqueeze(1))
            if (net(inputs) - exact).abs().max() <= bound:
                break
    return describe(net)


def plane_model(trained, images):
    """The page's entry for the dense or the variational autoencoder; `images` `(N, 28, 28)` in [0, 1] try out the
    encoder, a grid of codes the decoder."""
    model, plane = copy.deepcopy(trained.model).cpu().eval(), trained.plane
    limits = [[float(limit) for limit in pair] for pair in plane.limits]
    encoder = pack(model.encoder.layers, images.flatten(1), CODE_BOUND * (limits[0][1] - limits[0][0]))
    grid = torch.cartesian_prod(*(torch.linspace(low, high, 50) for low, high in limits))
    return {
        "encoder": encoder,
        "decoder": pack(nn.Sequential(model.decoder.layers, nn.Sigmoid()), grid, PIXEL_BOUND),
        "posterior": len(encoder[-1]["bias"]) > len(limits),  # whether the encoder gives logvar, too
        "codes": np.asarray(plane.codes, np.float32),
        "labels": np.asarray(plane.labels, np.uint8),
        "limits": limits,
    }


def sparse_model(trained, images):
    """The page's entry for the sparse autoencoder, whose first and last layer go from pixels in [0, 1] to its
    normalised ones and back."""
    from codelet7 import MEAN, STD

    model = copy.deepcopy(trained.model).cpu().eval()
    x = (images.flatten(1) - MEAN) / STD
    with torch.no_grad():
        hidden = model.encoder(x)
    normalise = {"type": "Affine", "times": 1 / STD, "plus": -MEAN / STD}
    return {
        "encoder": [normalise, *pack(model.encoder, x, CODE_BOUND)],
        "decoder": [*pack(model.decoder, hidden, PIXEL_BOUND / STD), {"type": "Affine", "times": STD, "plus": MEAN}],
        "white": MEAN + STD,  # the lightest grey that a Tanh can give
    }


# --- The page --------------------------------------------------------------------------------


def as_json(array):
    """An array or a tensor as the page reads it, for `json.dumps`."""
    array = np.ascontiguousarray(array.detach() if isinstance(array, torch.Tensor) else array)
    return {"dtype": array.dtype.name, "base64": base64.b64encode(array).decode()}


def write_page(path, source, images, labels, dense=None, variational=None, sparse=None):
    """Writes the page, and prints its path.

    Args:
        source: where the images come from, `utils.MNIST` or `utils.DRAWN`.
        images, labels: test images uint8 `(N, 28, 28)` and their labels `(N,)`, of all ten digits.
        dense, variational, sparse: a `Trained` each, the first two with a plane; for None the page names the
            command that trains it.

    Raises:
        TypeError: a network holds a module that the page cannot compute.
    """
    shown = torch.from_numpy(images[:500]).float().div(255)
    models, facts = {}, []
    for key, trained, pages in (
        ("autoencoder", dense, plane_model),
        ("variational", variational, plane_model),
        ("sparse", sparse, sparse_model),
    ):
        name, command = MODELS[key]
        models[key] = {"name": name, "command": command} if trained is None else {"name": name, **pages(trained, shown)}
        if trained:
            facts.append(f"{name}: {trained.facts}")
    run = {
        "source": source,
        "drawn": source != utils.MNIST,
        "facts": facts,
        "colours": COLOURS,
        "samples": [images[np.flatnonzero(labels == digit)[0]] for digit in range(10)],
        "mean": images.mean(axis=0).round().astype(np.uint8),
        "models": models,
    }
    block = json.dumps(run, default=as_json, separators=(",", ":")).replace("<", "\\u003c")
    before, after = TEMPLATE.read_text("utf-8").split(EMPTY)
    with utils.replacing(Path(path)) as part:
        part.write_text(before + EMPTY.replace("null", block) + after, "utf-8")
    print(f"  {path}")


def open_page(path, quiet=False):
    """Opens a page in the browser, unless there is none or no display, or `quiet`; then one line says so."""
    local = sys.platform in ("win32", "darwin") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if quiet or not local or not webbrowser.open(Path(path).resolve().as_uri()):
        print(f"Not opened{'' if quiet else ': there is no display or no browser here'}; open {path} in any browser")
