"""The sparse autoencoder beyond the assignment's checks: its formulas in float64,
training, the figures, the script."""

import copy
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

import codelet7
import utils
from codelet7 import SparseAutoencoder, make_dataloader, train
from tests.conftest import ROOT, run_script


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SparseAutoencoder(784, 10)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
@pytest.mark.parametrize("value", [0, 1])
def test_penalty_is_finite_at_both_ends(model, dtype, value):
    hidden = torch.full((5, 3), value, dtype=dtype, requires_grad=True)
    penalty = model.batched_sparsity_penalty(hidden)
    penalty.backward()
    share = 0.95 if value else 0.05
    entropy = share * math.log(share) + (1 - share) * math.log(1 - share)
    expected = 3 * (entropy - share * math.log(1e-8))
    assert penalty.item() == pytest.approx(expected, rel=1e-4)
    assert hidden.grad.isfinite().all()


def test_penalty_pushes_activations_above_1_up(model):
    """As its docstring says of a ReLU."""
    hidden = torch.full((5, 3), 2.0, requires_grad=True)
    model.batched_sparsity_penalty(hidden).backward()
    assert (hidden.grad < 0).all()


def test_training_in_half_precision_has_finite_gradients(model):
    images = torch.randn(8, 784)
    with torch.autocast("cpu", torch.bfloat16):
        hidden, reconstruction = model(images)
        dead = hidden.clamp(max=0)
        loss = model.loss_function(images, dead, reconstruction)
    loss.backward()
    assert loss.isfinite()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


def test_other_inputs_are_refused(model):
    for shape in ((10,), (0, 10), (2, 3, 10)):
        with pytest.raises(ValueError, match=r"expected \(N, hDims\)"):
            model.batched_sparsity_penalty(torch.zeros(shape))
    with pytest.raises(ValueError, match="expected the same shape"):
        model.loss_function(torch.zeros(1, 784), *model(torch.zeros(4, 784)))
    with pytest.raises(TypeError, match=r"torch\.from_numpy"):
        model(np.zeros((4, 784)))


def test_loss_by_its_formula_in_float64(model):
    model.double().rho = 0.2
    model.penalty_weight = 3.0
    x = torch.randn(16, 784, dtype=torch.float64)
    w1, b1, w2, b2 = [weight.detach().numpy() for weight in model.parameters()]
    hidden = 1 / (1 + np.exp(-(x.numpy() @ w1.T + b1)))
    reconstruction = np.tanh(hidden @ w2.T + b2)
    mean = hidden.mean(axis=0)
    penalty = np.sum(0.2 * np.log(0.2 / mean) + 0.8 * np.log(0.8 / (1 - mean)))
    expected = np.mean((reconstruction - x.numpy()) ** 2) + 3 * penalty
    loss = model.loss_function(x, *model(x))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


# --- Data and training


def test_dataloader_normalises(few):
    images, labels = utils.load_mnist(True, few)
    loader = make_dataloader(images, labels, shuffle=False)
    assert len(loader) == 47
    found = torch.cat([batch for batch, _ in loader])
    expected = (images[:, None] / 255 - 0.1307) / 0.3081
    assert np.allclose(found, expected, atol=1e-6)
    assert torch.equal(
        torch.cat([batch for _, batch in loader]), torch.from_numpy(labels)
    )


def test_dataloader_shuffles_each_pass_anew_and_by_its_seed(few):
    data = utils.load_mnist(False, few)
    loader = make_dataloader(*data, seed=3)
    first = torch.cat([labels for _, labels in loader])
    second = torch.cat([labels for _, labels in loader])
    again = torch.cat([labels for _, labels in make_dataloader(*data, seed=3)])
    assert not torch.equal(first, second)
    assert torch.equal(first, again)
    assert first.bincount().tolist() == np.bincount(data[1]).tolist()


def test_the_assignments_snippet(few, capsys):
    from torchvision.utils import make_grid

    from utils import show

    train_dataloader = make_dataloader(*utils.load_mnist(False, few))
    batch = next(iter(train_dataloader))
    images, _ = batch
    g = [image for image in images]  # noqa: C416
    grid = make_grid(g, 16)
    show(grid)
    assert grid.shape == (3, 4 * 30 + 2, 16 * 30 + 2)
    assert "no display" in capsys.readouterr().err


def test_training_is_the_textbooks(model, few):
    """Beside a plain loop with a plain Adam, on the same batches."""
    data = utils.load_mnist(True, few)
    other = copy.deepcopy(model)
    optimizer = torch.optim.Adam(other.parameters(), lr=1e-3)
    loader = make_dataloader(*data, seed=1)
    expected = []
    for _ in range(2):
        losses = []
        for images, _ in loader:
            optimizer.zero_grad()
            loss = other.loss_function(images, *other(images))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        expected.append(sum(losses) / len(losses))
    test_loader = make_dataloader(*utils.load_mnist(False, few), shuffle=False)
    found = train(model, make_dataloader(*data, seed=1), 2, 1e-3, test_loader)
    assert found.train == pytest.approx(expected, rel=1e-5)
    assert found.test[1] == pytest.approx(codelet7.mean_loss(other, test_loader), 1e-4)


