"""What a run did, step by step: kept beside its checkpoint as JSON, for pictures and for going on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sartutor.errors import CheckpointError
from sartutor.sar.files import replacing


@dataclass
class Curve:
    """Loss and learning rate of each step, and the validation loss after some numbers of steps."""

    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)

    def until(self, step: int) -> Curve:
        """The curve of the first `step` steps."""
        earlier = [(done, loss) for done, loss in self.validation if done <= step]
        return Curve(self.loss[:step], self.learning_rate[:step], earlier)

    def recent_loss(self, steps: int = 50) -> float:
        """Mean loss of the last steps."""
        recent = self.loss[-steps:]
        return sum(recent) / len(recent)

    @property
    def stale(self) -> int:
        """Validations since the best one."""
        losses = [loss for _, loss in self.validation]
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def curve_path(out: Path) -> Path:
    """Where the curve of the run that makes the checkpoint `out` lies."""
    return out.with_name(f"{out.stem}.curve.json")


def write_curve(out: Path, curve: Curve) -> None:
    """Write the curve beside the checkpoint `out`."""
    with replacing(curve_path(out)) as part:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(asdict(curve)), encoding="utf-8")


def read_curve(out: Path) -> Curve:
    """The curve of the run that made the checkpoint `out`; empty where there is none, CheckpointError if damaged."""
    path = curve_path(out)
    if not path.exists():
        return Curve()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        validation = [(step, loss) for step, loss in content["validation"]]
        return Curve(content["loss"], content["learning_rate"], validation)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged; delete it, and train {out.name} anew.") from error
