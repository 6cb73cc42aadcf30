"""The sweep: trained side by side as each alone, measured as by other code, told as it was measured."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import codelet7
from extras import sweep
from tests.test_nodes import fits, images_of, node


@pytest.fixture(scope="module")
def swept():
    images, labels = images_of(640)
    torch.manual_seed(0)
    untrained = codelet7.SparseAutoencoder(784, 4)
    trained = sweep.train(untrained, [0, 1e-4, 3], DataLoader(TensorDataset(images, labels), 64), 3, 1e-3)
    rows = sweep.measure([untrained, *trained], images, labels, images[:99])
    return untrained, trained, images, labels, rows


def test_model_trained_among_others_is_the_one_trained_alone(swept):
    untrained, trained, images, labels, _ = swept
    alone = codelet7.SparseAutoencoder(784, 4)
    alone.load_state_dict(untrained.state_dict())
    codelet7.train(alone, DataLoader(TensorDataset(images, labels), 64), 3, 1e-3)
    assert [model.penalty_weight for model in trained] == [0, 1e-4, 3] and alone.penalty_weight == 1e-4
    for one, other in zip(alone.parameters(), trained[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(trained[0].encoder[0].weight, trained[2].encoder[0].weight, atol=1e-3)


def test_it_says_in_a_line_where_it_diverges(swept):
    untrained, _, images, labels, _ = swept
    with pytest.raises(FloatingPointError, match=r"nan in epoch 1 at the weight 0\.5"):
        sweep.train(untrained, [0.5], DataLoader(TensorDataset(images * float("inf"), labels), 64), 1, 1e-3)


def test_measures_are_those_of_the_model(swept):
    _, trained, images, _, rows = swept
    assert [row.weight for row in rows] == [1e-4, 0, 1e-4, 3]
    hidden, copies = trained[2](images)
    errors, loss = (copies - images).square().mean(dim=(1, 2, 3)), trained[2].loss_function(images, hidden, copies)
    found = [rows[3].error, rows[3].test_error, rows[3].loss, rows[3].mean, *rows[3].means]
    expected = [errors.mean(), errors[:99].mean(), loss, hidden.mean(), *hidden.mean(dim=0)]
    assert found == pytest.approx(torch.stack(expected).tolist(), rel=1e-4)


def row(weight, error, means, alone=0):
    nodes = [node([0.9] + [0.1] * 9)] * alone + [node([0.6] * 10)] * (len(means) - alone)
    return sweep.Row(weight, 0.05, error, error, 1.0, means, sum(means) / len(means), nodes)


def test_findings_follow_the_numbers():
    before, none = row(1e-4, 1.0, [0.5, 0.4]), row(0, 0.50, [0.5, 0.6])
    dense = sweep.findings(before, [none, row(1e-3, 0.51, [0.4, 0.11])])
    assert dense[0] == "At no weight are all mean activations at most 0.1, twice rho." and len(dense) == 3
    assert "weight 0: their squared error is 0.5000. At 0.001 it is 0.5100" in dense[1]
    assert "At no weight does a node" in dense[2]
    sparse = sweep.findings(before, [none, row(0.1, 0.45, [0.09, 0.1], 2), row(9, 1.0, [0.05, 0.05], 1)])
    assert sparse[0] == "The smallest weight with all mean activations at most 0.1, twice rho, is 0.1."
    assert "best at the weight 0.1: their squared error is 0.4500, 10.0% below that at 0." in sparse[1]
    assert "At most 2 of 2" in sparse[2] and "first at the weight 0.1. At 0 it is 0" in sparse[2]
    assert "at 9" in sparse[3]


def test_pictures_stay_within_their_pages(swept):
    for rows in (swept[-1], swept[-1][:2]):  # also of a single weight
        figures = sweep.report(rows, "drawn digits, not MNIST, 1 epoch, --hidden 4")[1]
        fits(figures["sparsity.png"], *figures["sparsity.pdf"])
