"""The NoteLLM model: notes, prompts, checkpoints and the custom forward pass, shared by training and service.

A name is imported when it is used: torch takes seconds, and a command that only asks a service need not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from notellm.checkpoint import Checkpoint, Manifest
    from notellm.encoder import NoteEncoder
    from notellm.errors import CheckpointError, NoteError, NoteLLMError, PromptError, TokenizerError
    from notellm.model import NoteLLM
    from notellm.note import Note, NoteText
    from notellm.prompt import NotePrompt, PromptSettings, TokenizedNote

_PLACES = {
    "checkpoint": ("Checkpoint", "Manifest"),
    "encoder": ("NoteEncoder",),
    "errors": ("CheckpointError", "NoteError", "NoteLLMError", "PromptError", "TokenizerError"),
    "model": ("NoteLLM",),
    "note": ("Note", "NoteText"),
    "prompt": ("NotePrompt", "PromptSettings", "TokenizedNote"),
}

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Manifest",
    "Note",
    "NoteEncoder",
    "NoteError",
    "NoteLLM",
    "NoteLLMError",
    "NotePrompt",
    "NoteText",
    "PromptError",
    "PromptSettings",
    "TokenizedNote",
    "TokenizerError",
]


def __getattr__(name: str) -> object:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"notellm.{module}"), name)
    raise AttributeError(f"module 'notellm' has no attribute {name!r}")
