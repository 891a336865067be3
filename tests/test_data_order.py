"""Buckets and order: nothing is cut more than stated, and a step is the same whoever asks, from wherever."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.buckets import AREA, Bucket, boxes_in, cropped, left_of, place, window, windows
from training.data.clips import choose, length
from training.data.config import DataConfig
from training.data.example import Box
from training.data.findings import Fault
from training.data.order import Cursor, Order, Placed

ONE, TWO, CLIP = Bucket(8, 8), Bucket(6, 10), Bucket(6, 6, 8)


def config(**fields: object) -> DataConfig:
    return DataConfig.model_validate({"sources": [{"path": "."}], **fields})


def placed(counts: dict[Bucket, int], repeats: float = 1.0) -> list[Placed]:
    return [
        Placed(f"{bucket} {k}", bucket, (f"a {k}", f"b {k}"), repeats=repeats)
        for bucket, count in counts.items()
        for k in range(count)
    ]


sides = st.integers(16, 3000)
orders = st.builds(
    Order,
    st.builds(
        placed,
        st.dictionaries(st.sampled_from([ONE, TWO, CLIP]), st.integers(1, 9), min_size=1),
        st.sampled_from([1.0, 2.0, 0.5, 2.5, 0.3]),
    ),
    st.integers(1, 8),
    st.integers(0, 3),
)


# ------------------------------------------------------------ buckets


@given(sides, sides, st.sampled_from([64, 128, 256, 512]), st.sampled_from([0.02, 0.1, 0.3]))
def test_no_picture_loses_more_than_stated_and_buckets_are_whole_tokens(w: int, h: int, side: int, crop: float) -> None:
    settings = config(resolution=side, max_crop=crop)
    try:
        bucket = place(w, h, 1, settings)
    except Fault as fault:
        assert fault.kind == "crop"
        return
    assert cropped(w, h, bucket.h, bucket.w) <= crop
    assert side**2 / AREA <= bucket.size[0] * bucket.size[1] <= side**2 * AREA
    x0, y0, x1, y1 = window(w, h, bucket)
    assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
    assert (x1 - x0) * (y1 - y0) == pytest.approx(1 - cropped(w, h, bucket.h, bucket.w))
    assert (x1 - x0) * w / ((y1 - y0) * h) == pytest.approx(bucket.w / bucket.h), "nothing is stretched"


@given(sides, sides, st.sampled_from([0.02, 0.1, 0.3]), st.integers(1, 9))
def test_every_cut_has_the_buckets_shape_and_loses_no_more_than_stated(w: int, h: int, crop: float, count: int) -> None:
    settings = config(max_crop=crop, crops=count)
    try:
        bucket = place(w, h, 1, settings)
    except Fault:
        return
    cuts = windows("a", w, h, bucket, settings)
    assert len(cuts) == count and cuts[0] == window(w, h, bucket)
    for x0, y0, x1, y1 in cuts:
        assert 0 <= x0 < x1 <= 1 + 1e-9 and 0 <= y0 < y1 <= 1 + 1e-9
        assert (x1 - x0) * (y1 - y0) >= 1 - crop - 1e-9
        assert (x1 - x0) * w / ((y1 - y0) * h) == pytest.approx(bucket.w / bucket.h)
    assert len(set(cuts)) == count or cropped(w, h, bucket.h, bucket.w) == pytest.approx(crop)
    assert windows("a", w, h, bucket, settings) == cuts
    assert count == 1 or windows("b", w, h, bucket, settings) != cuts


@given(st.integers(100, 900), st.floats(1 / 3, 3), st.sampled_from([128, 256, 512]))
def test_every_usual_picture_has_a_bucket(width: int, ratio: float, side: int) -> None:
    place(width, round(width / ratio), 1, config(resolution=side, max_ratio=3.2))


def test_a_square_picture_keeps_its_shape_and_a_small_one_is_refused() -> None:
    assert place(1000, 1000, 1, config()) == ONE
    with pytest.raises(Fault, match="less than one token"):
        place(15, 400, 1, config())


def test_a_clip_takes_the_longest_length_that_it_fills() -> None:
    lengths = config(frames=[16, 1, 8, 8])
    assert lengths.frames == (1, 8, 16)
    assert [place(128, 128, count, lengths).frames for count in (1, 7, 8, 15, 40)] == [1, 1, 8, 8, 16]
    with pytest.raises(Fault, match="a picture"):
        place(128, 128, 1, config(frames=[8]))


def test_frames_are_taken_at_the_rate_of_the_run_from_the_middle() -> None:
    assert length(31, Fraction(30), 8) == 9 and length(1, Fraction(30), 8) == 1 and length(12, None, 8) == 12
    assert choose(16, Fraction(8), 8, 8) == [4, 5, 6, 7, 8, 9, 10, 11]
    assert choose(24, Fraction(24), 3, 8) == [8, 11, 14]
    assert choose(1, None, 1, 8) == [0] and choose(9, None, 3, 8) == [3, 4, 5]


@given(st.integers(1, 200), st.fractions(1, 60), st.floats(1, 60))
def test_chosen_frames_are_there_and_in_order(there: int, rate: Fraction, fps: float) -> None:
    count = length(there, rate, fps)
    numbers = choose(there, rate, count, fps)
    assert len(numbers) == count and numbers == sorted(numbers) and 0 <= numbers[0] <= numbers[-1] < there


@given(st.tuples(*[st.floats(0, 1)] * 4), sides, sides)
def test_boxes_stay_in_the_picture_and_cover_the_same_things(edges: tuple[float, ...], w: int, h: int) -> None:
    x0, x1 = sorted((edges[0], edges[2]))
    y0, y1 = sorted((edges[1], edges[3]))
    if x1 - x0 < 0.01 or y1 - y0 < 0.01:
        return
    box, shown = Box((x0, y0, x1, y1), "a"), window(w, h, ONE)
    found = boxes_in([box], shown)
    assert bool(found) == (left_of(box, shown) > 0)
    for each in found:
        left, top, right, bottom = each.edges
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        assert left * (shown[2] - shown[0]) + shown[0] == pytest.approx(max(x0, shown[0]))


# ------------------------------------------------------------ order


@given(orders, st.integers(0, 4))
def test_an_epoch_shows_each_example_exactly_its_repeats(order: Order, epoch: int) -> None:
    steps = sum(order.length(k) for k in range(epoch))
    batches = [order.at(steps + k) for k in range(order.length(epoch))]
    assert all(batch.cursor.epoch == epoch and batch.cursor.position == k for k, batch in enumerate(batches))
    seen = Counter(item.example for batch in batches for item in batch.items)
    assert all(seen[number] == order.copies(each, epoch) for number, each in enumerate(order.placed))
    for batch in batches:
        assert 0 < len(batch.items) <= order.size(batch.bucket)
        assert {order.placed[item.example].bucket for item in batch.items} == {batch.bucket}


@given(orders)
def test_repeats_below_one_even_out(order: Order) -> None:
    for each in order.placed:
        shown = sum(order.copies(each, epoch) for epoch in range(10))
        assert shown == pytest.approx(10 * each.repeats)


@given(orders, st.integers(0, 40))
def test_a_run_goes_on_from_any_cursor_as_if_it_had_not_stopped(order: Order, stop: int) -> None:
    whole = list(islice(order.after(order.cursor(0)), stop + 10))
    assert whole == [order.at(step) for step in range(stop + 10)]
    fresh = Order(order.placed, order.batch, order.seed)
    kept = Cursor.from_json(json.loads(json.dumps(fresh.cursor(stop).to_json())))
    assert list(islice(fresh.after(kept), 10)) == whole[stop:]


@given(orders, st.integers(1, 5), st.integers(0, 20))
def test_processes_share_a_step_and_nothing_counts_twice(order: Order, ranks: int, step: int) -> None:
    batch = order.at(step)
    shares = [batch.share(rank, ranks) for rank in range(ranks)]
    assert len({len(share.items) for share in shares}) == 1 and shares[0].items
    counted = [item for share in shares for item in share.items if item.weight]
    assert sorted(counted, key=lambda item: item.draw) == sorted(batch.items, key=lambda item: item.draw)


@given(orders, st.randoms())
def test_the_order_of_the_index_changes_nothing(order: Order, rng) -> None:  # type: ignore[no-untyped-def]
    other = list(order.placed)
    rng.shuffle(other)
    again = Order(other, order.batch, order.seed)
    assert again.fingerprint == order.fingerprint
    for step in range(5):
        names = [order.placed[item.example].name for item in order.at(step).items]
        assert names == [other[item.example].name for item in again.at(step).items]


def test_other_processes_draw_the_same_steps() -> None:
    order = Order(placed({ONE: 7, TWO: 3}), 2, 1)
    order.at(30)
    assert pickle.loads(pickle.dumps(order)).at(12) == order.at(12)


def test_epochs_and_seeds_differ() -> None:
    each = placed({ONE: 12})
    orders = [Order(each, 12, seed) for seed in (1, 2)]
    runs = {tuple(item.example for item in order.at(step).items) for order in orders for step in range(3)}
    assert len(runs) == 6


def test_clips_come_in_batches_of_as_many_frames_as_pictures() -> None:
    order = Order(placed({ONE: 32, CLIP: 8}), 16, 1)
    assert order.size(ONE) == 16 and order.size(CLIP) == 2 and order.length(0) == 2 + 4
    assert Order(placed({CLIP: 1}), 1, 1).size(CLIP) == 1


@pytest.mark.parametrize("change", ["name", "bucket", "caption", "weight", "repeats", "batch", "seed", "count"])
def test_a_cursor_of_other_data_is_refused(change: str) -> None:
    each = placed({ONE: 4})
    batch, seed = 2, 1
    cursor = Order(each, batch, seed).cursor(1)
    first = each[0]
    changed = {
        "name": Placed("x", ONE, first.captions), "bucket": Placed(first.name, TWO, first.captions),
        "caption": Placed(first.name, ONE, ("c",)), "weight": Placed(first.name, ONE, first.captions, 2.0),
        "repeats": Placed(first.name, ONE, first.captions, 1.0, 2.0),
    }  # fmt: skip
    each = [changed.get(change, first), *each[1:]] if change != "count" else each[1:]
    other = Order(each, batch + (change == "batch"), seed + (change == "seed"))
    with pytest.raises(ValueError, match="put them back"):
        next(other.after(cursor))


def test_captions_are_dropped_and_chosen_as_configured() -> None:
    each = placed({ONE: 50})

    def told(drop: float, choice: str, epochs: int = 20) -> list[str]:
        order = Order(each, 50, 1, drop, choice)  # type: ignore[arg-type]
        return [item.caption for step in range(epochs) for item in order.at(step).items]

    assert set(told(1.0, "random")) == {""} and "" not in told(0.0, "random")
    share = told(0.2, "random").count("") / 1000
    assert 0.15 < share < 0.25
    assert {caption[0] for caption in told(0.0, "first")} == {"a"}
    assert told(0.0, "random", 2).count("") == 0 and len(set(told(0.0, "random"))) == 100
    one = Order(each[:1], 1, 1, 0.0, "cycle")
    turns = [one.at(step).items[0].caption for step in range(4)]
    assert turns[0] != turns[1] and turns[:2] == turns[2:]


def test_samples_get_one_of_the_cuts_and_another_number_of_them_is_another_order() -> None:
    each = placed({ONE: 50})
    order, plain = Order(each, 50, 1, crops=4), Order(each, 50, 1)
    seen = Counter(item.crop for step in range(20) for item in order.at(step).items)
    assert seen.keys() == {0, 1, 2, 3} and all(200 < count < 300 for count in seen.values())
    assert {item.crop for item in plain.at(0).items} == {0}
    assert order.fingerprint != plain.fingerprint


def test_an_order_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="got none"):
        Order([], 1, 1)
