"""The sparse autoencoder: against the assignment's numbers, NumPy in float64, and by running it."""

import gzip
import hashlib
import os
import re
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib import image, pyplot
from torchvision.datasets import MNIST

import answers
import codelet7
import sparsity
import utils
from digits import draw_digits
from tests.running import ROOT, Forked, run_script

FILES = [
    "codelet7.pdf",
    "loss.png",
    "mnist.png",
    "model.pt",
    "reconstructions.png",
    "reconstructions_untrained.png",
    "top100.png",
    "top100_untrained.png",
]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return codelet7.SparseAutoencoder(784, 10)


@pytest.fixture(scope="module")
def drawn():
    return utils.Digits(*draw_digits(2000, seed=0), utils.DRAWN)


@pytest.fixture(scope="module")
def files(tmp_path_factory, drawn):
    """A folder with a small MNIST, 2,000 training and 1,000 test digits, and the names and sums of its files."""
    folder = tmp_path_factory.mktemp("files")
    resources = []
    for (name, _), half in zip(
        MNIST.resources, (drawn.images, drawn.labels, drawn.images[1000:], drawn.labels[1000:]), strict=False
    ):
        header = struct.pack(f">HBB{half.ndim}I", 0, 8, half.ndim, *half.shape)
        file = gzip.compress(header + half.astype(np.uint8).tobytes(), compresslevel=1, mtime=0)
        (folder / name).write_bytes(file)
        resources.append((name, hashlib.md5(file).hexdigest()))
    return folder, resources


@pytest.fixture
def run(files, monkeypatch, tmp_path):
    """Runs `codelet7.main` with flags on the small MNIST; returns the folder of all figures."""
    folder, resources = files
    monkeypatch.setattr(MNIST, "resources", resources)

    def main(*flags):
        flags = ("--data", str(folder), "--figures", str(tmp_path), "--threads", "1", *map(str, flags))
        codelet7.main(codelet7.make_parser().parse_args(flags))
        return tmp_path

    return main


def reference_penalty(hidden, rho=0.05):
    """The assignment's formula, step by step, in NumPy's float64."""
    rho_hat = np.clip(np.asarray(hidden, np.float64).mean(axis=0), 1e-8, 1 - 1e-8)
    return (rho * np.log(rho / rho_hat) + (1 - rho) * np.log((1 - rho) / (1 - rho_hat))).sum()


# --- The penalty


