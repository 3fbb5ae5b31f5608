"""Runs written by hand, with what an attacker would write into them; and a way to ask the desk without a network."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import snellen
from snellen.auditing.report import AuditReport, CheckStatus, Judged
from snellen.checks.check import CheckFigure
from snellen.core.finding import Finding, FindingExample
from snellen.core.formats import INPUTS, MANIFEST
from snellen.core.run import canonical_json
from snellen.desk.app import desk_app
from snellen.desk.desk import Desk
from snellen.runs.reopening import described_images

TOKEN, PORT = "a-token", 4321
HOST = f"127.0.0.1:{PORT}"

#: What must never stand in a page as it is.
EVIL = "<x-evil onclick=alert(1)>\"'&{{7*7}}</script>"

CLASSES = ("cat", f"dog {EVIL}", "$(touch hacked)")


def write_images(folder: Path, count: int, side: int = 12) -> list[str]:
    """Images in folders of three classes; names that no shell, page or table takes for what they are not."""
    names = []
    for place in range(count):
        name = f"{place % 3}/{place:03d} 'x' <b>, {'ü' if place % 2 else '='}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), (place % 256, 90, 200 - place % 200)).save(folder / name)
        names.append(name)
    return sorted(names)


def write_run(
    folder: Path,
    ids: list[str],
    *,
    images: Path | None = None,
    classes: tuple[str, ...] = CLASSES,
    seed: int = 0,
    save_images: bool = True,
    finished: bool = True,
) -> Path:
    """A run as an audit writes it: suspects, copies, a slice, a class, and findings without images."""
    folder.mkdir(parents=True)
    rng, n = np.random.default_rng(seed), len(ids)
    labels, predictions = rng.integers(0, len(classes), n), rng.integers(0, len(classes), n)
    plan = {
        "kind": "audit",
        "model": {"name": f"model {EVIL}", "identity": "m1", "fingerprint": "f1", "class_names": list(classes)},
        "data": {"name": "pictures", "fingerprint": f"d{seed}", "images": n},
        "contents": {"audit": f"c{seed}"},
        "shards": {"audit": 4},
        "save_images": save_images,
        "pseudonyms": None,
        "checks": [],
        "seed": 0,
    }
    (folder / MANIFEST.file).write_bytes(canonical_json(MANIFEST.stamped(plan)))
    table = pa.table(
        {
            "example_id": ids,
            "unit_id": ids,
            "setting": ["clean"] * n,
            "model": ["m1"] * n,
            "status": ["ok"] * n,
            "reason": pa.nulls(n, pa.string()),
            "label": labels,
            "prediction": predictions,
            "value": rng.random(n),
            "group": [f"site {place % 2}" for place in range(n)],
            "property.brightness": rng.random(n),
        }
    )
    if not finished:
        (folder / "shards" / "000000").mkdir(parents=True)
        pq.write_table(table, folder / "shards" / "000000" / "clean.parquet")
        return folder
    (folder / "evidence").mkdir()
    pq.write_table(table, folder / "evidence" / "clean.parquet")
    fog = table.set_column(2, "setting", pa.array(["fog.3"] * n)).select(
        ["example_id", "unit_id", "setting", "model", "status", "reason", "label", "prediction", "value"]
    )
    pq.write_table(fog, folder / "evidence" / "corruption.parquet")
    lists = {
        "label_noise": [
            {"id": one, "label": classes[0], "suggested": classes[1], "quality": 0.01 * place}
            for place, one in enumerate(ids[:7])
        ],
        "duplicates": [{"sort": "near", "group": 1 + place // 2, "id": one} for place, one in enumerate(ids[:6])],
        "slices": [{"id": one, "slices": ["dark"], "tested": True} for one in ids[3:8]],
    }
    (folder / "lists").mkdir()
    for name, rows in lists.items():
        (folder / "lists" / f"{name}.json").write_text(json.dumps(rows))
    findings = [
        Finding(
            kind="label_noise", harm=0.3, title=f"Labels look wrong {EVIL}", treatments=("snellen treat . --out x",)
        ),
        Finding(kind="duplicate", subject="near", harm=0.1, title="Copies"),
        Finding(kind="slice", subject="dark", harm=0.06, title="A slice"),
        Finding(kind="worst_class", subject=classes[0], harm=0.01, title="A class", facts={"class": classes[0]}),
        Finding(
            kind="background_shortcut",
            harm=0.0,
            title="Shown",
            examples=(FindingExample(example_id=ids[0], caption=EVIL),),
        ),
        Finding(kind="calibration", harm=0.0, title="Nothing to see"),
    ]
    report = AuditReport(
        model={"name": plan["model"]["name"], "identity": "m1", "task": "single", "classes": len(classes),
               "output": "logits", "notes": []},
        data={"name": f"pictures {EVIL}", "fingerprint": f"d{seed}", "images": n, "used": n, "rejected": 0, "units": n,
              "labelled": n},
        metrics={"clean.accuracy": CheckFigure(value=0.4, low=0.3, high=0.5, n=n)},
        findings=tuple(findings),
        tested=Judged(hypotheses=9, findings=len(findings), rate=0.05),
        checks=(CheckStatus(name="clean", status="done"),),
    )  # fmt: skip
    (folder / "report.json").write_bytes(canonical_json(report.to_json()))
    (folder / "rejected.json").write_text("[]")
    if images is not None:
        inputs = {
            "classifier": {"ref": "bundled:scene-cnn", "folder": str(images.parent)},
            "images": described_images(snellen.load_images(images)),
            "companions": {},
        }
        (folder / INPUTS.file).write_bytes(canonical_json(INPUTS.stamped(inputs)))
    return folder


@dataclass
class Answer:
    """What the desk answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> dict:
        return json.loads(self.body)


class Caller:
    """Asks a desk as a browser would that has the cookie; without a network."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.app = desk, desk_app(desk, TOKEN, PORT)
        self.own = {"host": HOST, "cookie": f"snellen-desk-{PORT}={TOKEN}", "sec-fetch-site": "same-origin"}

    def ask(self, method: str, path: str, query: str = "", body: bytes = b"", **headers: str | None) -> Answer:
        given = {**self.own, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if method == "POST":
            given = {"origin": f"http://{HOST}", "content-type": "application/json", **given}
        sent = [(k.encode(), v.encode("latin-1")) for k, v in given.items() if v is not None]
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode("utf-8", "surrogateescape"),
            "query_string": query.encode("latin-1", "replace"), "headers": sent, "scheme": "http", "root_path": "",
            "http_version": "1.1", "server": ("127.0.0.1", PORT), "client": ("127.0.0.1", 1),
            "asgi": {"version": "3.0"},
        }  # fmt: skip
        messages: list[dict] = []

        async def receive() -> dict:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict) -> None:
            messages.append(message)

        asyncio.run(self.app(scope, receive, send))
        start = messages[0]
        content = b"".join(one.get("body", b"") for one in messages[1:])
        return Answer(start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, content)

    def get(self, path: str, query: str = "", **headers: str | None) -> Answer:
        return self.ask("GET", path, query, **headers)

    def post(self, path: str, values: object, **headers: str | None) -> Answer:
        return self.ask("POST", path, "", json.dumps(values).encode(), **headers)
