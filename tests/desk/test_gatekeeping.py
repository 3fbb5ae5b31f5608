"""Who may speak to the desk, and what every answer carries."""

import json
import shutil

import pytest

from snellen.desk.app import ROUTES
from snellen.desk.gatekeeping import LARGEST_BODY, TOKEN
from snellen.desk.run_folder import finding_id
from tests.desk.made_runs import EVIL, HOST, PORT
from tests.desk.made_runs import TOKEN as SECRET
from tests.desk.route_description import BODIES, QUERIES, described

GETS = [path for path, _, methods in ROUTES if "GET" in methods]
POSTS = [path for path, _, methods in ROUTES if "POST" in methods]


def filled(path, first, **values):
    """An address with what it needs in its places."""
    known = {
        "run": first.id, "finding": finding_id(first.findings[0]), "row:int": "0", "size": "small", "name": "desk.css",
        "job": "0" * 12, **values,
    }  # fmt: skip
    for key, value in known.items():
        path = path.replace("{" + key + "}", value)
    return path


@pytest.mark.parametrize("path", [*GETS, *POSTS])
def test_nothing_is_answered_without_the_token(caller, first, path):
    method = "GET" if path in GETS else "POST"
    for cookie in (None, f"snellen-desk-{PORT}=wrong", f"snellen-desk-1={SECRET}", "snellen-desk-4321", "\xff;;=", ""):
        found = caller.ask(method, filled(path, first), body=b"{}", cookie=cookie)
        assert found.status == 401, (path, cookie)
        assert b"model" not in found.body


@pytest.mark.parametrize("path", [*GETS, *POSTS])
def test_another_name_that_leads_here_is_refused(caller, first, path):
    method = "GET" if path in GETS else "POST"
    others = ("evil.com", "127.0.0.1", "127.0.0.1:1", f"evil.com:{PORT}", f"[::1]:{PORT}", "", f"{HOST}.evil.com")
    for host in (*others, f"{HOST}@e", HOST.upper() + " "):
        assert caller.ask(method, filled(path, first), f"token={SECRET}", b"{}", host=host).status == 421, host


@pytest.mark.parametrize("path", [*GETS, *POSTS])
def test_requests_of_other_sites_are_refused(caller, first, path):
    method = "GET" if path in GETS else "POST"
    for site in ("cross-site", "same-site"):
        assert caller.ask(method, filled(path, first), body=b"{}", sec_fetch_site=site).status == 403


@pytest.mark.parametrize("path", POSTS)
def test_decisions_and_jobs_need_the_origin_of_the_desk(caller, first, path):
    for origin in (None, "null", "http://evil.com", f"https://{HOST}", "http://127.0.0.1", f"http://localhost:{PORT}"):
        assert caller.post(filled(path, first), {}, origin=origin).status == 403, origin


def test_the_first_link_gives_a_cookie_that_scripts_and_other_sites_do_not_get(caller):
    found = caller.get("/", f"{TOKEN}={SECRET}", cookie=None, sec_fetch_site="cross-site")
    assert found.status == 200
    assert found.headers["set-cookie"] == f"snellen-desk-{PORT}={SECRET}; Path=/; HttpOnly; SameSite=Strict"
    assert SECRET not in found.text
    for wrong in (f"{TOKEN}=x", f"{TOKEN}={SECRET}&{TOKEN}={SECRET}", f"{TOKEN}=", "\xff", f"tokens={SECRET}"):
        assert caller.get("/", wrong, cookie=None).status == 401
    assert caller.get("/jobs", f"{TOKEN}={SECRET}", cookie=None).status == 401
    assert caller.ask("POST", "/", f"{TOKEN}={SECRET}", cookie=None).status == 401


def test_other_methods_and_large_bodies_are_refused(caller, first):
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "X"):
        assert caller.ask(method, "/").status == 405
    for length in (str(LARGEST_BODY + 1), "9" * 40, "-1", "1e3", "٣"):
        assert caller.ask("POST", "/jobs/start", content_length=length.encode("utf-8").decode("latin-1")).status == 413
    longer = caller.ask("POST", "/jobs/start", body=b"x" * (LARGEST_BODY + 1))
    assert longer.status == 413, "a body that is longer than it said"