def test_training_stops_where_the_loss_is_no_number(model, few):
    with torch.no_grad():
        model.decoder[0].bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="became nan in epoch 1"):
        train(model, make_dataloader(*utils.load_mnist(False, few)), 1, 1e-3)


def test_published_losses(mnist_run):
    losses = mnist_run.losses.train
    assert len(losses) == 20
    assert abs(losses[0] - 0.8029) < 0.005
    assert abs(losses[-1] - 0.5329) < 0.004


def test_the_committed_model_is_the_one_that_training_gives(mnist_run, normalised):
    """If it fails after a run of your own: git checkout figures."""
    committed = codelet7.load()
    loss = committed.loss_function(normalised, *committed(normalised)).item()
    model = mnist_run.model
    expected = model.loss_function(normalised, *model(normalised)).item()
    assert loss == pytest.approx(expected, rel=0.005)


# --- Figures


@pytest.mark.parametrize("shape", [(784,), (28, 28), (1, 28, 28)])
def test_top_images_are_the_most_active(model, normalised, shape):
    images = normalised.view(-1, *shape)
    grid = codelet7.top_images_grid(model, images, 3)
    activation = (images.flatten(1) @ model.encoder[0].weight[3]).detach().numpy()
    thirteenth = normalised[np.argsort(-activation)[12], 0]
    low = normalised.min()
    high = normalised.max()
    shown = grid[0, 32:60, 62:90] * (high - low) + low  # in the second row, the third
    assert torch.allclose(shown, thirteenth, atol=1e-5)


@pytest.mark.parametrize("shape", [(784,), (28, 28), (1, 28, 28)])
def test_reconstructions_stand_beside_their_images(model, normalised, shape):
    images = normalised[:64].view(-1, *shape)
    grid = codelet7.reconstruction_grid(model, images)
    assert grid.shape[1] == 16 * 30 + 2
    low = images.min()
    for image, left in ((images[0], 2), (model(images)[1][0], 32)):
        expected = (image.view(28, 28).clamp(low, 1) - low) / (1 - low)  # white is 1
        assert torch.allclose(grid[0, 2:30, left : left + 28], expected, atol=1e-5)


# --- The model on disk


def test_a_saved_model_is_loaded_with_its_number_of_nodes(tmp_path):
    model = SparseAutoencoder(784, 3)
    utils.save_weights(model.state_dict(), tmp_path / "model.pt")
    loaded = codelet7.load(tmp_path / "model.pt")
    x = torch.rand(2, 784)
    assert torch.equal(loaded(x)[0], model(x)[0])
    assert not loaded.training


def test_other_files_than_the_models_are_a_line(tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(utils.UserError, match="is missing"):
        codelet7.load(path)
    path.write_bytes(b"damaged")
    with pytest.raises(utils.UserError, match="is damaged"):
        codelet7.load(path)
    for state in ({"a": torch.ones(1)}, {"encoder.0.weight": torch.ones(2, 3)}, [1]):
        utils.save_weights(state, path)
        with pytest.raises(utils.UserError, match="of another model"):
            codelet7.load(path)


# --- The script

FIGURES = {
    "mnist.png",
    "reconstructions.png",
    "reconstructions_untrained.png",
    "top100_untrained.png",
    "model.pt",
}
ANALYSIS = {"nodes.png", "loss.png", "codelet7.pdf", "explore.html", "report.txt"}


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.slow
def test_script_saves_everything(few, tmp_path, capsys):
    flags = ["--epochs", 1, "--hidden", 3, "--data", few, "--figures", tmp_path]
    assert run_script("codelet7.py", *flags).status == 0
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"codelet7-epochs1-hidden3-data{few.name}"
    tops = {f"top100_node{node}.png" for node in range(3)}
    assert names(folder) == FIGURES | ANALYSIS | tops
    out = capsys.readouterr().out
    assert "Epoch: 1/1 - Train Loss: " in out
    assert out.isascii()
    assert codelet7.load(folder / "model.pt").encoder[0].out_features == 3


@pytest.mark.slow
def test_script_sweeps(few, tmp_path):
    flags = ["--epochs", 1, "--data", few, "--figures", tmp_path, "--sweep", 0, 0.1]
    assert run_script("codelet7.py", *flags).status == 0
    (folder,) = tmp_path.iterdir()
    assert names(folder) == {"sparsity.png", "sparsity.txt", "explore.html"}


@pytest.mark.slow
def test_alone_with_utils_it_saves_the_assignments_figures(few, tmp_path):
    for name in ("codelet7.py", "utils.py"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    command = [sys.executable, "codelet7.py", "--epochs", "1", "--data", str(few)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Without extras/ there is no codelet7.pdf" in done.stdout
    (folder,) = (tmp_path / "figures").iterdir()
    assert names(folder) == FIGURES | {f"top100_node{node}.png" for node in range(10)}


@pytest.mark.slow
def test_importing_touches_nothing(tmp_path):
    imports = "import codelet7, autoencoder, utils"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {imports}"
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())
