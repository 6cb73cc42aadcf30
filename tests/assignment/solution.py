"""What makes the checks tolerant: a solution is asked here, in whatever way it answers.

Layers may have any name. `forward` of codelet 7 may return its two results in either
order, or keep the activations on the model. The penalty and the loss may be methods or
functions, with their arguments in any order. Images may be flat or 28 x 28.
"""

import functools
import inspect
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tests.assignment.mistakes import RHO
from tests.assignment.reading import describe, expect, fail, line_in_solution, load

PIXELS = 28 * 28
HIDDEN = 10  # nodes of the model that the checks look at
IMAGE_SHAPES = (PIXELS,), (28, 28), (1, 28, 28)


class Solution:
    """A student's file; `names` are what the checks call."""

    names = ()

    def __init__(self, path):
        self.path = path
        self.unreadable = False

    @functools.cached_property
    def module(self):
        """The executed file; where that fails, the first check that asks says why."""
        if self.unreadable:
            pytest.skip(f"{self.path.name} cannot be read")
        try:
            return load(self.path, self.names)
        except Exception as error:
            self.unreadable = True
            fail(f"{self.path.name} cannot be read: {describe(error)}")

    def get(self, name):
        """The class or function of the file that has this name."""
        expect(hasattr(self.module, name), f"{self.path.name} does not define {name}")
        return getattr(self.module, name)

    def function_that_takes(self, name, count):
        """A function of the file with this name, which the assignment does not ask for;
        the check is skipped where there is none that takes so many arguments."""
        function = getattr(self.module, name, None)
        if not callable(function):
            pytest.skip(f"{self.path.name} defines no function {name}")
        try:
            inspect.signature(function).bind(*range(count))
        except TypeError:
            pytest.skip(f"{name} takes other arguments than the scaffold's")
        return function


class Codelet7(Solution):
    names = "SparseAutoencoder", "batched_sparsity_penalty", "loss_function", "train"

    def model(self, hDims=HIDDEN):
        """A new model of the student's class, the same each time."""
        torch.manual_seed(0)
        return self.get("SparseAutoencoder")(PIXELS, hDims)

    def layers(self, model):
        """The two `Linear` layers, encoder and decoder, under whatever names."""
        linears = [part for part in model.modules() if isinstance(part, nn.Linear)]
        sizes = {
            (linear.in_features, linear.out_features): linear for linear in linears
        }
        expect(
            len(linears) == 2 and {*sizes} == {(PIXELS, HIDDEN), (HIDDEN, PIXELS)},
            f"the Linear layers of the model map {list_sizes(linears)}; "
            f"expected {PIXELS} to {HIDDEN}, {HIDDEN} to {PIXELS}",
        )
        return sizes[PIXELS, HIDDEN], sizes[HIDDEN, PIXELS]

    def forward(self, model, images):
        """hidden `(N, 10)` and reconstructions `(N, 784)` of images `(N, 784)`."""
        calls = [
            functools.partial(model, images.view(-1, *shape)) for shape in IMAGE_SHAPES
        ]
        output = first_that_works(calls)
        returned = list(output) if isinstance(output, (tuple, list)) else [output]
        kept = [vars(model)[name] for name in kept_activations(model, len(images))]
        hidden = [
            one for one in [*returned, *kept] if has_shape(one, len(images), HIDDEN)
        ]
        reconstructions = [one for one in returned if has_size(one, images.numel())]
        expect(
            hidden and reconstructions,
            f"forward of {len(images)} images returns {list_shapes(returned)}; "
            f"expected hidden ({len(images)}, {HIDDEN}) "
            f"and reconstruction ({len(images)}, {PIXELS})",
        )
        return hidden[0], reconstructions[0].reshape(-1, PIXELS)

    def penalty(self, hidden, model=None):
        """The penalty of activations `(N, hDims)`, as the student's code returns it."""
        model = model or self.model(hidden.shape[1])
        function = self.method(model, "batched_sparsity_penalty")
        names = required_arguments(function)
        arguments = dict.fromkeys(names, hidden)
        if len(names) == 2:
            arguments["rho" if "rho" in names else names[1]] = RHO
        return one_number(function(**arguments), "batched_sparsity_penalty")

    def loss(self, model, x, hidden, reconstruction):
        """The loss of images and reconstructions `(N, 784)` and hidden `(N, 10)`."""
        function = self.method(model, "loss_function")
        orders = [
            (x, hidden, reconstruction),
            (x, reconstruction, hidden),
            (hidden, x, reconstruction),
        ]
        if len(required_arguments(function)) == 2:
            self.forward(model, x)
            for name in kept_activations(model, len(x)):
                setattr(model, name, hidden)
            orders = [(x, reconstruction)]
        calls = [functools.partial(function, *order) for order in orders]
        return one_number(first_that_works(calls), "loss_function")

    def method(self, model, name):
        """A method of the model, or else a function of the file."""
        return getattr(model, name, None) or self.get(name)