@pytest.mark.parametrize("path", [*GETS, *POSTS, "/nothing", "/runs/../../etc/passwd"])
def test_every_answer_carries_the_headers_of_safety(caller, first, path):
    method = "POST" if path in POSTS else "GET"
    for cookie in (caller.own["cookie"], None):
        found = caller.ask(method, filled(path, first), body=b"{}", cookie=cookie)
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["x-frame-options"] == "DENY"
        assert found.headers["cross-origin-resource-policy"] == "same-origin"
        policy = found.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "http:" not in policy


HOSTILE = (
    "", "..", "../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%00", "\x00", EVIL, "'; DROP TABLE entries; --", "-1",
    "9" * 30, "NaN", "1e999", "٣", "a" * 5000, "\udc80", "/etc/passwd", "file:///etc/passwd", "--out=/tmp/x", "null",
    "[]", "{{7*7}}", "${jndi:ldap://x}", "\u202eevil", "true",
)  # fmt: skip

#: Fields of all forms and queries.
FIELDS = (
    "finding", "label", "prediction", "outcome", "low", "high", "group", "text", "setting", "under", "sort", "offset",
    "limit", "first", "second", "which", "reviewer", "item", "verdict", "run", "model", "data", "train", "table",
    "effort", "budget", "out", "only", "file", "unknown",
)  # fmt: skip


def test_every_field_that_an_address_takes_is_among_those_that_are_tried():
    paths = described()["paths"]
    assert paths.keys() >= {*QUERIES, *BODIES}, "addresses that the desk has"
    operations = [one for path in paths.values() for one in path.values()]
    queries = {part["name"] for one in operations for part in one["parameters"] if part["in"] == "query"}
    assert queries | {name for fields in BODIES.values() for name in fields} <= set(FIELDS)


def fine(found, secret=b"SECRET OF ELSEWHERE"):
    """No fault of the desk, nothing unescaped, nothing of elsewhere."""
    assert found.status < 500, found.text[:300]
    assert secret not in found.body
    assert b"root:" not in found.body
    if found.headers.get("content-type", "").startswith("text/html"):
        assert b"<x-evil" not in found.body
        assert b"alert(1)>" not in found.body.replace(b"alert(1)&gt;", b"")
        assert b">49<" not in found.body


@pytest.mark.parametrize("path", [*GETS, *POSTS])
def test_hostile_parameters_in_every_address_are_answered_and_change_nothing(caller, first, place, path, monkeypatch):
    """Also in every field of every query and form."""
    started = []
    monkeypatch.setattr(
        type(caller.desk.jobs), "start", lambda _self, words, out: started.append((words, out)) or 1 / 0
    )
    (place.parent / "secret").write_text("SECRET OF ELSEWHERE")
    parts = [part for part in ("run", "finding", "row:int", "size", "name", "job") if "{" + part + "}" in path]
    method = "GET" if path in GETS else "POST"
    for part in parts:
        for one in HOSTILE:
            fine(caller.ask(method, filled(path, first, **{part: one}), body=b"{}"))
    address, fields = filled(path, first), FIELDS
    if path.endswith(("/decided/write", "/stop", "/report", "/decided", "/state", "/image", "/static/{name}", "/jobs")):
        fields = FIELDS[:2]  # reads none
    good = {"item": "x", "verdict": "keep", "reviewer": "Ada"}
    for field in fields:
        for one in HOSTILE:
            if method == "GET":
                from urllib.parse import quote

                fine(caller.get(address, f"{field}={quote(one, errors='surrogatepass')}"))
            else:
                fine(caller.post(address, {**good, field: one}))
        if method == "POST":
            for value in ({"a": EVIL}, [[EVIL]], 3, None, [], True):
                fine(caller.post(address, {**good, field: value}))
    if method == "POST":
        for body in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 50_000, b'{"a":' * 9_000, b"1", b'"x"'):
            for kind in (
                "application/json",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
                "text/plain",
                "",
            ):
                fine(caller.ask("POST", address, body=body, content_type=kind))
    assert started == []
    assert caller.desk.decisions.standing(first.key, finding_id(first.findings[0])) == []
    assert sorted(one.name for one in place.parent.iterdir()) == ["pictures", "runs", "secret"]


