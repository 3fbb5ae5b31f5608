"""No cell of the tables of docs/peers.md is without its evidence."""

import importlib
import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")

#: Where a package of another maker documents itself.
HOSTS = {
    "pypi.org",
    "docs.voxel51.com",
    "docs.cleanlab.ai",
    "docs.evidentlyai.com",
    "github.com",
    "adversarial-robustness-toolbox.readthedocs.io",
}


def cells():
    for line in PAGE.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield from re.split(r"(?<!\\) \| ", line.strip("| "))[1:]


def test_every_cell_links_to_its_evidence():
    body = [cell for cell in cells() if cell not in ("Snellen", "package", "result", "our time over theirs")]
    assert len(body) > 270
    assert not [cell for cell in body if not re.fullmatch(r"(\[[^\]]+\]\([^)\s]+\)(, )?)+", cell)]


def test_links_lead_to_pages_of_ours_and_to_documentation_of_theirs():
    for address in re.findall(r"\]\(([^)]+)\)", PAGE):
        parts = urlsplit(address)
        if parts.scheme:
            assert (parts.scheme, parts.hostname in HOSTS) == ("https", True), address
        else:
            assert (ROOT / "docs" / parts.path).resolve().is_file(), address


def test_versions_at_the_head_are_those_of_the_pages_and_of_what_was_measured():
    offers = tomllib.loads((ROOT / "docs" / "measured" / "offers.toml").read_text(encoding="utf-8"))
    for package in offers["packages"].values():
        assert package["page"].endswith(f"/{package['version']}/"), package
    for peer in ("art", "cleanlab", "checkmaite"):
        measured = set(re.findall(rf"\[{peer} ([\d.]+)\]", PAGE))
        assert measured <= {offers["packages"][peer]["version"]}, peer


def test_a_row_without_a_cell_fails(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    tables = importlib.import_module("peer_tables")
    found = {"packages": {"x": {"title": "X", "version": "1", "page": "https://pypi.org/project/x/1/"}}}
    row = {"question": "q", "x": ["no"], "snellen": ["yes", "audit.md"]}
    assert "| q | [no](https://pypi.org/project/x/1/) | [yes](audit.md) |" in tables.offers_table(
        {**found, "questions": [row]}
    )
    with pytest.raises(KeyError):
        tables.offers_table({**found, "questions": [{"question": "q", "snellen": ["yes", "audit.md"]}]})
    with pytest.raises(ValueError, match="zip"):
        tables.offers_table({**found, "questions": [{**row, "snellen": ["yes"]}]})
