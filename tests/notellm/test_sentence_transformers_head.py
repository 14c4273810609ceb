"""Another library reads the checkpoint directory and gives the same vectors: the projection is where it belongs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from notellm import Checkpoint, NoteEncoder
from tests.conftest import NOTES
from training.model import InitialCheckpoint


@pytest.fixture(scope="module")
def projected(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Fewer dimensions than the hidden size, so that a projection that is left out cannot go unnoticed."""
    return InitialCheckpoint(base=str(tiny_base), output=tmp_path_factory.mktemp("st") / "out", name="projected", dim=16).make()


@pytest.fixture(scope="module")
def with_tokens(tokens_path: Path) -> Checkpoint:
    return Checkpoint.open(tokens_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("which", ["tiny", "projected", "with_tokens"])
def test_sentence_transformers_gives_the_same_vectors_for_the_same_ids(which: str, request: pytest.FixtureRequest) -> None:
    from sentence_transformers import SentenceTransformer

    checkpoint: Checkpoint = request.getfixturevalue(which)
    prompt = checkpoint.prompt()
    prompts = [prompt.embedding(note) for note in prompt.tokenize(NOTES)]
    ours = NoteEncoder(checkpoint.load_model(), prompt.embedding_prefix).encode(prompts)
    model = SentenceTransformer(
        str(checkpoint.path),
        device="cpu",
        local_files_only=True,
        model_kwargs={"dtype": torch.float32},
        trust_remote_code=which == "with_tokens",  # the library asks for it before it imports a module of another package
    )
    assert model.get_embedding_dimension() == checkpoint.manifest.dimensions
    for prompt_ids, expected in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt_ids])
        with torch.inference_mode():
            theirs = model({"input_ids": ids, "attention_mask": torch.ones_like(ids)})["sentence_embedding"][0].numpy()
        np.testing.assert_allclose(theirs, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_library_without_our_module_refuses_instead_of_giving_other_vectors(tokens_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    with pytest.raises(ValueError, match="trust_remote_code=True"):
        SentenceTransformer(str(tokens_path), device="cpu", local_files_only=True)
    modules = json.loads((tokens_path / "modules.json").read_text(encoding="utf-8"))
    assert not [module for module in modules if module["type"].endswith(".Dense")]  # a reader of Dense alone finds none


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_padded_batch_and_a_saved_copy_give_the_same_vectors(tokens_path: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    checkpoint = Checkpoint.open(tokens_path)
    prompt = checkpoint.prompt()
    prompts = [prompt.embedding(note) for note in prompt.tokenize(NOTES)]
    expected = NoteEncoder(checkpoint.load_model(), prompt.embedding_prefix).encode(prompts)
    options: dict[str, Any] = {"device": "cpu", "local_files_only": True, "trust_remote_code": True}
    model = SentenceTransformer(str(checkpoint.path), **options)
    model.save(str(tmp_path / "copy"))
    longest = max(map(len, prompts))
    ids = torch.tensor([[*one, *[0] * (longest - len(one))] for one in prompts])
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in prompts])
    for one in (model, SentenceTransformer(str(tmp_path / "copy"), **options)):
        with torch.inference_mode():
            found = one({"input_ids": ids, "attention_mask": mask})["sentence_embedding"].float().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)