class Autoencoder(Solution):
    names = "Autoencoder", "sample_train", "plot", "train"

    def model(self):
        """A new model of the student's class, the same each time, in evaluation."""
        torch.manual_seed(0)
        model_class = self.get("Autoencoder")
        latent_dims = [2 for _ in required_arguments(model_class)]
        return model_class(*latent_dims).eval()

    def sample(self, N):
        """Training images as `sample_train` returns them, as float32 `(N, 28, 28)`."""
        return as_images(self.get("sample_train")(N), N)

    def labelled_sample(self, N):
        """The same with labels, an array of int `(N,)`."""
        pair = self.get("sample_train")(N, return_labels=True)
        expect(
            isinstance(pair, (tuple, list)) and len(pair) == 2,
            f"sample_train({N}, return_labels=True) returns {list_shapes([pair])}; "
            "expected images and labels",
        )
        images, labels = pair
        expect(
            has_shape(labels, N),
            f"sample_train({N}, return_labels=True) returns labels "
            f"{list_shapes([labels])}; expected ({N},)",
        )
        return as_images(images, N), np.asarray(labels).astype(int)


def as_images(images, N):
    """Images, flat or not, an array or a tensor, as float32 `(N, 28, 28)`."""
    shapes = [(N, *shape) for shape in IMAGE_SHAPES]
    expect(
        any(has_shape(images, *shape) for shape in shapes),
        f"sample_train({N}) returns {list_shapes([images])}; expected ({N}, 28, 28)",
    )
    return torch.as_tensor(images).float().reshape(N, 28, 28)


def first_that_works(calls):
    """The result of the first call that goes well; else the error furthest down."""
    errors = []
    for call in calls:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return call()
        except Exception as error:
            errors.append(error)
    raise max(errors, key=line_in_solution)


def required_arguments(function):
    """The names of the arguments that a function cannot do without."""
    parameters = inspect.signature(function).parameters.values()
    named = [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    return [one.name for one in named if one.default is one.empty]


def kept_activations(model, N):
    """The names of a model's attributes that hold activations `(N, 10)`."""
    return [name for name, kept in vars(model).items() if has_shape(kept, N, HIDDEN)]


def one_number(value, function):
    """A value, which is one number, in a tensor or not."""
    expect(value is not None, f"{function} returns nothing; is its return missing?")
    shape = tuple(np.shape(value))
    expect(
        not any(side != 1 for side in shape),
        f"{function} returns the shape {shape}; expected one number",
    )
    return value


def as_float(value):
    """A number, in a tensor or not, without its gradient."""
    return torch.as_tensor(value).detach().item()


def has_shape(value, *shape):
    return tuple(getattr(value, "shape", ())) == shape


def has_size(value, size):
    return isinstance(value, torch.Tensor) and value.numel() == size


def list_shapes(values):
    """The shapes of tensors in words, for a message."""
    shapes = [
        str(tuple(value.shape)) if hasattr(value, "shape") else type(value).__name__
        for value in values
    ]
    return " and ".join(shapes)


def list_sizes(linears):
    """What linear layers map, in words, for a message."""
    sizes = [f"{linear.in_features} to {linear.out_features}" for linear in linears]
    return ", ".join(sizes) or "nothing"
