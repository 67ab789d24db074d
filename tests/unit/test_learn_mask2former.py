"""Mask2Former as a head: shapes, what its loss looks at, and how queries become classes."""

import importlib
import sys

import pytest
import torch

from sartutor.errors import SarTutorError
from sartutor.presets import MASK2FORMER_SIZES
from sartutor.sar.folder import IGNORE

pytest.importorskip("transformers", reason="no transformers: pip install -e '.[paper]'")

from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from sartutor.learn import mask2former
from sartutor.learn.mask2former import Mask2FormerHead, Said, hidden, semantic_scores, targets

SIZE = MASK2FORMER_SIZES["smoke"]


def head(classes=3):
    torch.manual_seed(0)
    return Mask2FormerHead((8, 8), classes, 32, SIZE)


def maps(count=2, side=8):
    return torch.randn(count, 16, side, side, generator=torch.Generator().manual_seed(1))


def quarters():
    """Two labels (2, 64, 64) of three classes, each in another corner."""
    label = torch.zeros(2, 64, 64, dtype=torch.long)
    label[0, :32, :32], label[1, 32:, 16:] = 1, 2
    return label


def answers(queries=10, side=32):
    """What queries might say to two images."""
    generator = torch.Generator().manual_seed(2)
    classes = torch.randn(2, queries, 4, generator=generator)
    return Said(classes, 3 * torch.randn(2, queries, side, side, generator=generator))


def losses(loss, said, label):
    masks, numbers = zip(*map(targets, label), strict=True)
    torch.manual_seed(3)
    return loss(said.masks, said.classes, masks, numbers)


@pytest.mark.parametrize(("side", "size"), [(8, (64, 64)), (5, (40, 40)), (1, (8, 8))])
def test_answers_have_the_size_of_the_image_and_are_shares(side, size):
    found = head()(maps(side=side), size)
    assert found.shape == (2, 3, *size)
    assert torch.isfinite(found).all()


def test_the_pyramid_doubles_and_halves():
    sides = [tuple(level.shape[1:]) for level in head().pyramid(maps())]
    assert sides == [(32, 32, 32), (32, 16, 16), (32, 8, 8), (32, 4, 4)]


def test_the_loss_falls_on_two_chips_and_their_classes_are_found():
    model, shown, label = head(), maps(), quarters()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        loss = model.loss(shown, label)
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * head().loss(shown, label)
    right = (model(shown, (64, 64)).argmax(1) == label).double().mean()
    assert right > 0.9 > (head()(shown, (64, 64)).argmax(1) == label).double().mean()


def test_where_all_is_labelled_the_loss_is_that_of_transformers():
    model = head()
    theirs = Mask2FormerLoss(model.decoder.config, mask2former.WEIGHTS)
    for name, value in losses(theirs, answers(), quarters()).items():
        assert losses(model.criterion, answers(), quarters())[name] == pytest.approx(value.item(), rel=1e-6)


def test_what_is_said_of_pixels_without_a_label_neither_counts_nor_learns():
    label = quarters()
    label[:, 24:48] = IGNORE
    said, criterion = answers(), head().criterion
    said.masks.requires_grad_()
    found = losses(criterion, said, label)
    sum(found.values()).backward()
    gradient = said.masks.grad.abs().sum((0, 1, 3))
    # rows of 2 px; labelled pixels beside the border lie between a row of their own and one of those without a label
    assert gradient[13:23].max() == 0
    assert (gradient[:12] > 0).all()
    assert (gradient[24:] > 0).all()
    other = said.masks.detach().clone()
    other[:, :, 13:23] *= -5
    again = losses(criterion, Said(said.classes, other), label)
    assert {name: value.item() for name, value in again.items()} == {
        name: value.item() for name, value in found.items()
    }


def test_more_pixels_without_a_label_are_hidden_rather_than_fewer():
    unlabelled = torch.zeros(1, 8, 8, dtype=torch.bool)
    unlabelled[0, 3, 5] = True
    found = hidden(torch.ones(1, 2, 4, 4), unlabelled)
    assert (found != 1).nonzero().tolist() == [[0, 0, 1, 2], [0, 1, 1, 2]]


def test_chips_without_any_label_teach_no_mask():
    model = head()
    label = torch.full((2, 64, 64), IGNORE)
    model.loss(maps(), label).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    found = losses(model.criterion, answers(), label)
    assert found["loss_mask"] == found["loss_dice"] == 0
    label[0] = quarters()[0]
    assert model.loss(maps(), label).isfinite()


def test_targets_are_the_classes_that_are_there():
    label = torch.tensor([[2, 2, IGNORE], [0, 0, 2]])
    masks, classes = targets(label)
    assert classes.tolist() == [0, 2]
    assert masks.isnan().sum() == 2
    assert masks.nan_to_num(9).tolist() == [[[0, 0, 9], [1, 1, 0]], [[1, 1, 9], [0, 0, 1]]]


def test_scores_are_the_sum_over_queries_of_both_probabilities():
    said = answers(queries=5, side=4)
    expected = torch.zeros(2, 3, 4, 4)
    for image in range(2):
        for query in range(5):
            chance = torch.softmax(said.classes[image, query], 0)
            for number in range(3):
                expected[image, number] += chance[number] * torch.sigmoid(said.masks[image, query])
    assert torch.allclose(semantic_scores(said), expected, atol=1e-6)


def test_the_sizes_of_the_paper_are_those_of_the_publication():
    torch.manual_seed(0)
    paper = Mask2FormerHead((16, 16), 7, 256, MASK2FORMER_SIZES["paper"])
    config = paper.decoder.config
    ours = {name: value for name, value in config.to_dict().items() if isinstance(value, int | float)}
    defaults = type(config)(num_labels=7).to_dict()
    assert ours == {name: defaults[name] for name in ours}
    assert len(paper.criterion.weight_dict) == 3


def test_without_transformers_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "sartutor.learn.mask2former")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        SarTutorError, match=r"needs transformers; install it with: pip install .sartutor\[paper"
    ):
        importlib.import_module("sartutor.learn.mask2former")


def test_half_precision_gives_nearly_the_same_loss():
    model, label = head(), quarters()
    found = []
    for mixed in (False, True):
        torch.manual_seed(4)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            found.append(model.loss(maps(), label))
    found[1].backward()
    assert found[1].item() == pytest.approx(found[0].item(), rel=0.05)
    assert found[1].dtype == torch.float32
