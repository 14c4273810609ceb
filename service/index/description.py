"""`Description`: whose vectors an index holds. It is kept with the index, so that a start knows what it finds."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import StartupError


class ModelVectors(BaseModel):
    """The vectors of one model in an index.

    Attributes:
        vector: their name.
        dimensions: of each.
        checkpoint: where the service finds the model; None if nobody has noted it down.
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
    """Whose vectors an index holds.

    Attributes:
        vector, dimensions: of the model that answers.
        checkpoint: of that model, since a migration has ended.
        migration: while there is one.
        dropping: vectors that are on their way out, dropped when every note has one of the model that stays.
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
        """Of what `write` has given.

        Raises:
            StartupError: it is damaged, or of a newer version of this service.
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
        """As JSON."""
        return self.model_dump_json(exclude_none=True)

    @property
    def other(self) -> ModelVectors | None:
        """The model that does not answer but has vectors, while a migration lasts."""
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
        """Whether the new model of the migration answers already."""
        return self.migration is not None and self.vector == self.migration.target.vector

    @property
    def models(self) -> tuple[ModelVectors, ...]:
        """All whose vectors the index holds, the answering one first."""
        return (self.served, self.other) if self.other else (self.served,)

    def check_drop(self, vector_name: str) -> None:
        """Raises `ValueError` where vectors are not to be dropped: those of a model that is in use."""
        if vector_name in {model.vector for model in self.models}:
            raise ValueError(f"the vectors of {vector_name} are in use")

    def answering(self, model: ModelVectors) -> "Description":
        """The same index with the answers of this one of its models."""
        return self.model_copy(update={"vector": model.vector, "dimensions": model.dimensions})


class AnotherModel(StartupError):
    """The index holds vectors of another model than the checkpoint that was to be served.

    Attributes:
        place: of the index.
        held: whose vectors it holds.
        remedy: how to start with a new index.
    """

    def __init__(self, place: str, held: Description, wanted: str, remedy: str) -> None:
        serve = f"NOTELLM_CHECKPOINT={held.served.checkpoint}" if held.served.checkpoint else "the checkpoint it was made with"
        self.place, self.held, self.remedy = place, held, remedy
        self.known = f"{place} holds vectors of {held.vector} and the checkpoint is {wanted}: serve {serve}"
        super().__init__(f"{self.known}, or {remedy}")

    def naming(self, checkpoint: object) -> StartupError:
        """The same, with the command that moves the notes over to the checkpoint."""
        return StartupError(f"{self.known} and run `notellm-serve migrate --to {checkpoint}` beside it, or {self.remedy}")


def check_served(place: str, held: Description, vector_name: str, dimensions: int, remedy: str) -> None:
    """Raises `AnotherModel` unless the index holds the model's vectors."""
    if (vector_name, dimensions) not in {(model.vector, model.dimensions) for model in held.models}:
        raise AnotherModel(place, held, vector_name, remedy)
