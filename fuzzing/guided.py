"""One target under atheris: inputs are chosen by which lines of Snellen, and of Pillow's own Python, they reach.

    python -m fuzzing.guided TARGET CORPUS [options of libFuzzer]

The corpus is a folder; seeds are written into it when it is empty. Ends with a code other than 0 on a fault, whose
input is written where ``-artifact_prefix`` says.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["snellen", "PIL"], enable_loader_override=False):
    from fuzzing.targets import TARGETS


def main() -> None:
    """Never returns: libFuzzer ends the process."""
    name, corpus = sys.argv[1], Path(sys.argv[2])
    logging.disable(logging.CRITICAL)
    target = TARGETS[name]
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        for number, seed in enumerate(target.seeds()):
            (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[3:]], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