def test_names_of_files_labels_and_findings_are_text_wherever_they_are_shown(caller, first, desk):
    queue = desk.queue(first, first.findings[0])
    desk.decisions.add(first.key, finding_id(queue.finding), queue.items[0].key, EVIL, "keep")
    second = next(run for run in desk.workplace.runs() if run.name == "second")
    begun = next(run for run in desk.workplace.runs() if run.name == "begun")
    for path in [f"/runs/{begun.id}", *(filled(path, first) for path in GETS if path != "/static/{name}")]:
        found = caller.get(path, f"first={first.id}&second={second.id}&train={'%3Cx-evil%3E'}&finding=")
        fine(found)
    assert "&lt;x-evil" in caller.get("/").text
    assert "&lt;x-evil" in caller.get(f"/runs/{first.id}").text
    found = caller.get(f"/runs/{first.id}/rows")
    assert found.headers["content-type"] == "application/json"


def test_pictures_are_found_by_hash_and_are_pictures(caller, first, place):
    blobs = first.path / "blobs"
    blobs.mkdir(exist_ok=True)
    (place.parent / "secret").write_text("RIFF____WEBP SECRET OF ELSEWHERE")
    (blobs / ("a" * 64)).symlink_to(place.parent / "secret")
    (blobs / ("b" * 64)).write_text("<script>alert(1)</script>")
    for name in ("a" * 64, "b" * 64, "c" * 64, "../report.json", "A" * 64):
        assert caller.get(f"/runs/{first.id}/pictures/{name}").status == 404


def test_a_report_that_lies_in_the_folder_is_never_sent(caller, first):
    (first.path / "report.html").write_text("<script>alert('planted')</script>")
    found = caller.get(f"/runs/{first.id}/report")
    assert found.status == 200
    assert "planted" not in found.text
    assert "sha256-" in found.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("report.json", b"{"), ("report.json", b"[]"), ("report.json", b'{"findings": 3}'), ("report.json", b"\xff"),
        ("report.json", b'{"findings": [{"kind": "x"}]}'), ("report.json", b'{"schema_version": 99}'),
        ("report.json", b"[" * 100_000), ("manifest.json", b"[]"), ("manifest.json", b'{"model": 3, "data": []}'),
        ("manifest.json", b'{"kind": ["x"]}'), ("evidence/clean.parquet", b"PAR1"), ("evidence/clean.parquet", b""),
        ("inputs.json", b"{}"), ("inputs.json", b'{"images": {"reference": {"ref": "/etc/passwd", "folder": 3}}}'),
        ("lists/label_noise.json", b'{"id": 1}'), ("lists/slices.json", b"null"),
        ("treatment.json", b'{"findings": 3}'),
        ("treatment.json", b"{}"),
    ],
)  # fmt: skip
def test_a_damaged_run_is_an_error_on_its_page_and_leaves_the_others(caller, first, place, file, content):
    addresses = [filled(path, first) for path in GETS]
    (first.path / file).write_bytes(content)
    shown = caller.get("/")
    assert shown.status == 200
    assert "second" in shown.text
    for address in addresses:
        fine(caller.get(address, f"first={first.id}&second={first.id}"))
    fine(caller.post(f"/runs/{first.id}/decided/write", {}))


def test_folders_that_lead_in_circles_or_elsewhere_are_not_followed(place, tmp_path):
    from snellen.desk.workplace import Workplace

    (place / "loop").symlink_to(place)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(place / "first", elsewhere / "run")
    (place / "link").symlink_to(elsewhere)
    assert sorted(run.name for run in Workplace(place).runs()) == ["begun", "first", "second"]


def test_answers_in_json_are_ascii_so_that_half_a_character_survives(caller, first):
    found = caller.get(f"/runs/{first.id}/rows", "limit=3").body
    assert json.loads(found)["total"] == 24
    assert found.isascii()