def test_the_assignments_example(model):
    hidden = torch.tensor([[0.3, 0, 0.1], [0.2, 0, 0.2], [0.5, 0, 0.1], [0.5, 0, 0.3], [0.5, 0, 0.3]])
    assert f"{model.batched_sparsity_penalty(hidden):.4f}" == "1.1490"


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_penalty_against_numpy(model, dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    for power in (0.1, 1, 10):  # activations near 1, spread out, near 0
        hidden = torch.rand(64, 10, generator=generator, dtype=dtype) ** power
        assert model.batched_sparsity_penalty(hidden).item() == pytest.approx(reference_penalty(hidden), rel=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("stuck", "cost"), [(1.0, 17.30), (0.0, 0.7225)])
def test_penalty_is_finite_at_both_ends(model, dtype, stuck, cost):
    hidden = torch.full((8, 1), stuck, dtype=dtype, requires_grad=True)
    penalty = model.batched_sparsity_penalty(hidden)
    penalty.backward()
    assert penalty.item() == pytest.approx(cost, abs=0.005)
    assert penalty.item() == pytest.approx(reference_penalty(hidden.detach()), rel=1e-5)
    assert hidden.grad.isfinite().all()


def test_penalty_gradients(model):
    hidden = torch.rand(7, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model.batched_sparsity_penalty, hidden)


@pytest.mark.parametrize(
    "hidden",
    [
        torch.zeros(0, 10),
        torch.zeros(10),
        torch.zeros(2, 3, 10),
    ],
)
def test_penalty_refuses(model, hidden):
    with pytest.raises(ValueError, match="expected"):
        model.batched_sparsity_penalty(hidden)


def test_nan_does_not_pass_for_a_number(model):
    hidden = torch.rand(4, 10)
    hidden[2, 3] = torch.nan
    assert model.batched_sparsity_penalty(hidden).isnan()
    assert model.loss_function(torch.zeros(4, 784), hidden, torch.zeros(4, 784)).isnan()


# --- The model


def test_layers(model):
    assert [type(layer).__name__ for layer in (*model.encoder, *model.decoder)] == [
        "Linear",
        "Sigmoid",
        "Linear",
        "Tanh",
    ]
    assert model.encoder[0].weight.shape == (10, 784)
    assert model.decoder[0].weight.shape == (784, 10)


def test_init_weights():
    linear = torch.nn.Linear(784, 10)
    codelet7.init_weights(linear)
    bound = (6 / (784 + 10)) ** 0.5  # Glorot & Bengio 2010, equation 16
    assert 0.98 * bound < linear.weight.abs().max() <= bound
    assert (linear.bias == 0.01).all()


@pytest.mark.parametrize("shape", [(3, 784), (3, 28, 28), (3, 1, 28, 28)])
def test_forward_shapes(model, shape):
    x = torch.randn(shape)
    hidden, reconstruction = model(x)
    assert hidden.shape == (3, 10)
    assert reconstruction.shape == shape
    assert hidden.min() >= 0
    assert hidden.max() <= 1
    assert reconstruction.abs().max() <= 1
    flat = x.reshape(3, 784).double().numpy()
    layer = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
    expected = 1 / (1 + np.exp(-(flat @ layer["encoder.0.weight"].T + layer["encoder.0.bias"])))
    np.testing.assert_allclose(hidden.detach(), expected, atol=1e-5)
    expected = np.tanh(expected @ layer["decoder.0.weight"].T + layer["decoder.0.bias"])
    np.testing.assert_allclose(reconstruction.detach().reshape(3, 784), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(784,), (28, 28), (3, 783), (3, 3, 28, 28), (3, 14, 56), (3, 2, 392)])
def test_forward_refuses(model, shape):
    with pytest.raises(ValueError, match=rf"{re.escape(str(shape))}.*\(N, 784\)"):
        model(torch.zeros(shape))


def test_loss_function(model):
    x = torch.randn(5, 1, 28, 28)
    hidden, reconstruction = model(x)
    squares = (x.double() - reconstruction.double()).square().mean().item()
    expected = squares + 1e-4 * reference_penalty(hidden.detach())
    assert model.loss_function(x, hidden, reconstruction).item() == pytest.approx(expected, rel=1e-6)


# --- Data and training


SNIPPET = """
from torchvision.utils import make_grid
batch = next(iter(train_dataloader))
images, _ = batch
g = [image for image in images]
grid = make_grid(g, 16)
show(grid)
"""


