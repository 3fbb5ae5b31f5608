"""The hash: a function of numbers in their order, rounded by cutting off, the same everywhere."""

import math
import os
import subprocess
import sys

import pytest

from snellen.core.errors import InputError
from snellen.systems.functional_hashing.functional_hash import FAILED, functional_key, structural_key

#: Fixed once and for all: a cache that was written on one machine is read on another.
KNOWN = {(0.5, -1.25, 3.0): 8559016876092664491}

ENVIRONMENT = dict(os.environ)


@pytest.mark.covers("23.3")
def test_noise_of_a_sum_changes_no_key_at_24_bits_and_does_at_52():
    outputs = [0.1234567, 2.3456789, 1e-9, 12345.678]
    noisy = [value * (1 + 1e-12) for value in outputs]
    assert functional_key(outputs) == functional_key(noisy)
    assert functional_key(outputs, 52) != functional_key(noisy, 52)


@pytest.mark.covers("23.3")
def test_a_difference_of_two_to_the_minus_ten_changes_the_key_at_24_bits_and_not_at_4():
    assert functional_key([1.0]) != functional_key([1.0 + 2**-10])
    assert functional_key([1.0], 4) == functional_key([1.0 + 2**-10], 4)
    assert functional_key([1.0], 9) == functional_key([1.0 + 2**-10], 9)
    assert functional_key([1.0], 10) != functional_key([1.0 + 2**-10], 10)


@pytest.mark.covers("23.4")
def test_the_order_of_outputs_counts_and_so_does_their_number():
    assert functional_key([0.25, 0.5]) != functional_key([0.5, 0.25])
    assert functional_key([0.25]) != functional_key([0.25, 0.25])


def test_exponent_and_sign_count():
    assert functional_key([1.0]) != functional_key([2.0])
    assert functional_key([1.0]) != functional_key([-1.0])
    assert functional_key([0.0]) == functional_key([-0.0])


def test_every_nan_is_one_and_infinities_are_one_each():
    assert functional_key([math.nan]) == functional_key([-math.nan]) == functional_key([math.inf - math.inf])
    assert len({functional_key([value]) for value in (math.nan, math.inf, -math.inf, 1.7e308)}) == 4
    assert functional_key([math.nan], 1) != functional_key([math.inf], 1)


def test_keys_have_63_bits_and_are_never_that_of_a_failure():
    keys = [functional_key([float(value)]) for value in range(200)]
    assert len(set(keys)) == 200
    assert all(0 <= key < 2**63 for key in keys)
    assert FAILED not in keys
    assert 0 <= structural_key("any") < 2**63


@pytest.mark.covers("23.6")
def test_keys_are_those_of_another_process_and_of_earlier_versions():
    code = (
        "from snellen.systems.functional_hashing.functional_hash import functional_key;"
        "print(functional_key([0.5, -1.25, 3.0]))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**ENVIRONMENT, **changed}
        ).stdout.strip()
        for changed in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"})
    }
    ((outputs, key),) = KNOWN.items()
    assert printed == {str(key)}
    assert functional_key(outputs) == key


@pytest.mark.parametrize("bits", [0, 53, -1, 2.5, True, "24"])
def test_bits_that_no_float_has_are_refused(bits):
    with pytest.raises(InputError, match=r"expected a whole number from 1 to 52"):
        functional_key([1.0], bits)


def test_no_outputs_are_refused():
    with pytest.raises(InputError, match="at least one number"):
        functional_key([])
