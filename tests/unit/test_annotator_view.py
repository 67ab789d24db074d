"""The annotator driven through its widgets' own interface, without a browser and without a model."""

from __future__ import annotations

import base64
import warnings
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import annotating
import ipyleaflet
import numpy as np
import pytest
from affine import Affine
from ipywidgets.embed import dependency_state
from jupyter_core.paths import jupyter_path
from PIL import Image
from rasterio.crs import CRS
from shapely.affinity import translate
from shapely.geometry import Polygon, box, mapping

from sartutor.errors import CheckpointError, DataError, GeometryError, OutputError
from sartutor.lab.annotator import Annotator, Segmenter, Session, canvas, labels
from sartutor.lab.annotator.annotation import annotate, packed
from sartutor.lab.annotator.session import default_path
from sartutor.sar.coordinates import transform_points
from sartutor.sar.geotiff import open_scene, write_scene
from sartutor.sar.scene import Band, Grid, Scene

SQUARE = box(600_080, 5_199_780, 600_230, 5_199_930)
"""Around the bright square, in metres."""


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    """Segment by brightness."""
    monkeypatch.setattr(Segmenter, "predictor", None)
    monkeypatch.setattr(Segmenter, "digest", "0" * 64)
    monkeypatch.setattr(Segmenter, "prefetch", lambda *_: None)
    monkeypatch.setattr(Segmenter, "has_gate", False)
    monkeypatch.setattr(Segmenter, "segment", lambda self, *shape: annotating.segment(self.scene, *shape))


@pytest.fixture
def annotator(tmp_path) -> Annotator:
    """An annotator on the small scene, its session kept in a temporary folder."""
    return Annotator(annotating.scene(), session_path=tmp_path / "kept.sqlite")


def on_map(annotator: Annotator, shape: Polygon) -> Polygon:
    """A shape in the scene's coordinates, in the map's degrees, rounded as the map does."""
    degrees = annotator.placement.to_map(shape, annotator.scene.grid.crs)
    return Polygon([(round(x, 6), round(y, 6)) for x, y in degrees.exterior.coords])


def unnumbered(shape: Polygon) -> dict:
    """A feature as the browser sends it after drawing."""
    return {"type": "Feature", "properties": {"style": {}}, "geometry": mapping(shape)}


def drag(annotator: Annotator, shape: Polygon) -> None:
    """What the browser sends when a shape was drawn: all features, the new one without a number."""
    annotator.control.set_state({"data": [*annotator.control.data, unnumbered(on_map(annotator, shape))]})


def press(annotator: Annotator, key: str) -> None:
    """What the browser sends when a key was pressed."""
    annotator.frontend._handle_custom_msg({"key": key}, [])


def send_mouse(annotator: Annotator, kind: str, lat: float, lon: float) -> None:
    """What the browser sends of the mouse on the map."""
    content = {"event": "interaction", "type": kind, "coordinates": [lat, lon]}
    annotator.map._handle_leaflet_event(annotator.map, content, [])


def status(annotator: Annotator) -> str:
    """What the status line says, as HTML."""
    return annotator.status.value


def in_step(annotator: Annotator) -> bool:
    """Whether map, list, buttons and file all show what the session holds."""
    ids = [o.id for o in annotator.session.objects]
    kept = Session.read(annotator.scene, annotator.session.path)
    return (
        [feature["properties"]["id"] for feature in annotator.control.data] == ids
        and len(annotator.map.layers) == 1 + len(ids)
        and [id for _, id in annotator.panel.objects.options] == ids
        and [o.id for o in kept.objects] == ids
        and annotator.panel.undo.disabled != annotator.session.can_undo
        and annotator.panel.redo.disabled != annotator.session.can_redo
    )


def picture(layer: ipyleaflet.ImageOverlay) -> np.ndarray:
    """The pixels of an overlay, as red, green, blue and alpha."""
    kind, content = layer.url.split(",", 1)
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(BytesIO(base64.b64decode(content))).convert("RGBA"))


def test_a_dragged_box_becomes_a_mask_on_the_map(annotator):
    drag(annotator, SQUARE)
    (found,) = annotator.session.objects
    assert found.pixels == 100
    assert found.crs == annotating.DEGREES
    assert in_step(annotator)
    mask = annotator.map.layers[1]
    assert mask.alt.startswith("mask of object 1")
    (south, west), (north, east) = mask.bounds
    assert box(west, south, east, north).buffer(1e-6).contains(on_map(annotator, SQUARE).buffer(-1e-4))
    share = (picture(mask)[..., 3] > 0).mean()
    assert share == pytest.approx(100 / found.mask.size, abs=0.12)
    assert "100 px, 1.00 ha, score 0.90" in status(annotator)


