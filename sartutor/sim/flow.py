"""Snow avalanches on terrain: where they release, how far they run, and where their debris lies.

Release needs a steep slope that is no ridge. From there mass moves from pixel to pixel, never uphill, shared among
the lower neighbours by slope and by the direction it already has, until the energy line ends it: the line that
falls from the top of the release at the runout angle alpha (Heim 1932). Alpha follows from the path by a regression
on its angle beta, an idea of Lied and Bakkehoi (1980, Journal of Glaciology 26(94)), with the numbers of Bakkehoi,
Domaas and Lied (1983). Debris lies where the track is gentle and mass came to rest.

Limits: no time, velocity, entrainment or depth; one angle for a whole avalanche; no run up the opposite slope. Paths
lead over eight neighbours and are up to 8 % longer than straight ones, so that oblique avalanches stop a little
early. The shares and the numbers marked assumed were chosen for plausible outlines, not fitted to events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from sartutor.sar.terrain import gradient, slope

Array = NDArray[np.float32]
Ints = NDArray[np.intp]
Labels = NDArray[np.uint16]
Mask = NDArray[np.bool_]
Rng = np.random.Generator

RELEASE_DEGREE = (28.0, 55.0)
"""Slopes that release; slabs typically do at 30 to 50 degrees (Schweizer et al. 2003), the bounds are assumed."""

RIDGE_CURVATURE = -0.004
"""Curvature in 1/m (Laplacian of the height) below which ground is a ridge that collects no slab (assumed)."""

WIDTH_M = (40.0, 600.0)
"""Narrowest and widest release area, across the slope; widths are log-uniform (assumed)."""

BETA_POINT_DEGREE = 10.0
"""Slope that ends the steep part of a path in the alpha-beta model."""

REST_DEGREE = 25.0
"""Slope below which flowing snow comes to rest as debris (assumed)."""

TRACK_SHARE = 0.003
"""Share of an avalanche's mass that must pass a pixel for it to count as track (assumed)."""

STEPS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
"""(rows, columns) to the eight neighbours, anticlockwise from the right."""


def release_areas(height: Array, pixel_m: float, rng: Rng, count: int) -> Labels:
    """Up to `count` release areas, ids 1, 2, ... on (rows, columns), high ones rather than low ones.

    Each is the steep ground that is no ridge, within an ellipse twice as wide as it is long down the slope.
    """
    rise = gradient(height, (pixel_m, pixel_m))
    steep = _can_release(height, pixel_m, slope(rise))
    labels = np.zeros(height.shape, np.uint16)
    candidates = np.flatnonzero(steep)
    if not candidates.size:
        return labels
    tops = rng.choice(candidates, (count, 2))
    centres = tops[np.arange(count), np.argmax(height.ravel()[tops], axis=1)]
    widths = np.exp(rng.uniform(np.log(WIDTH_M[0]), np.log(WIDTH_M[1]), count)) / pixel_m
    for centre, width in zip(centres, widths, strict=True):
        where = np.unravel_index(centre, height.shape)
        _add_area(labels, steep, (int(where[0]), int(where[1])), rise[:, where[0], where[1]], width)
    return labels


def _can_release(height: Array, pixel_m: float, slopes: Array) -> Mask:
    """Ground of release slope that is no ridge."""
    curvature = ndimage.laplace(ndimage.gaussian_filter(height, 1, mode="nearest"), mode="nearest")
    low, high = RELEASE_DEGREE
    steep: Mask = (slopes >= low) & (slopes <= high) & (curvature >= RIDGE_CURVATURE * pixel_m**2)
    return steep


