"""MixMAE: no attention between the two images of a mixture, streams that unmix, and a loss over valid pixels."""

import pytest
import torch
from timm.models.swin_transformer import window_partition, window_reverse
from torch.nn import functional

from sartutor.errors import DataError
from sartutor.learn.masked_swin import (
    CELL,
    MaskedSwin,
    WindowAttention,
    fitting_window,
    fixed_positions,
    may_attend,
)
from sartutor.learn.masks import upsample_mask
from sartutor.learn.mixmae import (
    MixMAE,
    mix,
    partner,
    patchify,
    targets,
    unmix,
    unpatchify,
    weighted_square_error,
)
from sartutor.learn.weighting import BandStatistics, WeightRule
from sartutor.presets import MIXMAE_SIZES

STATISTICS = BandStatistics(("VH", "VV"), (-19.0, -12.0), (5.0, 5.0), (True, True))
SMOKE = MIXMAE_SIZES["smoke"]
CHECKERED = torch.tensor([[True, False], [False, True]])


def model(rule: WeightRule | None = None, **options) -> MixMAE:
    torch.manual_seed(0)
    return MixMAE(SMOKE, STATISTICS, rule or WeightRule(), **options)


def chips(count: int = 4, side: int = 64) -> torch.Tensor:
    return torch.randn(count, 2, side, side, generator=torch.Generator().manual_seed(1))


def batch(count: int = 4, side: int = 64) -> dict[str, torch.Tensor]:
    return {"image": chips(count, side), "valid": torch.ones(count, 1, side, side, dtype=torch.bool)}


def test_partners_are_neighbours_and_mix_at_masked_tokens_only():
    tokens = torch.arange(4.0)[:, None, None, None].expand(4, 8, 8, 3)
    assert partner(tokens)[:, 0, 0, 0].tolist() == [1, 0, 3, 2]
    mixed = mix(tokens, CHECKERED)[..., 0]
    assert mixed[0, :4, :4].unique().tolist() == [1]
    assert mixed[0, :4, 4:].unique().tolist() == [0]
    assert mixed[3, 4:, 4:].unique().tolist() == [2]


def test_every_token_of_every_chip_appears_in_one_mixture_and_is_restored_from_the_other():
    """The mask partitions the cells: what a chip shows in its own mixture it hides in its partner's."""
    own = torch.arange(4)[:, None, None, None].expand(4, 2, 2, 1)
    mixture = mix(own, CHECKERED)
    shown = (mixture == own).squeeze(-1)
    shown_by_partner = (partner(mixture) == own).squeeze(-1)
    assert torch.equal(shown, ~CHECKERED.expand(4, 2, 2))
    assert torch.equal(shown_by_partner, CHECKERED.expand(4, 2, 2))


def test_half_of_the_cells_are_masked_and_the_step_decides_which():
    mae = model()
    images = batch(2, 128)
    masks = [mae.mask(images, step) for step in range(20)]
    assert {int(mask.sum()) for mask in masks} == {8}
    assert torch.equal(masks[3], model().mask(images, 3))
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) > 10
    assert not torch.equal(masks[0], model(seed=1).mask(images, 0))


def test_neighbours_are_the_flipped_batch_of_the_released_program_in_another_order():
    """Flipping pairs i with B - 1 - i; with such chips as neighbours the mixtures, and so the losses, are the same."""
    mae, images = model(), chips(6)
    order = torch.tensor([0, 5, 1, 4, 2, 3])
    tokens = mae.encoder.embed(images)
    masked = upsample_mask(CHECKERED, 8)[..., None]
    flipped = torch.where(masked, tokens.flip(0), tokens)
    torch.testing.assert_close(mix(tokens[order], CHECKERED), flipped[order], rtol=0, atol=0)
    first, second = (torch.randn(6, 2, 2, 5) for _ in range(2))
    released = torch.where(CHECKERED[..., None], first, second.flip(0))
    assert torch.equal(unmix(first[order], second[order], CHECKERED), released[order])


