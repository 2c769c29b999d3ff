"""Partitions spread evenly, with as few moves as it takes, and then stay where they are."""

from hypothesis import given
from hypothesis import strategies as st

from analytics_ingest.balance import surplus

COUNTS = st.lists(st.integers(0, 12), min_size=1, max_size=8)


def names(counts: list[int]) -> dict[str, int]:
    return {f"owner-{number}": count for number, count in enumerate(counts)}


@given(COUNTS)
def test_giving_back_ends_even_and_moves_no_more_than_needed(counts: list[int]) -> None:
    """Each turn everybody gives at once what they think is too much, and the poorest take it, one by one."""
    owned, moves = names(counts), 0
    partitions = sum(counts)
    while given_back := {name: surplus(owned, name, partitions) for name in owned}:
        free = sum(given_back.values())
        if not free:
            break
        moves += free
        owned = {name: count - given_back[name] for name, count in owned.items()}
        for _ in range(free):
            owned[min(owned, key=lambda name: owned[name])] += 1
        assert moves <= partitions

    assert max(owned.values()) - min(owned.values()) <= 1
    least = partitions // len(counts)
    assert moves <= sum(max(0, count - least) for count in counts)


@given(COUNTS, st.integers(1, 5))
def test_nobody_gives_while_a_partition_is_on_its_way(counts: list[int], free: int) -> None:
    """A handover under way looks like an imbalance: answering it with another one would never end."""
    owned = names(counts)

    assert all(surplus(owned, name, sum(counts) + free) == 0 for name in owned)


def test_a_process_that_is_not_announced_gives_nothing() -> None:
    """It may be the one that everybody else has lost sight of."""
    assert surplus({"other": 4}, "owner", 4) == 0
