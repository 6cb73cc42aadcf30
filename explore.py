"""One page to explore the trained models: `explore.html`, filled with a run's weights, codes and images."""

import base64
import copy
import json
import os
import sys
import webbrowser
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

import utils

PIXEL_BOUND = 1.5 / 255  # by how much rounded weights may change a pixel; with the browser's own rounding below 2 / 255
CODE_BOUND = 0.005  # by how much they may change a code, in widths of the plane
COMMANDS = {
    "autoencoder": "python autoencoder.py",
    "variational": "python autoencoder.py --variational",
    "sparse": "python codelet7.py",
}


class Codes(NamedTuple):
    """The codes of training images, float32 `(N, 2)`, their labels `(N,)`, and the square of the plane to show."""

    codes: np.ndarray
    labels: np.ndarray
    limits: tuple  # (low, high) of c1 and of c2; both of one length
