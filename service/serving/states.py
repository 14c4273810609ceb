"""The states of serving: which models are loaded, which one answers, and which ones have their missing vectors added (filled in).

    state     loaded                     answers          filled in        when
    Serving   one model                  this model       none             there is no migration
    Prepared  one model and the target   the first        none             the index does not name the target yet
    Waiting   one of two models          this model       this model       the other model is being loaded, or cannot be loaded
    Moving    both                       either of them   both             a migration is under way
    Unfit     as in the state before     as before        as before        another model should answer, and cannot be loaded

    Serving ──prepare──▶ Prepared ──become──▶ Moving ◀──other loaded── Waiting      any ──▶ Unfit ──▶ any
       ▲                    │                   │                         │
       └──────abandon───────┴──finish, cancel───┴─────────────────────────┘

A state never changes. `ModelManager` replaces it as a whole when the description in the index changes or a model has been loaded.
"""

from dataclasses import dataclass, replace

from service.index import Description, ModelVectors
from service.serving.loaded_model import LoadedModel
from service.serving.migration_status import Phase
from service.serving.served import ServedModel


@dataclass(frozen=True)
class State:
    """The common part of all states. `alone` makes the first state, and `following` makes the later ones.

    Attributes:
        description: the description in the index that this process follows.
        answering: the model that answers.
    """

    description: Description
    answering: LoadedModel

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """All models in this process; the first one answers."""
        return (self.answering,)

    @property
    def filling(self) -> tuple[LoadedModel, ...]:
        """The models whose back-fills run."""
        return self.loaded if self.description.migration else ()

    @property
    def served(self) -> ServedModel:
        """The model that answers. A request reads it once and keeps it to the end."""
        return self.answering.served

    @property
    def phase(self) -> Phase:
        """The phase of the migration. A target that is still being loaded is not considered."""
        move = self.description.migration
        if move is None:
            return "none"
        if self.description.switched:
            return "switched"
        target = self.find(move.target)
        return "filled" if target and target.back_fill.complete else "filling"

    @property
    def error(self) -> str | None:
        """Why this process cannot do everything that the index says; None if it can."""
        return None

    @property
    def incomplete(self) -> bool:
        """Whether there is still a model to load, or vectors to drop."""
        return self.description.dropping is not None or not all(map(self.find, self.description.models))

    def find(self, model: ModelVectors) -> LoadedModel | None:
        """Returns a loaded model; None if it is not loaded."""
        return next((loaded for loaded in self.loaded if loaded.vector_name == model.vector), None)

    def following(self, description: Description, answering: LoadedModel) -> "State":
        """Returns the next state, with the models that are loaded.

        Args:
            description: the description that is now in the index.
            answering: the model that answers according to the description.
        """
        other = self.find(description.other) if description.other else None
        return Moving(description, answering, other) if other else alone(description, answering)

    def unfit(self, reason: str) -> "Unfit":
        """Returns the next state if the model that should answer cannot be loaded."""
        return Unfit(self.description, self.answering, self, reason)


class Serving(State):
    """One model answers, and there is no migration."""


@dataclass(frozen=True)
class Prepared(State):
    """One model answers, and the target of the next migration is loaded.

    Attributes:
        target: the new model.
    """

    target: LoadedModel

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """Both models."""
        return self.answering, self.target

    def abandoned(self) -> Serving:
        """Returns the state without the target."""
        return Serving(self.description, self.answering)

    def following(self, description: Description, answering: LoadedModel) -> State:
        """Keeps the target until the index names a migration, or until the target itself answers."""
        if description.other is None and answering is not self.target:
            return Prepared(description, answering, self.target)
        return super().following(description, answering)

    def unfit(self, reason: str) -> "Unfit":
        """See `State.unfit`; the target is dropped."""
        return self.abandoned().unfit(reason)


@dataclass(frozen=True)
class Waiting(State):
    """A migration is under way, and the model that does not answer is not loaded.

    Attributes:
        reason: why it could not be loaded; None before the first attempt has ended.
    """

    reason: str | None = None

    @property
    def missing(self) -> ModelVectors:
        """The model that is not loaded."""
        assert self.description.other is not None
        return self.description.other

    @property
    def error(self) -> str | None:
        """Why the missing model could not be loaded."""
        return self.reason

    def with_missing(self, model: LoadedModel) -> "Moving":
        """Returns the next state when the missing model has been loaded."""
        return Moving(self.description, self.answering, model)

    def following(self, description: Description, answering: LoadedModel) -> State:
        """Keeps the reason while the same model is missing, so that it stays visible during the next attempt."""
        state = super().following(description, answering)
        return replace(state, reason=self.reason) if isinstance(state, Waiting) and state.missing == self.missing else state


@dataclass(frozen=True)
class Moving(State):
    """A migration is under way, and both models are loaded. Notes are stored with vectors of both, and either can answer.

    Attributes:
        other: the model that does not answer.
    """

    other: LoadedModel

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """Both models."""
        return self.answering, self.other

    @property
    def served(self) -> ServedModel:
        """The model that answers; it writes the vectors of the other one as well."""
        return self.answering.served.with_dual_writes(self.other.served)


@dataclass(frozen=True)
class Unfit(State):
    """Another model should answer but cannot be loaded here, so this process must not get new requests.

    Attributes:
        before: the previous state, which still answers requests that arrive anyway.
        reason: why the other model cannot be loaded.
    """

    before: State
    reason: str

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models of the previous state."""
        return self.before.loaded

    @property
    def served(self) -> ServedModel:
        """The served model of the previous state."""
        return self.before.served

    @property
    def error(self) -> str | None:
        """Why the model that should answer cannot be loaded."""
        return self.reason

    def following(self, description: Description, answering: LoadedModel) -> State:
        """Returns the state that follows the previous state."""
        return self.before.following(description, answering)

    def unfit(self, reason: str) -> "Unfit":
        """Returns this state with a new reason."""
        return replace(self, reason=reason)


def alone(description: Description, answering: LoadedModel) -> Serving | Waiting:
    """Returns the state in which only the model that answers is loaded."""
    return Waiting(description, answering) if description.other else Serving(description, answering)
