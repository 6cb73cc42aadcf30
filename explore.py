"""One page to explore what was trained, in any browser: fills `explore.html` with weights, codes and images."""

import base64
import copy
import json
import os
import sys
import webbrowser
from pathlib import Path

import numpy as np
import torch
from torch import nn

import checkpoint
import latent
import utils
from utils import UserError

MODELS = {  # by their key on the page: name, folder, file, and the command that trains it
    "autoencoder": ("autoencoder", "autoencoder", checkpoint.FINISHED, "python autoencoder.py"),
    "variational": (
        "variational autoencoder",
        "variational",
        checkpoint.FINISHED,
        "python autoencoder.py --variational",
    ),
    "sparse": ("sparse autoencoder", "codelet7", "model.pt", "python codelet7.py"),
}
TEMPLATE = Path(__file__).with_name("explore.html")
DATA = '<script type="application/json" id="run">null</script>'  # its null becomes the data of the page
# By how much storing weights in 8 or 16 bits may change a pixel in [0, 1], and a code in widths of the plane
PIXEL_BOUND, CODE_BOUND = 1.5 / 255, 0.007
ACTIVATIONS = (nn.ReLU, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid)


# --- The networks ----------------------------------------------------------------------------


def describe(module):
    """A network as the page's interpreter reads it: a list of layers, each a dict.

    Args:
        module: an `nn.Linear` out of `pack`, an `nn.LayerNorm` or one of `ACTIVATIONS`; an `nn.Sequential` of such; or
            a module named `Residual`, whose children, one after the other, give what it adds to its input.

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
    known = ", ".join(activation.__name__ for activation in ACTIVATIONS)
    raise TypeError(f"the page cannot compute {module}; it knows Linear, LayerNorm, Residual, {known}")


@torch.no_grad()
def pack(net, inputs, bound):
    """`describe` of a network whose weights are whole numbers times a scale for each row: of 8 bits where the outputs
    of `inputs` stay within `bound` of the exact ones, else of 16; layer by layer, the largest first."""
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


def plane_entry(plane, images):
    """What the page gets of a dense or variational autoencoder; `images` `(N, 28, 28)` in [0, 1] try its encoder, a
    grid of codes its decoder."""
    model = copy.deepcopy(plane.model).cpu()
    frame, middle = np.array(plane.limits), np.array(latent.square(plane.codes, tail=0.15))
    grid = torch.cartesian_prod(*(torch.linspace(low, high, 50) for low, high in frame.tolist()))
    encoder = pack(model.encoder.layers, images.flatten(1), CODE_BOUND * np.ptp(frame[0]))
    return {
        "encoder": encoder,
        "decoder": pack(nn.Sequential(model.decoder.layers, nn.Sigmoid()), grid, PIXEL_BOUND),
        "posterior": len(encoder[-1]["bias"]) > len(frame),  # whether the encoder gives logvar, too
        "codes": plane.codes.astype(np.float32),
        "labels": plane.labels.astype(np.uint8),
        "views": {"frame": frame.tolist(), "middle": middle.tolist()},
        "random": model.spread(np.random.default_rng(0).random((1000, 2)), plane.limits).astype(np.float32),
        "spread": model.SPREAD,
    }


def sparse_entry(trained, images):
    """What the page gets of a sparse autoencoder and its words: two layers more, from pixels in [0, 1] and back."""
    from codelet7 import MEAN, STD

    model = copy.deepcopy(trained[0]).cpu()
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


def write_page(path, digits, autoencoder=None, variational=None, sparse=None):
    """Writes the page, and prints its path.

    Args:
        digits: the test set, `utils.Digits`; the page takes ten images of it, and their mean.
        autoencoder, variational: a `latent.Plane` each.
        sparse: a `SparseAutoencoder`, and in words what it was trained on.

    For a model that is None the page names the command that trains it.

    Raises:
        TypeError: a network holds a module that the page cannot compute.
    """
    images = torch.from_numpy(digits.images[:500]).float() / 255
    models = {key: {"name": name, "command": command} for key, (name, _, _, command) in MODELS.items()}
    facts = []
    for key, plane in (("autoencoder", autoencoder), ("variational", variational)):
        if plane is not None:
            models[key] |= plane_entry(plane, images)
            facts.append(f"{MODELS[key][0]}: {plane.source}")
    if sparse is not None:
        models["sparse"] |= sparse_entry(sparse, images)
        facts.append(f"{MODELS['sparse'][0]}: {sparse[1]}")
    data = {
        "drawn": digits.source != utils.MNIST,
        "facts": facts,
        "colours": latent.COLOURS,
        "samples": [digits.images[np.argmax(digits.labels == digit)] for digit in range(10)],
        "mean": digits.images.mean(axis=0).round().astype(np.uint8),
        "models": models,
    }
    block = json.dumps(data, default=as_json, separators=(",", ":")).replace("<", "\\u003c")
    with utils.replacing(Path(path)) as part:
        part.write_text(TEMPLATE.read_text("utf-8").replace(DATA, DATA.replace("null", block)), "utf-8")
    print(f"  {path}")


def open_page(path, quiet=False):
    """Opens the page in a browser; where there is none, or no display, or it shall not (`quiet`), a line says so."""
    display = sys.platform in ("win32", "darwin") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if quiet:
        print(f"Not opened, as asked; any browser shows {path}")
    elif not display or not webbrowser.open(Path(path).resolve().as_uri()):
        print(f"There is no {'browser' if display else 'display'} here to open it in; any browser shows {path}")


def latest_of(folder, changed, base, name):
    """The path of the file `name` of a model's run: of the run with the flags `changed`, else of that with the
    default settings, else of the last one; None where there is none."""
    asked = utils.run_name(base, changed)
    runs = [*folder.glob(f"{base}/{name}"), *folder.glob(f"{base}-*/{name}")]
    return max(
        runs, key=lambda path: (path.parent.name == asked, path.parent.name == base, path.stat().st_mtime), default=None
    )


def explore(settings, changed):
    """`--explore`: writes the page of what has been trained under `--figures`, and opens it.

    Args:
        settings: of which it takes `figures`, `data` and `no_open`.
        changed: `utils.changed_flags` of the script, see `latest_of`.

    Raises:
        UserError: nothing has been trained, or a checkpoint cannot be read.
    """
    from autoencoder import Autoencoder, VariationalAutoencoder, sample_train
    from codelet7 import SparseAutoencoder

    digits = utils.load_digits(False, settings.data)
    folder = utils.picture_folder(settings.figures, "", digits.source)
    images, labels = sample_train(latent.PLOTTED, True, settings.data, generator=np.random.default_rng(0))
    trained = {}
    for key, make in (
        ("autoencoder", lambda weights: Autoencoder()),
        ("variational", lambda weights: VariationalAutoencoder()),
        ("sparse", lambda weights: SparseAutoencoder(28 * 28, len(weights["encoder.0.weight"]))),
    ):
        path = latest_of(folder, changed, *MODELS[key][1:3])
        if path is None:
            continue
        saved = checkpoint.load_file(path)
        try:
            model = make(saved["weights"])
            model.load_state_dict(saved["weights"])
        except (KeyError, RuntimeError) as error:  # the file is whole, the layers are others
            raise UserError(f"{path} is of a model with other layers; train anew, or move it away") from error
        print(f"  {path}: the {MODELS[key][0]}")
        if key == "sparse":
            trained[key] = model, f"{digits.source}, {saved['settings']['epochs']} epochs"
        else:
            trained[key] = latent.Plane.of(model, images, labels, f"{digits.source}, {saved['step']:,} steps")
    if not trained:
        raise UserError(f"nothing has been trained under {folder}; {MODELS['autoencoder'][-1]} trains a first model")
    path = folder / "explore.html"
    write_page(path, digits, **trained)
    open_page(path, settings.no_open)