def test_the_map_asks_nobody_for_tiles(annotator):
    assert [type(layer) for layer in annotator.map.layers] == [canvas.Overlay]
    assert annotator.map.layers[0].alt == "radar picture of valley"


def test_every_widget_is_found_where_front_ends_without_jupyterlab_look(annotator):
    """VS Code and the classic notebook take widgets' scripts from `nbextensions`, and else from the network."""
    state = dependency_state(annotator.widget)
    modules = {model["model_module"] for model in state.values()}
    others = {name for name in modules if not name.startswith("@jupyter-widgets/")}
    assert {"jupyter-leaflet", "anywidget"} <= others
    folders = [Path(folder) for folder in jupyter_path("nbextensions")]
    assert all(any((folder / name / "index.js").is_file() for folder in folders) for name in others)


def test_draw_edit_delete_undo_and_redo_all_survive(annotator):
    for offset in (0, 20, 40):
        drag(annotator, translate(SQUARE, offset, 0))
    assert in_step(annotator)

    moved = on_map(annotator, translate(SQUARE, -30, 0))
    data = [dict(feature) for feature in annotator.control.data]
    data[1] = {**data[1], "geometry": mapping(moved)}
    annotator.control.set_state({"data": data})
    assert annotator.session.get(2).polygon.equals_exact(moved, 1e-9)
    assert in_step(annotator)

    annotator.control.set_state({"data": annotator.control.data[1:]})
    assert [o.id for o in annotator.session.objects] == [2, 3]
    assert "Deleted object 1" in status(annotator)
    assert in_step(annotator)

    for _ in range(5):
        annotator.panel.undo.click()
        assert in_step(annotator)
    assert annotator.session.objects == ()
    annotator.panel.undo.click()
    assert labels.NOTHING_TO_UNDO in status(annotator)
    for _ in range(5):
        annotator.panel.redo.click()
    assert [o.id for o in annotator.session.objects] == [2, 3]
    assert in_step(annotator)


@pytest.mark.parametrize("seed", [0, 1])
def test_two_hundred_random_acts_leave_map_session_and_file_equal(annotator, seed):
    rng = np.random.default_rng(seed)
    acts = ["draw", "draw", "edit", "remove", "a", "r", "z", "z", "y", "+", "-", "x", "j", "i", "Delete"]
    for count in range(200):
        what = acts[rng.integers(len(acts))]
        data = [dict(feature) for feature in annotator.control.data]
        shape = translate(SQUARE, *rng.uniform(-60, 260, 2).round())
        if what == "draw":
            drag(annotator, shape)
        elif what in ("edit", "remove") and data:
            place = rng.integers(len(data))
            data[place] = {**data[place], "geometry": mapping(on_map(annotator, shape))}
            annotator.control.set_state(
                {"data": data if what == "edit" else data[:place] + data[place + 1 :]}
            )
        elif what not in ("edit", "remove"):
            press(annotator, what)
        assert labels.UNEXPECTED not in status(annotator)
        if count % 10 == 9:
            assert in_step(annotator)
    kept = Session.read(annotator.scene, annotator.session.path)
    assert [packed(one) for one in kept.objects] == [packed(one) for one in annotator.session.objects]
    assert len({one.id for one in kept.objects}) == len(kept.objects)


def test_a_map_that_nobody_shows_has_no_full_view(annotator):
    for key in ("f", "k"):
        press(annotator, key)
        assert labels.NOT_SHOWN in status(annotator)


def test_all_boxes_deleted_at_once_are_one_step(annotator):
    drag(annotator, SQUARE)
    drag(annotator, translate(SQUARE, 30, 0))
    annotator.control.set_state({"data": []})
    assert annotator.session.objects == ()
    assert "Deleted objects 1, 2" in status(annotator)
    annotator.undo()
    assert len(annotator.session.objects) == 2


def test_a_box_drawn_while_the_last_one_is_on_its_way_is_kept(annotator):
    """The browser sends both without a number when it has not heard of the first one's yet."""
    first, second = (mapping(on_map(annotator, translate(SQUARE, offset, 0))) for offset in (0, 25))
    features = [{"type": "Feature", "properties": {}, "geometry": geometry} for geometry in (first, second)]
    annotator.control.set_state({"data": features[:1]})
    annotator.control.set_state({"data": features})
    assert [o.id for o in annotator.session.objects] == [1, 2]
    assert in_step(annotator)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (translate(SQUARE, 5000, 0), "the box lies outside valley"),
        (box(600_520, 5_199_610, 600_560, 5_199_640), "the box covers no valid pixel"),
        (Polygon([(600_100, 5_199_800)] * 4), "zero area"),
    ],
    ids=["outside", "no data", "zero area"],
)
def test_a_box_that_cannot_be_segmented_is_told_of_and_taken_off_the_map(annotator, shape, sentence):
    drag(annotator, SQUARE)
    drag(annotator, shape)
    assert sentence in status(annotator)
    assert 'role="alert"' in status(annotator)
    assert len(annotator.session.objects) == 1
    assert in_step(annotator)


