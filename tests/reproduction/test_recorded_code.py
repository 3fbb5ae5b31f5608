"""A record of today's judge is of the code as it is: after a change it is recorded again, or stamped."""

import pytest

from snellen.core.system import JUDGE, list_systems, recorded
from snellen.reproduction.experiment_code import experiment_hash

#: Those of the earlier judge hold no hash of this kind, and are marked wherever they are shown.
RECORDS = [(system, record) for system in list_systems() if (record := recorded(system.name)) and record.judge == JUDGE]


def test_there_are_records_of_todays_judge():
    assert RECORDS


@pytest.mark.parametrize(("system", "record"), RECORDS, ids=[system.name for system, _ in RECORDS])
def test_code_and_claims_have_not_changed_since_the_record(system, record):
    remedy = f"snellen reproduce {system.name} --stamp, or record it again"
    assert record.code_hash == experiment_hash(system), remedy
    assert record.plan_hash in system.plans(record.scale), remedy
