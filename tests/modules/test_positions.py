from __future__ import annotations

import math

import pytest
import torch

from narvl.modules.positions import (
    IMAGE_RELATIVE_ROWS,
    TEXT_RELATIVE_ROWS,
    RelativeBias,
    absolute_bias,
    image_buckets,
    image_positions,
    interpolate_grid,
    text_buckets,
)


def text_bucket(query: int, key: int) -> int:
    """The formula of the docstring, for one pair."""
    offset, middle = query - key, 128
    distance = max(abs(offset), middle - 1)
    if distance <= middle:
        return offset + 255
    far = middle + math.ceil(math.log(distance / middle) / math.log(1023 / middle) * (middle - 1))
    return (far if offset > 0 else -far) + 255


class TestTextBuckets:
    def test_every_offset_that_the_table_knows(self) -> None:
        buckets = text_buckets(1024)
        assert buckets[0].tolist() == [text_bucket(0, key) for key in range(1024)]
        assert buckets[:, 0].tolist() == [text_bucket(query, 0) for query in range(1024)]
        assert (int(buckets.min()), int(buckets.max())) == (0, TEXT_RELATIVE_ROWS - 1)

    def test_the_offset_alone_counts(self) -> None:
        buckets = text_buckets(300)
        for offset in (-299, -200, -128, -1, 0, 1, 129, 299):
            assert len(set(buckets.diagonal(-offset).tolist())) == 1

    @pytest.mark.parametrize(("offset", "bucket"), [(0, 255), (5, 260), (-5, 250), (128, 383), (-128, 127)])
    def test_worked_examples(self, offset: int, bucket: int) -> None:
        assert int(text_buckets(200)[max(offset, 0), max(-offset, 0)]) == bucket

    def test_longer_sequences_share_the_last_buckets(self) -> None:
        buckets = text_buckets(1500)
        assert torch.equal(buckets[:1024, :1024], text_buckets(1024))
        assert set(buckets[1023:, 0].tolist()) == {510} and set(buckets[0, 1023:].tolist()) == {0}


class TestImageBuckets:
    @pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (5, 3), (42, 2), (2, 42)])
    def test_every_pair(self, height: int, width: int) -> None:
        patches = [(row, column) for row in range(height) for column in range(width)]
        expected = [
            [(row - other_row + 41) * 83 + (column - other_column + 41) for other_row, other_column in patches]
            for row, column in patches
        ]
        assert image_buckets(height, width).tolist() == expected
        assert max(map(max, expected)) < IMAGE_RELATIVE_ROWS - 3  # the last three rows serve a slot unused here

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (42, 42)])
    def test_absolute_positions(self, height: int, width: int) -> None:
        expected = [row * 42 + column + 1 for row in range(height) for column in range(width)]
        assert image_positions(height, width).tolist() == expected


class TestInterpolation:
    def test_the_grid_it_starts_from_is_unchanged(self) -> None:
        table = torch.randn(42**2 + 1, 8)
        torch.testing.assert_close(interpolate_grid(table, 16, 16), table[image_positions(16, 16)])

    def test_a_slope_stays_a_slope(self) -> None:
        """Rows and columns are not mixed up: channel 0 grows down the image, channel 1 to its right."""
        table = torch.zeros(42**2 + 1, 2)
        for row in range(16):
            for column in range(16):
                table[row * 42 + column + 1] = torch.tensor([float(row), float(column)])
        stretched = interpolate_grid(table, 30, 20).view(30, 20, 2)
        down, right = stretched[..., 0], stretched[..., 1]
        assert (down.diff(dim=0) > 0).all() and (right.diff(dim=1) > 0).all()
        torch.testing.assert_close(down, down[:, :1].expand(-1, 20))
        torch.testing.assert_close(right, right[:1].expand(30, -1))
        assert (stretched[0, 0].tolist(), stretched[29, 19].tolist()) == ([0.0, 0.0], [15.0, 15.0])


def test_absolute_bias_scores_each_pair_a_head_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, keys = torch.randn(3, 12, generator=generator), torch.randn(5, 12, generator=generator)
    bias = absolute_bias(queries, keys, heads=2)
    assert bias.shape == (2, 3, 5)
    for head in range(2):
        part = slice(6 * head, 6 * head + 6)
        for query in range(3):
            for key in range(5):
                expected = float(queries[query, part] @ keys[key, part]) / math.sqrt(2 * 6)
                assert float(bias[head, query, key]) == pytest.approx(expected, abs=1e-5)


def test_relative_bias_is_zero_at_first_and_a_scalar_a_bucket_and_head() -> None:
    table = RelativeBias(7, 3)
    assert not table.weight.any()
    table.weight.data = torch.arange(21.0).view(7, 3)
    assert table(torch.tensor([[0, 6], [1, 1]])).tolist() == [
        [[0.0, 18.0], [3.0, 3.0]],
        [[1.0, 19.0], [4.0, 4.0]],
        [[2.0, 20.0], [5.0, 5.0]],
    ]