def test_a_box_half_outside_is_clipped_and_says_so(annotator):
    drag(annotator, box(599_900, 5_199_780, 600_230, 5_199_930))
    assert annotator.session.objects[0].pixels == 100
    assert "clipped to the scene" in status(annotator)


def test_an_edit_that_fails_leaves_the_object_as_it_was(annotator):
    drag(annotator, SQUARE)
    before = annotator.session.objects
    gone = {**annotator.control.data[0], "geometry": mapping(on_map(annotator, translate(SQUARE, 9000, 0)))}
    annotator.control.set_state({"data": [gone]})
    assert annotator.session.objects == before
    assert "outside" in status(annotator)
    assert in_step(annotator)


def test_nothing_found_is_said(annotator):
    drag(annotator, box(600_300, 5_199_700, 600_400, 5_199_800))
    assert "nothing found in this box" in status(annotator)
    assert in_step(annotator)


def test_when_the_session_cannot_be_saved_the_mask_is_shown_and_the_status_line_says_why(tmp_path):
    (tmp_path / "folder").write_text("")
    annotator = Annotator(annotating.scene(), session_path=tmp_path / "new" / "kept.sqlite")
    annotator.session.store.path = tmp_path / "folder" / "kept.sqlite"
    drag(annotator, SQUARE)
    assert "kept.sqlite" in status(annotator)
    assert 'role="alert"' in status(annotator)
    assert len(annotator.session.objects) == 1
    assert len(annotator.map.layers) == 2


def test_what_nobody_expected_is_reported_and_loses_nothing(annotator, monkeypatch):
    drag(annotator, SQUARE)
    monkeypatch.setattr(Segmenter, "segment", lambda *_: 1 / 0)
    drag(annotator, translate(SQUARE, 20, 0))
    assert labels.UNEXPECTED in status(annotator)
    assert "ZeroDivisionError" in annotator.log.outputs[0]["text"]
    assert len(annotator.session.objects) == 1
    assert in_step(annotator)


def test_the_list_chooses_what_delete_deletes(annotator):
    for offset in (0, 20, 40):
        drag(annotator, translate(SQUARE, offset, 0))
    assert annotator.panel.chosen == 3
    annotator.panel.objects.value = 2
    assert annotator.frontend.chosen == 2
    annotator.panel.delete.click()
    assert [o.id for o in annotator.session.objects] == [1, 3]
    assert in_step(annotator)


def test_export_writes_where_the_panel_says(annotator, tmp_path):
    drag(annotator, SQUARE)
    annotator.files.export_to.value = str(tmp_path / "out" / "masks")
    annotator.files.export.click()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "masks.geojson",
        "masks.gpkg",
        "masks.tif",
    ]
    assert "masks.tif" in status(annotator)
    (tmp_path / "file").write_text("")
    annotator.files.export_to.value = str(tmp_path / "file" / "masks")
    annotator.files.export.click()
    assert 'role="alert"' in status(annotator)
    assert len(annotator.session.objects) == 1


def test_what_was_exported_can_be_taken_over_again(annotator, tmp_path):
    drag(annotator, SQUARE)
    for tick in annotator.files.formats.values():
        tick.value = tick.description.startswith("GeoJSON")
    annotator.files.export_to.value = str(tmp_path / "masks")
    annotator.files.export.click()
    assert [path.name for path in tmp_path.glob("masks*")] == ["masks.geojson"]
    annotator.files.import_from.value = str(tmp_path / "masks.geojson")
    annotator.files.take_over.click()
    first, second = annotator.session.objects
    assert second.kind == "imported"
    assert second.pixels == pytest.approx(first.pixels, abs=2)
    assert "Took over 1 object." in status(annotator)
    assert in_step(annotator)
    annotator.files.import_from.value = str(tmp_path / "nothing.gpkg")
    annotator.files.take_over.click()
    assert 'role="alert"' in status(annotator)
    assert "nothing.gpkg" in status(annotator)


def test_a_session_is_resumed(annotator):
    drag(annotator, SQUARE)
    again = Annotator(annotator.scene, session_path=annotator.session.path)
    assert "Resumed 1 object" in status(again)
    assert again.session.objects[0].pixels == 100
    assert len(again.map.layers) == 2


