"""The sweep: trained side by side as each alone, measured as by other code."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import codelet7
from extras import sweep
from tests.test_nodes import fits

WEIGHTS = [0, 1e-4, 3]


@pytest.fixture(scope="module")
def loader(normalised, labels):
    return DataLoader(TensorDataset(normalised[:640], labels[:640]), 64)


@pytest.fixture(scope="module")
def untrained():
    torch.manual_seed(0)
    return codelet7.SparseAutoencoder(784, 4)


@pytest.fixture(scope="module")
def models(untrained, loader):
    return sweep.train(untrained, WEIGHTS, loader, 3, 1e-3)


def test_a_model_among_others_is_the_one_trained_alone(untrained, models, loader):
    alone = codelet7.SparseAutoencoder(784, 4)
    alone.load_state_dict(untrained.state_dict())
    codelet7.train(alone, loader, 3, 1e-3)
    assert [model.penalty_weight for model in models] == WEIGHTS
    for ours, theirs in zip(models[1].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    heavy = models[2].encoder[0].weight
    assert not torch.allclose(models[0].encoder[0].weight, heavy, atol=1e-3)


def test_it_says_in_a_line_where_it_diverges(untrained, normalised, labels):
    loader = DataLoader(TensorDataset(normalised * torch.inf, labels), 64)
    with pytest.raises(FloatingPointError, match=r"nan in epoch 1 at the weight 0\.5"):
        sweep.train(untrained, [0.5], loader, 1, 1e-3)


def test_a_row_holds_the_parts_of_the_models_loss(models, normalised, labels):
    row = sweep.measure(models[2], normalised, labels, normalised[:99])
    hidden, reconstructions = models[2](normalised)
    errors = (reconstructions - normalised).square().mean(dim=(1, 2, 3))
    loss = models[2].loss_function(normalised, hidden, reconstructions)
    assert row.error == pytest.approx(errors.mean().item(), rel=1e-4)
    assert row.test_error == pytest.approx(errors[:99].mean().item(), rel=1e-4)
    assert row.loss == pytest.approx(loss.item(), rel=1e-4)
    np.testing.assert_allclose(row.nodes.mean, hidden.mean(dim=0).detach(), rtol=1e-5)


def test_table_and_picture(untrained, models, normalised, labels):
    data = normalised, labels, normalised[:99]
    before = sweep.measure(untrained, *data)
    rows = [sweep.measure(model, *data) for model in models]
    lines = sweep.format_table(before, rows).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["untrained", "0", "0.0001", "3"]
    assert f"{rows[2].test_error:.4f}" in lines[4]
    fits(sweep.sweep_figure(rows, 1e-4))
    fits(sweep.sweep_figure(rows[:1], 1e-4))  # also of a single weight
