"""The first guess in a box: Otsu's threshold, softened, with the polarity of the box's border."""

import pytest
import torch
from skimage.filters import threshold_otsu

from sartutor.learn.sam.contrast import BINS, box_contrast, box_mask, otsu_threshold

BOX = torch.tensor([[16.0, 16.0, 48.0, 48.0]])


def disk(inside: float, outside: float, side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    mask = (x - 32) ** 2 + (y - 32) ** 2 < 100
    noise = 0.02 * torch.randn(3, side, side, generator=torch.Generator().manual_seed(0))
    return (torch.where(mask, inside, outside) + noise).clamp(0, 1)[None], mask


def test_box_mask_counts_pixel_centres():
    mask = box_mask(torch.tensor([[2.0, 3.0, 5.0, 7.0], [2.4, 3.0, 5.6, 7.0], [2.6, 3.0, 5.4, 7.0]]), 10)
    assert mask.flatten(1).sum(1).tolist() == [12, 16, 8]


@pytest.mark.parametrize(("inside", "outside"), [(0.8, 0.3), (0.2, 0.6)])
def test_the_object_is_positive_and_its_surroundings_negative_whichever_is_brighter(inside, outside):
    image, mask = disk(inside, outside)
    contrast = box_contrast(image, BOX)
    within = box_mask(BOX, 64)[0]
    assert (contrast[0, :3, mask] > 0).all()
    assert (contrast[0, :3, within & ~mask] < 0).all()


def test_outside_the_box_everything_is_zero_and_the_last_channel_is_the_box():
    image, _ = disk(0.8, 0.3)
    contrast = box_contrast(image, BOX)
    within = box_mask(BOX, 64)
    assert not contrast[:, :, ~within[0]].any()
    assert (contrast[:, 3] == within).all()


def test_a_box_sees_nothing_of_what_lies_outside_it():
    image, _ = disk(0.8, 0.3)
    other = image.clone()
    other[:, :, :10] = 1
    torch.testing.assert_close(box_contrast(image, BOX), box_contrast(other, BOX))


def test_several_boxes_equal_one_at_a_time():
    image, _ = disk(0.8, 0.3)
    boxes = torch.cat([BOX, torch.tensor([[10.0, 20.0, 40.0, 50.0]])])
    together = box_contrast(image.expand(2, -1, -1, -1), boxes)
    torch.testing.assert_close(together, torch.cat([box_contrast(image, box[None]) for box in boxes]))


def test_a_box_reaches_as_far_as_the_image_does():
    image, _ = disk(0.8, 0.3)
    edge, beyond = torch.tensor([[0.0, 40, 30, 64]]), torch.tensor([[-9.0, 40, 30, 90]])
    assert (box_contrast(image, beyond)[0, 3] == box_mask(edge, 64)[0]).all()
    assert not box_contrast(image, torch.tensor([[70.0, 70, 90, 90]])).any()


def test_the_threshold_is_that_of_scikit_image():
    values = torch.cat([torch.randn(500) * 0.05 + 0.3, torch.randn(300) * 0.08 + 0.7]).clamp(0, 1)
    counts = torch.histc(values, BINS, 0, 1)
    assert otsu_threshold(counts).item() == pytest.approx(threshold_otsu(values.numpy()), abs=1.5 / BINS)


def test_an_even_box_and_a_box_off_the_image_give_finite_numbers():
    even = torch.full((1, 3, 64, 64), 0.5)
    assert box_contrast(even, BOX).isfinite().all()
    assert box_contrast(even, torch.tensor([[70.0, 70.0, 90.0, 90.0]])).isfinite().all()
