"""The checks of tests/assignment, on wrong and right solutions; and the scaffolds.

A wrong solution is one of the two here with a line or two replaced.
"""

import ast
import inspect
import re
import shutil
import subprocess
import sys

import pytest
import torch

import autoencoder
import codelet7
from tests.assignment import mistakes, solution, test_autoencoder, test_codelet7
from tests.assignment.conftest import prepare_surroundings
from tests.assignment.reading import errors_in_a_line, load
from tests.conftest import ROOT

CODELET7 = """
import torch
from torch import nn
from torch.nn import functional as F

def init_weights(linear):
    nn.init.xavier_uniform_(linear.weight)

class SparseAutoencoder(nn.Module):
    def __init__(self, inputDims, hDims):
        super().__init__()
        self.encoder = nn.Linear(inputDims, hDims)
        self.decoder = nn.Linear(hDims, inputDims)
        init_weights(self.encoder)
        init_weights(self.decoder)

    def forward(self, x):
        x = x.view(-1, 784)
        hidden = torch.sigmoid(self.encoder(x))
        reconstruction = torch.tanh(self.decoder(hidden))
        return hidden, reconstruction

    def batched_sparsity_penalty(self, hidden):
        rho = 0.05
        rho_hat = hidden.mean(dim=0)
        rho_hat = torch.clamp(rho_hat, 1e-8, 1 - 1e-8)
        first = rho * torch.log(rho / rho_hat)
        second = (1 - rho) * torch.log((1 - rho) / (1 - rho_hat))
        return (first + second).sum()

    def loss_function(self, x, hidden, reconstruction):
        error = F.mse_loss(reconstruction, x)
        return error + 1e-4 * self.batched_sparsity_penalty(hidden)
"""
AUTOENCODER = """
import matplotlib.pyplot as plt
import mnist
import numpy as np
import torch
from torch import nn

train_images = mnist.train_images()
train_labels = mnist.train_labels()

class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 2)
        )
        self.decoder = nn.Sequential(
            nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 784), nn.Unflatten(1, (28, 28))
        )

    def forward(self, images):
        codes = self.encoder(images)
        return codes, self.decoder(codes)

def sample_train(N, return_labels=False):
    chosen = np.random.permutation(len(train_images))[:N]
    images = torch.tensor(train_images[chosen]) / 255
    labels = torch.tensor(train_labels[chosen])
    return (images, labels) if return_labels else images

def plot(model, samples):
    codes, reconstructions = model(samples)
    figure, axes = plt.subplots(1, 2)
    axes[0].imshow(samples[0].numpy())
    axes[1].imshow(reconstructions[0].detach().numpy())
    plt.show()
"""
pytestmark = pytest.mark.filterwarnings("ignore:This passes, but know")


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Function that writes a solution, with some of its text replaced, and reads it."""

    def write_and_read(text, replaced):
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "hand_in.py"
        path.write_text(text)
        prepare_surroundings(tmp_path, monkeypatch)
        is_codelet7 = "SparseAutoencoder" in text
        return (solution.Codelet7 if is_codelet7 else solution.Autoencoder)(path)

    return write_and_read


def complaints(student):
    """What the checks say to a solution, without the slow ones."""
    is_codelet7 = isinstance(student, solution.Codelet7)
    module = test_codelet7 if is_codelet7 else test_autoencoder
    checks = [name for name in vars(module) if name.startswith("test_")]
    said = [say(getattr(module, name), student) for name in checks]
    return [words for words in said if words]


def say(check, student, slow=False):
    """What a check says to a solution; nothing, where it passes or is slow."""
    if hasattr(check, "pytestmark") and not slow:
        return ""
    try:
        with errors_in_a_line():
            check(student)
    except pytest.fail.Exception as failure:
        return failure.msg
    except pytest.skip.Exception:
        return ""
    return ""


# --- Wrong solutions -----------------------------------------------------------------

CLAMP = "torch.clamp(rho_hat, 1e-8, 1 - 1e-8)"
SUM = "(first + second).sum()"
MEAN = "hidden.mean(dim=0)"
ERROR = "F.mse_loss(reconstruction, x)"
SUMMED_ERROR = 'F.mse_loss(reconstruction, x, reduction="sum")'
SIGMOID = "torch.sigmoid(self.encoder(x))"

IN_THE_TABLES = {  # the first words of the mistake, and what makes it
    "the mean over the nodes": {SUM: "(first + second).mean()"},
    "the divergence the other way round": {
        "rho * torch.log(rho / rho_hat)": "rho_hat * torch.log(rho_hat / rho)",
        "(1 - rho) * torch": "(1 - rho_hat) * torch",
        "(1 - rho) / (1 - rho_hat)": "(1 - rho_hat) / (1 - rho)",
    },
    "with the logarithm of base 2": {"torch.log(": "torch.log2("},
    "with the logarithm of base 10": {"torch.log(": "torch.log10("},
    "the first term alone": {SUM: "first.sum()"},
    "the second term alone": {SUM: "second.sum()"},
    "the difference of the two terms": {SUM: "(first - second).sum()"},
    "with the mean over the nodes of an image": {MEAN: "hidden.mean(dim=1)"},
    "the penalty of single activations, averaged": {
        MEAN: "hidden",
        SUM: "(first + second).sum(dim=1).mean()",
    },
    "the penalty of single activations, summed": {MEAN: "hidden"},
    "the mean of the penalties": {MEAN: "hidden", SUM: "(first + second).mean()"},
    "with one mean over everything": {MEAN: "hidden.mean()"},
    "with rho_hat clamped at 1e-6": {"1e-8": "1e-6"},
    "with rho_hat clamped at 1e-3": {"1e-8": "1e-3"},
    "with rho = 0.5;": {"rho = 0.05": "rho = 0.5"},
    "with rho = 0.1;": {"rho = 0.05": "rho = 0.1"},
    "with rho = 0.01;": {"rho = 0.05": "rho = 0.01"},
    "without the clamp": {CLAMP: "rho_hat"},
    "the error summed over pixels and images": {ERROR: SUMMED_ERROR},
    "the error's mean over the batch only": {ERROR: f"{SUMMED_ERROR} / len(x)"},
    "without the weight 1e-4": {"1e-4 * self": "self"},
    "the penalty subtracted": {"error + 1e-4": "error - 1e-4"},
    "the error alone": {"error + 1e-4": "error + 0"},
    "not Xavier": {"init_weights(self.": "print(self."},
    "init_weights called on the encoder only": {"init_weights(self.decoder)": ""},
    "init_weights called on the decoder only": {"init_weights(self.encoder)": ""},
    "no activation function": {SIGMOID: "self.encoder(x)"},
    "a Tanh": {SIGMOID: "torch.tanh(self.encoder(x))"},
    "a ReLU": {SIGMOID: "torch.relu(self.encoder(x))"},
    "a Softmax": {SIGMOID: "torch.softmax(self.encoder(x), dim=1)"},
    "a Sigmoid": {"torch.tanh": "torch.sigmoid"},
}


@pytest.mark.parametrize("words", IN_THE_TABLES)
def test_a_mistake_in_the_tables_is_named(read, words):
    said = complaints(read(CODELET7, IN_THE_TABLES[words]))
    assert f": this is {words}" in " ".join(said)


def test_every_mistake_in_the_tables_has_a_wrong_solution():
    linear = torch.nn.Linear(2, 2)
    ones = torch.ones(2, 2)
    known = {
        **mistakes.PENALTIES,
        **mistakes.losses(ones, ones, 1),
        **mistakes.deviations(linear, linear),
        **mistakes.activations(ones),
    }
    assert [one for one in known if not one.startswith(tuple(IN_THE_TABLES))] == []


TRAIN_7 = """
def train(model, train_dataloader, epochs, lr):
    pass