def _add_area(labels: Labels, steep: Mask, centre: tuple[int, int], rise: Array, width: float) -> None:
    """Number the steep, still free ground inside an ellipse around `centre` that hangs together with it."""
    reach = int(width / 2) + 1
    sides = zip(centre, labels.shape, strict=True)
    box = tuple(slice(max(0, c - reach), min(c + reach + 1, size)) for c, size in sides)
    rows, cols = np.ogrid[box]
    up = np.array([-rise[1], rise[0]]) / np.hypot(*rise)
    along = (rows - centre[0]) * up[0] + (cols - centre[1]) * up[1]
    across = (cols - centre[1]) * up[0] - (rows - centre[0]) * up[1]
    free = steep[box] & (labels[box] == 0) & (np.hypot(2 * along, across) <= max(width / 2, 1))
    parts, _ = ndimage.label(free)
    own = parts[centre[0] - box[0].start, centre[1] - box[1].start]
    if own:
        labels[box][parts == own] = labels.max() + 1


def runout_angle(beta_degree: ArrayLike) -> NDArray[np.float64]:
    """Alpha of the longest runout in degrees: 0.96 beta - 1.4.

    Beta is the angle of sight from the beta point, where the path's slope first falls below 10 degrees, to the
    top of the release. The regression is that of Bakkehoi, Domaas and Lied (1983, Annals of Glaciology 4) on 206
    avalanches (R = 0.92, residuals of 2.3 degrees). It describes the longest runouts of Norwegian paths; ordinary
    avalanches stop earlier, at larger angles.
    """
    return 0.96 * np.asarray(beta_degree, np.float64) - 1.4


def beta_angle(height: Array, pixel_m: float, release: Labels) -> NDArray[np.float64]:
    """Beta in degrees of each release area's path of steepest descent from its top; length: highest id.

    A path that ends before its slope falls below 10 degrees (a hollow, the border) counts to its end.
    """
    receiver = steepest(height, pixel_m).tolist()
    heights = height.ravel()
    return np.array(
        [_sight(heights, descent(receiver, top), height.shape, pixel_m) for top in _tops(heights, release)]
    )


def _tops(heights: Array, release: Labels) -> list[int]:
    """Flat index of each release area's highest pixel."""
    cells = np.flatnonzero(release)
    ids = release.ravel()[cells].astype(np.intp)
    order = np.lexsort((heights[cells], ids))
    last = np.flatnonzero(np.diff(ids[order], append=0))
    tops: list[int] = cells[order[last]].tolist()
    return tops


def steepest(height: Array, pixel_m: float) -> Ints:
    """Flat index of each pixel's steepest lower neighbour; its own where none is lower."""
    receiver = np.arange(height.size).reshape(height.shape)
    own, least = receiver.copy(), np.zeros(height.shape, np.float32)
    for (row, col), near, length in zip(STEPS, _neighbours(height), _lengths(), strict=True):
        rate = (height - near) / (pixel_m * length)
        np.copyto(receiver, own + (row * height.shape[1] + col), where=rate > least)
        np.maximum(least, rate, out=least)
    return receiver.ravel()


def descent(receiver: list[int], top: int) -> Ints:
    """Flat indices of the pixels on the way down from `top`."""
    path = [top]
    while (after := receiver[path[-1]]) != path[-1]:
        path.append(after)
    return np.array(path)


def _sight(heights: Array, path: Ints, shape: tuple[int, int], pixel_m: float) -> float:
    """Angle in degrees from the first point with less than 10 degrees over the next 50 m up to the path's top."""
    rows, cols = np.unravel_index(path, shape)
    distance = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(rows), np.diff(cols)))]) * pixel_m
    fall = heights[path[0]] - heights[path]
    ahead = np.minimum(np.arange(len(path)) + max(1, round(50 / pixel_m)), len(path) - 1)
    going = (fall[ahead] - fall) >= np.tan(np.deg2rad(BETA_POINT_DEGREE)) * (distance[ahead] - distance)
    going[-1] = False
    end = max(int(np.argmin(going)), min(1, len(path) - 1))
    return float(np.rad2deg(np.arctan2(fall[end], distance[end]))) if end else 0.0


@dataclass(frozen=True)
class Flow:
    """Avalanches that have run: arrays (avalanches, rows, columns).

    `flux` is the mass that passed each pixel, `deposit` the mass that stopped there, both as shares of the
    avalanche's release; `energy` the largest height of the energy line over the ground, in m.
    """

    flux: Array
    deposit: Array
    energy: Array


