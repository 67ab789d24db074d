"""SimMIM: the loss by hand, gradients at hidden valid pixels alone, masks by place, learning, and SAM's encoder."""

import pytest
import torch
from torch import Tensor

from sartutor.errors import DataError, SarTutorError
from sartutor.learn.masks import upsample_mask
from sartutor.learn.sam.model import RadarSam
from sartutor.learn.simmim import MaskedRestoration, SamSimMIM, SimMIM, masked_error
from sartutor.learn.weighting import BandStatistics, WeightRule
from sartutor.presets import SAM_SIZES, SWIN_SIZES

DUAL = BandStatistics(("VV", "VH"), (-12.0, -19.0), (3.0, 3.5), (True, True))
BRANCH = BandStatistics(("VV0", "VV1", "DEM"), (-12.0, -12.0, 900.0), (3.0, 3.0, 300.0), (True, True, False))


def simmim(**settings) -> SimMIM:
    torch.manual_seed(0)
    return SimMIM(SWIN_SIZES["smoke"], DUAL, WeightRule(), **settings)


def sam_simmim(**settings) -> SamSimMIM:
    torch.manual_seed(0)
    return SamSimMIM(SAM_SIZES["tiny"], BRANCH, WeightRule(), **settings)


def chips(count: int = 2, bands: int = 2, side: int = 64, seed: int = 0) -> dict[str, Tensor]:
    """Smooth pictures of mean 0 with a corner that holds no data."""
    coarse = torch.randn(count, bands, 4, 4, generator=torch.Generator().manual_seed(seed))
    image = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    valid = torch.ones(count, 1, side, side, dtype=torch.bool)
    valid[:, :, :10, :10] = False
    return {"image": image * valid, "valid": valid}


IMAGE = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])[None]
RESTORED = torch.tensor([[[1.5, 9.0], [5.0, 4.0]], [[0.5, 9.0], [0.0, -3.0]]])[None]
WEIGHT = torch.tensor([[[2.0, 7.0], [1.0, 1.0]], [[1.0, 7.0], [1.0, 3.0]]])[None]
COUNTED = torch.tensor([[[True, False], [True, True]]])[None]


@pytest.mark.parametrize(
    ("error", "total"),
    [
        ("l1", 2 * 0.5 + 2 + 0 + 0.5 + 0 + 3 * 3),
        ("mse", 2 * 0.25 + 4 + 0 + 0.25 + 0 + 3 * 9),
        ("huber", 2 * 0.125 + 1.5 + 0 + 0.125 + 0 + 3 * 2.5),
    ],
)
def test_the_loss_is_the_weighted_error_over_counted_pixels_and_bands(error, total):
    loss = masked_error(RESTORED, IMAGE, WEIGHT, COUNTED, error)
    assert loss.item() == pytest.approx(total / (3 + 1e-5) / 2, rel=1e-6)


def test_the_gradient_is_exactly_zero_at_visible_and_no_data_pixels():
    batch, model, restored = chips(), simmim(), {}
    plain = model.reconstruct

    def kept(image: Tensor, mask: Tensor) -> Tensor:
        restored["pixels"] = plain(image, mask)
        restored["pixels"].retain_grad()
        return restored["pixels"]

    model.reconstruct = kept
    model.loss(batch, step=0).backward()
    hidden = upsample_mask(model.mask(batch, 0), model.mask_patch)[:, None]
    assert (hidden & ~batch["valid"]).any()
    gradient, counted = restored["pixels"].grad, (hidden & batch["valid"]).expand(-1, 2, -1, -1)
    assert (gradient[~counted] == 0).all()
    assert (gradient[counted] != 0).all()


def test_dark_pixels_count_e_times_as_much_as_bright_ones():
    batch = {"image": torch.randn(1, 2, 64, 64), "valid": torch.ones(1, 1, 64, 64, dtype=torch.bool)}
    weight = WeightRule().weights(batch["image"], batch["valid"], DUAL)
    counted = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    restored = batch["image"].clone().requires_grad_()
    masked_error(restored + 1, batch["image"], weight, counted).backward()
    dark, bright = batch["image"].flatten().argmin(), batch["image"][:, :1].flatten().argmax()
    gradient = restored.grad.flatten()
    assert (gradient[dark] / gradient[bright]).item() == pytest.approx(torch.e, rel=1e-4)


def test_the_loss_is_that_of_its_parts():
    batch, model = chips(), simmim()
    mask = model.mask(batch, 3)
    counted = upsample_mask(mask, 16)[:, None] & batch["valid"]
    weight = model.rule.weights(batch["image"], batch["valid"], DUAL)
    difference = (model.reconstruct(batch["image"], mask) - batch["image"]).abs()
    expected = (weight * difference)[counted.expand_as(weight)].sum() / counted.sum() / 2
    torch.testing.assert_close(model.loss(batch, 3), expected, rtol=1e-5, atol=1e-7)


def test_masks_follow_the_number_of_the_chip_not_its_place_in_a_process():
    batch, model = chips(4), simmim(seed=7)
    whole = model.mask({**batch, "index": torch.arange(8, 12)}, 2)
    mine = model.mask({"image": batch["image"][2:], "index": torch.tensor([10, 11])}, 2)
    assert torch.equal(whole[2:], mine)
    assert not torch.equal(whole, model.mask({**batch, "index": torch.arange(8, 12)}, 3))


