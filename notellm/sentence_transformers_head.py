"""`NoteHead`: the module that sentence-transformers needs for a checkpoint with token vectors, in place of its own Dense."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from notellm.dense import read_dense
from notellm.token_vectors import TokenVectors, read_token_vectors


class NoteHead(nn.Module):
    """Projects the pooled state and adds the vectors of the note's own tokens.

    Args:
        projection: hidden size → dimensions.
        tokens: the token vectors.
        directory: the files that both were read from.
    """

    def __init__(self, projection: nn.Linear, tokens: TokenVectors, directory: Path) -> None:
        super().__init__()
        self.projection = projection
        self.tokens = tokens
        self._directory = directory

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """Replaces `sentence_embedding`, (notes, hidden size), by the sum, (notes, dimensions)."""
        kept: Tensor = features["attention_mask"].bool()
        opening = len(self.tokens.terms.frame.opening)
        rests = [ids[mask].tolist()[opening:] for ids, mask in zip(features["input_ids"], kept, strict=True)]
        states = features["sentence_embedding"].to(self.projection.weight.dtype)
        return features | {"sentence_embedding": self.projection(states) + self.tokens.of_prompts(rests)}

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **_: object) -> "NoteHead":
        """Called by sentence-transformers for a local directory."""
        directory = Path(model_name_or_path) / subfolder
        return cls(read_dense(directory / "model.safetensors"), read_token_vectors(directory), directory)

    def save(self, output_path: str, *_: object, **__: object) -> None:
        """Copies the files, because sentence-transformers must not train this module: `notellm-train` does."""
        for source in self._directory.iterdir():
            (Path(output_path) / source.name).write_bytes(source.read_bytes())

    def get_embedding_dimension(self) -> int:
        """Length of the vectors."""
        return self.projection.out_features

    get_sentence_embedding_dimension = get_embedding_dimension
