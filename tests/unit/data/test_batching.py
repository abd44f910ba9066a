import pytest
import torch
from datasets import Dataset
from torch.utils.data import BatchSampler, DataLoader

from tsdtp.data.batching import collate, make_loader
from tsdtp.data.samplers import BatchShard, BucketBatchSampler, TokenBatchSampler

ROWS = [
    {
        "input_ids": [5, 6, 7],
        "token_type_ids": [0, 0, 1],
        "decisive": [0, 1, 1],
        "label": 1,
        "index": 4,
    },
    {"input_ids": [8], "token_type_ids": [0], "decisive": [1], "label": 0, "index": 2},
]  # fmt: skip


def test_collate_pads_each_column_with_its_own_value():
    batch = collate(ROWS, pad_token_id=9, pad_token_type_id=3)
    expected = {
        "input_ids": [[5, 6, 7], [8, 9, 9]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "token_type_ids": [[0, 0, 1], [0, 3, 3]],
        "decisive": [[0, 1, 1], [1, 0, 0]],
        "labels": [1, 0],
        "index": [4, 2],
    }
    assert {name: tensor.tolist() for name, tensor in batch.items()} == expected
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_collate_leaves_out_what_the_rows_do_not_have():
    rows = [{"input_ids": [1], "label": 0, "index": 0}]
    assert set(collate(rows)) == {"input_ids", "attention_mask", "labels", "index"}


LENGTHS = torch.randint(1, 60, (1003,), generator=torch.Generator().manual_seed(0)).tolist()


def test_bucketed_batches_hold_each_row_once_and_change_between_epochs():
    sampler = BucketBatchSampler(LENGTHS, batch_size=16)
    epochs = [list(sampler) for _ in range(2)]
    for batches in epochs:
        assert len(batches) == len(sampler) == 63
        assert sorted(row for batch in batches for row in batch) == list(range(1003))
        assert sum(len(batch) < 16 for batch in batches) == 1
    assert {frozenset(batch) for batch in epochs[0]} != {frozenset(batch) for batch in epochs[1]}


def test_bucketed_batches_waste_little_on_padding():
    batches = list(BucketBatchSampler(LENGTHS, batch_size=16))
    padded = sum(max(LENGTHS[row] for row in batch) * len(batch) for batch in batches)
    assert padded < 1.1 * sum(LENGTHS)


def test_bucketed_batches_do_not_come_in_order_of_length():
    means = [sum(LENGTHS[row] for row in batch) for batch in BucketBatchSampler(LENGTHS, 16)]
    assert means != sorted(means)
    assert means != sorted(means, reverse=True)


def test_an_epoch_depends_on_seed_and_number_alone():
    first, second = BucketBatchSampler(LENGTHS, 16, seed=3), BucketBatchSampler(LENGTHS, 16, seed=3)
    assert list(first) == list(second)
    third_epoch = [list(first) for _ in range(2)][1]
    second.set_epoch(2)
    assert list(second) == third_epoch
    assert list(BucketBatchSampler(LENGTHS, 16, seed=4)) != list(BucketBatchSampler(LENGTHS, 16))


@pytest.mark.parametrize("rows", [1, 16, 17])
def test_length_of_the_sampler_is_the_number_of_its_batches(rows):
    sampler = BucketBatchSampler(LENGTHS[:rows], 16, pool=1)
    assert len(list(sampler)) == len(sampler)


def shards(rows: int, batch_size: int, world: int, drop_short: bool) -> list[list[list[int]]]:
    """The batches of every process."""
    samplers = [BatchSampler(range(rows), batch_size, drop_last=False) for _ in range(world)]
    made = [
        BatchShard(sampler, rows, batch_size, rank, world, drop_short)
        for rank, sampler in enumerate(samplers)
    ]
    batches = [list(shard) for shard in made]
    assert [len(shard) for shard in made] == [len(seen) for seen in batches]
    return batches


@pytest.mark.parametrize("drop_short", [True, False])
@pytest.mark.parametrize("rows", [8, 24, 25, 27, 31])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_shards_are_the_batches_without_duplicates(rows, world, drop_short):
    whole = list(BatchSampler(range(rows), 8, drop_last=False))
    short = len(whole[-1]) < world
    if short:
        rest = whole.pop()
        whole[-1] = whole[-1] if drop_short else whole[-1] + rest
    together = list(zip(*shards(rows, 8, world, drop_short), strict=True))
    for parts, batch in zip(together, whole, strict=True):
        assert all(parts), "nobody waits"
        assert sorted(row for part in parts for row in part) == batch
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shards_of_random_batches_agree_in_every_epoch():
    """One row is left over, in a batch that may come anywhere."""
    first, second = (
        BatchShard(BucketBatchSampler(LENGTHS[:801], 16, seed=1), 801, 16, rank, 2, drop_short=True)
        for rank in (0, 1)
    )
    for _ in range(2):
        pairs = list(zip(first, second, strict=True))
        assert len(pairs) == len(first) == 50
        rows = [row for pair in pairs for part in pair for row in part]
        assert len(rows) == len(set(rows)) == 800


def test_one_process_takes_every_batch_as_it_is():
    sampler = BucketBatchSampler(LENGTHS, 16, seed=5)
    shard = BatchShard(BucketBatchSampler(LENGTHS, 16, seed=5), len(LENGTHS), 16, drop_short=True)
    assert list(shard) == list(sampler)


@pytest.mark.parametrize(("rows", "batch_size"), [(2, 8), (8, 2)])
def test_too_few_rows_for_so_many_processes(rows, batch_size):
    with pytest.raises(ValueError, match="3 processes cannot share .* valid: 3 or more"):
        shards(rows, batch_size, 3, drop_short=False)


PAIRS = torch.randint(1, 40, (1003, 2), generator=torch.Generator().manual_seed(1))


def test_batches_of_tokens_hold_each_row_once_and_stay_below_the_limit():
    sampler = TokenBatchSampler(PAIRS, 500)
    epochs = [list(sampler) for _ in range(2)]
    for batches in epochs:
        assert len(batches) == len(sampler)
        assert sorted(row for batch in batches for row in batch) == list(range(len(PAIRS)))
        assert all(padded_tokens(batch) <= 500 for batch in batches)
    assert sorted(map(sorted, epochs[0])) != sorted(map(sorted, epochs[1]))
    full = sum(padded_tokens(batch) for batch in epochs[0]) / len(sampler)
    assert full > 400, "batches are nearly full"


def padded_tokens(batch: list[int]) -> int:
    return len(batch) * int(PAIRS[batch].amax(0).sum())


def test_an_epoch_of_shuffled_rows_can_be_repeated_and_the_first_is_that_of_torch():
    rows = Dataset.from_list([{"input_ids": [5], "label": 0, "index": i} for i in range(17)])

    def epoch(loader: DataLoader, number: int | None = None) -> list[list[int]]:
        if number is not None:
            loader.batch_sampler.sampler.set_epoch(number)  # pyright: ignore
        return [batch["index"].tolist() for batch in loader]

    first, again = (make_loader(rows, 4, shuffle=True, seed=3) for _ in range(2))
    epochs = [epoch(first) for _ in range(3)]
    assert epoch(again, 2) == epochs[2] != epochs[1] != epochs[0]
    assert all(sorted(sum(batches, [])) == list(range(17)) for batches in epochs)
    drawn = torch.Generator().manual_seed(3)
    plain = DataLoader(range(17), 4, shuffle=True, generator=drawn)  # pyright: ignore
    assert epochs[0] == [batch.tolist() for batch in plain], "what was calibrated on stays"


def test_an_epoch_of_token_batches_can_be_repeated():
    first, again = TokenBatchSampler(PAIRS, 500, seed=3), TokenBatchSampler(PAIRS, 500, seed=3)
    epochs = [list(first) for _ in range(3)]
    again.set_epoch(2)
    assert list(again) == epochs[2]


def test_a_long_row_is_a_batch_and_processes_get_a_row_each():
    lengths = torch.tensor([[5, 5], [90, 90], [5, 6]])
    assert sorted(map(sorted, TokenBatchSampler(lengths, 30))) == [[0, 2], [1]]
    assert sorted(TokenBatchSampler(lengths, 30, least=2))[0] in ([0, 2, 1], [2, 0, 1])
    with pytest.raises(ValueError, match="3 rows cannot make a batch of 4"):
        TokenBatchSampler(lengths, 30, least=4)


def test_tokens_as_labels_are_padded_for_the_loss():
    rows = [{"input_ids": [1], "labels": [4, 5], "index": 0}]
    rows.append({"input_ids": [1, 2], "labels": [4], "index": 1})
    batch = collate(rows)
    assert batch["labels"].tolist() == [[4, 5], [4, -100]]


@pytest.mark.parametrize("tokens", [None, 30])
def test_bucketed_batches_depend_on_the_seed(tokens):
    sizes = [{"length": n, "target_length": n, "label": 0, "index": n} for n in range(1, 9)]
    rows = Dataset.from_list([{**row, "input_ids": [5] * row["length"]} for row in sizes])

    def drawn(seed: int) -> list[list[int]]:
        loader = make_loader(rows, 2, bucketed=True, seed=seed, batch_tokens=tokens)
        return [batch["index"].tolist() for batch in loader]

    assert drawn(0) == drawn(0) != drawn(1)


def test_the_tokens_of_a_batch_are_those_of_both_sides():
    """Sources of one token, targets of nine: three rows have 30 tokens."""
    row = {"input_ids": [5], "labels": [5] * 9, "length": 1, "target_length": 9}
    rows = Dataset.from_list([{**row, "index": i} for i in range(6)])
    loader = make_loader(rows, 8, bucketed=True, batch_tokens=30)
    assert [len(batch["index"]) for batch in loader] == [3, 3]