@pytest.mark.parametrize(("side", "bfloat16"), [(64, False), (128, False), (128, True)])
def test_no_attention_leaks_between_the_two_images_of_a_mixture(side, bfloat16):
    """Other values in one image of the pair leave the encoding at the other's tokens unchanged, bit by bit."""
    torch.manual_seed(0)
    size = MIXMAE_SIZES["laptop"]
    encoder = MaskedSwin(size, 2).eval()
    mask = torch.zeros(side // CELL, side // CELL, dtype=torch.bool)
    mask[:, ::2] = True
    mask[0] = ~mask[0]
    tokens = torch.randn(2, side // 4, side // 4, size.width)
    masked = upsample_mask(mask, 8)[..., None]
    perturbed = torch.where(masked, torch.randn_like(tokens) * 10, tokens)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        for before, after in zip(encoder(tokens, mask), encoder(perturbed, mask), strict=True):
            kept = ~upsample_mask(mask, before.shape[1] // len(mask))
            assert torch.equal(before[:, kept], after[:, kept])
            assert not torch.allclose(before[:, ~kept], after[:, ~kept])
        leaking = encoder(perturbed)[-1][:, ~mask] - encoder(tokens)[-1][:, ~mask]
    assert leaking.abs().max() > 1e-3  # without the mask the same change is seen everywhere


@pytest.mark.parametrize(("side", "window"), [(16, 8), (8, 8), (4, 4), (12, 4)])
def test_masked_windows_equal_attention_written_out_over_the_whole_image(side, window):
    """Softmax over all N x N pairs of tokens, all but those of one window and one image forbidden."""
    torch.manual_seed(0)
    attention = WindowAttention(24, 3, 8)
    mask = torch.rand(4, 4) < 0.5
    tokens = torch.randn(2, side, side, 24)
    allowed = may_attend(mask, side, window)
    windows = window_partition(tokens, (window, window)).flatten(1, 2)
    ours = attention(windows, window, allowed).unflatten(1, (window, window))
    ours = window_reverse(ours, (window, window), side, side).flatten(1, 2)

    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    cell = mask.repeat_interleave(side // 4, 0).repeat_interleave(side // 4, 1).flatten()
    place = torch.stack([row // window, column // window]).flatten(1)
    together = (place[:, :, None] == place[:, None, :]).all(0) & (cell[:, None] == cell[None])
    down = (row.flatten()[:, None] - row.flatten()[None]).clamp(1 - window, window - 1) + 7
    right = (column.flatten()[:, None] - column.flatten()[None]).clamp(1 - window, window - 1) + 7
    bias = attention.relative_position_bias_table[down * 15 + right].permute(2, 0, 1)
    query, key, value = attention.qkv(tokens.flatten(1, 2)).view(2, side**2, 3, 3, 8).permute(2, 0, 3, 1, 4)
    logits = query @ key.transpose(-1, -2) / 8**0.5 + bias
    heads = logits.masked_fill(~together, -torch.inf).softmax(-1) @ value
    naive = attention.proj(heads.transpose(1, 2).flatten(2))
    torch.testing.assert_close(ours, naive, rtol=1e-4, atol=1e-5)


def test_windows_within_one_cell_of_the_mask_need_no_matrix():
    assert may_attend(CHECKERED, 16, 8) is None  # 8 tokens of 4 px are one cell
    assert may_attend(None, 8, 8) is None
    allowed = may_attend(CHECKERED, 8, 8)
    assert allowed.shape == (1, 64, 64)
    assert allowed[0, 0].view(8, 8)[:4, :4].all()
    assert not allowed[0, 0].view(8, 8)[:4, 4:].any()


def test_windows_divide_the_map():
    assert [fitting_window(side, 8) for side in (32, 12, 8, 4, 7, 1)] == [8, 6, 8, 4, 7, 1]


def test_positions_tell_columns_in_the_first_half_and_rows_in_the_second():
    positions = fixed_positions(4, 16, torch.device("cpu"))
    assert torch.equal(positions[0, 2, :8], positions[3, 2, :8])
    assert torch.equal(positions[3, 0, 8:], positions[3, 2, 8:])
    angle = 2 / 10000 ** (torch.arange(4) / 4)
    torch.testing.assert_close(positions[0, 2, :8], torch.cat([angle.sin(), angle.cos()]))
    torch.testing.assert_close(positions[2, 0, 8:], torch.cat([angle.sin(), angle.cos()]))


def test_patches_hold_the_pixels_of_their_cell_channels_last():
    image = chips(2)
    tokens = patchify(image)
    assert tokens.shape == (2, 2, 2, 32 * 32 * 2)
    assert torch.equal(tokens[1, 0, 1].view(32, 32, 2), image[1, :, :32, 32:].permute(1, 2, 0))
    assert torch.equal(unpatchify(tokens), image)


def test_an_oracle_decoder_is_unmixed_to_the_targets(monkeypatch):
    """Streams that are right where they must be, and empty elsewhere, give loss 0 and the image itself."""
    mae, images = model(), batch()
    mask = mae.mask(images, 5)
    wanted = targets(patchify(images["image"]), torch.ones(4, 2, 2, 2048, dtype=torch.bool), True).tokens
    nothing = torch.full_like(wanted, torch.nan)
    hidden = mask[..., None]
    oracle = torch.where(hidden, wanted, nothing), torch.where(hidden, nothing, partner(wanted))
    monkeypatch.setattr(mae, "_streams", lambda image, mask: oracle)
    assert torch.equal(unmix(*oracle, mask), wanted)
    assert mae.loss(images, 5) == 0
    torch.testing.assert_close(mae.reconstruct(images["image"], mask), images["image"], rtol=1e-4, atol=1e-4)


def test_targets_have_mean_0_and_unbiased_variance_1_over_valid_pixels():
    pixels, valid = torch.randn(2, 2, 2, 2048) * 3 + 5, torch.rand(2, 2, 2, 2048) < 0.7
    valid[0, 0, 0] = False
    tokens, mean, std = targets(pixels, valid, normalise=True)
    seen = pixels[1, 0, 1][valid[1, 0, 1]]
    torch.testing.assert_close(mean[1, 0, 1, 0], seen.mean())
    torch.testing.assert_close(std[1, 0, 1, 0], (seen.var() + 1e-6).sqrt())
    torch.testing.assert_close(
        tokens[1, 0, 1][valid[1, 0, 1]], (seen - seen.mean()) / (seen.var() + 1e-6).sqrt()
    )
    assert torch.isfinite(tokens).all()
    assert torch.equal(targets(pixels, valid, normalise=False).tokens, pixels)


def test_known_answer_of_the_weighted_error():
    prediction, target = torch.tensor([[1.0, 2, 5], [0, 0, 0]]), torch.tensor([[0.0, 0, 0], [2, 1, 0]])
    weight = torch.tensor([[1.0, 2, 3], [1, 2.5, 1]])
    valid = torch.tensor([[True, True, False], [True, True, True]])
    # (1*1 + 2*4 + 1*4 + 2.5*1 + 0) / 5
    assert weighted_square_error(prediction, target, weight, valid).item() == pytest.approx(15.5 / 5)


def test_known_answer_of_the_loss_where_nothing_is_predicted():
    """A decoder of zeros errs by the variance of the targets, each pixel by its own weight."""
    mae, images = model(normalise_targets=False), batch()
    torch.nn.init.zeros_(mae.decoder.predict.weight)
    weights = mae.rule.weights(images["image"], images["valid"], STATISTICS)
    expected = (weights * images["image"].square()).mean()
    assert weights.std() > 0.01
    torch.testing.assert_close(mae.loss(images, 0), expected)
    plain = model(WeightRule(mode="none"), normalise_targets=True)
    torch.nn.init.zeros_(plain.decoder.predict.weight)
    assert plain.loss(images, 0).item() == pytest.approx(
        2047 / 2048, rel=1e-5
    )  # unbiased variance of 2048 pixels


def test_pixels_without_data_reach_neither_loss_nor_gradient():
    mae, images = model(), batch()
    images["valid"][0, :, :20, :50] = False
    images["image"][0, :, :20, :50] = torch.nan
    images["valid"][3] = False
    loss = mae.loss(images, 2)
    images["image"][0, :, :20, :50] = 77.0
    images["image"][3] = -5.0
    assert mae.loss(images, 2) == loss
    assert torch.isfinite(loss)

    prediction = torch.randn(4, 2, 2, 2048, requires_grad=True)
    everywhere = patchify(images["valid"].expand(4, 2, 64, 64))
    weight = patchify(mae.rule.weights(images["image"], images["valid"], STATISTICS))
    weighted_square_error(prediction, patchify(images["image"]), weight, everywhere).backward()
    assert (prediction.grad[~everywhere] == 0).all()
    assert (prediction.grad[everywhere] != 0).all()


def test_a_batch_without_any_data_has_loss_0_and_finite_gradients():
    mae, images = model(), batch(2)
    images["valid"][:] = False
    loss = mae.loss(images, 0)
    loss.backward()
    assert loss == 0
    assert all(torch.isfinite(p.grad).all() for p in mae.parameters() if p.grad is not None)


def test_constant_chips_keep_loss_and_gradients_finite():
    mae, images = model(), batch(2)
    images["image"][:] = 0.25
    loss = mae.loss(images, 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in mae.parameters())


def test_valid_pixels_that_are_not_finite_are_refused():
    images = batch()
    images["image"][1, 0, 3, 3] = torch.nan
    with pytest.raises(DataError, match="not finite; mark those pixels as no data"):
        model(WeightRule(mode="none")).loss(images, 0)


def test_an_odd_batch_is_refused_with_the_cure():
    with pytest.raises(DataError, match="this batch has 3; use a batch size that is even"):
        model().loss(batch(3), 0)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (80, 80), (64, 96)])
def test_chips_that_are_no_whole_cells_are_refused(height, width):
    images = {
        "image": torch.zeros(2, 2, height, width),
        "valid": torch.ones(2, 1, height, width, dtype=torch.bool),
    }
    with pytest.raises(DataError, match=f"these have {height} x {width}"):
        model().loss(images, 0)


def test_chips_of_other_bands_are_refused():
    with pytest.raises(DataError, match="2 bands VH, VV, and these chips have 1"):
        model().features(torch.zeros(2, 1, 64, 64))


@pytest.mark.parametrize("side", [32, 64, 96, 128])
def test_features_of_four_strides_come_from_unmixed_images(side):
    mae = model().eval()
    images = chips(3, side)
    with torch.inference_mode():
        maps = mae.features(images)
        alone = mae.features(images[1:2])
    assert tuple(each.shape[1] for each in maps) == mae.widths
    assert [each.shape[2] for each in maps] == [side // stride for stride in (4, 8, 16, 32)]
    for each, single in zip(maps, alone, strict=True):
        torch.testing.assert_close(each[1:2], single, rtol=1e-4, atol=1e-5)


def test_two_halves_of_a_batch_average_to_the_loss_of_the_whole():
    """What two processes compute: their share of chips, the same mask."""
    mae, images = model(), batch(8)
    halves = [
        mae.loss({key: value[part] for key, value in images.items()}, 7) for part in (slice(4), slice(4, 8))
    ]
    torch.testing.assert_close(torch.stack(halves).mean(), mae.loss(images, 7))


def test_autocast_to_bfloat16_is_close_to_float32_and_the_loss_stays_float32():
    mae, images = model(), batch()
    exact = mae.loss(images, 0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = mae.loss(images, 0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss != exact
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0.02)
    assert all(torch.isfinite(parameter.grad).all() for parameter in mae.parameters())


def test_one_batch_can_be_learnt_by_heart():
    """Smooth chips, one mask: the error falls far below that of predicting the mean, and pictures follow."""
    mae = model(WeightRule(mode="none"), normalise_targets=False)
    images = batch(2)
    images["image"] = functional.interpolate(torch.randn(2, 2, 4, 4) * 1.5, size=64, mode="bicubic")
    optimiser = torch.optim.AdamW(mae.parameters(), lr=3e-3, weight_decay=0)
    for _ in range(60):
        optimiser.zero_grad()
        loss = mae.loss(images, 0)
        loss.backward()
        optimiser.step()
    error = (mae.reconstruct(images["image"], mae.mask(images, 0)) - images["image"]).square().mean()
    assert max(loss, error) < 0.05 * images["image"].var()


def test_sizes():
    laptop = MaskedSwin(MIXMAE_SIZES["laptop"], 2)
    assert sum(parameter.numel() for parameter in laptop.parameters()) <= 3e6
    with torch.device("meta"):
        paper = MaskedSwin(MIXMAE_SIZES["paper"], 2)
    assert 85e6 < sum(parameter.numel() for parameter in paper.parameters()) < 90e6
