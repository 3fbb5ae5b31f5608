"""A plugin of pytest: the fixture ``assert_audit``, whose reports lie where a pipeline can keep them.

Written in ``conftest.py``::

    pytest_plugins = ["snellen.integrations.pytest_plugin"]

It is no entry point: other projects' tests do not load it. Snellen and torch are imported when a test uses the fixture.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from snellen.integrations.new_folder import new_folder

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport

#: Option that names the folder of the run directories.
FOLDER = "--snellen-audits"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("snellen").addoption(
        FOLDER,
        metavar="DIR",
        help="Folder for the run directories of assert_audit, one for each call; default: temporary folders of pytest.",
    )


@pytest.fixture
def assert_audit(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., AuditReport]:
    """:func:`snellen.testing.assert_audit`, with a run directory of its own for each call.

    The path of each report is a property of the test in pytest's own JUnit file.
    """

    def asserted(*arguments: Any, **options: Any) -> AuditReport:  # noqa: ANN401 - those of the function
        __tracebackhide__ = True
        from snellen.testing.asserted_audit import assert_audit as plain

        name = re.sub(r"[^\w.-]+", "-", request.node.name).strip(".-")[:80] or "audit"
        if options.get("out") is None:
            kept = request.config.getoption(FOLDER)
            # Where pytest was started: a test may have changed the folder.
            started = request.config.invocation_params.dir
            options["out"] = tmp_path_factory.mktemp(name) if kept is None else new_folder(started / kept, name)
        # As record_property does, which warns of the default family of JUnit files.
        request.node.user_properties.append(("snellen_report", str(Path(options["out"]) / "report.html")))
        return plain(*arguments, **options)

    return asserted
