"""Digits drawn from strokes, which take MNIST's place where there are neither its files nor a network."""

import itertools

import numpy as np

# How far a sample strays from its skeleton. Lengths are in skeleton units: a digit is 20 tall.
POINT_JITTER = 0.7  # standard deviation of every control point, each on its own
WAVES = 3  # smooth waves that bend a digit, each in a direction of its own
WARP_SIZE = 1.05  # standard deviation of the waves' height
WARP_TURN = 0.15  # standard deviation of the waves' frequency, in radians a unit
SLANT = (0.15, 0.25)  # mean and standard deviation of the shear; positive leans right
ROTATION = 0.1  # standard deviation of the turn, in radians
ASPECT = 0.22  # standard deviation of the logarithm of width over height
PEN = (1.36, 0.25)  # median half-width of the pen in pixels, and its spread in logarithm
PEN_RANGE = (0.75, 2.6)  # thinnest and thickest half-width of the pen, in pixels
PEN_ROOM = 4  # half-width is also at most this times the room beside a stroke (no blobs)
SWELL = 0.25  # how much the square of the half-width swells and fades on the way
EDGE = (0.8, 1.4)  # range of the width of a stroke's grey edge, in pixels

SIDE, BOX, CENTRE = 28, 20, 14  # pixels: image side, box a digit fills, centre of mass
DABS = 64  # pen positions, shared by a digit's strokes
DAB_SIZE = 0.7  # standard deviation of one dab of ink, in pixels
POINTS = 11  # of the longest skeleton
CHUNK = 500  # images drawn at a time: bounds memory and keeps the work in the cache

# Of a skeleton: its digit, how often people write that so, and its strokes, split by "/", as x,y points with y
# downwards. A point given twice in a row is a corner; equal points jitter as one.
SKELETONS = [
    (0, 3, "9,0 3,3 0,10 2,17 7,20 12,17 15,10 13,3 9,0 6,1"),  # round
    (0, 1, "12,6 13,3 9,0 3,3 0,10 2,17 7,20 12,17 15,10 13,3 8,1"),  # hooked inside
    (0, 1, "7,0 2,3 0,10 2,17 7,20 12,17 15,10 13,3 9,1"),  # open at the top
    (1, 8, "2,0 0,20"),  # plain
    (1, 1, "1,5 5,0 5,0 5,10 4,20"),  # serif
    (1, 1, "1,4 6,0 6,0 6,10 6,20 / 0,20 6,20 12,20"),  # serif and foot
    (2, 2, "1,4 5,0 11,2 11,8 5,14 0,19 0,19 7,19 17,19"),  # sharp heel
    (2, 2, "1,5 4,0 11,1 12,6 6,14 1,18 0,15 4,14 9,18 17,18"),  # small loop
    (2, 2, "2,3 6,0 12,3 11,10 4,18 -1,17 2,12 7,15 11,19 16,18"),  # large loop
    (2, 2, "1,6 4,1 10,0 13,5 11,13 5,20 0,17 3,13 8,16 14,20"),  # large head
    (2, 1, "2,3 6,0 9,3 7,10 3,17 3,17 8,18 14,20"),  # slim, sloping base
    (2, 1, "1,4 5,1 9,3 7,9 0,15 0,15 8,14 18,15"),  # low and wide
    (3, 3, "0,3 5,0 11,3 9,8 4,9 4,9 11,11 14,15 8,20 0,18"),  # round
    (3, 1, "0,1 12,0 12,0 5,8 5,8 12,10 13,16 6,20 -1,17"),  # flat top
    (3, 1, "2,2 7,0 11,3 6,8 6,8 13,11 14,16 8,20 0,17"),  # small head
    (3, 1, "0,3 6,0 12,3 8,8 4,9 6,9 13,11 13,17 6,20 -1,17"),  # looped waist
    (4, 2, "1,2 0,6 0,10 0,10 6,11 13,10 / 10,0 9,10 9,20"),  # open, square
    (4, 2, "3,1 1,7 2,11 7,11 15,9 / 11,2 10,10 8,20"),  # open, rounded
    (4, 1, "4,0 1,10 1,10 7,10 14,9 / 10,4 9,12 8,20"),  # open, short stem
    (4, 1, "9,0 5,5 0,12 0,12 7,12 14,11 / 9,0 9,10 9,20"),  # closed
    (4, 2, "1,1 1,7 4,10 9,8 12,2 12,2 11,10 9,20"),  # one stroke
    (5, 2, "3,1 2,8 2,8 7,7 12,11 11,17 5,20 1,18 / 3,1 9,1 15,0"),  # two strokes
    (5, 2, "5,4 4,10 4,10 9,10 12,14 10,18 1,19 / 5,4 10,3 17,1"),  # small belly
    (5, 2, "13,1 4,2 4,2 2,9 2,9 8,8 12,12 10,18 5,20 0,18"),  # one stroke
    (5, 1, "14,1 6,1 3,5 7,9 12,12 11,18 5,20 1,17"),  # like an S
    (6, 2, "8,0 3,6 0,14 4,20 10,18 10,13 6,12 2,16"),  # curved
    (6, 2, "6,0 2,7 1,14 3,19 8,19 10,14 6,12 2,15"),  # straight
    (6, 2, "9,1 4,3 0,10 2,18 9,20 14,16 11,12 6,13 4,17"),  # wide
    (6, 1, "7,0 2,6 0,13 3,19 10,19 13,14 9,11 5,14 6,18"),  # curled in
    (7, 2, "0,2 7,1 14,0 14,0 10,10 9,20"),  # plain
    (7, 1, "0,2 7,1 14,0 14,0 10,10 9,20 / 5,11 10,10 16,9"),  # barred
    (7, 1, "0,6 1,1 1,1 7,1 13,1 13,1 10,9 8,20"),  # serif
    (7, 1, "0,2 6,0 11,2 11,8 8,14 6,20"),  # rounded
    (8, 2, "12,2 7,0 2,3 6,8 11,13 10,18 5,20 2,17 5,12 9,7 12,2"),  # one stroke
    (8, 2, "12,3 6,0 1,3 5,8 10,13 9,18 5,20 2,17 5,12 9,7 14,1"),  # open at the top
    (8, 1, "12,2 5,0 0,4 5,9 9,13 8,18 4,20 2,17 4,12 9,7 12,2"),  # large head
    (8, 1, "7,9 2,6 3,1 9,0 12,4 7,9 2,13 3,18 8,20 12,17 12,12 7,9"),  # two rings
    (9, 3, "10,2 6,0 2,2 0,5 3,8 8,7 11,1 11,1 10,10 9,20"),  # straight tail
    (9, 2, "10,2 6,0 2,2 1,6 4,9 8,6 10,2 9,9 8,20"),  # straight, smooth
    (9, 2, "8,1 4,1 1,4 3,8 7,6 10,2 10,2 9,8 6,20"),  # leaning tail
    (9, 1, "11,4 8,0 3,1 0,6 3,10 8,9 11,4 11,4 11,12 10,20"),  # large head
    (9, 1, "12,2 6,0 1,3 3,7 8,7 12,3 12,3 11,11 9,20"),  # flat head
    (9, 1, "10,3 6,0 1,3 2,8 7,9 10,3 10,3 11,11 8,18 3,20 1,18"),  # curved tail
]


