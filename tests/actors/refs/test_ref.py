"""References: what they are as values."""

from __future__ import annotations

from understudy.actors import values
from understudy.actors.ids import id_text, new_id
from understudy.actors.refs.ref import ActorRef


def test_a_reference_is_a_value() -> None:
    ref: ActorRef = ActorRef(new_id(), "m:Account", "ada")
    again = values.unpack(values.pack(ref))
    assert (again.id, again.actor_urn) == (ref.id, f"urn:uuid:{id_text(ref.id_bytes)}")