@pytest.mark.parametrize("patch", [16, 32])
def test_a_restored_chip_does_not_depend_on_what_is_hidden(patch):
    batch, model = chips(), simmim(mask_patch=patch)
    mask = model.mask(batch, 0)
    hidden = upsample_mask(mask, patch)[:, None]
    other = torch.where(hidden, torch.randn(()), batch["image"])
    restored = model.reconstruct(batch["image"], mask)
    assert restored.shape == batch["image"].shape
    assert torch.equal(restored, model.reconstruct(other, mask))
    seen = torch.where(hidden, batch["image"], batch["image"] + 1)
    assert not torch.equal(restored, model.reconstruct(seen, mask))


def fall(model: MaskedRestoration, batch: dict[str, Tensor], steps: int, rate: float) -> float:
    """Loss after training on one batch and one mask, as a part of the loss before."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        loss = model.loss(batch, step=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[-1] / losses[0]


@pytest.mark.parametrize("error", ["l1", "mse", "huber"])
def test_one_batch_is_learned_by_heart(error):
    assert fall(simmim(error=error), chips(), steps=60, rate=3e-3) < 0.25


def test_chips_without_any_data_give_a_loss_of_zero_and_finite_gradients():
    batch, model = chips(), simmim()
    batch = {"image": torch.zeros_like(batch["image"]), "valid": torch.zeros_like(batch["valid"])}
    loss = model.loss(batch, 0)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_constant_chips_give_a_finite_loss():
    batch = {**chips(), "image": torch.full((2, 2, 64, 64), 0.3)}
    assert torch.isfinite(simmim().loss(batch, 0))


def test_features_serve_what_comes_after_pretraining():
    model = simmim()
    assert tuple(each.shape[1] for each in model.features(chips()["image"])) == model.widths


def test_chips_that_patches_do_not_tile_are_refused():
    with pytest.raises(DataError, match=r"24 x 24 pixels .* multiple of 32"):
        simmim(mask_patch=32).loss(chips(side=24), 0)
    with pytest.raises(DataError, match="takes 2 bands of 64 x 64 pixels"):
        simmim().loss(chips(side=128), 0)
    with pytest.raises(DataError, match="takes 2 bands of 64 x 64 pixels"):
        simmim().reconstruct(chips(bands=1)["image"], simmim().mask(chips(), 0))


def test_unknown_errors_and_patches_that_split_tokens_are_refused():
    with pytest.raises(SarTutorError, match="no error 'l3'; use one of l1, mse, huber"):
        simmim(error="l3")
    with pytest.raises(DataError, match="multiple of 4"):
        simmim(mask_patch=6)
    with pytest.raises(DataError, match="multiple of 16"):
        sam_simmim(mask_patch=8)


def test_the_sam_encoder_goes_under_its_names_into_segment_anything():
    model, sam = sam_simmim(), RadarSam(SAM_SIZES["tiny"])
    sam.image_encoder.load_state_dict(model.image_encoder.state_dict(), strict=True)
    named = {name for name in model.state_dict() if name.startswith("image_encoder.")}
    assert named == {name for name in sam.state_dict() if name.startswith("image_encoder.")}
    levels = torch.rand(1, 3, 256, 256)
    image = (levels - 0.5) * 2 * 2.326
    nothing = torch.zeros(1, 16, 16, dtype=torch.bool)
    torch.testing.assert_close(model.embedding(image, nothing), sam.encode(levels)[0], atol=1e-4, rtol=1e-4)


def test_vit_b_has_the_shapes_of_the_official_encoder():
    with torch.device("meta"):
        model = SamSimMIM(SAM_SIZES["vit_b"], BRANCH, WeightRule())
        official = RadarSam(SAM_SIZES["vit_b"]).image_encoder.state_dict()
    assert {k: v.shape for k, v in model.image_encoder.state_dict().items()} == {
        k: v.shape for k, v in official.items()
    }


@pytest.mark.parametrize("patch", [16, 32])
def test_sam_restores_without_seeing_what_is_hidden(patch):
    model, batch = sam_simmim(mask_patch=patch), chips(1, bands=3, side=256)
    mask = model.mask(batch, 0)
    other = torch.where(upsample_mask(mask, patch)[:, None], torch.randn(()), batch["image"])
    restored = model.reconstruct(batch["image"], mask)
    assert restored.shape == batch["image"].shape
    assert torch.equal(restored, model.reconstruct(other, mask))


def test_sam_learns_one_batch_and_its_whole_encoder_takes_part():
    model, batch = sam_simmim(mask_patch=32), chips(1, bands=3, side=256)
    assert fall(model, batch, steps=12, rate=1e-3) < 0.8
    assert all(p.grad is not None for p in model.parameters())


def test_sam_refuses_other_bands_and_sizes():
    with pytest.raises(DataError, match="takes three bands and was given VV, VH"):
        SamSimMIM(SAM_SIZES["tiny"], DUAL, WeightRule())
    with pytest.raises(DataError, match="takes 3 bands of 256 x 256 pixels and was given 3 x 128 x 128"):
        sam_simmim().loss(chips(1, bands=3, side=128), 0)
