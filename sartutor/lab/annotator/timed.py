"""The timed study on the map: which object comes next and in which way, a clock, and a table of what was saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ipyleaflet
import ipywidgets as widgets
import numpy as np
from IPython.display import display
from numpy.typing import NDArray
from shapely import Polygon, box

from sartutor.errors import GeometryError
from sartutor.lab.annotator import labels
from sartutor.lab.annotator.canvas import fitting_zoom
from sartutor.lab.annotator.export import union
from sartutor.lab.annotator.panel import StatusLine, as_table, button
from sartutor.lab.annotator.view import Annotator
from sartutor.lab.study import Study, paired, plan, time_saved
from sartutor.sar.boxes import tight_box
from sartutor.sar.footprint import ground
from sartutor.sar.scene import Readable

MARK = {"radius": 14, "color": "#CC79A7", "weight": 3, "fill": False}
"""A circle around the middle of the object: reddish purple of the palette of Okabe and Ito (2008)."""
AROUND = 4
"""Sides of an object's box that the map shows."""


class TimedStudy:
    """Somebody annotates objects against the clock, each outlined by hand and each with a box for a model.

    Every trial is on disk when it is done; the same call goes on where an earlier one stopped.

    Args:
        scene: what is annotated.
        objects: reference masks (rows, columns) on the scene's grid; they are numbered from 1, and never shown.
        log: CSV file of the trials, one an annotator; what is drawn is kept beside it.
        model: who answers boxes.
        seed: of the order; the same for the same study.
    """

    def __init__(
        self,
        scene: Readable,
        objects: Sequence[NDArray[np.bool_]],
        log: Path | str,
        model: str | Path = "sam_tiny_base",
        seed: int = 0,
    ) -> None:
        self.objects = objects
        self.study = Study(plan(range(1, len(objects) + 1), seed), log)
        self.annotator = Annotator(scene, model, Path(log).with_suffix(".sqlite"))
        self.task = StatusLine()
        self.begin = button(labels.BEGIN, labels.BEGIN_TIP, "play")
        self.done = button(labels.DONE, labels.DONE_TIP, "check")
        self.results = widgets.HTML()
        attempt = self.annotator.attempt
        self.begin.on_click(lambda _: attempt(self._begin))
        self.done.on_click(lambda _: attempt(self._end))
        buttons = widgets.HBox([self.begin, self.done])
        self.widget = widgets.VBox([self.task, buttons, self.annotator.widget, self.results])
        self.widget.add_class("sartutor-study")
        self._announce()

    def show(self) -> None:
        """Display the study; nothing is timed before a reader presses Start."""
        display(self.widget)
        self.annotator.prepare()
        self.annotator.status.say(labels.PAUSED if self.study.trial else labels.ALL_DONE)

    def _announce(self) -> None:
        """Say what comes next, and what the pairs say so far."""
        trial, trials = self.study.trial, len(self.study.trials)
        number = len(self.study.done) + 1
        self.task.say(labels.ALL_DONE if trial is None else labels.trial(number, trials, trial))
        self.begin.disabled, self.done.disabled = trial is None, True
        rows = paired(self.study.done)
        if len(rows):
            self.results.value = as_table(rows) + f"<p>{labels.saved(time_saved(self.study.done))}</p>"

    def _begin(self) -> None:
        """An empty map that shows the object of the trial, and a running clock."""
        trial = self.study.trial
        assert trial is not None
        annotator = self.annotator
        annotator.by_hand = trial.way == "polygon"
        shape = self._around(self.objects[trial.object - 1])
        middle = (shape.centroid.y, shape.centroid.x)
        annotator.marks = (ipyleaflet.CircleMarker(location=middle, **MARK),)
        annotator.start_over()
        west, south, east, north = shape.bounds
        wide, high = AROUND / 2 * (east - west), AROUND / 2 * (north - south)
        annotator.map.center = middle
        annotator.map.zoom = fitting_zoom(
            ((middle[0] - high, middle[1] - wide), (middle[0] + high, middle[1] + wide))
        )
        self.begin.disabled, self.done.disabled = True, False
        self.study.begin()
        annotator.status.say(labels.BEGUN)

    def _end(self) -> None:
        """Keep the time, and how well what was drawn agrees with the reference."""
        trial, drawn = self.study.trial, self.annotator.session.objects
        assert trial is not None
        if not drawn:
            raise GeometryError(labels.DRAW_FIRST)
        mask, truth = union(drawn, self.annotator.scene.grid), self.objects[trial.object - 1]
        together = int(np.count_nonzero(mask | truth))
        self.study.end(round(int(np.count_nonzero(mask & truth)) / together, 4))
        self.annotator.marks = ()
        self.annotator.start_over()
        self.annotator.status.say(labels.PAUSED if self.study.trial else labels.ALL_DONE)
        self._announce()

    def _around(self, mask: NDArray[np.bool_]) -> Polygon:
        """The box of an object on the map, in degrees."""
        corners = np.array(box(*tight_box(mask)).exterior.coords)[:-1]
        grid = self.annotator.scene.grid
        return self.annotator.placement.to_map(ground(corners, grid, None), None)
