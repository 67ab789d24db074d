"""What adaptation learns from, and embeddings that are kept instead of made again."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sartutor.learn.embeddings import EmbeddingCache
from sartutor.learn.losses import cross_entropy_loss, dice_loss, mask_loss
from sartutor.learn.sam.adapted import AdaptedSam
from sartutor.learn.sam.kept import KeptEmbeddings, encoder_digest
from sartutor.learn.sam.model import RadarSam
from sartutor.learn.sam.objectives import AlignmentLoss, PromptLoss, embedding_distance, prompted_masks
from sartutor.learn.sam.samples import box_targets
from sartutor.presets import SAM_SIZES

SIDE = 64
SMALL = replace(
    SAM_SIZES["tiny"], image_size=SIDE, width=48, depth=2, heads=2, window=3, global_blocks=(1,), embedding=32
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return AdaptedSam(RadarSam(SMALL))


def batch(images=2):
    generator = torch.Generator().manual_seed(1)
    boxes = torch.full((images, 8, 4), -1.0)
    boxes[:, 0] = torch.tensor([8.0, 8, 40, 40])
    boxes[0, 1] = torch.tensor([42.0, 10, 60, 30])
    target = torch.zeros(images, SIDE, SIDE, dtype=torch.bool)
    target[:, 12:36, 12:36] = True
    known = torch.ones(images, SIDE, SIDE, dtype=torch.bool)
    image = torch.rand(images, 2, 3, SIDE, SIDE, generator=generator)
    points = torch.full((images, 2, 3), -1.0)
    return {"image": image.half(), "target": target, "known": known, "box": boxes, "points": points}


def test_an_empty_target_learns_by_cross_entropy_because_dice_does_not_teach_it():
    weight = torch.ones(1, 8, 8)
    for level in (2.0, 0.0, -2.0):
        logits = torch.full((1, 8, 8), level, requires_grad=True)
        (gradient,) = torch.autograd.grad(dice_loss(logits, torch.zeros(1, 8, 8), weight).sum(), logits)
        assert gradient.abs().max() < 1e-6
    logits = torch.zeros(2, 8, 8)
    target = torch.stack([torch.zeros(8, 8), torch.eye(8)])
    both = torch.ones(2, 8, 8)
    expected = [cross_entropy_loss(logits, target, both)[0], dice_loss(logits, target, both)[1]]
    assert mask_loss(logits, target, both).tolist() == pytest.approx([float(value) for value in expected])


def test_focal_counts_what_is_right_already_less():
    target, weight = torch.ones(2, 4, 4), torch.ones(2, 4, 4)
    logits = torch.stack([torch.full((4, 4), 3.0), torch.full((4, 4), -3.0)])
    sure, wrong = (
        mask_loss(logits, target, weight, "focal") / mask_loss(logits, target, weight, "bce")
    ).tolist()
    p = torch.sigmoid(torch.tensor(3.0)).item()
    assert sure == pytest.approx((1 - p) ** 2, rel=1e-4)
    assert wrong == pytest.approx(p**2, rel=1e-4)


def test_every_box_is_decoded_on_its_own_image(model):
    model.train_phase(1)
    some = batch()
    logits, quality, target, weight = prompted_masks(model, some)
    assert logits.shape == target.shape == weight.shape == (3, SIDE, SIDE)
    assert quality.shape == (3,)
    alone = {name: value[1:] for name, value in some.items()}
    torch.testing.assert_close(prompted_masks(model, alone)[0][0], logits[2], atol=1e-4, rtol=1e-4)


def test_an_image_is_encoded_once_however_many_boxes_it_has(model, monkeypatch):
    model.train_phase(1)
    calls = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda images: calls.append(len(images)) or encode(images))
    PromptLoss()(model, batch(), 0)
    assert calls == [2]


def test_masks_beyond_their_box_cost_something_where_that_is_background(model):
    some = batch()
    found = prompted_masks(model, some, outside="background")
    target, weight = box_targets(some, "background")[2:]
    beyond = (weight - box_targets(some)[3])[:, 0]
    assert beyond.any()
    with torch.no_grad():
        free, strict = PromptLoss()(model, some, 0), PromptLoss(outside="background")(model, some, 0)
    assert torch.equal(found[2], target[:, 0])
    assert torch.equal(found[3], weight[:, 0])
    assert (found[0].sigmoid() * beyond).sum() > 0
    assert free != strict


@pytest.mark.parametrize("phase", [1, 2])
def test_adapters_get_gradients_through_frozen_blocks_and_decoder(model, phase):
    model.train_phase(phase)
    for adapter in model.branches[phase - 1].adapters:
        nn.init.normal_(adapter.space.up.weight, std=0.02)
    PromptLoss()(model, batch(), 0).backward()
    for adapter in model.branches[phase - 1].adapters:
        assert adapter.space.down.weight.grad.abs().max() > 0
        assert adapter.mlp.up.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in model.base.image_encoder.parameters())
    if phase == 2:
        assert all(p.grad is None for p in model.mask_decoder.parameters())


def test_alignment_is_a_distance_of_embeddings(model):
    model.train_phase(2)
    some = batch()
    some["image"][:, 1] = some["image"][:, 0]
    loss = AlignmentLoss(KeptEmbeddings(model, EmbeddingCache()))
    assert loss(model, some, 0).item() == pytest.approx(0, abs=1e-5)
    some["image"][:, 1] = some["image"][:, 0].flip(-1)
    assert loss(model, some, 0).item() > 1e-3


def test_the_image_itself_is_no_part_of_the_distance():
    one = (torch.ones(1, 2, 4, 4), torch.zeros(1, 3, 8, 8), torch.ones(1, 2, 8, 8))
    other = (torch.zeros(1, 2, 4, 4), torch.ones(1, 3, 8, 8), torch.ones(1, 2, 8, 8))
    assert float(embedding_distance(one, other)) == pytest.approx(0.5)


def test_kept_embeddings_are_those_made_anew_and_made_once(model, monkeypatch):
    model.train_phase(3)
    kept, images = KeptEmbeddings(model, EmbeddingCache()), batch()["image"].float()
    with torch.no_grad():
        expected = model.encode(images)
    for found, level in zip(kept.encode(images), expected, strict=True):
        torch.testing.assert_close(found, level, atol=5e-3, rtol=5e-3)
    monkeypatch.setattr(model, "encode_branch", lambda *_: pytest.fail("encoded again"))
    kept.encode(images)


def test_other_weights_make_other_embeddings(model):
    before = [encoder_digest(model, index) for index in range(2)]
    with torch.no_grad():
        model.branches[1].adapters[0].mlp.up.bias += 1
    after = [encoder_digest(model, index) for index in range(2)]
    assert before[0] == after[0]
    assert before[1] != after[1]
    with torch.no_grad():
        model.mask_decoder.iou_token.weight += 1
    assert [encoder_digest(model, index) for index in range(2)] == after


def test_only_the_gate_and_its_decoder_learn_from_kept_embeddings(model):
    model.begin_fusion()
    model.train_phase(3)
    PromptLoss(kept=KeptEmbeddings(model, EmbeddingCache()))(model, batch(), 0).backward()
    learned = {
        name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert learned == {"gate", "fusion_decoder"}