class """
TRAIN = TRAIN_7.replace("train_dataloader, epochs, lr", "steps")
IN_CODELET7 = {  # words of a message, and what leads to it
    "rho_hat is (0.4, 0.0, 0.2)": {SUM: "(first + 2 * second).sum()"},
    "the first term summed over the nodes 0.5980": {SUM: "-(first + second).sum()"},
    "returns the shape (3,)": {SUM: "first + second"},
    "is its return missing?": {f"return {SUM}": SUM},
    "no gradient reaches": {MEAN: "hidden.detach().mean(dim=0)"},
    "no gradient reaches the encoder": {SUM: f"{SUM}.item()"},
    "Can't call numpy()": {MEAN: "torch.tensor(hidden.numpy().mean(0))"},
    "where rho_hat is 1": {CLAMP: "rho_hat.clamp(min=1e-8)"},
    "map 784 to 10, 10 to 10": {"(hDims, inputDims)": "(hDims, hDims)"},
    "returns (5, 784); expected": {"return hidden, ": "return "},
    "line 19, in forward: AttributeError": {"self.encoder(x)": "self.encode(x)"},
    "does not define SparseAutoencoder": {"class Sparse": "class ASparse"},
    "through the reconstruction's error": {"(hidden))\n": "(hidden.detach()))\n"},
    "train leaves weights": {"\nclass ": TRAIN_7},
}
SQUEEZE = """
class Squeeze(nn.Module):
    def forward(self, codes):
        return codes.squeeze()

