"""The sparse autoencoder: the assignment's numbers, its formulas in float64, training, the figures, the script."""

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
from tests.conftest import ROOT, needs_mnist

EXAMPLE = torch.tensor([[0.3, 0, 0.1], [0.2, 0, 0.2], [0.5, 0, 0.1], [0.5, 0, 0.3], [0.5, 0, 0.3]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SparseAutoencoder(784, 10)


def test_penalty_of_the_assignments_example(model):
    assert f"{model.batched_sparsity_penalty(EXAMPLE):.4f}" == "1.1490"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0, 1])
def test_penalty_is_finite_at_both_ends(model, dtype, value):
    hidden = torch.full((5, 3), value, dtype=dtype, requires_grad=True)
    penalty = model.batched_sparsity_penalty(hidden)
    penalty.backward()
    share = 0.95 if value else 0.05
    expected = 3 * (share * math.log(share / 1e-8) + (1 - share) * math.log(1 - share))
    assert penalty.item() == pytest.approx(expected, rel=1e-4)
    assert hidden.grad.isfinite().all()


def test_training_in_half_precision_has_finite_gradients(model):
    images = torch.randn(8, 784)
    with torch.autocast("cpu", torch.bfloat16):
        hidden, reconstruction = model(images)
        loss = model.loss_function(images, hidden.clamp(max=0), reconstruction)  # all nodes are dead
    loss.backward()
    assert loss.isfinite()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


def test_other_shapes_are_refused(model):
    for shape in ((10,), (0, 10), (2, 3, 10)):
        with pytest.raises(ValueError, match=r"expected \(N, hDims\)"):
            model.batched_sparsity_penalty(torch.zeros(shape))
    with pytest.raises(ValueError, match="x has the shape"):  # where mse_loss would only warn
        model.loss_function(torch.zeros(1, 784), *model(torch.zeros(4, 784)))


def test_loss_by_its_formula_in_float64(model):
    model.double().rho, model.penalty_weight = 0.2, 3.0
    x = torch.randn(16, 784, dtype=torch.float64)
    weights = [weight.detach().numpy() for weight in model.parameters()]
    hidden = 1 / (1 + np.exp(-(x.numpy() @ weights[0].T + weights[1])))
    copies, mean = np.tanh(hidden @ weights[2].T + weights[3]), hidden.mean(axis=0)
    penalty = np.sum(0.2 * np.log(0.2 / mean) + 0.8 * np.log(0.8 / (1 - mean)))
    expected = np.mean((copies - x.numpy()) ** 2) + 3 * penalty
    assert model.loss_function(x, *model(x)).item() == pytest.approx(expected, rel=1e-12)


def test_weights_are_xavier_and_shapes_stay(model):
    for linear in (model.encoder[0], model.decoder[0]):
        bound = math.sqrt(6 / 794)
        assert 0.99 * bound < linear.weight.abs().max() <= bound
        assert (linear.bias == 0.01).all()
    for shape in ((784,), (28, 28), (1, 28, 28)):
        hidden, reconstruction = model(torch.randn(5, *shape))
        assert hidden.shape == (5, 10)
        assert reconstruction.shape == (5, *shape)


def test_dataloader_normalises_and_shuffles(digits):
    loader = make_dataloader(digits[0], 64, seed=3)
    epochs = [torch.cat([images for images, _ in loader]) for _ in range(2)]
    assert len(loader) == 47
    assert torch.equal(loader.dataset.tensors[1], torch.from_numpy(digits[0].labels))
    assert not torch.equal(*epochs)
    expected = (np.sort(digits[0].images.ravel()) / 255 - 0.1307) / 0.3081
    assert np.allclose(epochs[0].ravel().sort().values, expected, atol=1e-6)
    again = next(iter(make_dataloader(digits[0], 64, seed=3)))
    assert torch.equal(again[0], epochs[0][:64])


def test_training_is_the_textbooks(model, digits):
    """Beside a plain loop with a plain Adam, on the same batches."""
    loader, other, expected = make_dataloader(digits[0], 64, seed=1), copy.deepcopy(model), []
    optimizer = torch.optim.Adam(other.parameters(), lr=1e-3)
    for _ in range(2):
        losses = []
        for images, _ in loader:
            optimizer.zero_grad()
            loss = other.loss_function(images, *other(images))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        expected.append(sum(losses) / len(losses))
    found, test_losses = train(model, make_dataloader(digits[0], 64, seed=1), 2, 1e-3, make_dataloader(digits[1]))
    assert found == pytest.approx(expected, rel=1e-5)
    assert test_losses[1] == pytest.approx(codelet7.mean_loss(model, make_dataloader(digits[1], seed=5)), rel=0.01)


def test_training_stops_where_the_loss_is_no_number(model, digits):
    with torch.no_grad():
        model.decoder[0].bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="became nan in epoch 1"):
        train(model, make_dataloader(digits[0]), 1, 1e-3)


