"""The sparse autoencoder: against the assignment's numbers, NumPy in float64, and by running it."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from torchvision.utils import make_grid

import codelet7
import utils
from digits import draw_digits
from tests.running import ROOT, interrupt_script, run_script

FILES = [
    "codelet7.pdf",
    "loss.png",
    "mnist.png",
    "reconstructions.png",
    "reconstructions_untrained.png",
    "top100.png",
    *(f"top100_node{node}.png" for node in range(10)),
    "top100_untrained.png",
]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return codelet7.SparseAutoencoder(784, 10)


@pytest.fixture(scope="module")
def drawn():
    return utils.Digits(*draw_digits(2000, seed=0), utils.DRAWN)


def reference_penalty(hidden):
    """The assignment's formula, step by step, in NumPy's float64."""
    rho, rho_hat = 0.05, np.clip(np.asarray(hidden, np.float64).mean(axis=0), 1e-8, 1 - 1e-8)
    return (rho * np.log(rho / rho_hat) + (1 - rho) * np.log((1 - rho) / (1 - rho_hat))).sum()


# --- The penalty


def test_the_assignments_example(model):
    hidden = torch.tensor([[0.3, 0, 0.1], [0.2, 0, 0.2], [0.5, 0, 0.1], [0.5, 0, 0.3], [0.5, 0, 0.3]])
    assert f"{model.batched_sparsity_penalty(hidden):.4f}" == "1.1490"


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_penalty_against_numpy(model, dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    for power in (0.1, 1, 10):  # activations near 1, spread out, near 0
        hidden = torch.rand(64, 10, generator=generator, dtype=dtype) ** power
        assert model.batched_sparsity_penalty(hidden).item() == pytest.approx(reference_penalty(hidden), rel=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stuck, cost", [(1.0, 17.30), (0.0, 0.7225)])
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
        torch.full((4, 2), 1.01),
        torch.full((4, 2), -0.01),
        torch.full((4, 2), float("nan")),
    ],
)
def test_penalty_refuses(model, hidden):
    with pytest.raises(ValueError, match="expected"):
        model.batched_sparsity_penalty(hidden)


# --- The model


def test_layers(model):
    assert [type(layer).__name__ for layer in (*model.encoder, *model.decoder)] == [
        "Linear",
        "Sigmoid",
        "Linear",
        "Tanh",
    ]
    assert model.encoder[0].weight.shape == (10, 784) and model.decoder[0].weight.shape == (784, 10)


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
    assert hidden.shape == (3, 10) and reconstruction.shape == shape
    assert 0 <= hidden.min() and hidden.max() <= 1 and reconstruction.abs().max() <= 1
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


def test_train_dataloader_and_the_assignments_snippet(drawn, monkeypatch):
    train_dataloader = codelet7.make_dataloader(drawn, 64, "cpu", seed=0)
    assert isinstance(train_dataloader, torch.utils.data.DataLoader)
    shown = []
    show = shown.append

    batch = next(iter(train_dataloader))
    images, _ = batch
    g = [image for image in images]
    grid = make_grid(g, 16)
    show(grid)

    assert images.shape == (64, 1, 28, 28) and images.dtype == torch.float32
    assert _.shape == (64,) and _.dtype == torch.int64
    assert shown[0].shape == (3, 4 * 30 + 2, 16 * 30 + 2)


def test_an_epoch_is_every_image_once_in_a_new_order(drawn):
    train_dataloader = codelet7.make_dataloader(drawn, 64, "cpu", seed=0)
    epochs = [list(train_dataloader) for _ in range(2)]
    assert len(epochs[0]) == len(train_dataloader) == 32 and len(epochs[0][-1][0]) == 2000 - 31 * 64
    expected = ((drawn.images / 255 - 0.1307) / 0.3081).reshape(2000, 784)
    order = np.lexsort(expected.T)
    for epoch in epochs:
        images = torch.cat([images for images, _ in epoch]).view(2000, 784).numpy()
        labels = torch.cat([labels for _, labels in epoch]).numpy()
        mine = np.lexsort(np.round(images.astype(np.float64) * 0.3081 * 255 + 0.1307 * 255).T)
        np.testing.assert_allclose(images[mine], expected[order], atol=1e-5)
        assert np.bincount(labels).tolist() == np.bincount(drawn.labels).tolist()
    assert not torch.equal(epochs[0][0][0], epochs[1][0][0])


def train(drawn, seed, epochs=3):
    torch.manual_seed(seed)
    train_dataloader = codelet7.make_dataloader(drawn, 64, "cpu", seed)
    model = codelet7.SparseAutoencoder(784, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    return [codelet7.train_epoch(model, train_dataloader, optimizer) for _ in range(epochs)]


def test_training_lowers_the_loss_and_a_seed_repeats_it(drawn):
    losses = train(drawn, seed=0)
    assert losses[0] > losses[1] > losses[2]
    assert losses == train(drawn, seed=0) != train(drawn, seed=1)


# --- Pictures and answers


def test_top_images():
    hidden = torch.rand(500, 4)
    for node in range(4):
        places = codelet7.top_images(hidden, node)
        assert places.tolist() == np.argsort(-hidden[:, node].numpy(), kind="stable")[:100].tolist()
    for node in (-1, 4):
        with pytest.raises(ValueError, match=f"node {node} does not exist"):
            codelet7.top_images(hidden, node)
    assert len(codelet7.top_images(hidden[:30], 0)) == 30


def test_examined_nodes_are_measured(model, drawn):
    images = torch.from_numpy(drawn.images).unsqueeze(1) / 255
    labels = torch.from_numpy(drawn.labels)
    with torch.no_grad():  # node 0 draws the average 3, and fires for it
        flat = images.flatten(1)
        three = flat[labels == 3].mean(0) - flat.mean(0)
        model.encoder[0].weight[0] = model.decoder[0].weight[:, 0] = three
        hidden = model.encoder(flat)
    nodes = codelet7.examine_nodes(model, images, hidden, labels)
    assert len(nodes) == 10
    for number, node in enumerate(nodes):
        assert node.number == number and sum(node.digits) == 100
        assert node.mean == pytest.approx(hidden[:, number].mean().item())
        assert node.active == pytest.approx((hidden[:, number] > 0.5).float().mean().item())
    assert nodes[0].correlations[3] == pytest.approx(1, abs=1e-4) and nodes[0].digits[3] > 50
    expected = np.corrcoef(model.decoder[0].weight[:, 5].detach(), flat[labels == 8].mean(0) - flat.mean(0))[0, 1]
    assert nodes[5].correlations[8] == pytest.approx(expected, abs=1e-4)
    assert f"fires for 3: {nodes[0].digits[3]} of its top 100" in nodes[0].describe()
    assert "most like the average 3 (correlation 1.00)" in nodes[0].describe()


# --- The script


def test_run_without_files_or_network(tmp_path):
    done = run_script("codelet7.py", "--epochs", "2", cwd=tmp_path)
    assert done.returncode == 0
    folder = tmp_path / "figures" / "drawn" / "codelet7"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert all(f"figures/drawn/codelet7/{name}" in done.stdout for name in FILES)
    assert not (tmp_path / "figures" / "codelet7").exists()
    losses = [float(loss) for loss in re.findall(r"^Epoch: \d/2 - Train Loss: (\d\.\d{4})$", done.stdout, re.MULTILINE)]
    assert len(losses) == 2 and losses[0] > losses[1]
    assert "drawn digits" in done.stderr and len(done.stderr.splitlines()) == 2
    assert b"drawn digits, not MNIST" in (folder / "codelet7.pdf").read_bytes()


def test_ctrl_c_ends_in_one_line(tmp_path):
    status, errors = interrupt_script("codelet7.py", "--epochs", "1000", cwd=tmp_path, at="Epoch: 2/")
    assert status != 0
    assert errors[-1] == "codelet7.py: stopped by Ctrl-C" and "Traceback" not in str(errors)
    assert not list(tmp_path.rglob("*.part"))


def test_mistakes_end_in_one_line(tmp_path):
    done = run_script("codelet7.py", "--data", "nowhere", cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("codelet7.py: error: --data nowhere does not exist, and downloading MNIST failed")
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_explodes_stops_the_run(drawn, monkeypatch, tmp_path):
    monkeypatch.setattr(utils, "load_digits", lambda *_: drawn)
    settings = codelet7.flags().parse_args(["--lr", "1e38", "--figures", str(tmp_path)])
    with pytest.raises(utils.UserError, match=r"the loss became (nan|inf) in epoch \d.*--lr"):
        codelet7.main(settings)


@pytest.mark.parametrize("nodes", [1, 11])
def test_other_numbers_of_nodes(drawn, monkeypatch, tmp_path, nodes):
    monkeypatch.setattr(utils, "load_digits", lambda *_: drawn)
    codelet7.main(codelet7.flags().parse_args(["--epochs", "1", "--hidden", str(nodes), "--figures", str(tmp_path)]))
    pictures = {path.name for path in (tmp_path / "drawn" / "codelet7").glob("top100_node*.png")}
    assert pictures == {f"top100_node{node}.png" for node in range(nodes)}


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
    expected = dict(epochs=20, batch_size=64, lr=1e-4, hidden=10, seed=0, data=None, figures="figures", device="auto")
    assert vars(codelet7.flags().parse_args([])) == expected


@pytest.mark.skipif("MNIST_DIR" not in os.environ, reason="needs the real MNIST")
def test_the_published_losses(tmp_path, capsys):
    codelet7.main(codelet7.flags().parse_args(["--data", os.environ["MNIST_DIR"], "--figures", str(tmp_path)]))
    losses = re.findall(r"^Epoch: (\d+)/20 - Train Loss: (\d\.\d{4})$", capsys.readouterr().out, re.MULTILINE)
    assert [int(epoch) for epoch, _ in losses] == list(range(1, 21))
    assert float(losses[0][1]) == pytest.approx(0.8029, abs=0.005)
    assert float(losses[-1][1]) == pytest.approx(0.5329, abs=0.004)
    assert sorted(path.name for path in (tmp_path / "codelet7").iterdir()) == sorted(FILES)
