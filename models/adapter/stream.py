"""Which tokens go through a linear layer of the transformer, and in which order."""

from __future__ import annotations

from typing import Literal

# Both streams or one of them in plan order; one as it was asked for; or no tokens at all, but what all of them share,
# such as their modulation.
Stream = Literal["joint", "context", "picture", "context asked", "picture asked", "shared"]


def stream_of(layer: str) -> Stream:
    """The stream of a layer, by its name in the transformer."""
    if layer.startswith("single_transformer_blocks."):
        return "joint"
    if layer.startswith("transformer_blocks."):
        in_context = any(part in layer for part in (".attn.add_", ".attn.to_add_out", ".ff_context."))
        return "context" if in_context else "picture"
    streams: dict[str, Stream] = {
        "proj_out": "picture",
        "x_embedder": "picture asked",
        "context_embedder": "context asked",
    }
    return streams.get(layer, "shared")
