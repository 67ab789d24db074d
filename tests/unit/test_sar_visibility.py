"""Layover and shadow of planes, walls and cones in closed form, from every direction."""

import numpy as np
import pytest
from scipy import ndimage

from sartutor.errors import GeometryError
from sartutor.sar.geotiff import read_scene
from sartutor.sar.terrain import View, dem_gradient, gradient, heights, local_incidence, spacing_m
from sartutor.sar.visibility import BeamLines, layover, shadow

AZIMUTHS = (0, 33, 78, 90, 137, 180, 225, 270, 282)


def plane(slope_deg, azimuth, shape=(40, 50), spacing=(10.0, 10.0)):
    """Heights that rise towards `azimuth`."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    east, north = np.sin(np.deg2rad(azimuth)), np.cos(np.deg2rad(azimuth))
    return np.tan(np.deg2rad(slope_deg)) * (cols * spacing[1] * east - rows * spacing[0] * north)


def cone(top=900.0, radius=500.0, side=401, pixel=10.0):
    """Heights of a cone in the middle of flat ground, and the distance from its axis."""
    rows, cols = np.mgrid[:side, :side] - side // 2
    distance = np.hypot(rows, cols) * pixel
    return np.clip(top * (1 - distance / radius), 0, None), distance


@pytest.mark.parametrize("azimuth", AZIMUTHS)
def test_flat_ground_is_seen_everywhere(azimuth):
    flat = np.full((20, 30), 800.0)
    assert not shadow(flat, (10, 12), View(35, azimuth)).any()
    assert not layover(flat, (10, 12), View(35, azimuth)).any()


@pytest.mark.parametrize("azimuth", AZIMUTHS)
@pytest.mark.parametrize("incidence", [23, 35, 50])
def test_planes_on_both_sides_of_both_thresholds(azimuth, incidence):
    view = View(incidence, azimuth)
    for slope, laid_over in ((incidence - 1, False), (incidence + 1, True)):
        height = plane(slope, azimuth)
        assert layover(height, (10, 10), view)[1:-1, 1:-1].all() == laid_over
        assert layover(height, (10, 10), view)[1:-1, 1:-1].any() == laid_over
        assert not shadow(height, (10, 10), view).any()
    for slope, hidden in ((89 - incidence, False), (91 - incidence, True)):
        height = plane(-slope, azimuth)
        assert shadow(height, (10, 10), view)[1:-1, 1:-1].all() == hidden
        assert shadow(height, (10, 10), view)[1:-1, 1:-1].any() == hidden
        assert not layover(height, (10, 10), view).any()


@pytest.mark.parametrize("incidence", [25, 40])
@pytest.mark.parametrize("azimuth", [0, 90, 180, 270])
def test_a_wall_casts_its_shadow_and_its_layover(azimuth, incidence):
    height, spacing = np.zeros((201, 201)), (2.0, 2.0)
    wall = (100, slice(None)) if azimuth in (0, 180) else (slice(None), 100)
    height[wall] = 60.0
    view = View(incidence, azimuth)
    away = (np.arange(201) - 100) * 2.0 * (1 if azimuth in (90, 180) else -1)
    profile = (slice(None), 77) if azimuth in (0, 180) else (77, slice(None))
    hidden = away[shadow(height, spacing, view)[profile]]
    assert hidden.min() == 2
    assert hidden.max() == pytest.approx(60 * np.tan(np.deg2rad(incidence)), abs=2)
    laid_over = away[layover(height, spacing, view)[profile]]
    assert laid_over.min() == pytest.approx(-60 / np.tan(np.deg2rad(incidence)), abs=2)
    assert laid_over.max() <= 2
    assert np.diff(np.sort(laid_over)).max() == 2


@pytest.mark.parametrize("azimuth", [30, 78, 282])
def test_a_wall_across_the_beam_casts_as_far_in_any_direction(azimuth):
    rows, cols = np.mgrid[:301, :301] - 150
    away = 2.0 * (cols * np.sin(np.deg2rad(azimuth)) - rows * np.cos(np.deg2rad(azimuth)))
    height = np.where(np.abs(away) <= 2, 60.0, 0.0)
    middle = np.hypot(rows, cols) < 100
    view = View(40, azimuth)
    hidden = away[shadow(height, (2, 2), view) & middle]
    assert hidden.min() > -2
    assert hidden.max() == pytest.approx(2 + 60 * np.tan(np.deg2rad(40)), abs=2)
    laid_over = away[layover(height, (2, 2), view) & middle]
    assert laid_over.min() == pytest.approx(-2 - 60 / np.tan(np.deg2rad(40)), abs=2)


@pytest.mark.parametrize("azimuth", [78, 90, 225, 340])
def test_the_shadow_of_a_cone_lies_between_two_tangents(azimuth):
    height, distance = cone()
    hidden = shadow(height, (10, 10), View(35, azimuth))
    tip, radius = 900 * np.tan(np.deg2rad(35)), 500.0
    tangents = np.sqrt(tip**2 - radius**2)
    on_cone = radius**2 * np.arccos(radius / tip)
    assert hidden.sum() * 100 == pytest.approx(radius * tangents, rel=0.04)
    assert (hidden & (distance <= radius)).sum() * 100 == pytest.approx(on_cone, rel=0.06)
    rows, cols = np.nonzero(hidden)
    east, south = np.sin(np.deg2rad(azimuth)), -np.cos(np.deg2rad(azimuth))
    along, across = (cols - 200) * east + (rows - 200) * south, (rows - 200) * east - (cols - 200) * south
    assert along.max() * 10 == pytest.approx(tip, abs=25)
    assert across.mean() == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("azimuth", [78, 90, 225, 340])
def test_the_layover_of_a_cone_lies_between_two_tangents(azimuth):
    height, distance = cone()
    view = View(35, azimuth)
    laid_over = layover(height, (10, 10), view)
    tip, radius = 900 / np.tan(np.deg2rad(35)), 500.0
    in_front = radius * np.sqrt(tip**2 - radius**2) - radius**2 * np.arccos(radius / tip)
    assert (laid_over & (distance > radius)).sum() * 100 == pytest.approx(in_front, rel=0.01)
    active = (
        np.arccos(np.tan(np.deg2rad(35)) * radius / 900) / np.pi
    )  # share of the cone steeper than the beam
    rows, cols = np.mgrid[:401, :401] - 200
    towards = -cols * np.sin(np.deg2rad(azimuth)) + rows * np.cos(np.deg2rad(azimuth))
    steep = towards > np.cos(active * np.pi) * np.hypot(rows, cols)
    inside = (distance < 0.97 * radius) & (distance > 30)
    assert (steep & inside).sum() / inside.sum() == pytest.approx(active, abs=0.01)
    assert (laid_over & steep & inside).sum() > 0.99 * (steep & inside).sum()


def hills(side=96, seed=3):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 5, mode="wrap")
    return 130 * noise / noise.std()


@pytest.mark.parametrize("mask", [shadow, layover])
@pytest.mark.parametrize("azimuth", [20, 78, 282])
def test_a_turned_or_mirrored_world_has_turned_or_mirrored_masks(mask, azimuth):
    height = hills()
    here = mask(height, (10, 10), View(38, azimuth))
    assert 0.01 < here.mean() < 0.9
    turned = mask(np.rot90(height), (10, 10), View(38, azimuth - 90))
    assert (turned == np.rot90(here)).mean() > 0.999
    mirrored = mask(height[:, ::-1], (10, 10), View(38, -azimuth))
    assert (mirrored == here[:, ::-1]).mean() > 0.999


@pytest.mark.parametrize("mask", [shadow, layover])
def test_a_small_turn_of_the_view_moves_edges_by_a_pixel_at_most(mask):
    height = hills()
    straight = mask(height, (10, 10), View(38, 90))
    turned = mask(height, (10, 10), View(38, 90.5))
    near = ndimage.binary_dilation(straight, iterations=2) & ~ndimage.binary_erosion(straight, iterations=2)
    assert not ((straight != turned) & ~near).any()


def brute_force(height, step, theta):
    """Shadow and layover along rows by comparing every pair of samples."""
    x = np.arange(height.size) * step
    ray, slant = height + x / np.tan(theta), x - height / np.tan(theta)
    earlier = np.tri(height.size, k=-1, dtype=bool)
    hidden = (earlier & (ray[None] > ray[:, None])).any(1)
    folded = (earlier & (slant[None] > slant[:, None])) | (earlier.T & (slant[None] < slant[:, None]))
    return hidden, folded.any(1)


def test_running_extremes_are_the_comparison_of_all_pairs():
    height = hills(48)
    view = View(38, 90)
    expected = [brute_force(row, 10.0, np.deg2rad(38)) for row in height]
    assert (shadow(height, (10, 10), view) == [hidden for hidden, _ in expected]).all()
    assert (layover(height, (10, 10), view) == [folded for _, folded in expected]).all()


def test_steep_ground_that_faces_away_gets_no_beam():
    height = hills()
    view = View(38, 90)
    away = local_incidence(gradient(height, (10, 10)), view) > 95
    assert away.any()
    assert shadow(height, (10, 10), view)[away].mean() > 0.99


@pytest.mark.parametrize("azimuth", AZIMUTHS)
def test_no_data_hides_nothing_and_is_not_hidden(azimuth):
    height, distance = cone(side=121)
    height = np.where(distance < 520, np.nan, height)
    for mask in (shadow, layover):
        assert not mask(height, (10, 10), View(35, azimuth)).any()
    height = np.full((40, 40), 3000.0)
    height[:, 12:] = 0
    height[:20, :12] = np.nan
    cast = shadow(height, (10, 10), View(60, 90))
    assert cast[21:, 12:].all()
    assert not cast[:20].any()
    assert not cast[np.isnan(height)].any()


@pytest.mark.parametrize("azimuth", AZIMUTHS)
def test_gathering_and_scattering_give_a_plane_back(azimuth):
    height = plane(20, azimuth + 40, (25, 40), (10, 15))
    height[10:13, 20:25] = np.nan
    lines = BeamLines.of(height.shape, (10, 15), View(35, azimuth))
    back = lines.scatter(lines.gather(height))
    assert (np.isnan(back) == np.isnan(height)).all()
    inner = (slice(2, 8), slice(2, -2))
    assert back[inner] == pytest.approx(height[inner])


def test_samples_of_a_line_are_as_far_apart_as_the_ground():
    assert BeamLines.of((5, 5), (10, 20), View(35, 90)).step_m == pytest.approx(20)
    assert BeamLines.of((5, 5), (10, 20), View(35, 180)).step_m == pytest.approx(10)
    assert BeamLines.of((5, 5), (10, 10), View(35, 30)).step_m == pytest.approx(20 / np.sqrt(3))
    uneven = (10, np.linspace(19, 21, 5)[:, None])
    assert BeamLines.of((5, 5), uneven, View(35, 270)).step_m == pytest.approx(20)


def test_what_is_no_raster_is_refused():
    with pytest.raises(GeometryError, match="rows, columns"):
        shadow(np.zeros(10), (10, 10), View(35, 90))
    with pytest.raises(GeometryError, match="spacing"):
        layover(np.zeros((10, 10)), (10, 0), View(35, 90))


@pytest.mark.mirror
def test_masks_of_an_alpine_model(mirror):
    model = read_scene(mirror / "avaframe-alr" / "avaAlr.tif", units="m")
    height, spacing = heights(model), spacing_m(model.grid)
    shares = {}
    for orbit_pass in ("ascending", "descending"):
        view = View.of_pass(orbit_pass, 39)
        masks = layover(height, spacing, view), shadow(height, spacing, view)
        assert not any(mask[~model.valid].any() for mask in masks)
        shares[orbit_pass] = [mask.sum() / model.valid.sum() for mask in masks]
        away = local_incidence(dem_gradient(model), view) > 95
        beside = ndimage.binary_dilation(
            masks[1], np.ones((3, 3))
        )  # a crest sees the beam, its mean slope does not
        assert beside[away].mean() > 0.99
    assert shares["ascending"] == pytest.approx([0.0458, 0.0080], abs=0.0005)
    assert shares["descending"] == pytest.approx([0.0812, 0.0019], abs=0.0005)
