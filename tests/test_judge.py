"""The judge reads digits, and is not sure of what is none."""

import pytest
import torch

import utils
from extras.judge import recognise, train_judge


@pytest.fixture(scope="module")
def judge(few):
    images, labels = utils.load_mnist(True, few)
    return train_judge(torch.from_numpy(images) / 255, torch.from_numpy(labels), 15)


def test_it_reads_digits(judge, images, labels):
    assert (judge(images).argmax(dim=1) == labels).double().mean() > 0.88


def test_digits_are_recognised_and_averages_less(judge, images, labels):
    digits = recognise(judge, images)
    averages = recognise(
        judge, (images[labels == 4][:80] + images[labels == 0][:80]) / 2
    )
    assert digits.share > 0.6
    assert digits.different > 9
    assert averages.share < digits.share / 2


def test_different_digits_are_counted(judge, images, labels):
    twos_and_threes = images[(labels == 2) | (labels == 3)]
    assert 1.8 < recognise(judge, twos_and_threes).different < 3


def test_the_same_data_give_the_same_judge(judge, few):
    x = torch.rand(3, 28, 28)
    state = torch.get_rng_state()
    images, labels = utils.load_mnist(True, few)
    again = train_judge(torch.from_numpy(images) / 255, torch.from_numpy(labels), 15)
    assert torch.equal(judge(x), again(x))
    assert torch.equal(torch.get_rng_state(), state)