def flow(height: Array, pixel_m: float, release: Labels, alpha_degree: ArrayLike) -> Flow:
    """Let every release area run down the terrain; ids 1, 2, ... have the runout angles `alpha_degree`.

    In each step all moving mass goes on by one pixel: from slope s and heading u to neighbour i of direction d_i
    the share is proportional to (s_i + 0.05)^3 times (max(0, u . d_i)^4, a little more where it is lower), among
    neighbours that are not higher and that the energy line reaches (akin to Flow-Py, D'Amboise et al. 2022;
    numbers assumed). Mass with no way on stops; so does what has become a negligible part of its avalanche, and
    mass at the border.
    """
    terrain = _Terrain.of(height, pixel_m)
    front = _Front.start(terrain, release)
    tangent = np.tan(np.deg2rad(np.asarray(alpha_degree, np.float64))).astype(np.float32)
    count = len(tangent)
    flux, deposit, energy = (np.zeros(count * height.size, np.float32) for _ in range(3))
    while front.key.size:
        flux[front.key] += front.mass
        energy[front.key] = np.maximum(energy[front.key], front.energy)
        front = front.move(terrain, tangent, deposit)
    shape = (count, *height.shape)
    return Flow(flux.reshape(shape), deposit.reshape(shape), energy.reshape(shape))


LEAST_MASS = 5e-4
"""Share of an avalanche's mass below which a parcel stops (assumed)."""

TURN = 0.1
"""Least weight of a lower neighbour that lies across the heading, so that avalanches follow a gully's bends."""


@dataclass(frozen=True)
class _Terrain:
    """What mass on each of the n pixels meets in its eight directions."""

    drop: Array  # (n, 8) m
    routing: Array  # (n, 8) weight by slope, 0 where the neighbour is higher
    turn: Array  # (n, 8) TURN where the neighbour is lower
    step: Ints  # (8,) to the neighbour's flat index
    length: Array  # (8,) m
    direction: Array  # (3, 8) one and the unit vector: what a unit of mass adds to mass and momentum

    @classmethod
    def of(cls, height: Array, pixel_m: float) -> _Terrain:
        lengths = _lengths()
        drop = _drops(height)
        routing = drop / (pixel_m * lengths)
        routing += np.float32(0.05)
        routing *= routing * routing
        routing[drop < 0] = 0
        direction = np.concatenate([np.ones((1, 8)), np.array(STEPS).T / lengths]).astype(np.float32)
        step = np.array([row * height.shape[1] + col for row, col in STEPS])
        return cls(drop, routing, np.float32(TURN) * (drop > 0), step, pixel_m * lengths, direction)

    @property
    def size(self) -> int:
        return len(self.drop)


@dataclass(frozen=True)
class _Front:
    """Mass on its way: where (avalanche times pixels + pixel, ascending), how much, heading, height of energy."""

    key: Ints
    mass: Array
    heading: Array  # (2, parcels)
    energy: Array

    @classmethod
    def start(cls, terrain: _Terrain, release: Labels) -> _Front:
        ids = release.ravel().astype(np.intp)
        cells = np.flatnonzero(ids)
        key = np.sort((ids[cells] - 1) * terrain.size + cells)
        cells = key % terrain.size
        share = 1 / np.bincount(ids)[ids[cells]]
        pull = terrain.direction[1:] @ terrain.routing[cells].T
        return cls(key, share.astype(np.float32), _unit(pull), np.zeros(len(key), np.float32))

    def move(self, terrain: _Terrain, tangent: Array, deposit: Array) -> _Front:
        """The front one step on; mass that stops is added to `deposit`."""
        avalanche, cell = np.divmod(self.key, terrain.size)
        energy = terrain.drop.take(cell, axis=0)
        energy -= tangent.take(avalanche)[:, None] * terrain.length
        energy += self.energy[:, None]
        weight = np.maximum(self.heading.T @ terrain.direction[1:], 0)
        weight *= weight
        weight *= weight
        weight += terrain.turn.take(cell, axis=0)
        weight *= terrain.routing.take(cell, axis=0)
        weight *= energy >= 0
        total = weight @ np.ones(8, np.float32)
        rest = (total <= 0) | (self.mass < LEAST_MASS)
        deposit[self.key[rest]] += self.mass[rest]
        total[rest] = np.inf
        weight *= (self.mass / total)[:, None]
        going = np.flatnonzero(weight > 0)
        parcel, way = going >> 3, going & 7
        share = weight.take(going) * terrain.direction.take(way, axis=1)
        return _merged(self.key.take(parcel) + terrain.step.take(way), share, energy.take(going))


