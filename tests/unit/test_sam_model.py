"""The two sizes of SAM: official names, batched prompts, full-resolution masks."""

from dataclasses import replace

import pytest
import segment_anything
import torch

from sartutor.learn import models
from sartutor.learn.checkpoints import file_digest, save_tensors
from sartutor.learn.models import SamModel, load_model
from sartutor.learn.sam.model import NOT_COMPUTED, RadarSam
from sartutor.presets import SAM_SIZES


def tiny() -> RadarSam:
    torch.manual_seed(0)
    return RadarSam(SAM_SIZES["tiny"]).eval()


def test_vit_b_has_exactly_the_official_state_dict():
    with torch.device("meta"):
        ours = RadarSam(SAM_SIZES["vit_b"]).state_dict()
        official = segment_anything.build_sam_vit_b().state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in official.items()}


def test_tiny_fits_the_budget_of_fifteen_megabytes_in_float16():
    assert 4e6 < sum(parameter.numel() for parameter in tiny().parameters()) < 7.5e6


def test_masks_come_at_the_resolution_of_the_input():
    sam = tiny()
    with torch.inference_mode():
        logits, quality = sam.decode(
            sam.encode(torch.rand(1, 3, 256, 256)), torch.tensor([[10.0, 20, 90, 80]])
        )
    assert logits.shape == (1, 4, 256, 256)
    assert quality.shape == (1, 4)


def test_many_boxes_on_one_image_equal_one_box_at_a_time():
    sam = tiny()
    boxes = torch.tensor([[10.0, 20, 90, 80], [100, 100, 200, 160]])
    with torch.inference_mode():
        embedding = sam.encode(torch.rand(1, 3, 256, 256))
        together, _ = sam.decode(embedding, boxes)
        alone = torch.cat([sam.decode(embedding, box[None])[0] for box in boxes])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_one_image_per_box_equals_image_by_image():
    sam = tiny()
    images, boxes = torch.rand(2, 3, 256, 256), torch.tensor([[10.0, 20, 90, 80], [100, 100, 200, 160]])
    none = torch.full((2, 2, 3), -1.0)
    with torch.inference_mode():
        together, _ = sam(images, boxes, none)
        alone = torch.cat([sam(images[i : i + 1], boxes[i : i + 1], none[:1])[0] for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("box", [(90, 100, 151, 163), (0, 0, 30, 40), (200, 10, 256, 256), (3, 2, 254, 255)])
def test_what_is_drawn_of_a_box_alone_is_what_the_whole_image_has_there(box):
    sam = load_model("sam_tiny_base").sam
    x0, y0, x1, y1 = box
    torch.manual_seed(0)
    with torch.inference_mode():
        embedding, asked = sam.encode(torch.rand(1, 3, 256, 256)), torch.tensor([box]).float()
        whole, quality = sam.decode(embedding, asked)
        alone, same = sam.decode(embedding, asked, around=False)
    inside = (..., slice(y0, y1), slice(x0, x1))
    torch.testing.assert_close(alone[inside], whole[inside], rtol=1e-4, atol=1e-4)
    assert torch.equal(quality, same)
    assert alone.shape == whole.shape
    far = torch.ones(256, 256, dtype=torch.bool)
    far[max(y0 - 24, 0) : y1 + 24, max(x0 - 24, 0) : x1 + 24] = False
    assert (alone[..., far] == NOT_COMPUTED).all()


@pytest.mark.parametrize("clicks", [None, [[100.0, 100, 1]]])
@pytest.mark.parametrize("images", [1, 3])
def test_the_decoder_answers_and_learns_as_segment_anything_does(images, clicks):
    torch.manual_seed(0)
    size = replace(SAM_SIZES["vit_b"], image_size=256, depth=1, global_blocks=(0,))
    ours, theirs = RadarSam(size), segment_anything.build_sam_vit_b().mask_decoder
    theirs.load_state_dict(ours.mask_decoder.state_dict())
    maps = torch.randn(images, 256, 16, 16, requires_grad=True)
    boxes = torch.tensor([[10.0, 20, 90, 80], [100, 100, 200, 160], [0, 0, 256, 256]])
    points = None if clicks is None else torch.tensor([clicks]).expand(3, -1, -1)
    image_pe, sparse, _ = ours._prompted(boxes, points)
    dense = ours.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, 16, 16)
    found = [theirs.predict_masks(maps[i % images, None], image_pe, sparse[i, None], dense) for i in range(3)]
    expected = [torch.cat(each) for each in zip(*found, strict=True)]
    weights = torch.randn_like(expected[0])
    gradients = []
    for answer in (expected, ours.decode((maps,), boxes, points)):
        for mine, other in zip(answer, expected, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
        gradients.append(torch.autograd.grad((answer[0] * weights).sum(), maps, retain_graph=True)[0])
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(
        gradients[1], gradients[0], rtol=1e-3, atol=1e-4 * float(gradients[0].abs().max())
    )


def test_a_decoder_without_details_answers_alike_in_bfloat16(monkeypatch):
    torch.manual_seed(0)
    size = replace(SAM_SIZES["vit_b"], image_size=256, depth=1, global_blocks=(0,))
    model = SamModel("random", RadarSam(size).eval(), "random", {})
    embedding, box = (torch.randn(1, 256, 16, 16),), torch.tensor([[90.0, 100, 151, 163]])
    found = []
    for pays in (False, True):
        monkeypatch.setattr(models, "bf16_pays", lambda device, pays=pays: pays)
        with torch.inference_mode():
            found.append(model.decode(embedding, box, None))
    (exact, quality), (rounded, roughly) = found
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() <= 2e-2 * exact.norm()
    assert (roughly - quality).abs().max() < 2e-2


def test_points_details_and_contrast_in_the_box_change_the_mask():
    sam = tiny()
    box = torch.tensor([[64.0, 64, 192, 192]])
    with torch.inference_mode():
        embedding = sam.encode(torch.rand(1, 3, 256, 256))
        plain, _ = sam.decode(embedding, box)
        clicked, _ = sam.decode(embedding, box, torch.tensor([[[100.0, 100, 1]]]))
        tokens, image, *details = embedding
        blind, _ = sam.decode((tokens, image, *(torch.zeros_like(part) for part in details)), box)
        flat, _ = sam.decode((tokens, torch.zeros_like(image), *details), box)
    for other in (clicked, blind, flat):
        assert (plain - other).abs().max() > 1e-4


def test_a_model_that_is_changed_changes_neither_its_file_nor_another(tmp_path):
    base = load_model("sam_tiny_base")
    path = tmp_path / "whole.safetensors"
    save_tensors(path, base.sam.state_dict(), base.about)
    before = file_digest(path)
    first, second = load_model(path), load_model(path)
    with torch.no_grad():
        for parameter in first.sam.parameters():
            parameter.zero_()
    assert file_digest(path) == before == second.digest
    theirs = second.sam.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in base.sam.state_dict().items())
