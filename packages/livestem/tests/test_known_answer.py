"""Results of the demo beside their known answer: what is right passes, what is wrong does not."""

from __future__ import annotations

import numpy as np

from livestem._known_answer import compare_counts, compare_field, compare_sum


def test_sum_has_to_be_exact() -> None:
    sent = np.random.default_rng(1).integers(0, 60, (5, 7, 8, 9), dtype="u1")
    total = sent.sum(axis=(0, 1), dtype="u8")

    assert compare_sum(sent, total).agrees
    total[3, 3] += 1
    wrong = compare_sum(sent, total)
    assert not wrong.agrees
    assert wrong.words.startswith("1 of 72 pixels differ")


def test_counts_may_deviate_by_their_noise() -> None:
    expected = np.linspace(50, 500, 5000).reshape(50, 100)
    counted = np.random.default_rng(1).poisson(expected).astype(float)

    assert compare_counts("bright field", counted, expected).agrees
    assert not compare_counts("bright field", np.roll(counted, 1, axis=0), expected).agrees


def test_field_may_deviate_by_less_than_its_size() -> None:
    rng = np.random.default_rng(1)
    expected = rng.normal(0, 1, (20, 20, 2))

    assert compare_field(expected + rng.normal(0, 0.2, expected.shape), expected).agrees
    assert not compare_field(expected[..., ::-1], expected).agrees
