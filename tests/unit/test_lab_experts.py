"""Pictures of domain generalisation show what they say, and their numbers are right."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy.special import entr

from sartutor.lab import experts, plots
from sartutor.lab.plots import alternative_text
from sartutor.learn.domains import Scales
from sartutor.learn.generalisation import Segmenter
from sartutor.learn.generalists import Generalist
from sartutor.learn.moe import Mixture
from sartutor.learn.vit import build_vit
from sartutor.learn.weighting import BandStatistics
from sartutor.presets import VIT_SIZES
from sartutor.sar.descriptors import NAMES, Standardisation, descriptors, directional_entropy
from sartutor.sar.scene import Band, Scene
from sartutor.sim.backscatter import LAND_COVERS
from sartutor.sim.gaps import PARTS, POLARISATIONS
from sartutor.sim.landcover import landcover_scene

SCALES = Scales(
    BandStatistics(("a", "b", "c"), (-18.0,) * 3, (8.0,) * 3, (True,) * 3),
    Standardisation((3.5, 4.5, 0.17), (0.01, 0.5, 0.09)),
)
DOMAINS = (POLARISATIONS["VV"], PARTS["C(r)"])


@pytest.fixture(scope="module")
def known():
    """A generalist whose router sends every token to the expert that is named after its channel-mean."""
    torch.manual_seed(0)
    vit = build_vit(VIT_SIZES["smoke"], 0)
    vit.mix(Mixture())
    model = Segmenter(vit, len(LAND_COVERS), 16).eval()
    return Generalist("made up", model, SCALES, LAND_COVERS, "0", {})


@pytest.fixture(scope="module")
def chips(known):
    return experts.benchmark_chips(DOMAINS, 0, 4, known)


def test_chips_of_other_roles_and_seeds_show_other_places(known, chips):
    assert chips.side == 64
    for other in (
        experts.benchmark_chips(DOMAINS, 0, 4, known, 1),
        experts.benchmark_chips(DOMAINS, 1, 4, known),
    ):
        assert not torch.equal(other[0]["label"], chips[0]["label"])


def test_every_token_has_the_expert_that_the_model_chose(known, chips):
    maps = experts.expert_maps(known, chips, [0, 1])
    sample = chips[1]
    with torch.no_grad():
        _, found = known.model(sample["image"][None], sample["descriptors"][None])
    assert len(maps) == len(found.routings)
    assert np.array_equal(maps[0][1].ravel(), found.routings[0].expert[:, 0].numpy())


def test_shares_of_experts_add_up_for_every_class_and_domain_that_has_tokens(known, chips):
    by_class, by_domain = experts.expert_shares(known, chips, 0)
    assert by_domain.sum(1) == pytest.approx([1, 1])
    there = ~np.isnan(by_class[:, 0])
    assert there.any()
    assert by_class[there].sum(1) == pytest.approx(np.ones(there.sum()))
    first = experts.expert_maps(known, chips, [0, 2])[0].ravel()
    assert by_domain[0] == pytest.approx(np.bincount(first, minlength=6) / len(first))


def test_a_token_has_the_class_of_most_of_its_pixels():
    label = np.zeros((16, 16), int)
    label[:8, :8] = 3
    label[:2, :2] = 5
    label[8:, 8:12] = 1
    label[8:, 12:] = 2
    label[15, 11] = 2
    assert experts.token_classes(label, 2, 7).tolist() == [[3, 0], [0, 2]]


def test_the_log_of_usage_notes_shares_that_add_up(known, chips):
    batch = {key: torch.stack([chips[i][key] for i in range(4)]) for key in ("image", "descriptors")}
    log = experts.UsageLog(batch)
    log.look(known.model, 1)
    log.look(known.model, 2)
    assert log.steps == [1, 2]
    assert log.shares[0].shape == (2, 6)
    assert log.shares[0].sum(1) == pytest.approx([1, 1])
    figure = experts.draw_usage({"run": log})
    assert "busiest expert" in alternative_text(figure)


def test_room_for_all_changes_nothing_and_room_for_half_drops_half_at_least(known, chips):
    unlimited = experts.with_capacity(known, chips, None)
    assert unlimited[0] == 0
    assert experts.with_capacity(known, chips, 6.0) == pytest.approx(unlimited, abs=0.01)
    dropped, right = experts.with_capacity(known, chips, 0.5)
    assert 0.5 <= dropped < 1
    assert 0 <= right <= 1
    assert known.model.encoder.blocks[0].mlp.mixture.capacity is None


def test_the_explorer_draws_the_shares_whose_entropy_it_names(chips):
    image = chips.decibels(0)[0]
    bars = experts.draw_descriptors(image, "chip", 18, 16).axes[1].patches
    shares = np.array([bar.get_height() for bar in bars])
    entropy = directional_entropy(experts.log_scaled(experts.digital_numbers(image)), bins=18)
    assert entr(shares).sum() == pytest.approx(entropy, rel=1e-4)
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx(np.arange(18) * 10)


def test_the_middle_of_a_scene_is_in_decibels_with_nan_for_no_data():
    scene, _ = landcover_scene(2, POLARISATIONS["VV"], 64)
    valid = scene.valid.copy()
    valid[32, 32] = False
    holed = Scene(scene.pixels, (Band("VV", "power", "sigma0"),), scene.grid, valid, "holed")
    middle = experts.centre_db(holed, 32)
    assert middle.shape == (32, 32)
    assert np.isnan(middle[16, 16])
    assert np.isnan(middle).sum() == 1
    assert middle[0, 0] == pytest.approx(10 * np.log10(scene.pixels[0, 16, 16]), abs=1e-4)


def test_the_explorer_of_descriptors_says_their_values_and_leaves_no_data_out(chips):
    image = chips.decibels(0)[0].copy()
    image[3, 3] = np.nan
    figure = experts.draw_descriptors(image, "chip", 36, 16)
    valid = np.isfinite(image)
    digital = experts.digital_numbers(np.where(valid, image, 0))
    entropy, enl, _ = descriptors(digital[None], "log1p", valid[None])[0]
    assert f"entropy {entropy:.3f}, ENL {enl:.1f}" in alternative_text(figure)


@pytest.mark.parametrize(
    "draw",
    [
        lambda known, chips: experts.draw_gaps(["VV2F", "N2S"], 0, 64),
        lambda known, chips: experts.draw_experts(known, chips, 0, 1),
        lambda known, chips: experts.draw_gap_scores([]),
    ],
)
def test_pictures_say_what_they_show(known, chips, draw):
    figure = draw(known, chips)
    assert isinstance(figure, Figure)
    assert len(alternative_text(figure)) > 20
    assert plots.picture_html(figure).startswith("<img alt=")


def test_groups_of_descriptors_are_told_apart_by_colour_and_marker():
    axes = plots.panels(1)[0]
    groups = {str(i): np.random.default_rng(i).random((3, 3)) for i in range(8)}
    experts.show_descriptors(axes, groups, 0, 1, NAMES)
    styles = {(line.get_color(), line.get_marker()) for line in axes.get_lines()}
    assert len(styles) == 8
    assert axes.get_yscale() == "log"


def test_scores_and_answers_come_from_the_records():
    scores = {f"miou_{name}": 0.2 for name in experts.FIRST.values()}
    known = [
        {
            "configuration": name,
            "seed": seed,
            "data": "gaps",
            "values": {**scores, "miou": miou, "val_score": 0.3},
        }
        for name, miou in (("dense", 0.2), ("all", 0.3))
        for seed in (1, 2)
    ]
    axes = experts.draw_gap_scores(known).axes[0]
    said = [text.get_text() for text in axes.texts]
    assert "0.30" in said
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dense", "all"]
