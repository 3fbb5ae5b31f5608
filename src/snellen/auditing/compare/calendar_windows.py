"""Windows of time: the day of each image, and the stretch of the calendar that holds a day."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Literal

from snellen.core.errors import InputError

#: Length of the windows over time.
Every = Literal["day", "week", "month", "quarter", "year"]
EVERY: tuple[Every, ...] = ("day", "week", "month", "quarter", "year")

#: Images that a window should have on average, where its length is not named.
PER_WINDOW = 100


def days_of(
    dates: str | Sequence[object],
    ids: Sequence[str],
    column: Callable[[str], Sequence[object]],
) -> dict[str, datetime.date | None]:
    """The day of each image by id; None where it is not known.

    Args:
        dates: a column, or one date for each image. ids: of the images. column: reads a column of them.
    """
    values = column(dates) if isinstance(dates, str) else list(dates)
    if isinstance(dates, str) and all(value is None for value in values):
        raise InputError(f"the images have no column {dates!r} with dates; name one that their table holds")
    if len(values) != len(ids):
        raise InputError(f"{len(values)} dates came for {len(ids)} images; give one for each, or None")
    return {key: day_of(value) for key, value in zip(ids, values, strict=True)}


def day_of(value: object) -> datetime.date | None:
    """A day from a date, a time, or an ISO text.

    >>> day_of("2026-11-30T08:00:00"), day_of("2026-11-30"), day_of(None)
    (datetime.date(2026, 11, 30), datetime.date(2026, 11, 30), None)
    """
    if value is None or value == "" or str(value) in ("nan", "NaT"):  # as numpy and pandas write what is missing
        return None
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    text = str(value).strip()
    try:
        return datetime.datetime.fromisoformat(text[:-1] if text.endswith("Z") else text).date()
    except ValueError as error:
        raise InputError(f"{text[:40]!r} is no date; expected ISO 8601, such as 2026-11-30") from error


def begin_of(day: datetime.date, every: Every) -> datetime.date:
    """First day of the window that holds a day.

    >>> begin_of(datetime.date(2026, 11, 28), "week"), begin_of(datetime.date(2026, 11, 28), "quarter")
    (datetime.date(2026, 11, 23), datetime.date(2026, 10, 1))
    """
    if every == "day":
        return day
    if every == "week":
        return day - datetime.timedelta(days=day.weekday())
    months = {"month": 1, "quarter": 3, "year": 12}[every]
    return datetime.date(day.year, (day.month - 1) // months * months + 1, 1)


def usual_length(days: Sequence[datetime.date]) -> Every:
    """The shortest windows that have enough images on average."""
    for every in EVERY:
        if len(days) / len({begin_of(day, every) for day in days}) >= PER_WINDOW:
            return every
    return EVERY[-1]


def place_of(day: datetime.date, every: Every) -> int:
    """Number of the window that holds a day, such that windows side by side have numbers side by side.

    >>> [place_of(datetime.date(2026, month, 5), "quarter") for month in (1, 3, 4, 12)]
    [8104, 8104, 8105, 8107]
    """
    if every in ("day", "week"):
        return begin_of(day, every).toordinal() // (7 if every == "week" else 1)
    months = {"month": 1, "quarter": 3, "year": 12}[every]
    return (12 * day.year + day.month - 1) // months
