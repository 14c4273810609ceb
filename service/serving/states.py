"""The states of serving: which models are loaded, which one answers, and which ones are filled in.

    state     loaded                     answers          filled in        when
    Serving   one model                  it               none             there is no migration
    Prepared  it, and the target         it               none             the index does not name the target yet
    Waiting   one of two models          it               it               the other one is being loaded, or cannot be
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
    """What all states have in common. `alone` makes the first one, and `following` those after it.

    Attributes:
        description: what the index says, as far as this process follows it.
        answering: the model that answers.
    """

    description: Description
    answering: LoadedModel

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """All models in this process, the one that answers first."""
        return (self.answering,)

    @property
    def filling(self) -> tuple[LoadedModel, ...]:
        """The models whose back-fills run."""
        return self.loaded if self.description.migration else ()

    @property
    def served(self) -> ServedModel:
        """The model that answers. A request takes it once and keeps it to its end."""
        return self.answering.served

    @property
    def phase(self) -> Phase:
        """Where the migration stands, apart from a target that is being loaded."""
        move = self.description.migration
        if move is None:
            return "none"
        if self.description.switched:
            return "switched"
        target = self.find(move.target)
        return "filled" if target and target.back_fill.complete else "filling"

    @property
    def error(self) -> str | None:
        """Why this process does not do all that the index says."""
        return None

    @property
    def incomplete(self) -> bool:
        """Whether something is left to do: a model to load, or vectors to drop."""
        return self.description.dropping is not None or not all(map(self.find, self.description.models))

    def find(self, model: ModelVectors) -> LoadedModel | None:
        """A model, if it is loaded."""
        return next((loaded for loaded in self.loaded if loaded.vector_name == model.vector), None)

    def following(self, description: Description, answering: LoadedModel) -> "State":
        """The state after this one, with the models that are loaded.

        Args:
            description: what the index says now.
            answering: the model that answers according to it.
        """
        other = self.find(description.other) if description.other else None
        return Moving(description, answering, other) if other else alone(description, answering)

    def unfit(self, reason: str) -> "Unfit":
        """The state after this one when the model that should answer cannot be loaded."""
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
        """Without the target."""
        return Serving(self.description, self.answering)

    def following(self, description: Description, answering: LoadedModel) -> State:
        """Keeps the target until the index names a migration, or lets the target itself answer."""
        if description.other is None and answering is not self.target:
            return Prepared(description, answering, self.target)
        return super().following(description, answering)

    def unfit(self, reason: str) -> "Unfit":
        """Without the target."""
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
        """The state after this one when the missing model has been loaded."""
        return Moving(self.description, self.answering, model)

    def following(self, description: Description, answering: LoadedModel) -> State:
        """Keeps the reason while the same model is missing, so that it can be read during the next attempt, too."""
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
    """Another model should answer, and cannot be loaded here: this process must get no new requests.

    Attributes:
        before: the state that goes on, for requests that come all the same.
        reason: why the other model cannot be loaded.
    """

    before: State
    reason: str

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """As before."""
        return self.before.loaded

    @property
    def served(self) -> ServedModel:
        """As before."""
        return self.before.served

    @property
    def error(self) -> str | None:
        """Why the model that should answer cannot be loaded."""
        return self.reason

    def following(self, description: Description, answering: LoadedModel) -> State:
        """What follows the state before."""
        return self.before.following(description, answering)

    def unfit(self, reason: str) -> "Unfit":
        """With a new reason."""
        return replace(self, reason=reason)


def alone(description: Description, answering: LoadedModel) -> Serving | Waiting:
    """The state in which only the model that answers is loaded."""
    return Waiting(description, answering) if description.other else Serving(description, answering)
