"""The story of docs/desk.md, timed: 200 suspect labels reviewed, the table exported, the model treated, compared.

``python scripts/review_story.py FOLDER`` draws a pool in which one label of 15 is wrong, and an exam; audits both;
opens the desk in Chromium, and decides by keys as one who knows the true labels; writes the table; runs the printed
line as printed; compares the exam before and after. It prints how long each step took, by the clock and of processors,
and leaves pictures.
"""

from __future__ import annotations

import json
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import snellen
from tests.desk.browser import Browser
from tests.desk.served import served

SHAPES = "size=32&sizes=large&shapes=ring,star,heart,square,triangle,cross"
MODEL = "bundled:scene-cnn"

#: Images of the pool, share of wrong labels in it, and labels that are reviewed.
POOL, WRONG, REVIEWED = 2_800, 1 / 15, 200

_TREATED = "Array.from(document.querySelectorAll('main a')).find(a => a.textContent.endsWith('-treated')).href"
_PROGRESS = "document.querySelector('[data-progress]').textContent"


def main(folder: str) -> int:
    """Tell it."""
    place = Path(folder).resolve()
    with _timed("draw a pool and an exam"):
        truth = _draw(place)
    runs = place / "runs"
    with _timed(f"audit {POOL:,} images of the pool"):
        _run(["snellen", "audit", MODEL, str(place / "pool"), "--checks", "clean,label_noise,duplicates", "--out",
              str(runs / "pool-1")])  # fmt: skip
    exam = f"optotypes:scenes?count=500&{SHAPES}&seed=5#test"
    with _timed("audit the exam of 500"):
        _run(["snellen", "audit", MODEL, exam, "--checks", "clean,calibration,slices,label_noise", "--out",
              str(runs / "exam-1")])  # fmt: skip
    started = time.monotonic()
    with served(runs) as desk:
        print(f"start of the desk: {time.monotonic() - started:.1f} s", flush=True)
        browser = Browser()
        try:
            lines = _reviewed(browser, desk.link, desk.base, place, truth)
            treat = next(one for one in lines if one[1] == "treat")
            with _timed("treat, the printed line"):
                _run(treat)
            with _timed("audit the exam with the treated classifier"):
                treated = next(Path(treat[-1]).rglob("weights.safetensors")).parent
                _run(["snellen", "audit", str(treated), exam, "--checks", "clean,calibration,slices,label_noise",
                      "--out", str(runs / "exam-2")])  # fmt: skip
            _compared(browser, desk.base, place)
        finally:
            browser.close()
    return 0


def _draw(place: Path) -> dict[str, str]:
    """Draw the pool; the true class of each file."""
    drawn, rng = snellen.load_images(f"optotypes:scenes?count={POOL}&{SHAPES}&seed=11#train"), np.random.default_rng(0)
    names, truth = drawn.class_names, {}
    for row in range(POOL):
        example = drawn[row]
        label = (example.label + int(rng.integers(1, 6))) % 6 if rng.random() < WRONG else example.label
        file = place / "pool" / names[label] / f"{row:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        example.image.save(file)
        truth[file.name] = names[example.label]
    return truth


def _reviewed(browser: Browser, link: str, base: str, place: Path, truth: dict[str, str]) -> list[list[str]]:
    """Review by keys, and write the table; the lines that the desk prints."""
    browser.size(1280, 900)
    browser.open(link)
    browser.until("location.search === '' && document.querySelector('h1')")
    browser.picture(place / "runs.png")
    run = browser.js("Array.from(document.querySelectorAll('.card h2 a')).find(a => a.textContent === 'pool-1').href")
    browser.open(run)
    queue = browser.js(
        "Array.from(document.querySelectorAll('.look > li')).find(l => l.innerText.includes('labels look wrong'))"
        ".querySelector('a.button').href"
    )
    browser.open(queue)
    browser.until("document.querySelector('.item img')?.complete")
    items = []
    while part := browser.js(
        f"fetch('{queue.removeprefix(base)}/items?offset={len(items)}').then(r => r.json()).then(r => r.items)"
    ):
        items += part
    print(f"{len(items)} suspect labels; {min(len(items), REVIEWED)} are reviewed", flush=True)
    browser.js("document.querySelector('[name=reviewer]').focus()")
    browser.js("document.querySelector('[name=reviewer]').value = 'Ada'")
    browser.press("Enter")
    changed = 0
    with _timed(f"decide {min(len(items), REVIEWED)} labels by keys, as fast as the page allows"):
        for number, item in enumerate(items[:REVIEWED]):
            if number == 3:
                browser.picture(place / "review.png")
            right = truth[Path(item["images"][0]["id"]).name]
            _decide(browser, item, right)
            changed += item["given"] != right
            browser.until(f"{_PROGRESS}.includes(' {number + 1} decided')")
    print(f"{changed} of them were wrong", flush=True)
    with _timed("write the table"):
        browser.open(f"{run}/decided")
        browser.js("document.querySelector('form button').click()")
        browser.until("document.querySelector('[role=status]') && document.querySelector('.command')")
    print(browser.js("document.querySelector('[role=status]').textContent").strip(), flush=True)
    browser.picture(place / "decided.png")
    found = browser.js("Array.from(document.querySelectorAll('.command')).map(c => c.textContent)")
    print(*found, sep="\n", flush=True)
    return [shlex.split(one) for one in found]


def _decide(browser: Browser, item: dict, right: str) -> None:
    if item["given"] == right:
        browser.press("1")
    elif item["suggested"] == right:
        browser.press("2")
    else:
        browser.press("5")
        browser.until("document.activeElement.matches('[data-class]')")
        browser.js(f"document.activeElement.value = {json.dumps(right)}")
        browser.js("document.activeElement.dispatchEvent(new Event('change', {bubbles: true})); 0")


def _compared(browser: Browser, base: str, place: Path) -> None:
    runs = place / "runs"
    browser.open(base)
    ids = dict(browser.js("Array.from(document.querySelectorAll('.card h2 a')).map(a => [a.textContent, a.href])"))
    first, second = (ids[name].rsplit("/", 1)[1] for name in ("exam-1", "exam-2"))
    browser.open(f"{base}/compare?first={first}&second={second}&which=won")
    browser.until("document.querySelector('.cell .duo img')?.complete")
    time.sleep(1)
    browser.picture(place / "compare.png")
    for name in ("exam-1", "exam-2"):
        figure = snellen.open_report(runs / name).metrics["clean.accuracy"]
        print(f"{name}: accuracy {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]", flush=True)
    browser.open(base)
    browser.open(browser.js(_TREATED))
    browser.picture(place / "treatment.png")


def _run(words: list[str]) -> None:
    subprocess.run([sys.executable, "-c", "from snellen.cli import main; main()", *words[1:]], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip


@contextmanager
def _timed(what: str) -> Iterator[None]:
    """Print how long a step took: by the clock, and of processors."""
    began, used = time.monotonic(), _used()
    yield
    print(f"{what}: {time.monotonic() - began:.1f} s, of processors {_used() - used:.1f} s", flush=True)


def _used() -> float:
    both = (resource.getrusage(one) for one in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
