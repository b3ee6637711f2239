from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from narvl.decoding.trie import Trie

END, SIZE = 2, 12
#: a; a b; a c; d e f; g h: a candidate is another's beginning, and two end without a choice.
SEQUENCES = [[3, END], [3, 4, END], [3, 5, END], [6, 7, 8, END], [9, 10, END]]

words = st.lists(st.integers(3, 6), min_size=1, max_size=4).map(tuple)
sets = st.lists(words, min_size=1, max_size=12, unique=True)


def following(sequences: list[list[int]], prefix: list[int]) -> set[int]:
    """What may follow a prefix, as the definition reads; the end again where nothing may."""
    begun = {sequence[len(prefix)] for sequence in sequences if sequence[: len(prefix)] == prefix != sequence}
    return begun or {END}


def allowed(trie: Trie, prefixes: torch.Tensor) -> list[set[int]]:
    """What a trie says may follow each prefix."""
    rows, edges = trie.children(trie.walk(prefixes))
    return [set(trie.tokens[edges[rows == row]].tolist()) for row in range(len(prefixes))]


def test_worked_example() -> None:
    trie = Trie(SEQUENCES, SIZE, END)
    prefixes = torch.tensor([[3, 4], [3, 6], [6, 7], [4, 4], [3, END]])
    assert allowed(trie, prefixes) == [{END}, {END}, {8}, {END}, {END}]
    assert allowed(trie, prefixes[:1, :1]) == [{END, 4, 5}]
    assert allowed(trie, prefixes[:1, :0]) == [{3, 6, 9}]


def test_what_may_follow_has_all_the_probability() -> None:
    trie = Trie(SEQUENCES, SIZE, END)
    log_probs = torch.randn(3, SIZE, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    nodes = trie.walk(torch.tensor([[3], [6], [11]]))
    rows, edges, values = trie.restrict(log_probs, trie.tokens, nodes)
    assert rows.tolist() == [0, 0, 0, 1, 2]
    assert trie.tokens[edges].tolist() == [END, 4, 5, 7, END]
    expected = log_probs[0, [END, 4, 5]].log_softmax(0)
    torch.testing.assert_close(values[:3], expected)
    assert values[3:].tolist() == [0.0, 0.0]


def test_only_what_has_a_choice_below_it_branches() -> None:
    trie = Trie(SEQUENCES, SIZE, END)
    rows, edges = trie.children(torch.tensor([0]))
    assert rows.tolist() == [0, 0, 0]
    assert trie.tokens[edges].tolist() == [3, 6, 9]
    assert trie.branches[edges].tolist() == [True, False, False]
    deep = Trie([[3, 4, 5, END], [3, 4, 6, END]], SIZE, END)
    assert deep.branches[deep.paths[0]].tolist() == [True, True, False, False]


@settings(deadline=None)
@given(sequences=sets, prefixes=st.lists(st.lists(st.integers(2, 7), min_size=3, max_size=3), min_size=1, max_size=6))
def test_equals_the_definition(sequences: list[tuple[int, ...]], prefixes: list[list[int]]) -> None:
    ended = [[*sequence, END] for sequence in sequences]
    trie = Trie(ended, SIZE, END)
    for length in range(4):
        cut = [prefix[:length] for prefix in prefixes]
        expected = [following(ended, prefix) for prefix in cut]
        assert allowed(trie, torch.tensor(cut, dtype=torch.long)) == expected


@settings(deadline=None)
@given(sequences=sets)
def test_paths_spell_the_sequences(sequences: list[tuple[int, ...]]) -> None:
    ended = [[*sequence, END] for sequence in sequences]
    trie = Trie(ended, SIZE, END)
    for row, (sequence, length) in enumerate(zip(ended, trie.lengths, strict=True)):
        assert trie.tokens[trie.paths[row, :length]].tolist() == sequence
        assert trie.paths[row, length:].eq(len(trie.tokens) - 1).all()
