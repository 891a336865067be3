"""The one loop: given tokens, guidance, schedulers, noise."""

from __future__ import annotations

import pytest
import torch

from models.mmdit import AuxiliaryHead, MMDiT
from models.plan import Segment, TokenPlan, grid, words
from pipelines.sampler import Cancelled, Guidance, build_scheduler, draw_noise, sample
from pipelines.text import text_plan
from tests.test_mmdit import SMALL, pair

NONE = Guidance()
STATIC = {"shift": 1.5, "use_dynamic_shifting": False}


@pytest.fixture(scope="module")
def model() -> MMDiT:
    return pair(SMALL)[1]


def run(model: MMDiT, plan: TokenPlan, guidance: Guidance = NONE, steps: int = 4, name: str = "euler", **options):  # type: ignore[no-untyped-def]
    picture = plan.tokens - plan.context_tokens
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(2, picture, 16, generator=generator)
    context = torch.randn(2, plan.context_tokens, 96, generator=generator)
    scheduler = build_scheduler(name, STATIC, steps, picture)
    return sample(model, plan, noise, context, scheduler, guidance, negative=torch.zeros_like(context), **options)


@pytest.mark.parametrize("name", ["euler", "heun", "unipc", "dpm++"])
def test_given_tokens_come_back_bit_for_bit_and_change_the_rest(model: MMDiT, name: str) -> None:
    frames = Segment("frames", "frame", grid(2, 2, 2), given=torch.arange(8).numpy() < 4)
    plan = TokenPlan((Segment("prompt", "prompt", words(4)), frames))
    clean = torch.randn(2, 8, 16)
    out = run(model, plan, name=name, clean=clean)
    assert torch.equal(out[:, :4], clean[:, :4])
    assert not torch.equal(out[:, 4:], run(model, plan, name=name, clean=clean + 1)[:, 4:])


def test_a_plan_with_given_tokens_needs_them(model: MMDiT) -> None:
    plan = TokenPlan((Segment("prompt", "prompt", words(4)), Segment("f", "frame", grid(1, 1, 2), given=True)))
    with pytest.raises(ValueError, match="no clean tokens"):
        run(model, plan)


def count_calls(model: MMDiT, **options) -> list[int]:  # type: ignore[no-untyped-def]
    """Batch size of every model call of a run."""
    sizes: list[int] = []
    handle = model.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    run(model, text_plan(4, 2, 2), **options)
    handle.remove()
    return sizes


def test_guidance_costs_a_second_half_only_inside_its_interval(model: MMDiT) -> None:
    assert count_calls(model) == [2] * 4
    assert count_calls(model, guidance=Guidance(3.0)) == [4] * 4
    sigmas = (build_scheduler("euler", STATIC, 4, 4).timesteps / 1000).tolist()
    assert count_calls(model, guidance=Guidance(3.0, (sigmas[2] - 1e-3, sigmas[1] + 1e-3))) == [2, 4, 4, 2]
    assert len(count_calls(model, name="heun")) == 7, "Heun evaluates twice in all but the last step"


def test_guidance_moves_away_from_the_negative_prompt(model: MMDiT) -> None:
    plan = text_plan(4, 2, 2)
    plain, pushed = run(model, plan, steps=1), run(model, plan, Guidance(2.0), steps=1)
    noise = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(2))
    zero = sample(model, plan, noise, torch.zeros(2, 4, 96), build_scheduler("euler", STATIC, 1, 4), Guidance())
    assert torch.allclose(pushed, zero + 2 * (plain - zero), atol=1e-4)


def test_internal_guidance_of_one_is_none_and_more_pushes_from_the_early_exit(model: MMDiT) -> None:
    torch.manual_seed(0)
    head = AuxiliaryHead(width=64, out_channels=16, block=1).eval().requires_grad_(False)
    plan = text_plan(4, 2, 2)
    plain = run(model, plan, steps=1)
    assert torch.allclose(run(model, plan, Guidance(internal=1.0), steps=1, auxiliary=head), plain, atol=1e-6)
    weak = run(model, plan, Guidance(internal=0.0), steps=1, auxiliary=head)
    pushed = run(model, plan, Guidance(internal=1.4), steps=1, auxiliary=head)
    assert torch.allclose(pushed, weak + 1.4 * (plain - weak), atol=1e-4)
    with pytest.raises(ValueError, match="auxiliary head"):
        run(model, plan, Guidance(internal=1.4))


class Straight:
    """A model whose flow is straight: every scheduler must land on its data exactly."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, data: torch.Tensor) -> None:
        self.data = data

    def __call__(self, tokens, context, time, plan, auxiliary):  # type: ignore[no-untyped-def]
        velocity = (tokens - self.data) / time[:, None, None].clamp(min=1e-3)
        return type("Output", (), {"sample": velocity})


@pytest.mark.parametrize("name", ["euler", "heun", "unipc", "dpm++"])
@pytest.mark.parametrize("steps", [4, 24])
def test_every_scheduler_follows_a_straight_flow_to_the_data(name: str, steps: int) -> None:
    data = torch.randn(2, 4, 16)
    scheduler = build_scheduler(name, STATIC, steps, 4)
    out = sample(Straight(data), text_plan(4, 2, 2), torch.randn(2, 4, 16), torch.zeros(2, 4, 8), scheduler, Guidance())  # type: ignore[arg-type]
    assert (out - data).abs().max() < 0.02


def test_an_unknown_scheduler_is_refused() -> None:
    with pytest.raises(ValueError, match="expected euler, heun"):
        build_scheduler("ddim", STATIC, 4, 4)


def test_shift_depends_on_the_resolution_where_the_checkpoint_says_so() -> None:
    dynamic = {"use_dynamic_shifting": True, "time_shift_type": "exponential", "shift": 3.0}
    for name in ("euler", "unipc", "dpm++"):
        small, large = (build_scheduler(name, dynamic, 10, n).sigmas[5] for n in (64, 4096))
        assert small < large, name
        fixed = {float(build_scheduler(name, STATIC, 10, n).sigmas[5]) for n in (64, 4096)}
        assert len(fixed) == 1


def test_cancelling_stops_between_two_steps(model: MMDiT) -> None:
    seen = []
    with pytest.raises(Cancelled):
        run(model, text_plan(4, 2, 2), progress=lambda step, steps: seen.append((step, steps)) or step < 2)
    assert seen == [(1, 4), (2, 4)]


def test_noise_depends_on_the_seed_and_not_on_the_batch() -> None:
    batch = draw_noise([5, 6, 7], 16, 2, 3)
    assert torch.equal(batch[1], draw_noise([6], 16, 2, 3)[0])
    stock = torch.randn((1, 16, 2, 3), generator=torch.Generator().manual_seed(6))
    assert torch.equal(batch[1], stock[0].flatten(1).T)
