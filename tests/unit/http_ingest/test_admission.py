"""What is let in at once."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from analytics_core.errors import TooManyRequests, Unavailable
from analytics_ingest.admission import Admission


def test_one_caller_gets_half_and_all_callers_everything() -> None:
    """429 tells one caller to slow down, 503 that it is not their fault."""
    admission = Admission("events", 10)
    with admission.hold("a", 5):
        with pytest.raises(TooManyRequests, match="5 events of yours") as own:
            admission.hold("a", 1).__enter__()
        with admission.hold("b", 5), pytest.raises(Unavailable) as everybody:
            admission.hold("c", 1).__enter__()

    assert own.value.retry_after_seconds == everybody.value.retry_after_seconds == 1
    assert admission.held == 0


def test_what_failed_is_let_go_of() -> None:
    """An error in the block must not use up room for ever."""
    admission = Admission("events", 10)
    with pytest.raises(KeyError), admission.hold("a", 5):
        raise KeyError

    with admission.hold("a", 5):
        assert admission.held == 5


class Callers(RuleBasedStateMachine):
    """Callers come and go in any order; a dict says what they hold."""

    holding = Bundle("holding")

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission("events", 20)
        self.model: list[tuple[str, int]] = []

    @rule(target=holding, caller=st.sampled_from("abc"), amount=st.integers(0, 12))
    def enter(self, caller: str, amount: int) -> object:
        own = sum(held for name, held in self.model if name == caller)
        total = sum(held for _, held in self.model)
        context = self.admission.hold(caller, amount)
        if own + amount > 10:
            with pytest.raises(TooManyRequests):
                context.__enter__()
            return None
        if total + amount > 20:
            with pytest.raises(Unavailable):
                context.__enter__()
            return None
        context.__enter__()
        self.model.append((caller, amount))
        return context, caller, amount

    @rule(held=consumes(holding))
    def leave(self, held: tuple[object, str, int] | None) -> None:
        if held is not None:
            held[0].__exit__(None, None, None)  # type: ignore[attr-defined]
            self.model.remove(held[1:])

    @invariant()
    def counts_agree(self) -> None:
        assert self.admission.held == sum(held for _, held in self.model) <= 20


TestCallers = Callers.TestCase
TestCallers.settings = settings(max_examples=50, deadline=None)