def test_a_notebooks_first_lines_and_the_assignments_snippet(files, drawn, monkeypatch, tmp_path, capsys):
    folder, resources = files
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(folder)
    readme = (ROOT / "README.md").read_text()
    [lines] = re.findall(r"^```python\n([^`]*codelet7\.make_dataloader[^`]*)^```$", readme, re.MULTILINE)
    names = {}
    exec(lines + SNIPPET, names)
    shown = pyplot.gcf().axes[0].images[0].get_array()
    pyplot.close("all")
    assert isinstance(names["train_dataloader"], torch.utils.data.DataLoader)
    images, labels = names["batch"]
    assert images.shape == (64, 1, 28, 28)
    assert images.dtype == torch.float32
    assert labels.shape == (64,)
    assert labels.dtype == torch.int64
    assert shown.shape == (4 * 30 + 2, 16 * 30 + 2, 3)
    for place in (0, 17, 63):
        top, left = 30 * (place // 16) + 2, 30 * (place % 16) + 2
        np.testing.assert_allclose(shown[top : top + 28, left : left + 28, 0], original(images)[place] / 255, atol=1e-5)


def test_saved_samples(drawn, tmp_path):
    codelet7.save_samples(codelet7.make_dataloader(drawn, 100), tmp_path / "mnist.png", drawn.source)
    batch, _ = next(iter(codelet7.make_dataloader(drawn, 100)))
    picture = image.imread(tmp_path / "mnist.png")[..., 0]
    rows = original(batch[:64]).reshape(4, 16, 28, 28)
    found = 0
    for row, column in ((0, 0), (1, 5), (3, 15)):  # each pixel is 3 dots a side, below the title
        top, left = 70 + 3 * (30 * row + 2), 10 + 3 * (30 * column + 2)
        seen = picture[top : top + 84, left : left + 84]
        expected = np.kron(rows[row, column] / 255, np.ones((3, 3)))
        found += np.abs(seen - expected).max() < 2 / 255
    assert found == 3
    assert picture.shape == (70 + 366 + 10, 20 + 1446)


def original(images):
    """The bytes of normalised images."""
    return torch.round((images[:, 0] * 0.3081 + 0.1307) * 255).to(torch.uint8).numpy()


def test_an_epoch_is_every_image_once_with_its_label_in_a_new_order(drawn):
    train_dataloader = codelet7.make_dataloader(drawn, 64)
    assert len(train_dataloader) == 32
    expected = sorted((image.tobytes(), int(label)) for image, label in zip(drawn.images, drawn.labels, strict=False))
    orders = []
    for _ in range(2):
        epoch = list(train_dataloader)
        assert [len(images) for images, _ in epoch] == 31 * [64] + [2000 - 31 * 64]
        pairs = [
            (one.tobytes(), int(label))
            for images, labels in epoch
            for one, label in zip(original(images), labels, strict=False)
        ]
        assert sorted(pairs) == expected != pairs
        orders.append(pairs)
    assert orders[0] != orders[1]


def train(drawn, seed, epochs=3):
    torch.manual_seed(seed)
    train_dataloader = codelet7.make_dataloader(drawn, 64, seed=seed)
    model = codelet7.SparseAutoencoder(784, 10)
    loss = codelet7.Loss(model)
    optimizer = codelet7.make_optimizer(loss, 1e-3)
    return [codelet7.train_epoch(loss, train_dataloader, optimizer).item() for _ in range(epochs)]


def test_training_lowers_the_loss_and_a_seed_repeats_it(drawn):
    losses = train(drawn, seed=0)
    assert losses[0] > losses[1] > losses[2]
    assert losses == train(drawn, seed=0) != train(drawn, seed=1)


def test_losses_are_means(model, drawn):
    dataloader = codelet7.make_dataloader(drawn, 300)
    images = dataloader.dataset.tensors[0]
    losses = [model.loss_function(images, *model(images)).item() for images, _ in dataloader]
    losses = [model.loss_function(images, *model(images)).item() for images, _ in dataloader]
    dataloader = codelet7.make_dataloader(drawn, 300)
    list(dataloader)
    assert codelet7.mean_loss(model, dataloader) == pytest.approx(np.mean(losses), rel=1e-6)
    expected = (model(images)[1].detach().double() - images.double()).square().mean().item()
    assert answers.reconstruction_error(model, images) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("weight", "rho"), [(0, 0.05), (1e-4, 0.2), (0.3, 0.9), (5, 1e-3)])
def test_weight_and_rho_against_numpy(weight, rho):
    model = codelet7.SparseAutoencoder(6, 4, penalty_weight=weight, rho=rho).double()
    x, hidden, reconstruction = torch.randn(9, 6).double(), torch.rand(9, 4).double(), torch.rand(9, 6).double()
    penalty = reference_penalty(hidden, rho)
    assert model.batched_sparsity_penalty(hidden).item() == pytest.approx(penalty, rel=1e-12)
    expected = np.square(x.numpy() - reconstruction.numpy()).mean() + weight * penalty
    assert model.loss_function(x, hidden, reconstruction).item() == pytest.approx(expected, rel=1e-6)