def _spline(count):
    """Weights `(samples, count)` of a curve along `count` points in order: the mean of a Catmull-Rom spline, which
    meets the points, and a B-spline, which rounds off the kinks of the jitter."""
    time = np.linspace(0, count - 1, 40 * count)
    before = np.minimum(time.astype(int), count - 2)
    powers = (time - before)[:, None] ** np.arange(4)
    pulls = powers @ np.array([[1, 10, 1, 0], [-6, 0, 6, 0], [9, -21, 15, -3], [-4, 12, -12, 4]])
    weights = np.zeros((len(time), count))
    for offset in range(4):  # past the ends, the end points again
        weights[np.arange(len(time)), np.clip(before + offset - 1, 0, count - 1)] += pulls[:, offset] / 12
    return weights


def _compile(text):
    """A skeleton's text as its points `(POINTS, 2)`, with idle ones at the end, the weights `(DABS, POINTS)` that take
    them to pen positions evenly along the strokes, and whether each gap between these is inked, `(DABS - 1, 1)`."""
    strokes = [[tuple(map(int, pair.split(","))) for pair in part.split()] for part in text.split("/")]
    points = sorted(set(itertools.chain(*strokes)))
    points += [(0, 0)] * (POINTS - len(points))
    curves = [_spline(len(one)) @ np.equal([[points.index(at)] for at in one], range(POINTS)) for one in strokes]
    stroke, weights = np.repeat(range(len(curves)), [len(curve) for curve in curves]), np.vstack(curves)
    steps = np.linalg.norm(np.diff(weights @ points, axis=0), axis=1) * (np.diff(stroke) == 0)
    length = np.append(0, np.cumsum(steps))
    chosen = np.searchsorted(length, np.linspace(0, length[-1], DABS))
    return np.float32(points), np.float32(weights[chosen]), np.diff(stroke[chosen])[:, None] == 0