class """
CHOSEN = "np.random.permutation(len(train_images))[:N]"
IN_AUTOENCODER = {
    "flat, without rows": {", nn.Unflatten(1, (28, 28))": ""},
    "a channel too many": {"(28, 28)": "(1, 28, 28)"},
    "squeeze() took away N": {"\nclass ": SQUEEZE, "(64, 2)": "(64, 2), Squeeze()"},
    "the other way round": {"codes, self.decoder(codes)": "self.decoder(codes), codes"},
    "expected a tuple": {"return codes, self": "return self"},
    "not what the encoder": {"self.encoder(images)": "2 * self.encoder(images)"},
    "not what the decoder": {"self.decoder(codes)": "-self.decoder(codes)"},
    "MNIST's test images": {"mnist.train_images": "mnist.test_images"},
    "with replacement": {CHOSEN: "np.random.randint(0, 60_000, N)"},
    "the same images on each call": {CHOSEN: "np.arange(N)"},
    "labels of sample_train belong": {"train_labels[chosen]": "train_labels[:N]"},
    "returns tuple": {" if return_labels else images": ""},
    "of one image is 1": {"axes[0].imshow(samples[0].numpy())": ""},
    "in plot: RuntimeError": {".detach()": ""},
    "through the reconstruction's error": {"r(codes)": "r(codes.detach())"},
    "train leaves weights": {"\nclass ": TRAIN},
}


@pytest.mark.parametrize("words", IN_CODELET7)
def test_a_mistake_in_codelet7_is_told(read, words):
    assert words in " ".join(complaints(read(CODELET7, IN_CODELET7[words])))


@pytest.mark.parametrize("words", IN_AUTOENCODER)
def test_a_mistake_in_the_autoencoder_is_told(read, words):
    assert words in " ".join(complaints(read(AUTOENCODER, IN_AUTOENCODER[words])))


@pytest.mark.slow
def test_a_range_that_the_decoder_cannot_reach_is_told(read):
    student = read(AUTOENCODER, {" / 255": ".float()", "nn.Un": "nn.Sigmoid(), nn.Un"})
    check = test_autoencoder.test_training_learns_more_than_the_mean_image
    assert "The images go from 0 to 255" in say(check, student, slow=True)


# --- Right solutions, as they are found ----------------------------------------------


def between(text, start, end):
    """The part of a text from one word to another, with both."""
    return text[text.index(start) : text.index(end) + len(end)]


CLASS = between(CODELET7, "\nclass", "def batched")
FORWARD = between(CODELET7, "\n    def forward", "def batched")
PENALTY = between(CODELET7, "    def batched", "sum()\n")
FIGURE = between(AUTOENCODER, "    figure", "detach().numpy())\n")
LOSS = "loss_function(self, x, hidden, reconstruction)"

SEQUENTIAL = """
class SparseAutoencoder(nn.Module):
    def __init__(self, inputDims, hDims):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(inputDims, hDims), nn.Sigmoid(),
            nn.Linear(hDims, inputDims), nn.Tanh(),
        )
        init_weights(self.net[0])
        init_weights(self.net[2])

    def forward(self, x):
        hidden = self.net[:2](x)
        return self.net[2:](hidden), hidden

    def batched"""
KEEPING = """
    def forward(self, x):
        self.kept = torch.sigmoid(self.encoder(x))
        return torch.tanh(self.decoder(self.kept))

    def batched"""
FUNCTION = """
EPSILON = 1e-8