def test_the_decoder_lies_by_columns_and_is_otherwise_xaviers(model):
    weight = model.decoder[0].weight
    assert weight.stride() == (1, 784)
    torch.manual_seed(0)
    layers = torch.nn.Linear(784, 10), torch.nn.Linear(10, 784)
    for layer in layers:
        codelet7.init_weights(layer)
    assert torch.equal(weight, layers[1].weight)


def train_alone(drawn, weight, epochs):
    torch.manual_seed(0)
    model = codelet7.SparseAutoencoder(784, 10, penalty_weight=weight)
    loss = codelet7.Loss(model)
    loader, optimizer = codelet7.make_dataloader(drawn, 64), codelet7.make_optimizer(loss, 1e-3)
    return model, [codelet7.train_epoch(loss, loader, optimizer).item() for _ in range(epochs)]


def test_models_side_by_side_learn_what_each_learns_alone(drawn):
    weights = [0, 1e-4, 0.03, 1]
    models = []
    for weight in weights:
        torch.manual_seed(0)
        models.append(codelet7.SparseAutoencoder(784, 10, penalty_weight=weight))
    loss = sparsity.SideBySide([codelet7.Loss(model) for model in models])
    loader, optimizer = codelet7.make_dataloader(drawn, 64), codelet7.make_optimizer(loss, 1e-3)
    losses = [codelet7.train_epoch(loss, loader, optimizer) for _ in range(4)]  # 128 steps
    untouched = models[1].encoder[0].weight.clone()
    loss.unstack()
    assert not torch.equal(untouched, models[1].encoder[0].weight)
    for place, weight in enumerate(weights):
        alone, expected = train_alone(drawn, weight, 4)
        assert [one[place].item() for one in losses] == pytest.approx(expected, abs=1e-5)
        for mine, other in zip(models[place].parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(mine, other, atol=2e-3, rtol=0)
    assert losses[-1][3] > losses[-1][0] + 0.01


def test_a_student_who_changes_the_penalty_changes_the_loss(model):
    x, hidden = torch.zeros(3, 784), torch.rand(3, 10)
    before = model.loss_function(x, hidden, x).item()
    model.batched_sparsity_penalty = lambda hidden: hidden.sum() * 0 + 7
    assert model.loss_function(x, hidden, x).item() == pytest.approx(7e-4) != before


# --- Pictures and answers


def test_grids_show_what_they_should(model, drawn):
    images = codelet7.make_dataloader(drawn, 64).dataset.tensors[0][:150]
    hidden = answers.activations(model, images)
    inputs, outputs = codelet7.reconstruction_grids(model, images[:64])
    assert inputs.shape == outputs.shape == (3, 16 * 30 + 2, 4 * 30 + 2)
    top = codelet7.top_grids(images, hidden, [3, 7])
    assert top[0].shape == (3, 10 * 30 + 2, 10 * 30 + 2)
    assert len(top) == 2
    order = np.argsort(-hidden[:, 7].numpy(), kind="stable")
    expected = model(images[:64])[1].detach().clamp(min=images.min())
    for place in (0, 5, 63):
        for grid, columns, of in (
            (inputs, 4, images[place]),
            (outputs, 4, expected[place]),
            (top[1], 10, images[order[place]]),
        ):
            down, right = 30 * (place // columns) + 2, 30 * (place % columns) + 2
            torch.testing.assert_close(grid[0, down : down + 28, right : right + 28], of[0])


# --- The script


def no_mnist_package():
    sys.modules["mnist"] = None  # an import of it fails


def test_run_without_files_or_network_or_the_mnist_package(tmp_path, digits_file):
    flags = ("--epochs", "1", "--hidden", "6", "--figures", "here")
    done = Forked("codelet7.py", *flags, cwd=tmp_path, digits=digits_file, before=no_mnist_package).end()
    assert done.returncode == 0
    folder = tmp_path / "here" / "drawn" / "codelet7-epochs1-hidden6"
    files = [*FILES, *(f"top100_node{node}.png" for node in range(6))]
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    assert all(f"{folder.relative_to(tmp_path)}/{name}" in done.stdout for name in files)
    assert re.search(r"^Epoch: 1/1 - Train Loss: \d\.\d{4}$", done.stdout, re.MULTILINE)
    assert done.stderr.splitlines()[1].startswith("Going on with drawn digits")
    assert b"drawn digits, not MNIST" in (folder / "codelet7.pdf").read_bytes()


def test_sweep_without_files_or_network(tmp_path, digits_file):
    flags = ("--sweep", "--weights", "1", "0", "0.1", "0", "--epochs", "3")
    done = Forked("codelet7.py", *flags, cwd=tmp_path, digits=digits_file).end()
    assert done.returncode == 0
    folder = tmp_path / "figures" / "drawn" / "codelet7-epochs3-weights0_0.1_1"
    assert sorted(path.name for path in folder.iterdir()) == ["sparsity.pdf", "sparsity.png"]
    assert len(re.findall(r"^Epoch: \d/3 - Train Loss: \d\.\d{4} to \d\.\d{4}$", done.stdout, re.MULTILINE)) == 3
    names = re.findall(r"^ *(\S+) +\d\.\d{4} +\d\.\d{4} ", done.stdout, re.MULTILINE)
    assert names == ["untrained", "0", "0.1", "1"]
    assert b"drawn digits, not MNIST" in (folder / "sparsity.pdf").read_bytes()


def test_reads_the_files_without_the_mnist_package(files, monkeypatch, drawn):
    folder, resources = files
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setitem(sys.modules, "mnist", None)
    utils._load_digits.cache_clear()
    digits = utils.load_digits(True, str(folder))
    np.testing.assert_array_equal(digits.images, drawn.images)
    np.testing.assert_array_equal(digits.labels, drawn.labels)


def test_ctrl_c_ends_in_one_line(tmp_path, digits_file):
    script = Forked("codelet7.py", "--epochs", "100000", cwd=tmp_path, digits=digits_file)
    script.until("Epoch: 2/")
    script.send(signal.SIGINT)
    done = script.end()
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == "codelet7.py: stopped by Ctrl-C"
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--load", ""], "argument --load: the name is empty"),
        (["--penalty-weight", "-1"], "argument --penalty-weight: '-1' is not a number from 0 to"),
        (["--penalty-weight", "nan"], "'nan' is not a number"),
        (["--penalty-weight", "1e39"], "'1e39' is not a number"),
        (["--rho", "0"], "argument --rho: '0' is not a number above 0 and below 1"),
        (["--rho", "1"], "'1' is not a number above 0 and below 1"),
        (["--sweep", "--weights", "1", "x"], "argument --weights: 'x' is not a number"),
        (["--sweep", "--load", "model.pt"], "argument --load: not allowed with argument --sweep"),
        (["--sweep", "--penalty-weight", "1"], "leave out --penalty-weight"),
        (["--weights", "1", "2"], "add --sweep"),
        (["--sweep", "--explore"], "leave out --sweep and --load"),
    ],
)
def test_flags_refused(flags, says):
    with pytest.raises(utils.UserError) as error:
        codelet7.check(codelet7.make_parser().parse_args(flags))
    assert says in str(error.value)


