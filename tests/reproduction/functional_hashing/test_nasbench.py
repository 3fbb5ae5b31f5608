"""The table of NASBench-101 in its own format, written here: TFRecord, JSON, base64, protobuf."""

import base64
import json
import struct

import pytest

from snellen.core.errors import InputError
from snellen.reproduction.functional_hashing.nasbench import masked_crc, read_rows, read_table
from snellen.reproduction.functional_hashing.table_space import TableSpace
from snellen.systems.functional_hashing.function_cache import FunctionCache
from snellen.systems.functional_hashing.functional_hash import functional_key
from snellen.systems.functional_hashing.searching import Proposer, Search
from tests.systems.functional_hashing.tiny_cells import CONV3, DEAD, PLAIN, POOL, TURNED, cell

SMALL = cell({(0, 1), (1, 6)}, {1: POOL})


def _double(number, value):
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def _bytes(number, content):
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def message(seconds, train, valid, test, half=0.5):
    """ModelMetrics of nasbench: three measurements, the number of parameters, the total time."""
    moments = [
        b"".join(_double(number, value) for number, value in enumerate(values, start=1)) + _bytes(6, b"")
        for values in (
            (0.0, 0.0, 0.1, 0.1, 0.1),
            (2.0, seconds / 2, train * half, valid * half, test * half),
            (4.0, seconds, train, valid, test),
        )
    ]
    return b"".join(_bytes(1, one) for one in moments) + bytes([2 << 3, 0xAC, 0x02]) + _double(3, 2 * seconds)


def record(graph, epochs, *figures, name="hash"):
    rows = "".join(str(value) for row in graph.matrix for value in row)
    content = json.dumps([name, epochs, rows, ",".join(graph.labels), base64.b64encode(message(*figures)).decode()])
    return framed(content.encode())


def framed(content):
    head = struct.pack("<Q", len(content))
    return head + struct.pack("<I", masked_crc(head)) + content + struct.pack("<I", masked_crc(content))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "nasbench.tfrecord"
    path.write_bytes(
        record(PLAIN, 4, 10.0, 0.8, 0.7, 0.6)
        + record(PLAIN, 4, 11.0, 0.9, 0.9, 0.9)
        + record(PLAIN, 12, 30.0, 0.85, 0.8, 0.75)
        + record(PLAIN, 108, 100.0, 0.99, 0.90, 0.88)
        + record(PLAIN, 108, 110.0, 0.99, 0.92, 0.89)
        + record(SMALL, 4, 5.0, 0.3, 0.25, 0.2)
        + record(SMALL, 108, 50.0, 0.5, 0.45, 0.44)
    )
    return path


def test_the_checksum_is_that_of_the_standard():
    unmasked = (masked_crc(b"123456789") - 0xA282EAD8) & 0xFFFFFFFF
    assert (unmasked >> 17 | unmasked << 15) & 0xFFFFFFFF == 0xE3069283


def test_runs_are_read_by_epochs(table):
    rows = list(read_rows(table))
    assert [row.epochs for row in rows] == [4, 4, 108, 108, 4, 108]
    assert (rows[0].final.seconds, rows[0].final.train, rows[0].final.valid, rows[0].final.test) == (
        10.0,
        0.8,
        0.7,
        0.6,
    )
    assert rows[0].halfway.valid == 0.35
    assert [row.epochs for row in read_rows(table, (12,))] == [12]


def test_equal_cells_find_the_same_entry(table):
    space = TableSpace(read_table(table))
    assert len(space.table) == 2
    assert [space.evaluate(PLAIN, run).valid for run in range(3)] == [0.90, 0.92, 0.90]
    assert space.evaluate(DEAD, 1) == space.evaluate(TURNED, 1) == space.evaluate(PLAIN, 1)
    assert space.evaluate(PLAIN, 0).seconds == 100.0
    assert space.evaluate(PLAIN, 0).test == 0.88


@pytest.mark.covers("23.12")
def test_the_key_holds_the_accuracies_of_the_first_short_run_without_that_of_the_test(table, tmp_path):
    space = TableSpace(read_table(table))
    assert space.probe(PLAIN, 42) == (0.8, 0.4, 0.7, 0.35)
    other = tmp_path / "other.tfrecord"
    other.write_bytes(record(PLAIN, 4, 10.0, 0.8, 0.7, 0.1) + record(PLAIN, 108, 100.0, 0.99, 0.90, 0.1))
    changed = TableSpace(read_table(other))
    assert functional_key(changed.probe(PLAIN, 42)) == functional_key(space.probe(PLAIN, 42))


def test_a_search_of_the_table_has_a_simulated_clock(table):
    class Two(TableSpace):
        def sample(self, rng):
            return rng.choice((PLAIN, DEAD, TURNED, SMALL))

    space = Two(read_table(table))
    search = Search(space, Proposer(space, "random"), "functional", FunctionCache(), hash_seconds=10.0)
    trials = list(search.run(budget=1000.0))
    assert sum(one.kind == "miss" for one in trials) == 2
    assert search.seconds == 150.0 + 10.0 * len(trials)
    unknown = cell({(0, 1), (1, 6)}, {1: CONV3})
    with pytest.raises(InputError, match="the table has no cell"):
        space.evaluate(unknown, 0)


@pytest.mark.parametrize("spoilt", ["cut", "cut within a head", "length", "text", "no json", "few", "bits", "absent"])
def test_a_file_that_is_damaged_or_another_is_refused(table, spoilt):
    content = table.read_bytes()
    few = json.dumps(["h", 4, "0100", "input,output", base64.b64encode(_bytes(1, b"")).decode()]).encode()
    bits = json.dumps(["h", 4, "010", "input,output", ""]).encode()
    changed = {
        "cut": content[:-3],
        "cut within a head": content + b"\0\0",
        "length": b"\1" + content[1:],
        "text": b"a manifest, and no table at all",
        "no json": framed(b"{"),
        "few": framed(few),
        "bits": framed(bits),
    }
    if spoilt == "absent":
        table.unlink()
    else:
        table.write_bytes(changed[spoilt])
    with pytest.raises(InputError, match=str(table.name)):
        read_table(table)


def test_a_file_of_long_runs_alone_says_which_one_is_needed(table, tmp_path):
    path = tmp_path / "nasbench_only108.tfrecord"
    path.write_bytes(record(PLAIN, 108, 100.0, 0.99, 0.90, 0.88))
    with pytest.raises(InputError, match=r"nasbench_full\.tfrecord"):
        read_table(path)
