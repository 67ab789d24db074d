"""What a click changes around it: near by, not across edges, nearest label first."""

import numpy as np
import pytest

from sartutor.learn.sam.clicks import EDGE_COST, REACH_PX, click_weight, corrected, geodesic_distance

EVEN = np.full((3, 80, 80), 0.5, np.float32)


def test_on_an_even_image_the_distance_is_that_of_steps():
    distance = geodesic_distance(EVEN, (40, 40))
    assert distance[40, 40] == 0
    assert distance[40, 50] == pytest.approx(10)
    assert distance[50, 50] == pytest.approx(10 * np.sqrt(2))
    weight = click_weight(EVEN, np.array([[40.5, 40.5]]), (80, 80))
    assert weight[40, 40] == 1
    assert weight[40, 40 + int(REACH_PX)] == pytest.approx(np.exp(-0.5))
    assert weight[0, 0] == 0


def test_an_edge_is_as_far_as_it_is_high():
    image = EVEN.copy()
    image[0, :, 45:] += 0.2
    distance = geodesic_distance(image, (40, 40))
    assert distance[40, 50] == pytest.approx(10 + 0.2 * EDGE_COST, rel=0.1)
    assert distance[40, 30] == pytest.approx(10, rel=0.01)


def test_probabilities_go_to_the_label_of_the_nearest_click():
    before = np.full((4, 80, 80), 0.3, np.float32)
    clicks = np.array([(20.5, 40.5, 1), (60.5, 40.5, 0)])
    after = corrected(before, EVEN, clicks)
    assert after.shape == before.shape
    np.testing.assert_allclose(after[:, 40, 20], 1, atol=0.001)
    np.testing.assert_allclose(after[:, 40, 60], 0, atol=0.001)
    assert (np.diff(after[0, 40, 20:61]) <= 1e-6).all()
    np.testing.assert_array_equal(after[0, 0, 0], before[0, 0, 0])
    lone = corrected(before, EVEN, clicks[:1])
    weight = np.exp(-0.5 * (5 / REACH_PX) ** 2)
    assert lone[0, 40, 25] == pytest.approx((1 - weight) * 0.3 + weight)


def test_a_click_at_the_border_counts():
    weight = click_weight(EVEN, np.array([[0.5, 79.5]]), (80, 80))
    assert weight[79, 0] == 1
    assert weight[75, 4] > weight[70, 9] > 0