def test_mistakes_end_in_one_line(tmp_path):
    done = run_script("codelet7.py", "--load", "", cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"codelet7.py: error: argument --load: the name is empty.*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_explodes_stops_the_run(run, tmp_path):
    with pytest.raises(utils.UserError, match=r"the loss became (nan|inf) in epoch \d.*--lr"):
        run("--lr", "1e38")
    assert not list(tmp_path.rglob("model.pt"))


def test_a_run_that_diverged_says_so(run, monkeypatch, capsys):
    for name in ("save_samples", "save_views", "show"):
        monkeypatch.setattr(codelet7, name, lambda *_, **__: [])
    folder = run("--lr", "1e10", "--epochs", 1, "--hidden", 2)
    assert re.fullmatch(r"Warning: Training diverged: .*a smaller --lr than 1e\+10\.\n", capsys.readouterr().err)
    assert len(list(folder.glob("*/codelet7.pdf"))) == 1


def test_a_loaded_model_gives_the_same_pictures(run, capsys):
    folder = run("--epochs", 2, "--hidden", 1) / "codelet7-epochs2-hidden1"
    threads = torch.get_num_threads()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.glob("*.p[nd]*"):
        path.unlink()
    capsys.readouterr()
    run("--load", folder / "model.pt")
    assert "Epoch: " not in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert torch.get_num_threads() == threads
    with pytest.raises(utils.UserError, match=r"--hidden 5: .*model.pt was trained with --hidden 1; leave"):
        run("--load", folder / "model.pt", "--hidden", 5)


def test_a_file_of_another_model_is_refused(run, model, tmp_path):
    contents = {"model": "autoencoder", "source": utils.MNIST, "settings": {}, "weights": model.state_dict()}
    codelet7.checkpoint.save_file(tmp_path / "other.pt", contents)
    with pytest.raises(utils.UserError, match=r"other.pt: that is of an autoencoder, not of a sparse autoencoder"):
        run("--load", tmp_path / "other.pt")
    with pytest.raises(utils.UserError, match=r"there is no .*none.pt"):
        run("--load", tmp_path / "none.pt")


HELP = """
import runpy, sys
sys.argv = ["codelet7.py", "--help"]
try:
    runpy.run_path("codelet7.py", run_name="__main__")
except SystemExit:
    print("torch" in sys.modules)
"""


def test_help_answers_without_importing_pytorch():
    done = subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("False\n")
    for flag in ("--epochs", "--batch-size", "--lr", "--hidden", "--seed", "--data", "--figures", "--device"):
        assert flag in done.stdout


def test_defaults():
    settings = vars(codelet7.make_parser().parse_args([]))
    run = {"epochs": 20, "batch_size": 64, "lr": 1e-4, "hidden": 10, "seed": 0, "penalty_weight": 1e-4, "rho": 0.05}
    assert settings == run | {"threads": None, "data": None, "figures": "figures", "device": "auto", "load": None} | {
        "sweep": False,
        "explore": False,
        "no_open": False,
        "weights": [0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1],
    }
    assert set(codelet7.SETTINGS) == set(run)


@pytest.mark.skipif("MNIST_DIR" not in os.environ, reason="needs the real MNIST")
def test_the_published_losses(tmp_path, capsys):
    codelet7.main(codelet7.make_parser().parse_args(["--data", os.environ["MNIST_DIR"], "--figures", str(tmp_path)]))
    losses = re.findall(r"^Epoch: (\d+)/20 - Train Loss: (\d\.\d{4})$", capsys.readouterr().out, re.MULTILINE)
    assert [int(epoch) for epoch, _ in losses] == list(range(1, 21))
    assert float(losses[0][1]) == pytest.approx(0.8029, abs=0.005)
    assert float(losses[-1][1]) == pytest.approx(0.5329, abs=0.004)
    files = [*FILES, *(f"top100_node{node}.png" for node in range(10))]
    assert sorted(path.name for path in (tmp_path / "codelet7").iterdir()) == sorted(files)


@pytest.mark.skipif("MNIST_DIR" not in os.environ, reason="needs the real MNIST")
def test_mean_activation_falls_with_the_weight(tmp_path, capsys):
    flags = ["--sweep", "--weights", "0", "0.01", "1", "--epochs", "2", "--lr", "1e-3"]
    flags += ["--data", os.environ["MNIST_DIR"], "--figures", str(tmp_path)]
    codelet7.main(codelet7.make_parser().parse_args(flags))
    rows = re.findall(r"^ *(?:0|0.01|1) +\S+ \S+ +(\S+), +(\S+)", capsys.readouterr().out, re.MULTILINE)
    lowest, highest = (list(map(float, column)) for column in zip(*rows, strict=True))
    assert lowest[0] > lowest[1] > lowest[2] > 0.02
    assert highest[0] > highest[1] > highest[2] < 0.15
