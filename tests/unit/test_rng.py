"""The counter-based generator against its authors' known answers, and what is drawn from it."""

import numpy as np
import pytest

from envs.rng import Draws, fill_normal, fill_uniform, key_from_seed, philox, unit_pair

ONES = 0xFFFFFFFF

# philox4x32-10 of the authors' distribution (Random123, kat_vectors): counter, key, answer, words low to high
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def words(*values):
    return tuple(np.uint64(value) for value in values)


def join(low, high):
    return np.uint64(low | high << 32)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers_of_its_authors(counter, key, answer):
    assert tuple(map(int, philox(*words(*counter), join(*key)))) == answer


@pytest.mark.parametrize("place", range(4))
def test_each_word_of_the_counter_counts(place):
    counter = [1, 2, 3, 4]
    before = philox(*words(*counter), np.uint64(5))
    counter[place] += 1
    after = philox(*words(*counter), np.uint64(5))
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_unit_pair_is_made_of_the_53_upper_bits_of_two_words_each():
    a, b, c, d = (int(word) for word in philox(*words(7, 1, 2, 3), np.uint64(9)))
    expected = [(((high >> 5) << 26 | low >> 6) + 0.5) / 2.0**53 for high, low in ((a, b), (c, d))]
    assert list(unit_pair(np.uint64(9), *words(7, 1, 2, 3))) == expected


def test_draws_of_this_version_are_fixed():
    # trajectories of a seed are a promise between versions; whoever changes these numbers says so in the changelog
    draws = Draws(1, 2, 3)
    assert draws.uniform(4, 3).tolist() == [0.9949273594991639, 0.42057513446827727, 0.09570267843305241]
    np.testing.assert_allclose(draws.normal(4, 2), [-0.08855216469380527, -1.5048033423777836], rtol=1e-14)
    assert key_from_seed(0, "world") == 5183945072508704212


@pytest.mark.parametrize("method", ["uniform", "normal", "exponential"])
def test_numbers_depend_on_their_position_alone(method):
    draws = Draws(11, 22, 33)
    long = getattr(draws, method)(5, 20)
    for first in (0, 1, 6, 7):
        np.testing.assert_array_equal(getattr(draws, method)(5, 9, first), long[first : first + 9])


def test_key_world_episode_and_stream_each_give_other_numbers():
    base = Draws(1, 2, 3).uniform(4, 100)
    others = [
        Draws(2, 2, 3).uniform(4, 100),
        Draws(1 + 2**32, 2, 3).uniform(4, 100),  # the upper word of the key counts
        Draws(1, 3, 3).uniform(4, 100),
        Draws(1, 2, 4).uniform(4, 100),
        Draws(1, 2, 3).uniform(5, 100),
    ]
    for other in others:
        assert not np.isin(other, base).any()


def test_world_ids_of_evaluation_fit_the_counter():
    assert not np.isin(Draws(1, 2**31, 0).uniform(0, 50), Draws(1, 0, 0).uniform(0, 50)).any()


def test_laws_have_their_moments():
    # 200,000 draws: the standard error of a mean is sigma / 447, of a variance about sigma^2 sqrt(kurtosis - 1) / 447
    draws = Draws(key_from_seed(0, "test"), 0, 0)
    uniform, normal, exponential = (getattr(draws, law)(0, 200_000) for law in ("uniform", "normal", "exponential"))
    assert uniform.min() > 0.0
    assert uniform.max() < 1.0
    for sample, mean, variance in ((uniform, 0.5, 1 / 12), (normal, 0.0, 1.0), (exponential, 1.0, 1.0)):
        assert abs(sample.mean() - mean) < 0.012
        assert abs(sample.var() - variance) < 0.03
        assert abs(np.corrcoef(sample[1:], sample[:-1])[0, 1]) < 0.012
    counts, _ = np.histogram(uniform, 100, (0.0, 1.0))
    chi_squared = ((counts - 2000.0) ** 2 / 2000.0).sum()
    assert 50.0 < chi_squared < 160.0  # 99 degrees of freedom: mean 99, standard deviation 14


def test_roles_and_seeds_have_keys_of_their_own():
    keys = {key_from_seed(seed, role) for seed in range(50) for role in ("world", "rule", "matching")}
    assert len(keys) == 150
    assert all(0 <= key < 2**64 for key in keys)
    assert key_from_seed(7, "world") == key_from_seed(7, "world")


@pytest.mark.parametrize("kernel", [fill_uniform, fill_normal])
def test_kernels_are_compiled_for_one_signature(kernel):
    Draws(0, 0, 0).uniform(0, 1)
    Draws(np.int64(5), np.int32(1), 2).normal(np.int64(3), 4, first=np.int64(2))
    Draws(np.int64(5), np.int32(1), 2).uniform(np.int64(3), 4, first=np.int64(2))
    if not hasattr(kernel, "signatures"):
        pytest.skip("NUMBA_DISABLE_JIT is set: nothing is compiled")
    assert len(kernel.signatures) == 1
