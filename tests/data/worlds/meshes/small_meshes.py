"""Tiny meshes, archives and a renderer without any geometry, for the tests of this folder."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

#: A box of 2 × 4 × 6 with quads, in a file's coordinates (y up).
BOX = """
v 0 0 0
v 2 0 0
v 2 4 0
v 0 4 0
v 0 0 6
v 2 0 6
v 2 4 6
v 0 4 6
"""
QUADS = ["4 3 2 1", "5 6 7 8", "1 2 6 5", "2 3 7 6", "3 4 8 7", "4 1 5 8"]


def write_box(path: Path, *, header: str = "", material: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    use = f"usemtl {material}\n" if material else ""
    path.write_text(header + BOX + use + "".join(f"f {quad}\n" for quad in QUADS))
    return path


def write_card(folder: Path, name: str = "card") -> Path:
    """A square of edge 2 that faces +z, with a texture: red above, blue below, green in the lower left quarter."""
    folder.mkdir(parents=True, exist_ok=True)
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32] = (255, 0, 0)
    texture[32:] = (0, 0, 255)
    texture[32:, :32] = (0, 255, 0)
    Image.fromarray(texture).save(folder / "card.png")
    (folder / f"{name}.mtl").write_text("newmtl paper\nKd 0.64 0.64 0.64\nmap_Kd card.png\n")
    lines = [
        f"mtllib {name}.mtl",
        "v -1 -1 0",
        "v 1 -1 0",
        "v 1 1 0",
        "v -1 1 0",
        "vt 0 0",
        "vt 1 0",
        "vt 1 1",
        "vt 0 1",
    ]
    (folder / f"{name}.obj").write_text("\n".join([*lines, "usemtl paper", "f 1/1 2/2 3/3 4/4", ""]))
    return folder / f"{name}.obj"


def triangle_glb(*, uri: str | None = None, count: int = 3) -> bytes:
    """A binary glTF file of one triangle of 6 × 8, moved by its node."""
    points = np.array([[0, 0, 0], [6, 0, 0], [0, 8, 0]], "<f4").tobytes()
    accessor = {
        "bufferView": 0,
        "componentType": 5126,
        "count": count,
        "type": "VEC3",
        "min": [0, 0, 0],
        "max": [6, 8, 0],
    }
    described = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "translation": [5, 5, 5]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [accessor],
        "bufferViews": [{"buffer": 0, "byteLength": len(points)}],
        "buffers": [{"byteLength": len(points)} | ({"uri": uri} if uri else {})],
    }
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(points), b"BIN\0") + points
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


CATALOGUE = """# two models
id=Test
name=Small catalogue
license=Made up \\u00a9 2020
provider=nobody

id#1=Test#box
name#1=Box
category#1=Kitchen
model#1=/test/box/box.obj
width#1=20.5
depth#1=60
height#1=40
creator#1=Ann Other

id#2=Test#lamp
name#2=Lamp
category#2=Bedroom
model#2=/test/lamp/lamp.obj
width#2=1
depth#2=1
height#2=1
modelRotation#2=1 0 0 0 0 1 0 -1 0
"""


def write_catalogue(path: Path, folder: Path, *, properties: str = CATALOGUE) -> Path:
    """A catalogue of a box and a lamp (a box too)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("PluginFurnitureCatalog.properties", properties.encode("latin-1"))
        for name in ("box", "lamp"):
            archive.write(write_box(folder / f"{name}.obj"), f"test/{name}/{name}.obj")
        archive.writestr("test/box/notes.txt", "by Ann Other")
    return path


class ColouredSquares:
    """A renderer that draws a square whose shade follows from the object and all six numbers; it counts its views."""

    def __init__(self, objects: tuple[str, ...] = ("cup", "lamp"), *, size: int = 8, version: str = "1") -> None:
        self.objects, self.size, self.version = objects, size, version
        self.calls: list[tuple[str, int]] = []
        self.contents = {name: f"content of {name}" for name in objects}

    @property
    def recipe(self) -> str:
        return f"ColouredSquares {self.version}"

    def class_of(self, object_id: str) -> str:
        return object_id.rstrip("0123456789")

    def content_hash(self, object_id: str) -> str:
        return self.contents[object_id]

    def render(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        self.calls.append((object_id, len(viewpoints)))
        weights = torch.tensor([1.0, 2.0, 3.0, 50.0, 70.0, 90.0], dtype=torch.float64)
        shade = (viewpoints.double() @ weights / 500 + self.objects.index(object_id) / 10).remainder(1.0).float()
        images = torch.ones(len(viewpoints), 3, self.size, self.size)
        coverage = torch.zeros(len(viewpoints), self.size, self.size)
        images[:, :, 2:6, 2:6] = shade[:, None, None, None]
        coverage[:, 2:6, 2:6] = 1.0
        return images, coverage

    @property
    def rendered(self) -> int:
        return sum(count for _, count in self.calls)
