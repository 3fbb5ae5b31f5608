"""Adding up from many threads, and prices."""

import threading
import time
from dataclasses import asdict

import pytest
from pydantic import ValidationError

from snellen.core.budget import Budget, Spent
from snellen.models.language.protocol import BudgetSpentError
from snellen.models.language.token_account import Prices, TokenAccount, Usage


def test_nothing_is_lost_between_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Usage):
        """Lets other threads run between reading and writing."""

        def __getattribute__(self, name: str) -> object:
            value = super().__getattribute__(name)
            if name in ("calls", "cache_hits"):
                time.sleep(0)
            return value

    account = TokenAccount()
    monkeypatch.setattr(account, "_usage", Slow())

    def work() -> None:
        for _ in range(500):
            account.add(prompt_tokens=3, completion_tokens=2, seconds=0.0)
            account.add(prompt_tokens=None, completion_tokens=None, seconds=0.0)
            account.add_hit()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = Usage(calls=8000, cache_hits=4000, prompt_tokens=12_000, completion_tokens=8000, uncounted=4000)
    assert asdict(account.usage) == asdict(expected)
    assert account.usage.spent == Spent(tokens=20_000)


@pytest.mark.parametrize(("limit", "stops"), [(None, False), (9, True), (10, True), (11, False)])
def test_the_budget_of_tokens(limit: int | None, stops: bool) -> None:
    account = TokenAccount(Budget(tokens=limit, queries=0))
    account.add(prompt_tokens=4, completion_tokens=6, seconds=1.0)
    if stops:
        with pytest.raises(BudgetSpentError, match=f"tokens: 10 spent, {limit} allowed"):
            account.check()
    else:
        account.check()


def test_prices() -> None:
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=500_000)
    assert usage.cost(Prices(prompt=3, completion=15)) == 10.5
    for wrong in ({"prompt": -1, "completion": 1}, {"prompt": 1}):
        with pytest.raises(ValidationError):
            Prices(**wrong)
