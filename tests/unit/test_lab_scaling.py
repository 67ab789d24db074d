"""Tables and pictures of scaling up: what presets mean, what fits on how many GPUs, what seams are."""

import math

import ipywidgets as widgets
import numpy as np
import pytest

from sartutor.lab import plots
from sartutor.lab.scaling import (
    GPUS,
    devices_needed,
    draw_curves,
    draw_memory,
    draw_rent,
    jobs,
    preset_table,
    rent_explorer,
    seam_rates,
)
from sartutor.learn.costs import Cost, memory_bytes
from sartutor.presets import ADAPT_RECIPES, PRETRAIN_RECIPES


@pytest.fixture(scope="module")
def smoke():
    return jobs(("smoke",))


def test_the_table_says_what_the_recipes_say(smoke):
    table = preset_table(smoke)
    assert len(table) == len(PRETRAIN_RECIPES) + 2
    for name, recipes in PRETRAIN_RECIPES.items():
        method, backbone = name.split("-")
        row = table.loc[f"pretrain {method} {backbone}", "smoke"]
        assert (row["steps"], row["batch"]) == (recipes["smoke"].steps, recipes["smoke"].batch)
    adapted = table.loc["adapt, phase 1", "smoke"]
    assert adapted["steps"] == ADAPT_RECIPES["smoke"].phases[0].steps
    assert adapted["trained (M)"] < adapted["parameters (M)"]


def test_all_the_work_is_steps_times_batch_times_an_image(smoke):
    for job in smoke:
        assert job.operations == job.steps * job.batch * job.cost.step > 0


def test_a_batch_is_shared_until_it_fits():
    cost = Cost(parameters=1000, trained=1000, forward=1, step=3, kept=1000)
    alone = memory_bytes(cost, 8)
    assert devices_needed(cost, 8, alone + 1) == 1
    assert devices_needed(cost, 8, alone) == 2
    assert devices_needed(cost, 6, memory_bytes(cost, 1) + 1) == 6
    assert devices_needed(cost, 8, memory_bytes(cost, 1)) is None


def test_the_picture_of_hours_names_what_does_not_fit_and_the_price(smoke):
    name = next(iter(GPUS))
    said = draw_rent(smoke, name, 1, 0.3, 2.0).get_label()
    assert all(job.command in said for job in smoke)
    assert "costs" in said
    assert "costs" not in draw_rent(smoke, name, 1, 0.3, 0.0).get_label()
    large = [job.__class__(**{**vars(job), "cost": job.cost._replace(kept=1e12)}) for job in smoke]
    assert "not even one image" in draw_rent(large, name, 1, 0.3, 0).get_label()
    assert "cannot be shared by 32" in draw_rent(smoke, name, 32, 0.3, 0).get_label()


def test_the_explorer_is_drawn_anew(smoke):
    box = rent_explorer(smoke)
    controls, picture = box.children
    before = picture.value
    price = next(c for c in controls.children if isinstance(c, widgets.BoundedFloatText))
    price.value = 3.0
    assert picture.value != before


def test_other_pictures_say_what_they_show():
    assert "7 MB" in plots.alternative_text(draw_memory({"a": 7.0, "b": 3.0}, {"a": 0.1, "b": 0.2}))
    assert "one ends at 1.0000" in plots.alternative_text(draw_curves({"one": [2.0, 1.0], "two": [2.0, 1.0]}))


def test_seams_are_told_from_other_rows():
    codes = np.zeros((64, 10), np.uint8)
    codes[16:32], codes[48:] = 1, 1  # changes at rows 16, 32 and 48
    assert seam_rates(codes, [0, 16, 32], 8) == (1.0, pytest.approx(1 / 5))
    assert math.isnan(seam_rates(codes, [0], 8)[0])
