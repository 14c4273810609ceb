"""`Description`: which models' vectors an index holds. It is stored with the index, so that the service can check it at start."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import StartupError


class ModelVectors(BaseModel):
    """The vectors of one model in an index.

    Attributes:
        vector: name of the vectors.
        dimensions: dimensions of each vector.
        checkpoint: directory of the model's checkpoint; None if it was never recorded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vector: str
    dimensions: int
    checkpoint: str | None = None


class Move(BaseModel):
    """A migration from one model to another: notes have vectors of both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: ModelVectors
    target: ModelVectors


class Description(BaseModel):
    """Which models' vectors an index holds.

    Attributes:
        vector, dimensions: name and dimensions of the answering model's vectors.
        checkpoint: directory of the answering model's checkpoint; recorded when a migration ends.
        migration: the current migration; None if there is none.
        dropping: name of the vectors that are dropped as soon as every note has a vector of the model that stays.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    vector: str
    dimensions: int
    checkpoint: str | None = None
    migration: Move | None = None
    dropping: str | None = None

    @classmethod
    def read(cls, text: str | bytes, place: str) -> "Description":
        """Reads the output of `write`. `place` names the source in errors.

        Raises:
            StartupError: the text is damaged, or was written by a newer version of this service.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            raise StartupError(
                f"{place} is not readable: {'.'.join(map(str, first['loc']))} {first['msg']}. Restore it from a backup, or move the "
                "index away"
            ) from error

    def write(self) -> str:
        """Returns the description as JSON."""
        return self.model_dump_json(exclude_none=True)

    @property
    def other(self) -> ModelVectors | None:
        """During a migration, the model that has vectors but does not answer; None otherwise."""
        if self.migration is None:
            return None
        return self.migration.source if self.switched else self.migration.target

    @property
    def served(self) -> ModelVectors:
        """The model that answers."""
        if self.migration is None:
            return ModelVectors(vector=self.vector, dimensions=self.dimensions, checkpoint=self.checkpoint)
        return self.migration.target if self.switched else self.migration.source

    @property
    def switched(self) -> bool:
        """Whether the new model of the migration already answers."""
        return self.migration is not None and self.vector == self.migration.target.vector

    @property
    def models(self) -> tuple[ModelVectors, ...]:
        """All models whose vectors the index holds, the answering model first."""
        return (self.served, self.other) if self.other else (self.served,)

    def check_drop(self, vector_name: str) -> None:
        """Raises `ValueError` if the vectors belong to a model that is in use, so that they must not be dropped."""
        if vector_name in {model.vector for model in self.models}:
            raise ValueError(f"the vectors of {vector_name} are in use")

    def answering(self, model: ModelVectors) -> "Description":
        """Returns a copy in which `model` answers, which must be one of `models`."""
        return self.model_copy(update={"vector": model.vector, "dimensions": model.dimensions})


class AnotherModel(StartupError):
    """The index holds vectors of a different model than the configured checkpoint.

    Attributes:
        place: the location of the index.
        held: the description of the index.
        remedy: how to start with a new index.
        known: the message without the remedy.
    """

    def __init__(self, place: str, held: Description, wanted: str, remedy: str) -> None:
        serve = f"NOTELLM_CHECKPOINT={held.served.checkpoint}" if held.served.checkpoint else "the checkpoint it was made with"
        self.place, self.held, self.remedy = place, held, remedy
        self.known = f"{place} holds vectors of {held.vector} and the checkpoint is {wanted}: serve {serve}"
        super().__init__(f"{self.known}, or {remedy}")

    def naming(self, checkpoint: object) -> StartupError:
        """Returns the same error, with the command that migrates the notes to the checkpoint."""
        return StartupError(f"{self.known} and then run `notellm-serve migrate --to {checkpoint}`, or {self.remedy}")


def check_served(place: str, held: Description, vector_name: str, dimensions: int, remedy: str) -> None:
    """Raises `AnotherModel` unless the index holds the model's vectors."""
    if (vector_name, dimensions) not in {(model.vector, model.dimensions) for model in held.models}:
        raise AnotherModel(place, held, vector_name, remedy)