def test_the_assignments_snippet(digits, capsys):
    from torchvision.utils import make_grid

    from utils import show

    train_dataloader = make_dataloader(digits[0])
    batch = next(iter(train_dataloader))
    images, _ = batch
    g = [image for image in images]  # noqa: C416
    grid = make_grid(g, 16)
    show(grid)
    assert "no display" in capsys.readouterr().err


def test_published_losses():
    torch.manual_seed(0)
    digits = utils.load_digits(data=needs_mnist())
    losses = train(SparseAutoencoder(784, 10), make_dataloader(digits), 20, 1e-4)
    assert abs(losses[0] - 0.8029) < 0.005
    assert abs(losses[-1] - 0.5329) < 0.004


@pytest.mark.parametrize("shape", [(784,), (28, 28), (1, 28, 28)])
def test_figures_show_what_they_say(model, digits, monkeypatch, shape):
    shown = []
    monkeypatch.setattr(codelet7, "show", lambda grid, *_: shown.append(grid))
    images = make_dataloader(digits[1]).dataset.tensors[0].view(-1, *shape)
    codelet7.show_top_images(model, images, 3)
    activation = (images.flatten(1) @ model.encoder[0].weight[3]).detach().numpy()
    tenth = images.view(-1, 28, 28)[np.argsort(-activation)[12]]  # in the second row, the third
    low, high = images.min(), images.max()  # black and white
    assert torch.allclose(shown[0][0, 32:60, 62:90] * (high - low) + low, tenth, atol=1e-5)
    codelet7.show_reconstructions(model, images[:64])
    pair = images[0], model(images)[1][0]  # white is 1
    for image, left in zip(pair, (2, 32), strict=True):
        expected = ((image.view(28, 28).clamp(low, 1) - low) / (1 - low)).detach()
        assert torch.allclose(shown[1][0, 2:30, left : left + 28], expected, atol=1e-5)
    assert shown[1].shape[1] == 16 * 30 + 2


FIGURES = {"mnist.png", "reconstructions.png", "reconstructions_untrained.png", "top100_untrained.png", "model.pt"}
FIGURES |= {f"top100_node{node}.png" for node in range(3)}


def test_script_saves_everything(script, tmp_path):
    status, out, errors = script("codelet7.py", "--epochs", 1, "--hidden", 3)
    folder = tmp_path / "figures" / "drawn" / "codelet7-epochs1-hidden3"
    assert (status, errors) == (0, "")
    more = {"nodes.png", "loss.png", "codelet7.pdf", "explore.html", "report.txt"}
    assert {path.name for path in folder.iterdir()} == FIGURES | more
    assert "Epoch: 1/1 - Train Loss: " in out
    model = SparseAutoencoder(784, 3)
    model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    assert script("codelet7.py", "--epochs", 1, "--sweep", 0, 0.1)[::2] == (0, "")
    assert any(tmp_path.rglob("sparsity.pdf"))


@pytest.mark.parametrize(
    "command",
    [
        "codelet7.py --epochs 0", "codelet7.py --epochs many", "codelet7.py --lr nan", "codelet7.py --rho 1",
        "codelet7.py --penalty-weight -1", "codelet7.py --sweep -1", "codelet7.py --sweep --penalty-weight 1",
        "codelet7.py --seed -1", "codelet7.py --no-such-flag", "codelet7.py --device cuda",
        "autoencoder.py --steps 0", "autoencoder.py --code 1", "autoencoder.py --code 1 nan",
        "autoencoder.py --code 1 2 --anew", "autoencoder.py --threads 0",
    ],
)  # fmt: skip
def test_a_wrong_flag_is_one_line(script, command, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    name, *arguments = command.split()
    status, out, errors = script(name, *arguments)
    assert (status, out, errors.count("\n")) == (2, "", 0)
    assert arguments[0] in errors
    assert not list(tmp_path.iterdir())


def test_alone_with_utils_it_saves_the_assignments_figures(tmp_path, digits):
    for name in ("codelet7.py", "utils.py"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    np.savez(tmp_path / "few.npz", images=digits[0].images, labels=digits[0].labels)
    few = "utils.Digits(*np.load('few.npz').values(), 'MNIST')"
    code = f"import codelet7, utils, numpy as np; utils.load_digits = lambda *_: {few}; codelet7.main()"
    command = [sys.executable, "-c", code, "--epochs", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Without extras/ there is no codelet7.pdf" in done.stdout
    saved = {path.name for path in (tmp_path / "figures" / "codelet7-epochs1").iterdir()}
    assert saved == FIGURES | {f"top100_node{node}.png" for node in range(10)}


def test_importing_touches_nothing(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import codelet7, autoencoder, utils"
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())
