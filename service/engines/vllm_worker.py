"""`NoteLLMWorker`: our forward pass inside vLLM's worker, over vLLM's own layers and weights.

vLLM mixes the class into its worker (`worker_extension_cls`) and calls its methods by name (`collective_rpc`) between two of its
own steps. Every rank of a tensor-parallel engine runs the same calls: its layers hold its share of the heads and combine the
results across ranks themselves. Token ids go into the worker process; vectors and choices come out.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from notellm.checkpoint import ARCHITECTURE, Checkpoint
from notellm.encoder import NoteEncoder
from notellm.forward import log_probabilities
from notellm.ranking import AlsoRead, ChoiceRanker, ChoiceSearch
from notellm.trie import TokenTrie

# There are at least three: the hashtag vocabulary, the categories and the canary's choices.
MOST_VOCABULARIES = 8
MOST_RANKINGS = 8
# Prompt, key of the choices, count, excluded choices, embedding prompt or nothing.
AskedRanking = tuple[list[int], int, int, list[list[int]], list[int]]


class VllmLayers:
    """`Layers` of vLLM's LLaMA, with the heads of this rank only.

    Args:
        causal_lm: vLLM's `LlamaForCausalLM`.
        device: device of the weights.

    Raises:
        TypeError: `causal_lm` is of another class, or its layers are spread over several pipeline stages.
    """

    def __init__(self, causal_lm: Any, device: torch.device) -> None:
        if type(causal_lm).__name__ != ARCHITECTURE:
            raise TypeError(f"vLLM loaded the checkpoint as {type(causal_lm).__name__}: only {ARCHITECTURE} is supported")
        self._causal_lm = causal_lm
        self._backbone = causal_lm.model
        self._layers: Sequence[Any] = list(self._backbone.layers)
        if any(type(layer).__name__ == "PPMissingLayer" for layer in (*self._layers, self._backbone.norm)):
            raise TypeError("the layers are spread over pipeline stages: use tensor parallelism only")
        self.scaling = float(self._layers[0].self_attn.scaling)
        self.device = device

    def __len__(self) -> int:
        return len(self._layers)

    def embed(self, ids: Tensor) -> Tensor:
        """See `Layers.embed`."""
        states: Tensor = self._backbone.embed_tokens(ids)
        return states

    def rotation(self, positions: Tensor) -> Tensor:
        """Returns the positions: vLLM's layers apply the rotation themselves."""
        return positions

    def query_key_value(self, layer: int, states: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Layers.query_key_value`."""
        block = self._layers[layer]
        attention = block.self_attn
        joined = attention.qkv_proj(block.input_layernorm(states))[0]
        query, key, value = joined.split([attention.q_size, attention.kv_size, attention.kv_size], dim=-1)
        query, key = attention.rotary_emb(rotation, query.contiguous(), key.contiguous())
        by_head = (len(states), -1, attention.head_dim)
        return query.view(by_head).transpose(0, 1), key.view(by_head).transpose(0, 1), value.reshape(by_head).transpose(0, 1)

    def finish(self, layer: int, states: Tensor, attended: Tensor) -> Tensor:
        """See `Layers.finish`."""
        block = self._layers[layer]
        states = states + block.self_attn.o_proj(attended)[0]
        finished: Tensor = states + block.mlp(block.post_attention_layernorm(states))
        return finished

    def norm(self, states: Tensor) -> Tensor:
        """See `Layers.norm`."""
        normed: Tensor = self._backbone.norm(states)
        return normed

    def logits(self, states: Tensor) -> Tensor:
        """See `Layers.logits`."""
        scores: Tensor = self._causal_lm.compute_logits(states)
        return scores


class VllmNoteLLM:
    """The counterpart of `NoteLLM` inside vLLM: vLLM's layers, and the checkpoint's projection and token vectors."""

    def __init__(self, layers: VllmLayers, checkpoint: Checkpoint, dtype: torch.dtype) -> None:
        self.layers = layers
        projection, tokens = checkpoint.load_projection(), checkpoint.load_token_vectors()
        self._projection = projection.to(layers.device, dtype).requires_grad_(requires_grad=False)
        self.tokens = tokens.to(layers.device).requires_grad_(requires_grad=False) if tokens is not None else None
        self.dimensions: int = projection.out_features

    def project(self, hidden: Tensor, added: Tensor | None = None, *, normalize: bool = True) -> Tensor:
        """See `NoteLLM.project`."""
        projected: Tensor = self._projection(hidden).float()
        if added is not None:
            projected = projected + added
        return functional.normalize(projected, dim=-1) if normalize else projected


class RunningRankings:
    """Rankings that run together.

    Args:
        requests: see `NoteLLMWorker.notellm_begin_ranking`.
        vocabularies: the choices by their keys.
        ranker: computes them.
    """

    def __init__(self, requests: Sequence[AskedRanking], vocabularies: Mapping[int, TokenTrie], ranker: ChoiceRanker) -> None:
        self.requests = requests
        self.searches = [
            ChoiceSearch(vocabularies[key], count, exclude=frozenset(map(tuple, exclude)))
            for _, key, count, exclude, _ in requests
        ]
        self.also = AlsoRead([embedding for *_, embedding in requests if embedding])
        self.walk = ranker.steps([prompt for prompt, *_ in requests], self.searches, self.also)


class NoteLLMWorker:
    """The methods that the engine calls. Their names must not be those of vLLM's worker."""

    # Attributes of vLLM's worker.
    model_runner: Any
    device: torch.device
    rank: int

    def notellm_load(self, checkpoint: str, prefix_ids: list[int], max_batch_tokens: int) -> int:
        """Prepares the other methods; returns the dimensions of the vectors.

        Raises:
            TypeError: see `VllmLayers`.
            CheckpointError: the projection or the token vectors cannot be loaded.
        """
        layers = self._notellm_layers
        dtype = next(self.model_runner.get_model().parameters()).dtype
        model = VllmNoteLLM(layers, Checkpoint.open(checkpoint, verify="size"), dtype)
        # One pass at a time: ranks that share the layers communicate, and must do so in the same order on every rank.
        self._notellm_encoder = NoteEncoder(model, prefix_ids, max_batch_tokens=max_batch_tokens, lanes=False)
        self._notellm_ranker = ChoiceRanker(layers)
        self._notellm_vocabularies: dict[int, TokenTrie] = {}
        self._notellm_rankings: dict[int, RunningRankings] = {}
        return model.dimensions

    def notellm_embed(self, prompts: list[list[int]]) -> bytes:
        """Embeds prompts; the first rank returns the bytes of unit float32 vectors, (prompts, dimensions), other ranks nothing."""
        vectors = self._notellm_encoder.encode(prompts)
        return b"" if self.rank else vectors.tobytes()

    def notellm_vocabulary(self, key: int, sequences: list[list[int]], eos_token_id: int) -> None:
        """Stores choices under a key; drops those that have not been used for the longest time if there are too many."""
        while len(self._notellm_vocabularies) >= MOST_VOCABULARIES:
            self._notellm_vocabularies.pop(next(iter(self._notellm_vocabularies)))
        self._notellm_vocabularies[key] = TokenTrie(sequences, eos_token_id)

    def notellm_begin_ranking(self, ranking: int, requests: list[AskedRanking]) -> bool:
        """Prepares rankings that run together, but computes nothing yet.

        Args:
            ranking: the number under which they go on.
            requests: prompt, key of the choices, count, excluded choices and embedding prompt (or nothing) of each.

        Returns:
            False if there are no choices under one of the keys.
        """
        if any(key not in self._notellm_vocabularies for _, key, *_ in requests):
            return False
        for key in {key for _, key, *_ in requests}:  # the choices that were used last are kept longest
            self._notellm_vocabularies[key] = self._notellm_vocabularies.pop(key)
        while len(self._notellm_rankings) >= MOST_RANKINGS:  # abandoned calls leave rankings behind
            self._notellm_rankings.pop(next(iter(self._notellm_rankings)))
        self._notellm_rankings[ranking] = RunningRankings(requests, self._notellm_vocabularies, self._notellm_ranker)
        return True

    def notellm_go_on_ranking(self, ranking: int, steps: int) -> list[tuple[list[tuple[list[int], float]], bytes]] | None:
        """Continues rankings; returns None if they need more steps.

        The limit is in steps, not seconds, because ranks that share the layers must all stop at the same step.

        Returns:
            For each request the ids and log-probability of the likeliest choices, and the bytes of the unit float32 vector of its embedding
            prompt, or nothing.
        """
        running = self._notellm_rankings[ranking]
        for _ in islice(running.walk, steps):
            pass
        if any(search.live for search in running.searches):
            return None
        del self._notellm_rankings[ranking]
        vectors = iter(self._notellm_encoder.finish(running.also.states, running.also.prompts))
        return [
            (
                [(list(choice.ids), choice.log_probability) for choice in search.found],
                next(vectors).tobytes() if embedding else b"",
            )
            for search, (*_, embedding) in zip(running.searches, running.requests, strict=True)
        ]

    def notellm_log_probabilities(self, prompt: list[int], tokens: list[int]) -> list[float]:
        """Returns log-probabilities of tokens after a prompt by our forward pass, to compare them with vLLM's own."""
        return log_probabilities(self._notellm_layers, prompt, tokens)

    @cached_property
    def _notellm_layers(self) -> VllmLayers:
        return VllmLayers(self.model_runner.get_model(), self.device)
