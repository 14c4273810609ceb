"""`ModelRuns`: what `--model NAME=RUN` names: a checkpoint, or several runs of one recipe that differ in their seeds."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notellm.checkpoint import Checkpoint
from training.config import TrainingConfig
from training.data import Dataset
from training.errors import EvaluationError
from training.evaluation.embedding import STATE_ONLY, TOKENS_ONLY, LoadedCheckpoint, StateOnly, TokensOnly
from training.evaluation.measure import measure_checkpoint, measure_embedder
from training.evaluation.measurement import CurvePoint, Measurement
from training.evaluation.pool import TestPool
from training.export import RECORD
from training.loop import log_lines

# What must be equal in all runs of one method. Where they ran, and from which paths they read, may differ.
_RECIPE = ("model", "method", "examples", "loss", "optimizer")


@dataclass(frozen=True)
class ModelRuns:
    """The runs of one method.

    Attributes:
        name: name of the method in the report.
        places: directories of runs or of checkpoints.
    """

    name: str
    places: tuple[Path, ...]

    @classmethod
    def read(cls, options: Sequence[str]) -> "list[ModelRuns]":
        """Those of `NAME=DIRECTORY` options. A name may occur several times, and directories may be separated by commas.

        Raises:
            EvaluationError: an option has another form.
        """
        places: dict[str, list[Path]] = {}
        for option in options:
            name, separator, listed = option.partition("=")
            if not separator or not all(listed.split(",")):
                raise EvaluationError(f"--model {option}: write NAME=DIRECTORY, or NAME=DIRECTORY,DIRECTORY for several seeds")
            places.setdefault(name, []).extend(map(Path, listed.split(",")))
        return [cls(name, tuple(found)) for name, found in places.items()]

    @property
    def methods(self) -> tuple[str, ...]:
        """The names under which it is measured: its own, and those of the parts of its vectors."""
        return self.name, f"{self.name}{STATE_ONLY}", f"{self.name}{TOKENS_ONLY}"

    def open(self, settings: TrainingConfig, dataset: Dataset) -> "list[ModelRun]":
        """Opens all checkpoints and checks what may be compared, before anything is measured.

        Raises:
            EvaluationError: a model may have learnt from test notes, or the runs differ in more than their seeds.
        """
        runs = [ModelRun.open(place) for place in self.places]
        for run in runs:
            run.refuse_leak(settings, dataset)
        if len(runs) > 1:
            self._refuse_other_recipes(runs)
        return runs

    def measure(self, runs: "Sequence[ModelRun]", pool: TestPool, generated_notes: int) -> Iterator[Measurement]:
        """Measures one run after another, and the parts of its vectors if it has token vectors. Each has its seed if there are several."""
        for run in runs:
            loaded = LoadedCheckpoint(self.name, run.checkpoint)  # once: its weights are large
            for measured in (run.measure(loaded, pool, generated_notes), *run.measure_parts(loaded, pool)):
                yield measured.model_copy(update={"seed": run.config["seed"]}) if len(runs) > 1 else measured

    def _refuse_other_recipes(self, runs: "Sequence[ModelRun]") -> None:
        if not all(run.config for run in runs):
            raise EvaluationError(f"--model {self.name}: several directories of one name must all be trained runs")
        if len({run.config["seed"] for run in runs}) < len(runs):
            raise EvaluationError(f"--model {self.name}: two runs have the same seed: train them with different --set seed=")
        for section in _RECIPE:
            if any(run.config[section] != runs[0].config[section] for run in runs):
                raise EvaluationError(f"--model {self.name}: the runs differ in {section}: give them different names")


@dataclass(frozen=True)
class ModelRun:
    """One trained run, or a checkpoint without one.

    Attributes:
        checkpoint: the model.
        config: the settings that it was trained with; empty if it was not trained.
        earlier: those of the checkpoint whose projection was fitted again; empty if there is none.
        log: the log of the run.
    """

    checkpoint: Checkpoint
    config: dict[str, Any]
    earlier: dict[str, Any]
    log: Path | None

    @classmethod
    def open(cls, place: Path) -> "ModelRun":
        """Opens the checkpoint at `place`, which is a run's directory or a checkpoint's."""
        run = (place / "checkpoint").is_dir()
        checkpoint = Checkpoint.open(place / "checkpoint" if run else place)
        path = checkpoint.path / RECORD
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        earlier = record.get("fitted_checkpoint", {})
        return cls(checkpoint, record.get("config", {}), earlier, place / "log.jsonl" if run else None)

    def refuse_leak(self, settings: TrainingConfig, dataset: Dataset) -> None:
        """Makes sure that the model was not trained on test notes.

        Raises:
            EvaluationError: it was trained on other data or on another split.
        """
        fingerprints = [self.checkpoint.manifest.data_fingerprint] if self.config else []
        configs = [self.config] if self.config else []
        if "config" in self.earlier:
            fingerprints.append(self.earlier["data_fingerprint"])
            configs.append(self.earlier["config"])
        if any(fingerprint != dataset.fingerprint for fingerprint in fingerprints):
            raise EvaluationError(f"{self.checkpoint.path} was trained on different data: it may have learnt from test notes")
        if any(config["data"]["split"] != settings.data.split.model_dump(mode="json") for config in configs):
            raise EvaluationError(
                f"{self.checkpoint.path} was trained on a different split: it may have learnt from test notes"
            )

    def measure(self, loaded: LoadedCheckpoint, pool: TestPool, generated_notes: int) -> Measurement:
        """Measures the model on the pool."""
        manifest = self.checkpoint.manifest
        return measure_checkpoint(
            loaded, f"{manifest.name}, {manifest.dimensions} dimensions, of {manifest.base_model}",
            pool, generated_notes=generated_notes, categories=manifest.categories, curve=_curve(self.log) if self.log else (),
        )  # fmt: skip

    def measure_parts(self, loaded: LoadedCheckpoint, pool: TestPool) -> Iterator[Measurement]:
        """Measures what the language model and the token vectors contribute; nothing for a checkpoint without token vectors."""
        if self.checkpoint.load_token_vectors() is None:
            return
        for part in (StateOnly(loaded), TokensOnly(loaded)):
            yield measure_embedder(part, f"{loaded.name}: {part.about}", pool)


def _curve(log: Path) -> list[CurvePoint]:
    points = []
    for content in log_lines(log):
        for name in list(content):
            if name.startswith("validation_recall@"):
                content["validation_recall"] = content[name]
        points.append(CurvePoint(**{name: value for name, value in content.items() if name in CurvePoint.model_fields}))
    return points
