"""Mistakes that the checks know by their numbers, each computed by its wrong formula.

A table has words that go on after "this is", and what the mistake gives: a number or a
tensor.
"""

import math

import torch

RHO = 0.05
EPSILON = 1e-8  # the assignment's clamp
WEIGHT = 1e-4  # of the penalty in the loss
EXAMPLE = torch.tensor(
    [[0.3, 0, 0.1], [0.2, 0, 0.2], [0.5, 0, 0.1], [0.5, 0, 0.3], [0.5, 0, 0.3]]
)


def agree(found, expected, tolerance=1e-3):
    """Whether numbers or tensors are the same, but for rounding."""
    found = torch.as_tensor(found, dtype=torch.float64)
    expected = torch.as_tensor(expected, dtype=torch.float64)
    if found.shape != expected.shape:
        return False
    return torch.allclose(found, expected, rtol=tolerance, atol=1e-7)


def name_mistake(found, table, otherwise="", tolerance=1e-3):
    """Says after a message which mistake gives what was found; else `otherwise`."""
    for words, mistaken in table.items():
        if agree(found, mistaken, tolerance):
            return f": this is {words}"
    return otherwise


# --- The penalty of the example ------------------------------------------------------


def clamp(activations, epsilon=EPSILON):
    """In float64, in which 1 - 1e-8 is less than 1."""
    return activations.double().clamp(epsilon, 1 - epsilon)


def first_term(rho_hat, rho=RHO):
    return rho * torch.log(rho / rho_hat)


def second_term(rho_hat, rho=RHO):
    return (1 - rho) * torch.log((1 - rho) / (1 - rho_hat))


def divergence(rho_hat, rho=RHO):
    """KL divergence of Bernoulli(rho_hat) from Bernoulli(rho), element by element."""
    return first_term(rho_hat, rho) + second_term(rho_hat, rho)


def penalty(rho_hat, rho=RHO):
    return divergence(rho_hat, rho).sum()


MEAN = EXAMPLE.double().mean(dim=0)
RHO_HAT = clamp(MEAN)
FIRST_TERM = first_term(RHO_HAT).sum()
SECOND_TERM = second_term(RHO_HAT).sum()
PENALTY = penalty(RHO_HAT)
OF_ACTIVATIONS = divergence(clamp(EXAMPLE))

PENALTIES = {
    "the mean over the nodes; the formula sums over them": PENALTY / 3,
    "the divergence the other way round; rho stands above rho_hat": (
        penalty(rho_hat=RHO, rho=RHO_HAT)
    ),
    "with the logarithm of base 2; log is the natural one": PENALTY / math.log(2),
    "with the logarithm of base 10; log is the natural one": PENALTY / math.log(10),
    "the first term alone; the one with 1 - rho is missing": FIRST_TERM,
    "the second term alone; rho log(rho / rho_hat) is missing": SECOND_TERM,
    "the difference of the two terms; the formula adds them": FIRST_TERM - SECOND_TERM,
    "with the mean over the nodes of an image as rho_hat; average over the images, "
    "dim=0": penalty(clamp(EXAMPLE.mean(dim=1))),
    "the penalty of single activations, averaged over the images; average the "
    "activations first": OF_ACTIVATIONS.sum(dim=1).mean(),
    "the penalty of single activations, summed over all; average the activations over "
    "the images first": OF_ACTIVATIONS.sum(),
    "the mean of the penalties of single activations; average the activations over the "
    "images first": OF_ACTIVATIONS.mean(),
    "with one mean over everything as rho_hat; each node has its own, dim=0": (
        penalty(clamp(EXAMPLE.mean()))
    ),
    "with rho_hat clamped at 1e-6; it is 1e-8": penalty(clamp(MEAN, 1e-6)),
    "with rho_hat clamped at 1e-3; it is 1e-8": penalty(clamp(MEAN, 1e-3)),
    "with rho = 0.5; the assignment's is 0.05": penalty(RHO_HAT, rho=0.5),
    "with rho = 0.1; the assignment's is 0.05": penalty(RHO_HAT, rho=0.1),
    "with rho = 0.01; the assignment's is 0.05": penalty(RHO_HAT, rho=0.01),
    "without the clamp; torch.clamp keeps rho_hat off 0 and 1": penalty(MEAN),
}


# --- The loss ------------------------------------------------------------------------


def losses(x, reconstruction, own_penalty):
    """What mistaken losses of images `(N, pixels)` give, with the student's penalty."""
    squares = (x - reconstruction).double().square()
    weighted = WEIGHT * own_penalty
    return {
        "the error summed over pixels and images; it is their mean": (
            squares.sum() + weighted
        ),
        "the error's mean over the batch only, summed over the pixels; it is the mean "
        "over both": squares.sum() / len(x) + weighted,
        "without the weight 1e-4 of the penalty": squares.mean() + own_penalty,
        "the penalty subtracted; it is added": squares.mean() - weighted,
        "the error alone; the penalty is missing": squares.mean(),
    }


# --- The layers ----------------------------------------------------------------------


def xavier_deviation(linear):
    """Standard deviation of the weights after Xavier initialisation."""
    return math.sqrt(2 / (linear.in_features + linear.out_features))


def default_deviation(linear):
    """The same as `nn.Linear` is made."""
    return 1 / math.sqrt(3 * linear.in_features)


def deviations(encoder, decoder):
    """What mistaken initialisations give: the deviations in encoder and decoder."""
    return {
        "not Xavier but how nn.Linear is made; init_weights wants to be called": (
            default_deviation(encoder),
            default_deviation(decoder),
        ),
        "init_weights called on the encoder only": (
            xavier_deviation(encoder),
            default_deviation(decoder),
        ),
        "init_weights called on the decoder only": (
            default_deviation(encoder),
            xavier_deviation(decoder),
        ),
    }


def activations(values):
    """What other activation functions make of the values of a linear layer."""
    return {
        "no activation function": values,
        "a Sigmoid": values.sigmoid(),
        "a Tanh": values.tanh(),
        "a ReLU": values.relu(),
        "a Softmax": values.softmax(dim=1),
    }
