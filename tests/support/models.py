"""Running a state machine of Hypothesis as a test that does the same every time."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def check_model(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Let the machine go through so many examples, of so many steps at most. It fails with the first one that is wrong.

    That one is not made shorter: an example of real processes takes seconds.
    """
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        ),
    )
