"""Addresses at which a process, and those that it started, listen for connections."""

import os
import socket
import struct
from pathlib import Path


def listening(pid):
    """Addresses as text: "127.0.0.1", "0.0.0.0"."""
    tables = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()]
    open_sockets = {row[9]: row[1].partition(":")[0] for row in tables if len(row) > 9 and row[3] == "0A"}
    found = set()
    for process in family(pid):
        try:
            links = [os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
        found |= {address(open_sockets[inode]) for inode in inodes & open_sockets.keys()}
    return found


def family(pid):
    """A process and all that it started."""
    members = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            members += family(child)
    return members


def address(text):
    """Of the eight or 32 hexadecimal digits in /proc/net."""
    words = struct.pack(f"={len(text) // 8}I", *(int(text[at : at + 8], 16) for at in range(0, len(text), 8)))
    told = socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words)
    return told.removeprefix("::ffff:")