def _write(points, weights, rng):
    """Pen positions `(N, DABS, 2)`, in skeleton units, of a sample of each of N skeletons, see `_compile`."""

    def normal(spread, *shape):
        return spread * rng.standard_normal((len(points), *shape), dtype=np.float32)

    points = points + normal(POINT_JITTER, *points.shape[1:])
    path = weights @ points - BOX / 2
    phases = path @ normal(WARP_TURN, 2, WAVES) + normal(10, 1, WAVES)
    path += np.sin(phases) @ normal(WARP_SIZE, WAVES, 2)
    x, y = np.moveaxis(path, 2, 0)
    x = (x - (SLANT[0] + normal(SLANT[1], 1)) * y) * np.exp(normal(ASPECT, 1))
    angle = normal(ROTATION, 1)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=2)


def _ink(path, inked, rng):
    """Ink `(N, SIDE, SIDE)`, 0 to 1, of paths that are fitted and centred as MNIST's digits are."""

    def uniform(low, high, *shape):
        return low + (high - low) * rng.random((len(path), *shape), dtype=np.float32)

    extent = np.ptp(path, axis=1, keepdims=True)
    size = extent.max(axis=2, keepdims=True)
    dabs, steps = (path[:, 1:] + path[:, :-1]) / 2, path[:, 1:] - path[:, :-1]
    length = np.sqrt((steps * steps).sum(axis=2, keepdims=True)) * inked
    # a long way in a narrow digit leaves a stroke little room
    room = (extent.min(axis=2, keepdims=True) + 0.5 * size) / length.sum(axis=1, keepdims=True)
    pen = PEN[0] * np.exp(PEN[1] * rng.standard_normal((len(path), 1, 1), dtype=np.float32))
    pen = np.clip(pen, PEN_RANGE[0], np.minimum(PEN_RANGE[1], PEN_ROOM * room))
    scale = (BOX - 2 * pen) / size
    dabs, length = dabs * scale, length * scale
    way = np.linspace(0, 9, DABS - 1, dtype=np.float32)[:, None]
    swell = SWELL * np.sin(way * uniform(0.3, 1, 1, 1) + uniform(0, 2 * np.pi, 1, 1))
    mass = length * np.sqrt(1 + swell)
    middle = (dabs * mass).sum(axis=1, keepdims=True) / mass.sum(axis=1, keepdims=True)
    dabs += CENTRE - middle + uniform(-0.5, 0.5, 1, 2)  # MNIST centres to whole pixels
    # The dabs are Gaussians of one size, so an image is one matrix product. Along a stroke they
    # add up to a Gaussian of the distance from it, and the logarithm gives that distance back.
    weight = length * np.exp(swell * (pen / DAB_SIZE) ** 2 / 2) / (DAB_SIZE * (2 * np.pi) ** 0.5)
    spots = (np.arange(SIDE, dtype=np.float32) - dabs[..., None]) / DAB_SIZE
    spots = np.exp(np.maximum(-0.5 * spots * spots, -30))  # lower ends in slow subnormal numbers
    total = np.swapaxes(spots[:, :, 1] * weight, 1, 2) @ spots[:, :, 0]
    distance = DAB_SIZE * np.sqrt(np.maximum(0, -2 * np.log(total)))
    return np.clip(0.5 + (pen - distance) / uniform(*EDGE, 1, 1), 0, 1)


def draw_digits(N, seed):
    """Draws digits that look handwritten, as MNIST's do.

    Args:
        N: how many, at least 1.
        seed: whole number, 0 or more; with the same N it gives the same bytes.

    Returns:
        Images uint8 `(N, 28, 28)`, from 0 (black paper) to 255 (white ink); labels int64 `(N,)`, the digits 0 to 9
        equally often in random order.
    """
    table = [(digit, often, *_compile(text)) for digit, often, text in SKELETONS]
    digits, often, points, weights, inked = map(np.array, zip(*table, strict=True))
    often = often * (digits == np.arange(10)[:, None])
    all_chances = np.cumsum(often / often.sum(axis=1, keepdims=True), axis=1)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(N, dtype=np.int64) % 10)
    images = np.empty((N, SIDE, SIDE), np.uint8)
    for start in range(0, N, CHUNK):
        chances = all_chances[labels[start : start + CHUNK]]
        skeleton = (chances < rng.random((len(chances), 1))).sum(axis=1)
        ink = _ink(_write(points[skeleton], weights[skeleton], rng), inked[skeleton], rng)
        images[start : start + CHUNK] = np.rint(255 * ink)
    return images, labels