def batched_sparsity_penalty(hidden, rho):
    rho_hat = torch.clamp(hidden.mean(0), EPSILON, 1 - EPSILON)
    first = rho * torch.log(rho / rho_hat)
    return (first + (1 - rho) * torch.log((1 - rho) / (1 - rho_hat))).sum()

class """
TRAINING = """
from no_such_module import plot_losses
model = SparseAutoencoder(784, 10)
hidden = train(model)
for error in range(20):
    raise RuntimeError("this trains")
print(hidden)
if torch.cuda.is_available():
    device = "cuda"
    print(device)
else:
    device = "cpu"

class """
GRID = """    pair = torch.cat([samples[0], reconstructions[0].detach()], dim=1)
    plt.imshow(pair.numpy())
"""

RIGHT_CODELET7 = {
    "as it is": {},
    "it trains at top level": {
        "\nclass ": TRAINING,
        "encoder(x)": "encoder(x.to(device))",
    },
    "one nn.Sequential, the other order": {CLASS: SEQUENTIAL},
    "activations kept": {FORWARD: KEEPING},
    "activations kept for the loss": {
        FORWARD: KEEPING,
        LOSS: "loss_function(self, x, reconstruction)",
        "penalty(hidden)\n": "penalty(self.kept)\n",
    },
    "flat images": {"x = x.view(-1, 784)": ""},
    "images 28 x 28": {"x = x.view(": "N, rows, columns = x.shape; x = x.view("},
    "Xavier normal": {"xavier_uniform_": "xavier_normal_"},
    "hidden first": {LOSS: "loss_function(self, hidden, x, reconstruction)"},
    "hidden last": {LOSS: "loss_function(self, x, reconstruction, hidden)"},
    "a function with rho": {
        PENALTY: "",
        "\nclass ": FUNCTION,
        "self.batched": "batched",
        "penalty(hidden)\n": "penalty(hidden, 0.05)\n",
    },
}
RIGHT_AUTOENCODER = {
    "as it is": {},
    "images in [-1, 1]": {" / 255": " / 127.5 - 1"},
    "images in [0, 255]": {" / 255": ".float()"},
    "flat images": {
        " / 255": ".view(N, 784) / 255",
        "samples[0]": "samples[0].view(28, 28)",
    },
    "arrays": {
        "torch.tensor(train_images[chosen])": "train_images[chosen]",
        "model(samples)": "model(torch.tensor(samples).float())",
        "samples[0].numpy()": "samples[0]",
    },
    "a size wanted": {"(self):": "(self, size):", "(64, 2)": "(64, size)"},
    "one grid": {FIGURE: GRID},
}


@pytest.mark.parametrize("name", RIGHT_CODELET7)
def test_right_codelet7_passes(read, name):
    assert complaints(read(CODELET7, RIGHT_CODELET7[name])) == []


@pytest.mark.parametrize("name", RIGHT_AUTOENCODER)
def test_right_autoencoder_passes(read, name):
    assert complaints(read(AUTOENCODER, RIGHT_AUTOENCODER[name])) == []


def test_modules_beside_a_solution_are_found(read, tmp_path):
    (tmp_path / "utils.py").write_text("from own_helper import flatten")
    (tmp_path / "own_helper.py").write_text("def flatten(x): return x.flatten(1)")
    flatten = {
        "import torch\n": "import torch, utils\n",
        "x.view(-1, 784)": "utils.flatten(x)",
    }
    assert complaints(read(CODELET7, flatten)) == []


def test_the_literal_clamp_passes_with_a_remark(read):
    with pytest.warns(UserWarning, match="1 - 1e-8 is 1 in float32"):
        test_codelet7.test_penalty_of_nodes_that_always_fire(read(CODELET7, {}))


UNREADABLE = {
    "line 9: SyntaxError: expected ':'": {"(nn.Module):": "(nn.Module)"},
    "line 3: ModuleNotFoundError: No module named 'absent'": {
        "torch import": "absent import"
    },
    "line 9: NameError: name 'Base' is not defined": {"nn.Module": "Base"},
}


@pytest.mark.parametrize("line", UNREADABLE)
def test_a_file_that_cannot_be_read_is_told_once(read, line):
    student = read(CODELET7, UNREADABLE[line])
    check = test_codelet7.test_penalty_of_the_example
    assert say(check, student) == f"hand_in.py cannot be read: {line}"
    with pytest.raises(pytest.skip.Exception):
        check(student)


# --- The scaffolds -------------------------------------------------------------------

SOLUTIONS = {"codelet7": codelet7, "autoencoder": autoencoder}


def run_python(folder, *arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_scaffolds_are_not_written_yet():
    pytest_run = ["-m", "pytest", "-p", "no:cacheprovider", "tests/assignment"]
    done = run_python(ROOT, *pytest_run, "--solution", "scaffold")
    failed = re.search(r"=+ (\d+) failed in", done.stdout)
    assert failed, "some passed"
    assert done.stdout.count("is not written yet\n") == int(failed[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "copied"), [("codelet7", True), ("autoencoder", False)]
)
def test_scaffolds_run_up_to_what_is_not_written_yet(tmp_path, name, copied):
    folder = ROOT / "scaffold"
    if copied:
        shutil.copytree(ROOT / "data", tmp_path / "data")
        shutil.copy(ROOT / "utils.py", tmp_path)
        folder = shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    done = run_python(tmp_path, folder / f"{name}.py")
    assert done.stderr.endswith("raise NotImplementedError\nNotImplementedError\n")


def functions(module):
    """The functions, classes and methods that a module defines, by their names."""
    members = [one for one in vars(module).values() if hasattr(one, "__qualname__")]
    own = [one for one in members if one.__module__ == module.__name__]
    classes = filter(inspect.isclass, own)
    methods = [one for each in classes for one in vars(each).values()]
    return {
        one.__qualname__: one for one in [*own, *filter(inspect.isfunction, methods)]
    }


def load_scaffold(name):
    path = ROOT / "scaffold" / f"{name}.py"
    statements = ast.parse(path.read_text()).body
    return load(path, {one.name for one in statements if hasattr(one, "name")})


def shapes(docstring):
    """What stands in backticks and brackets, as `(N, 28, 28)`."""
    return set(re.findall(r"`(\(.*?\))`", docstring or ""))


@pytest.mark.parametrize("name", SOLUTIONS)
def test_scaffolds_have_the_signatures_and_shapes_of_the_solutions(name):
    solved = functions(SOLUTIONS[name])
    for function_name, scaffold in functions(load_scaffold(name)).items():
        solved_function = solved[function_name]
        parameters = list(inspect.signature(scaffold).parameters.values())
        expected = list(inspect.signature(solved_function).parameters.values())
        left_out = expected[len(parameters) :]
        assert parameters == expected[: len(parameters)], function_name
        assert all(one.default is not one.empty for one in left_out), function_name
        unknown = shapes(scaffold.__doc__) - shapes(solved_function.__doc__)
        assert not unknown, function_name
