"""The NoteLLM model: notes, prompts, checkpoints and the custom forward pass, shared by training and service."""

from notellm.checkpoint import Checkpoint, Manifest
from notellm.encoder import NoteEncoder
from notellm.errors import CheckpointError, NoteError, NoteLLMError, PromptError, TokenizerError
from notellm.model import NoteLLM
from notellm.note import Note, NoteText
from notellm.prompt import NotePrompt, PromptSettings, TokenizedNote

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