def test_html_in_names_stays_text(tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    scene = annotating.scene(name=evil)
    scene = replace(scene, bands=(Band(evil, "db", "sigma0"), Band("VH", "db", "sigma0")))
    annotator = Annotator(scene, session_path=tmp_path / "kept.sqlite")
    drag(annotator, translate(SQUARE, 9000, 0))
    assert "&lt;img" in status(annotator)
    assert "<img" not in status(annotator) + annotator.backdrop.legend.value


def test_bands_are_switched_with_their_legend(annotator):
    before = annotator.map.layers[0].url
    annotator.backdrop.layer.value = "VH"
    assert annotator.map.layers[0].url != before
    assert "VH σ⁰" in annotator.backdrop.legend.value
    assert "dB" in annotator.backdrop.legend.value


def test_power_is_shown_in_decibels_and_no_data_is_transparent(tmp_path):
    scene = annotating.scene()
    power = replace(
        scene,
        pixels=(10 ** (scene.pixels / 10)).astype(np.float32),
        bands=tuple(replace(band, units="power") for band in scene.bands),
    )
    shown = [Annotator(s, session_path=tmp_path / f"{i}.sqlite") for i, s in enumerate((scene, power))]
    one, two = (picture(annotator.map.layers[0]).astype(int) for annotator in shown)
    assert np.abs(one - two).max() <= 2
    assert shown[0].backdrop.legend.value == shown[1].backdrop.legend.value
    assert 0.02 < (one[..., 3] == 0).mean() < 0.2


@pytest.mark.parametrize(
    "crs", [None, CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')], ids=["none", "local"]
)
def test_a_scene_that_lies_nowhere_on_the_earth_is_shown_on_a_grid_of_pixels(tmp_path, crs):
    scene = annotating.scene(None)
    scene = replace(scene, grid=replace(scene.grid, crs=crs))
    annotator = Annotator(scene, session_path=tmp_path / "kept.sqlite")
    assert (labels.NO_CRS if crs is None else labels.OFF_MAP) in status(annotator)
    drag(annotator, box(8, 7, 23, 22))
    (found,) = annotator.session.objects
    assert found.pixels == 100
    assert found.crs is None
    assert found.polygon.bounds == pytest.approx((8, 7, 23, 22), abs=1e-3)
    assert "100 px, 100 px" not in status(annotator)
    assert in_step(annotator)
    again = Annotator(scene, session_path=annotator.session.path)
    assert in_step(again)


@pytest.mark.parametrize(
    "grid",
    [
        Grid(Affine(10, 0, 300_000, 0, -10, 1_000_000), CRS.from_epsg(32601), 40, 60),
        Grid(Affine(10, 0, 20_037_308, 0, -10, 1_000_000), CRS.from_epsg(3857), 40, 60),
        Grid(Affine(1e-4, 0, 179.997, 0, -1e-4, 9), annotating.DEGREES, 40, 60),
    ],
    ids=["utm", "mercator", "degrees"],
)
def test_masks_across_the_antimeridian_lie_on_the_picture(tmp_path, grid):
    if grid.crs == CRS.from_epsg(32601):  # zone 1 begins at the antimeridian
        x, y = transform_points(np.array([[180.0, 9.0]]), annotating.DEGREES, grid.crs)[0]
        grid = replace(grid, transform=Affine(10, 0, x - 150, 0, -10, y))
    scene = replace(annotating.scene(), grid=grid)
    annotator = Annotator(scene, session_path=tmp_path / "kept.sqlite")
    for west in (8, 30):
        corners = [
            grid.transform @ point for point in ((west, 8), (west + 15, 8), (west + 15, 23), (west, 23))
        ]
        shape = annotator.placement.to_map(Polygon(corners), grid.crs)
        annotator.control.set_state({"data": [*annotator.control.data, unnumbered(shape)]})
    (south, west), (north, east) = annotator.map.layers[0].bounds
    around = box(west, south, east, north).buffer(1e-4)
    assert around.area < 1
    for layer in annotator.map.layers[1:]:
        (south, west), (north, east) = layer.bounds
        assert around.contains(box(west, south, east, north))
    assert all(around.contains(Polygon(f["geometry"]["coordinates"][0])) for f in annotator.control.data)
    assert annotator.session.objects[0].pixels == 100
    assert in_step(annotator)


def test_a_scene_at_the_pole_is_shown_as_pixels(tmp_path):
    for corner in (-300_000, 300_000):
        grid = Grid(Affine(10_000, 0, corner, 0, -10_000, 300_000), CRS.from_epsg(3413), 40, 60)
        annotator = Annotator(
            replace(annotating.scene(), grid=grid), session_path=tmp_path / f"{corner}.sqlite"
        )
        assert labels.OFF_MAP in status(annotator)
        assert min(picture(annotator.map.layers[0]).shape[:2]) >= 40
        annotator.draw(box(*(grid.transform @ (8, 23)), *(grid.transform @ (23, 8))))
        assert annotator.session.objects[0].pixels == 100


def test_a_rotated_scene_is_shown_where_it_lies(tmp_path):
    upright = annotating.scene()
    turned = upright.grid.transform * Affine.rotation(30)
    scene = replace(upright, grid=Grid(turned, annotating.UTM, 40, 60))
    annotator = Annotator(scene, session_path=tmp_path / "kept.sqlite")
    corners = [turned * point for point in ((8, 8), (22, 8), (22, 22), (8, 22))]
    drag(annotator, Polygon(corners))
    assert annotator.session.objects[0].pixels == 100
    share = (picture(annotator.map.layers[0])[..., 3] > 0).mean()
    assert share < 0.75


def test_a_scene_without_any_data_is_refused(tmp_path):
    scene = annotating.scene()
    empty = replace(scene, valid=np.zeros_like(scene.valid))
    with pytest.raises(DataError, match="valley has no valid pixel"):
        Annotator(empty, session_path=tmp_path / "kept.sqlite")


def test_a_very_wide_scene_fits_into_a_picture(tmp_path):
    pixels = np.full((1, 30, 5000), -10, np.float32)
    grid = Grid(Affine(10, 0, 600_000, 0, -10, 5_200_000), annotating.UTM, 30, 5000)
    scene = Scene(pixels, (Band("HH", "db", "gamma0"),), grid, np.ones((30, 5000), bool))
    annotator = Annotator(scene, session_path=tmp_path / "kept.sqlite")
    assert max(picture(annotator.map.layers[0]).shape) <= 1024


def test_show_says_what_is_wrong_with_a_model_and_raises_it(annotator, monkeypatch):
    def missing(self):
        raise CheckpointError("there is no model 'none'; use another.")

    monkeypatch.setattr(Segmenter, "predictor", property(missing))
    with pytest.raises(CheckpointError):
        annotator.show()
    assert "there is no model" in status(annotator)


def test_show_ends_with_what_to_do(annotator):
    annotator.show()
    assert labels.START in status(annotator)


def test_the_methods_do_what_the_mouse_does_and_raise(annotator):
    found = annotator.draw(on_map(annotator, SQUARE))
    assert found.pixels == 100
    with pytest.raises(GeometryError, match="outside"):
        annotator.draw(box(0, 0, 1, 1))
    annotator.delete()
    with pytest.raises(GeometryError, match="draw a box first"):
        annotator.delete()
    assert in_step(annotator)


# Decisions and corrections -------------------------------------------------------------------------------------


def test_accepting_chooses_the_next_open_object_and_marks_the_list(annotator):
    for offset in (0, 20, 40):
        drag(annotator, translate(SQUARE, offset, 0))
    annotator.panel.objects.value = 1
    annotator.panel.accept.click()
    assert annotator.panel.chosen == 2
    annotator.panel.reject.click()
    assert [o.status for o in annotator.session.objects] == ["accepted", "rejected", "open"]
    assert [text[0] for text, _ in annotator.panel.objects.options] == ["✓", "✗", "·"]
    colors = [set(map(tuple, picture(layer).reshape(-1, 4))) for layer in annotator.map.layers[1:]]
    assert colors[0] != colors[1] != colors[2] != colors[0]
    assert in_step(annotator)


def test_sliders_change_the_mask_at_once_without_asking_the_model(annotator, monkeypatch):
    drag(annotator, SQUARE)
    monkeypatch.setattr(Segmenter, "segment", lambda *_: pytest.fail("the model was asked"))
    overlay, before = annotator.map.layers[1], annotator.map.layers[1].url
    annotator.panel.threshold.value = 0.02
    assert annotator.session.get(1).threshold == 0.02
    assert annotator.map.layers[1] is overlay
    assert overlay.url != before
    annotator.panel.smoothing.value = 2.0
    annotator.panel.choice.value = 2
    annotator.panel.label.value = "debris"
    found = annotator.session.get(1)
    assert (found.smoothing, found.choice, found.label, found.score) == (2.0, 2, "debris", 0.7)
    assert "debris" in annotator.panel.objects.options[0][0]
    for _ in range(4):
        annotator.panel.undo.click()
    assert (annotator.panel.threshold.value, annotator.panel.choice.value) == (0.5, 0)
    assert overlay.url == before


def test_clicks_correct_the_object_that_they_lie_in(annotator):
    for offset in (0, 200):
        drag(annotator, translate(SQUARE, offset, 0))
    annotator.panel.mode.index = 1
    lon, lat = on_map(annotator, SQUARE).centroid.coords[0]
    send_mouse(annotator, "click", lat, lon)
    annotator.panel.mode.index = 2
    send_mouse(annotator, "click", lat + 1e-4, lon)
    first, second = annotator.session.objects
    assert second.points == ()
    assert first.points == ((lon, lat, True), (lon, lat + 1e-4, False))
    circles = [layer for layer in annotator.map.layers if isinstance(layer, ipyleaflet.CircleMarker)]
    assert [circle.location for circle in circles] == [[lat, lon], [lat + 1e-4, lon]]
    assert "Object 1" in status(annotator)


def test_a_moved_shape_keeps_the_clicks_that_it_holds_and_the_sliders(annotator):
    drag(annotator, SQUARE)
    lon, lat = on_map(annotator, SQUARE).centroid.coords[0]
    annotator.point(lat, lon, inside=True)
    annotator.point(lat + 6e-4, lon, inside=False)
    annotator.panel.threshold.value = 0.3
    feature = dict(annotator.control.data[0])
    lower = on_map(annotator, box(600_080, 5_199_780, 600_230, 5_199_900))
    annotator.control.set_state({"data": [{**feature, "geometry": mapping(lower)}]})
    (found,) = annotator.session.objects
    assert found.polygon.equals_exact(lower, 1e-9)
    assert [inside for _, _, inside in found.points] == [True]
    assert found.threshold == 0.3


def test_proposals_leave_out_what_is_there(annotator, monkeypatch):
    shapes = [SQUARE, translate(SQUARE, 200, 0)]
    found = [annotating.segment(annotator.scene, each, annotating.UTM) for each in shapes]
    monkeypatch.setattr(Segmenter, "proposals", lambda self: found)
    assert len(annotator.propose()) == 2
    assert annotator.propose() == []
    assert len(annotator.session.objects) == 2


def test_nothing_is_not_said_to_be_written(annotator):
    drag(annotator, SQUARE)
    with pytest.raises(OutputError, match="Export to"):
        annotator.export("")
    for tick in annotator.files.formats.values():
        tick.value = False
    annotator.files.export.click()
    assert labels.NO_FORMAT in status(annotator)


def test_a_click_chooses_the_object_below_it(annotator):
    for offset in (0, 200):
        drag(annotator, translate(SQUARE, offset, 0))
    lon, lat = on_map(annotator, SQUARE).centroid.coords[0]
    send_mouse(annotator, "click", lat, lon)
    assert annotator.panel.chosen == 1
    send_mouse(annotator, "click", lat + 1, lon)
    assert annotator.panel.chosen == 1


def test_only_other_shapes_are_sent_to_the_map(annotator):
    """What is sent again ends the editing of shapes in the browser, and takes the longer the more there are."""
    for offset in (0, 200):
        drag(annotator, translate(SQUARE, offset, 0))
    sent = []
    annotator.control.observe(lambda change: sent.append(change["new"]), "data")
    lon, lat = on_map(annotator, SQUARE).centroid.coords[0]
    send_mouse(annotator, "click", lat, lon)
    annotator.panel.threshold.value = 0.3
    for key in ("a", "r", "z", "y", "j"):
        press(annotator, key)
    assert sent == []
    press(annotator, "Delete")
    assert len(sent) == 1


def test_surroundings_of_the_next_object_and_of_near_ones_are_embedded_ahead(annotator, monkeypatch):
    ahead = []
    for offset in (0, 60, 120, 180, 240, 310, 20):
        drag(annotator, translate(SQUARE, offset, 0))
    monkeypatch.setattr(Segmenter, "prefetch", lambda self, polygons, crs: ahead.append(polygons))
    monkeypatch.setattr(Segmenter, "ready", True)
    annotator.panel.objects.value = 4
    west = {round(one.polygon.bounds[0], 6): one.id for one in annotator.session.objects}
    assert [west[round(polygon.bounds[0], 6)] for polygon in ahead[-1]] == [5, 3, 2, 6]
    press(annotator, "a")
    assert len(ahead) == 2
    assert len(ahead[-1]) == 4


def test_another_model_is_asked_from_now_on_or_the_old_one_stays(annotator, monkeypatch):
    monkeypatch.setattr(Segmenter, "use", lambda self, model: setattr(self, "model", str(model)))
    annotator.panel.model.value = "sam_tiny_avalanche"
    drag(annotator, SQUARE)
    assert annotator.session.get(1).model == "sam_tiny_avalanche"

    def missing(self, model):
        raise CheckpointError("There is no such model.")

    monkeypatch.setattr(Segmenter, "use", missing)
    annotator.panel.model.value = "nonsense"
    assert "There is no such model" in status(annotator)
    assert annotator.panel.model.value == "sam_tiny_avalanche"


def test_a_model_of_two_scales_can_look_at_one(annotator):
    annotator.prepare()
    assert annotator.panel.scale.layout.display == "none"
    segmenter = annotator.segmenter
    segmenter.__dict__["trained"] = replace(segmenter.trained, scales=("near", "chip"))
    annotator.prepare()
    assert annotator.panel.scale.layout.display == ""
    annotator.panel.scale.value = "chip"
    assert segmenter.scale == "chip"
    assert "looks at all that its input holds" in status(annotator)
    annotator.prepare()  # shown a second time
    assert (segmenter.scale, annotator.panel.scale.label) == ("chip", "all that its input holds")
    annotator.panel.scale.label = "both, averaged"
    assert (segmenter.scale, annotator.panel.scale.index) == (None, 0)
    annotator.look("near")
    assert annotator.panel.scale.value == "near"
    annotator.use("sam_tiny_base")
    assert (segmenter.scale, annotator.panel.scale.value) == (None, "")
    assert annotator.panel.scale.layout.display == "none"
    assert "sam_tiny_base answers from now on" in status(annotator)


def test_the_second_kernel_looks_and_changes_nothing(annotator):
    drag(annotator, SQUARE)
    annotator.session.held_by = "somebody on another machine"
    annotator._refresh()
    assert annotator.panel.accept.disabled
    assert annotator.panel.undo.disabled
    drag(annotator, translate(SQUARE, 20, 0))
    assert "held by somebody on another machine" in status(annotator)
    assert in_step(annotator)


def test_objects_of_another_date_are_looked_for_again(annotator, tmp_path):
    drag(annotator, SQUARE)
    drag(annotator, translate(SQUARE, 20, 0))
    annotator.reject()
    later = Annotator(annotating.scene(name="later"), session_path=tmp_path / "later.sqlite")
    (found,) = later.carry_over(annotator.session)
    assert (found.kind, found.pixels) == ("propagated", 100)
    assert found.polygon.contains(box(600_100, 5_199_800, 600_200, 5_199_900))
    assert "Proposed 1 object" in status(later)
    assert in_step(later)


def test_objects_of_another_scene_file_are_carried_over(annotator, tmp_path):
    path = tmp_path / "earlier.tif"
    write_scene(annotating.scene(name="earlier"), path)
    annotator.files.other_date.value = str(path)
    annotator.files.carry_over.click()
    assert "annotate the other date first" in status(annotator)
    earlier = open_scene(path)
    one = annotating.segment(earlier, SQUARE, annotating.UTM)
    Session.open(earlier, tmp_path / default_path(earlier).name).add(
        annotate(one, earlier.grid, label="debris")
    )
    annotator.files.carry_over.click()
    assert [(one.kind, one.label) for one in annotator.session.objects] == [("propagated", "debris")]
    assert in_step(annotator)


def test_session_files_are_compared_and_merged(annotator, tmp_path):
    drag(annotator, SQUARE)
    drag(annotator, translate(SQUARE, 200, 0))
    other = Session.open(annotator.scene, tmp_path / "other.sqlite", annotator="B<b>")
    other.add(annotator.session.get(1))
    annotator.files.list_sessions(tmp_path)
    assert [name for name, _ in annotator.files.sessions.options] == ["kept.sqlite", "other.sqlite"]
    annotator.files.compare.click()
    assert "two annotators" in status(annotator)
    annotator.files.sessions.index = (0, 1)
    annotator.files.compare.click()
    assert "In both: 1, in one alone: 1; mean IoU 1.00" in annotator.files.agreement.value
    assert "only in A" in annotator.files.agreement.value
    assert "<b>" not in annotator.files.agreement.value
    for number in (1, 2):
        annotator.files.merge.click()
        made = Session.read(annotator.scene, tmp_path / f"kept-merged-{number}.sqlite")
        assert len(made.objects) == 2
        assert made.path.name in status(annotator)


def test_an_outline_by_hand_is_the_object_and_asks_no_model(annotator, monkeypatch):
    monkeypatch.setattr(Segmenter, "segment", lambda *_: pytest.fail("the model was asked"))
    annotator.by_hand = True
    drag(annotator, SQUARE)
    assert [(one.kind, one.pixels) for one in annotator.session.objects] == [("manual", 225)]
    drag(annotator, translate(SQUARE, 5000, 0))
    assert labels.NO_DATA in status(annotator)
    assert in_step(annotator)


# Keys ------------------------------------------------------------------------------------------------------------


def test_every_key_that_is_told_of_does_something(annotator):
    told = {key for keys in labels.KEYS for key in keys.split()}
    assert told <= {*annotator.frontend.heard, *annotator.frontend.tools}


def test_keys_do_what_buttons_do(annotator):
    drag(annotator, SQUARE)
    for key, sees in (
        ("a", lambda o: o.status == "accepted"),
        ("r", lambda o: o.status == "rejected"),
        ("z", lambda o: o.status == "accepted"),
        ("+", lambda o: o.threshold == 0.55),
        ("-", lambda o: o.threshold == 0.5),
        ("x", lambda o: o.choice == 1),
    ):
        press(annotator, key)
        assert sees(annotator.session.get(1)), key
    press(annotator, "Delete")
    assert annotator.session.objects == ()
    press(annotator, "a")
    assert labels.NOTHING_CHOSEN in status(annotator)
    press(annotator, "h")
    assert annotator.backdrop.opacity.value == 0


def test_a_box_can_be_drawn_without_a_mouse(annotator):
    south, west, north, east = 46.940, 10.314, 46.946, 10.320
    annotator.map.set_state({"south": south, "west": west, "north": north, "east": east})
    before = len(annotator.map.layers)
    press(annotator, "k")
    assert annotator.frontend.drafting
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "Shift+ArrowRight"):
        press(annotator, key)
    rectangle = annotator.map.layers[-1]
    (bottom, left), (top, right) = rectangle.bounds
    assert left == pytest.approx(10.317 - 0.006 / 12 - 0.0001)
    assert right == pytest.approx(10.317 + 0.006 / 12)
    assert (bottom + top) / 2 == pytest.approx(46.943 + 2 * 0.0001)
    press(annotator, "Enter")
    assert not annotator.frontend.drafting
    assert annotator.session.objects[0].polygon.bounds == pytest.approx((left, bottom, right, top))
    press(annotator, "k")
    press(annotator, "Escape")
    assert len(annotator.session.objects) == 1
    assert len(annotator.map.layers) == before + 1


# Pictures --------------------------------------------------------------------------------------------------------


def test_the_read_out_follows_the_mouse(annotator):
    lon, lat = on_map(annotator, SQUARE).centroid.coords[0]
    send_mouse(annotator, "mousemove", lat, lon)
    assert "VV -5.0 dB" in annotator.readout.value
    assert "° N" in annotator.readout.value
    assert "column 15, row 14" in annotator.readout.value


def test_two_pictures_are_compared(annotator):
    annotator.backdrop.compare.value = "VH"
    lower, upper = annotator.map.layers
    assert upper.class_name == "sartutor-upper"
    assert upper.alt == "radar picture of valley"
    assert lower.url != upper.url
    annotator.backdrop.compare.value = ""
    assert annotator.map.layers == (lower,)


def test_gate_weights_can_be_looked_at_where_the_model_has_a_gate(annotator, monkeypatch):
    drag(annotator, SQUARE)
    asked = []

    def weights(self, polygon, crs):
        asked.append(polygon)
        return replace(
            self.scene.select(["VV"]), bands=(Band("weight", "1"),), pixels=np.full((1, 40, 60), 0.25)
        )

    monkeypatch.setattr(Segmenter, "gate_weights", weights)
    monkeypatch.setattr(Segmenter, "has_gate", True)
    annotator.show()
    annotator.backdrop.layer.value = labels.GATE
    assert asked == [annotator.session.get(1).polygon]
    shown = picture(annotator.map.layers[0])
    assert set(shown[..., 0][shown[..., 3] > 0]) == {63}
    monkeypatch.setattr(Segmenter, "has_gate", False)
    annotator.show()
    assert labels.GATE not in annotator.backdrop.layer.options
    assert annotator.backdrop.layer.value == "VV"
    assert "VV σ⁰" in annotator.backdrop.legend.value


def test_another_stretch_makes_another_picture_and_no_other_layer(annotator):
    annotator.backdrop.stretch.value = (-15.5, -14.5)
    shown = picture(annotator.map.layers[0])
    grey = shown[..., 0][shown[..., 3] > 0]
    assert np.isin(grey, (0, 255)).mean() > 0.4
    assert "-15.5" in annotator.backdrop.legend.value
    annotator.backdrop.layer.value = "VH"
    annotator.backdrop.layer.value = "VV"
    assert annotator.backdrop.stretch.value == (-15.5, -14.5)
    assert "<svg" in annotator.backdrop.histogram.value


def test_nothing_warns(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        drag(Annotator(annotating.scene(), session_path=tmp_path / "kept.sqlite"), SQUARE)
