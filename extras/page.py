"""Puts a trained model on `explore.html`, one page that shows it without a network."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import torch
from torch import nn

TEMPLATE = Path(__file__).with_name("page.html")
# The block of the page that holds its data.
BLOCK = '<script type="application/json" id="run">{}</script>'
# Of the data. A page with data of another version is not added to.
VERSION = 2
ACTIVATIONS = (nn.ReLU, nn.SiLU, nn.Tanh, nn.Sigmoid)
INT16_MAX = torch.iinfo(torch.int16).max


@torch.no_grad()
def describe(module):
    """A network as the page's interpreter reads it: a list of layers, each a dict.

    The weights of an `nn.Linear` are rounded to 16 bits: that changes the pixels of a
    trained model by less than a tenth of a grey level (8 bits: by up to 15).

    Args:
        module: an `nn.Linear`, `nn.LayerNorm` or one of `ACTIVATIONS`; an
            `nn.Sequential` of such; a module named `Residual`, whose children give
            what it adds to its input; `nn.Flatten`, `nn.Unflatten` are left out.

    Raises:
        ValueError: another kind of module.
    """
    if isinstance(module, nn.Sequential):
        return [layer for child in module for layer in describe(child)]
    if isinstance(module, (nn.Flatten, nn.Unflatten)):
        return []
    return [describe_layer(module)]


def describe_layer(module):
    """One layer as the page's interpreter reads it, a dict; raises as `describe`."""
    layer = {"type": type(module).__name__}
    if layer["type"] == "Residual":
        layer["layers"] = describe(nn.Sequential(*module.children()))
    elif isinstance(module, nn.Linear):
        layer["weight"], layer["scale"] = to_int16(module.weight, dim=1)
        layer["bias"] = module.bias.float()
    elif isinstance(module, nn.LayerNorm):
        layer["weight"] = module.weight.float()
        layer["bias"] = module.bias.float()
        layer["eps"] = module.eps
    elif not isinstance(module, ACTIVATIONS):
        known = "Linear, LayerNorm, Residual, ReLU, SiLU, Tanh and Sigmoid"
        raise ValueError(f"the page cannot compute {module}, only {known}")
    return layer


def to_int16(values, dim):
    """Whole numbers of 16 bits, and the float32 scales, one along `dim`, that they are
    to be multiplied by."""
    largest = values.abs().amax(dim=dim, keepdim=True).clamp(min=1e-30)
    scale = largest / INT16_MAX
    return (values / scale).round().short(), scale.float()


def plane_entry(model, plane, unfolding, random, facts):
    """What the page gets of a dense or variational autoencoder.

    Args:
        model: with `decoder`, and `encoder`, whose last layer has 2 outputs, or 4
            where it gives mu and logvar.
        plane: the dots: `codes` `(N, 2)`, `labels` `(N,)`, and two squares ((low, high)
            of c1, of c2): `limits` holds most codes, `middle` the crowded middle.
        unfolding: T moments of the training: `steps`, T ints, `losses`, T floats,
            `codes` `(T, K, 2)` with their `labels` `(K,)`, and `pictures`
            `(T, 10, 28, 28)` in [0, 1], the samples' reconstructions.
        random: of 1,000 pictures of codes from N(0, I): the share that is "recognised"
            as a digit, 0 to 1, and how many "different" digits these are, up to 10.
        facts: in words how the model was trained.

    Raises:
        ValueError: see `describe`.
    """
    encoder = describe(model.encoder)
    return {
        "encoder": encoder,
        "decoder": describe(model.decoder),
        "posterior": len(encoder[-1]["bias"]) == 4,
        "codes": np.asarray(plane.codes, np.float32),
        "labels": np.asarray(plane.labels, np.uint8),
        "limits": plane.limits,
        "middle": plane.middle,
        "unfolding": unfolding_entry(unfolding),
        "random": random,
        "facts": facts,
    }


def unfolding_entry(unfolding):
    """The moments of the training, the codes in 16 bits and the pictures in 8."""
    codes, scale = to_int16(torch.as_tensor(unfolding.codes).float(), dim=(1, 2))
    pictures = np.asarray(unfolding.pictures)
    return {
        "steps": [int(step) for step in unfolding.steps],
        "losses": [float(loss) for loss in unfolding.losses],
        "codes": codes,
        "scale": scale,
        "labels": np.asarray(unfolding.labels, np.uint8),
        "pictures": (pictures * 255).round().astype(np.uint8),
    }


def sparse_entry(model, mean, std, facts):
    """What the page gets of a sparse autoencoder whose pixels are normalised with
    `mean` and `std`: two layers more, from pixels in [0, 1] and back to them. `facts`
    say in words how it was trained. Raises as `describe`."""
    normalise = {"type": "Affine", "times": 1 / std, "plus": -mean / std}
    undo = {"type": "Affine", "times": std, "plus": mean}
    return {
        "encoder": [normalise, *describe(model.encoder)],
        "decoder": [*describe(model.decoder), undo],
        "white": mean + std,  # the lightest grey that a Tanh can give
        "facts": facts,
    }


def sweep_entry(models, weights, errors, means, mean, std):
    """What the page gets of K sparse autoencoders, trained with K weights of the
    penalty, sorted; `errors` are their mean squared test errors, `means` their mean
    activations over all nodes."""
    return {
        "models": [sparse_entry(model, mean, std, "") for model in models],
        "weights": list(weights),
        "errors": list(errors),
        "means": list(means),
    }


def put(page, key, entry, samples, mean_image):
    """The text of the page with the entry of one model replaced, and those of all
    other models kept.

    Args:
        page: text of the page that is there, whose data are kept; None for none.
        key: "autoencoder", "variational", "sparse" or "sweep".
        entry: a dict as the functions above give it.
        samples: uint8, a test image of each digit `(10, 28, 28)`.
        mean_image: uint8, the mean of all test images `(28, 28)`.

    Raises:
        ValueError: a loss or an error is infinite or NaN.
    """
    data = {
        "version": VERSION,
        "samples": list(samples),
        "mean": mean_image,
        "models": {**read_models(page), key: entry},
    }
    text = json.dumps(data, default=as_json, separators=(",", ":"), allow_nan=False)
    text = text.replace("<", "\\u003c")  # else "</script>" would end the block
    return TEMPLATE.read_text("utf-8").replace(BLOCK.format("null"), BLOCK.format(text))


def read_models(page):
    """The entries of a page, a dict; empty where there is no page that can be read."""
    found = re.search(BLOCK.format("(.*?)"), page or "", re.DOTALL)
    if not found:
        return {}
    try:
        data = json.loads(found[1])
    except ValueError:
        return {}
    if not isinstance(data, dict) or data.get("version") != VERSION:
        return {}
    return data["models"]


def as_json(array):
    """An array or a tensor as the page reads it, for `json.dumps`."""
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
    array = np.ascontiguousarray(array)
    content = base64.b64encode(array).decode()
    return {"dtype": array.dtype.name, "base64": content}