def _merged(key: Ints, share: Array, energy: Array) -> _Front:
    """Parcels that met on a pixel as one: mass and momentum (3, parcels) add, the highest energy line counts."""
    order = np.argsort(key, kind="stable")
    key = key.take(order)
    first = np.flatnonzero(np.diff(key, prepend=-1))
    if not first.size:
        return _Front(key, share[0], share[1:], energy)
    share = np.add.reduceat(share.take(order, axis=1), first, axis=1)
    return _Front(key.take(first), share[0], _unit(share[1:]), np.maximum.reduceat(energy.take(order), first))


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.hypot(vectors[0], vectors[1]), np.float32(1e-20))


def _lengths() -> Array:
    """Distances to the eight neighbours in pixels."""
    return np.hypot(*np.array(STEPS, np.float32).T).astype(np.float32)


def _drops(height: Array) -> Array:
    """Height of each pixel above its eight neighbours in m, (pixels, 8); minus infinity beyond the border."""
    drops = np.empty((*height.shape, len(STEPS)), np.float32)
    for way, near in enumerate(_neighbours(height)):
        np.subtract(height, near, out=drops[..., way])
    return drops.reshape(height.size, len(STEPS))


def _neighbours(height: Array) -> list[Array]:
    """Each pixel's neighbour in each of `STEPS` (rows, columns); infinitely high beyond the border."""
    rows, cols = height.shape
    padded = np.pad(height, 1, constant_values=np.inf)
    return [padded[1 + down : 1 + down + rows, 1 + right : 1 + right + cols] for down, right in STEPS]


def debris(height: Array, pixel_m: float, run: Flow, least_m2: float) -> Labels:
    """Ids 1, 2, ... of the deposits (rows, columns), those of the avalanches of `run` in order; 0 elsewhere.

    A deposit is the part of a track with slopes below `REST_DEGREE` that hangs together with the place where
    most mass came to rest; where two overlap, the later lies on top. Deposits smaller than `least_m2` are left
    out, their ids stay unused.
    """
    gentle = slope(gradient(height, (pixel_m, pixel_m))) < REST_DEGREE
    labels = np.zeros(height.shape, np.uint16)
    for index, (flux, deposit) in enumerate(zip(run.flux, run.deposit, strict=True), start=1):
        track = flux >= TRACK_SHARE
        box = tuple(_extent(track.any(axis=axis)) for axis in (1, 0))
        body = _body(gentle[box] & track[box], deposit[box])
        if np.count_nonzero(body) * pixel_m**2 >= max(least_m2, 1):
            labels[box][body] = index
    return labels


def _extent(occupied: Mask) -> slice:
    """From the first to behind the last True."""
    where = np.flatnonzero(occupied)
    return slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 0)


def _body(gentle_track: Mask, deposit: Array) -> Mask:
    """The part of a gentle track where most mass rests, without what is one pixel wide."""
    parts, found = ndimage.label(gentle_track)
    if not found:
        return np.zeros_like(gentle_track)
    resting = np.bincount(parts.ravel(), deposit.ravel())
    resting[0] = 0
    body: Mask = ndimage.binary_opening(np.pad(parts == resting.argmax(), 1))[1:-1, 1:-1]
    return body
