"""What can go wrong in the model package.

NoteLLMError
├── NoteError            a note breaks a rule (also a ValueError, so pydantic reports it with its field)
├── NoteFileError        a file of notes cannot be read, or its columns are not those of a note
├── TokenizerError       a tokenizer turns text that users typed into control tokens
├── PromptError          a prompt cannot be built, or its token ids are not valid
└── CheckpointError      a checkpoint directory is missing, damaged, edited or in another format
"""

from pathlib import Path


class NoteLLMError(Exception):
    """Base of every error that this package raises on purpose."""


class NoteError(NoteLLMError, ValueError):
    """A note breaks a rule of its format."""


class NoteFileError(NoteLLMError):
    """A file of notes cannot be read.

    Attributes:
        path: the file.
        reason: what is wrong with it and what to do about it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.path = path
        self.reason = reason


class TokenizerError(NoteLLMError):
    """The tokenizer cannot be used safely with text that users typed."""


class PromptError(NoteLLMError, ValueError):
    """A prompt cannot be built, or its token ids are not valid."""


class CheckpointError(NoteLLMError):
    """A checkpoint directory cannot be used.

    Attributes:
        path: the file or directory with the problem.
        reason: what is wrong with it and what to do about it.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason
