"""Structural attention: executes a token plan exactly, as a few unmasked attention calls.

Tokens that see the same keys form a group. In plan order a group's queries are slices, and its keys are slices or a
concatenation of a few: nothing of size N x N exists. The dense mask lives here too, as the oracle for tests.

Shape suffixes: B batch, N tokens of both streams, Q and K tokens of a group, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb
from numpy.typing import NDArray
from torch import Tensor

from .plan import TokenPlan

Span = tuple[int, int]
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]

# Above this share of all keys, copying a group's keys together costs more than attending to the rest under a mask
# of one row (measured on CPU: benchmarks/attention.py).
DENSE = 0.7


@dataclass(frozen=True)
class Group:
    """Queries that see the same keys; spans are half-open and in plan order."""

    queries: Span
    keys: tuple[Span, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of queries and keys."""
        return self.queries[1] - self.queries[0], sum(end - start for start, end in self.keys)


@dataclass(frozen=True)
class Program:
    """A plan made ready to run: built once for each plan, used in every layer and step.

    `runs` lists, class by class in plan order, how many context and how many picture tokens follow one another:
    in the double blocks the two streams are interleaved by slices along it.
    """

    tokens: int
    context: int
    order: Tensor  # [N] request index in plan order
    context_order: Tensor  # [context] plan order within the context stream
    picture_order: Tensor  # [N - context] plan order within the picture stream
    picture_inverse: Tensor
    runs: tuple[tuple[int, int], ...]
    batches: tuple[tuple[Group, ...], ...]  # groups of one shape, executed as one call

    @property
    def full(self) -> bool:
        """Whether all see all: then the request order is kept and plain attention runs."""
        return len(self.batches) == 1 and self.batches[0][0].shape == (self.tokens, self.tokens)

    def join(self, context: Tensor, picture: Tensor) -> Tensor:
        """Both streams, [B, N', ...] each in its own plan order, to the joint plan order."""
        parts, c, p = [], 0, 0
        for n_context, n_picture in self.runs:
            parts += [context[:, c : c + n_context], picture[:, p : p + n_picture]]
            c, p = c + n_context, p + n_picture
        return torch.cat([part for part in parts if part.shape[1]], 1)

    def part(self, joint: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `join`."""
        context, picture, at = [], [], 0
        for n_context, n_picture in self.runs:
            context.append(joint[:, at : at + n_context])
            picture.append(joint[:, at + n_context : at + n_context + n_picture])
            at += n_context + n_picture
        return _cat(context), _cat(picture)


def _cat(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def compile_plan(plan: TokenPlan, device: torch.device | str = "cpu") -> Program:
    """Groups, orders and runs of `plan`; cached on the plan for each device."""
    cached = plan.__dict__.setdefault("_programs", {})
    if str(device) not in cached:
        cached[str(device)] = _compile(plan, torch.device(device))
    program: Program = cached[str(device)]
    return program


def _compile(plan: TokenPlan, device: torch.device) -> Program:
    sizes = np.bincount(plan.classes, minlength=len(plan.class_names))
    in_context = np.bincount(plan.classes[: plan.context_tokens], minlength=len(sizes))
    runs, spans, at = [], {}, 0
    for c in plan.class_order:
        runs.append((int(in_context[c]), int(sizes[c] - in_context[c])))
        spans[c] = (at, at + int(sizes[c]))
        at += int(sizes[c])
    groups: list[Group] = []
    for c in plan.class_order:
        keys = _merge([spans[k] for k in plan.class_order if plan.visibility[c, k]])
        if groups and groups[-1].keys == keys:
            groups[-1] = Group((groups[-1].queries[0], spans[c][1]), keys)
        else:
            groups.append(Group(spans[c], keys))
    if len(groups) == 1 and groups[0].shape == (plan.tokens, plan.tokens):
        order = np.arange(plan.tokens)  # nothing to sort for: full attention keeps the request order
        runs = [(plan.context_tokens, plan.tokens - plan.context_tokens)]
    else:
        order = plan.order
    context_order = order[order < plan.context_tokens]
    picture_order = order[order >= plan.context_tokens] - plan.context_tokens
    shapes: dict[tuple[int, int], list[Group]] = {}
    for group in groups:
        shapes.setdefault(group.shape, []).append(group)
    batches: list[tuple[Group, ...]] = []
    for (_, keys_seen), alike in shapes.items():
        # Groups over nearly all keys are not stacked: that would copy nearly all keys once for each of them.
        dense = keys_seen > DENSE * plan.tokens
        batches += [(group,) for group in alike] if dense else [tuple(alike)]

    def on_device(indices: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(indices)).to(device)

    return Program(
        tokens=plan.tokens,
        context=plan.context_tokens,
        order=on_device(order),
        context_order=on_device(context_order),
        picture_order=on_device(picture_order),
        picture_inverse=on_device(np.argsort(picture_order, kind="stable")),
        runs=tuple(runs),
        batches=tuple(batches),
    )


def _merge(spans: list[Span]) -> tuple[Span, ...]:
    """Neighbouring spans joined."""
    merged: list[Span] = []
    for start, end in spans:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return tuple(merged)


def structural_attention(
    query: Tensor, key: Tensor, value: Tensor, program: Program, kernel: Kernel | None = None
) -> Tensor:
    """Attention of a plan. All tensors [B, N, H, D] in joint plan order; returns the same shape.

    Equal to softmax attention under the plan's dense mask, forward and gradient, up to rounding.
    """
    kernel = kernel or plain
    if program.full:
        return kernel(query, key, value)
    out: list[tuple[int, Tensor]] = []
    for batch in program.batches:
        _n_queries, n_keys = batch[0].shape
        if len(batch) == 1 and n_keys > DENSE * program.tokens:
            out.append((batch[0].queries[0], _dense(query, key, value, batch[0], kernel)))
            continue
        q = _stack(query, [(group.queries,) for group in batch])
        k = _stack(key, [group.keys for group in batch])
        v = _stack(value, [group.keys for group in batch])
        result = kernel(q, k, v).unflatten(0, (len(batch), query.shape[0]))
        out += [(group.queries[0], part) for group, part in zip(batch, result, strict=True)]
    return torch.cat([part for _, part in sorted(out, key=lambda item: item[0])], 1)


def _dense(query: Tensor, key: Tensor, value: Tensor, group: Group, kernel: Kernel) -> Tensor:
    """A group that sees nearly everything: all keys where they are, the few unseen ones masked by one row."""
    q = query[:, slice(*group.queries)]
    if group.shape[1] == key.shape[1]:
        return kernel(q, key, value)
    seen = torch.full((key.shape[1],), -torch.inf, dtype=query.dtype, device=query.device)
    for start, end in group.keys:
        seen[start:end] = 0
    mask = seen.expand(q.shape[0], 1, q.shape[1], -1)
    q, k, v = (x.transpose(1, 2) for x in (q, key, value))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)


def _stack(x: Tensor, spans: list[tuple[Span, ...]]) -> Tensor:
    """[groups * B, n, H, D] the tokens of each group; a view where the groups follow one another and B is 1."""
    flat = [span for group in spans for span in group]
    if all(len(group) == 1 for group in spans) and len(_merge(flat)) == 1:
        joined = x[:, flat[0][0] : flat[-1][1]].unflatten(1, (len(spans), -1))
        return joined.transpose(0, 1).flatten(0, 1)
    return torch.cat([_cat([x[:, start:end] for start, end in group]) for group in spans])


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """torch's attention on [B, N, H, D] without a mask, so that flash kernels stay usable."""
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def materialised(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Plain attention with its scores written out, [B, N, H, D].

    For training on CPU with short sequences: the flash kernel's bfloat16 backward pass is several times slower there
    (88 tokens, 3 heads of 64, batch 64: 17 ms against 2). On a GPU it is taken.
    """
    if query.is_cuda:
        return plain(query, key, value)
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return (scores.softmax(-1) @ v).transpose(1, 2)


def dense_mask(plan: TokenPlan) -> Tensor:
    """[N, N] in plan order, True where the row sees the column: the specification of everything above."""
    classes = plan.classes[plan.order]
    return torch.from_numpy(plan.visibility[np.ix_(classes, classes)])


def oracle_attention(query: Tensor, key: Tensor, value: Tensor, plan: TokenPlan) -> Tensor:
    """The plan executed with its N x N mask; [B, N, H, D] in plan order."""
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=dense_mask(plan).to(query.device)).transpose(1, 2)


# ---------------------------------------------------------------- other kernels, where they really work


@cache
def kernels(device: str) -> dict[str, Kernel]:
    """Kernels that gave the right answer on `device` just now. An import proves nothing: xformers imports on machines
    where it cannot run, so each candidate is run forward and backward on a small problem and compared.
    """
    found: dict[str, Kernel] = {"sdpa": plain}
    for name, candidate in (("xformers", _xformers), ("flex", _flex)):
        torch_device = torch.device(device)
        inputs = [torch.randn(1, 128, 2, 64, device=torch_device, requires_grad=True) for _ in range(3)]
        try:
            got, expected = candidate(*inputs), plain(*inputs)
            grads = [torch.autograd.grad(x.square().sum(), inputs) for x in (got, expected)]
        except Exception:  # whatever a half-installed kernel raises, it means "not here"
            continue
        same = all(torch.allclose(a, b, atol=1e-3, rtol=1e-3) for a, b in zip(*grads, strict=True))
        if same and torch.allclose(got, expected, atol=1e-3, rtol=1e-3):
            found[name] = candidate
    return found


def _xformers(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    from xformers.ops import memory_efficient_attention

    out: Tensor = memory_efficient_attention(query, key, value)
    return out


def _flex(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    if query.device.type == "cpu":
        raise RuntimeError("uncompiled FlexAttention materialises the scores; on CPU plain attention is faster")
    q, k, v = (x.transpose(1, 2).contiguous() for x in (query, key, value))
    out: Tensor = torch.compile(flex_attention)(q, k, v)
    return out.transpose(1, 2)


# ---------------------------------------------------------------- diffusers' attention processors


class PlanProcessor:
    """What both processors share. `_attention_backend` and `_parallel_config` are diffusers' own to set."""

    _attention_backend = None
    _parallel_config = None

    def __init__(self, kernel: Kernel | None = None) -> None:
        self.kernel = kernel

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
        program: Program | None,
    ) -> Tensor:
        """[B, N, H * D]: rotary positions, then the plan, or diffusers' dispatcher where there is nothing to plan."""
        if rotary is not None:
            q, k = (apply_rotary_emb(x, rotary, sequence_dim=1) for x in (q, k))
        if program is not None and (self.kernel is not None or not program.full):
            out = structural_attention(q, k, v, program, self.kernel)
        else:
            out = dispatch_attention_fn(
                q, k, v, attn_mask=mask, backend=self._attention_backend, parallel_config=self._parallel_config
            )
        return out.flatten(2).to(q.dtype)


class JointProcessor(PlanProcessor):
    """For the double blocks (`Flux2Attention`): two streams, each in its own plan order."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        program: Program | None = None,
        beside: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attention over both streams; rotary tables are in joint plan order.

        `beside` [B, N_picture, D] is what a branch beside the block adds for the picture stream.
        """
        join = program.join if program else lambda context, picture: torch.cat([context, picture], 1)
        heads = (-1, attn.head_dim)
        q = join(
            attn.norm_added_q(attn.add_q_proj(encoder_hidden_states).unflatten(-1, heads)),
            attn.norm_q(attn.to_q(hidden_states).unflatten(-1, heads)),
        )
        k = join(
            attn.norm_added_k(attn.add_k_proj(encoder_hidden_states).unflatten(-1, heads)),
            attn.norm_k(attn.to_k(hidden_states).unflatten(-1, heads)),
        )
        v = join(
            attn.add_v_proj(encoder_hidden_states).unflatten(-1, heads),
            attn.to_v(hidden_states).unflatten(-1, heads),
        )
        out = self.attend(q, k, v, image_rotary_emb, attention_mask, program)
        if program:
            context, picture = program.part(out)
        else:
            context, picture = out.split([encoder_hidden_states.shape[1], hidden_states.shape[1]], 1)
        picture = attn.to_out[1](attn.to_out[0](picture))
        return picture if beside is None else picture + beside, attn.to_add_out(context)


class ParallelProcessor(PlanProcessor):
    """For the single blocks (`Flux2ParallelSelfAttention`): one stream in joint plan order, MLP fused."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        program: Program | None = None,
        beside: Tensor | None = None,
    ) -> Tensor:
        """Attention and MLP of a parallel block (ViT-22B, 2302.05442); `beside` [B, N, D] is what a branch adds."""
        fused = attn.to_qkv_mlp_proj(hidden_states)
        qkv, mlp = fused.split([3 * attn.inner_dim, fused.shape[-1] - 3 * attn.inner_dim], -1)
        q, k, v = (x.unflatten(-1, (-1, attn.head_dim)) for x in qkv.chunk(3, -1))
        out = self.attend(attn.norm_q(q), attn.norm_k(k), v, image_rotary_emb, attention_mask, program)
        joined: Tensor = attn.to_out(torch.cat([out, attn.mlp_act_fn(mlp)], -1))
        return joined if beside is None else joined + beside
