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


def test_what_snellen_does_not_offer_is_stated_on_the_linked_page():
    offers = tomllib.loads((ROOT / "docs" / "measured" / "offers.toml").read_text(encoding="utf-8"))
    words = {
        "patches, physical attacks": "no patches",
        "object detection": "Detection is out of scope",
        "images in a cloud, video": "neither addresses in a cloud nor videos",
    }
    lacking = {row["question"]: row["snellen"][1] for row in offers["questions"] if row["snellen"][0] == "no"}
    assert lacking.keys() == words.keys()
    for question, address in lacking.items():
        page = (ROOT / "docs" / address.partition("#")[0]).read_text(encoding="utf-8")
        assert words[question] in " ".join(page.split()), question


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
    assert "| q | [yes](audit.md) | [no](https://pypi.org/project/x/1/) |" in tables.offers_table(
        {**found, "questions": [row]}
    )
    with pytest.raises(KeyError):
        tables.offers_table({**found, "questions": [{"question": "q", "snellen": ["yes", "audit.md"]}]})
    with pytest.raises(ValueError, match="zip"):
        tables.offers_table({**found, "questions": [{**row, "snellen": ["yes"]}]})
