"""A chain of three durable actors, and guests that stop. The app of cycle.py. All are often at rest."""

from __future__ import annotations

from understudy import Actor, ActorRef


class Book(Actor, durable=True, idle=0.02):
    """The last of the chain: gives each payment its number."""

    def __init__(self) -> None:
        self.payments = 0

    def note(self, amount: int) -> int:
        self.payments += amount
        return self.payments


class Till(Actor, durable=True, idle=0.02):
    """The middle of the chain."""

    def __init__(self, book: ActorRef[Book]) -> None:
        self.book = book
        self.sum = self.rests = 0

    def on_passivate(self) -> None:
        self.rests += 1

    def take(self, amount: int) -> int:
        self.sum += amount
        self.storage[self.message_id] = amount
        return self.book.call(Book.note, amount)

    def stored(self) -> int:
        return sum(self.storage.values())


class Purse(Actor, durable=True, idle=0.01):
    """The first of the chain: one thread speaks to it."""

    def __init__(self, till: ActorRef[Till]) -> None:
        self.till = till
        self.paid = 0
        self.order: list[int] = []
        self.bells: list[int] = []

    def pay(self) -> int:
        self.paid += 1
        return self.till.call(Till.take, 1)

    def numbered(self, number: int) -> None:
        self.order.append(number)

    def ring_later(self, number: int) -> None:
        self.remind(f"bell {number}", Purse.rung, number, delay=0.01)

    def rung(self, number: int) -> None:
        self.bells.append(number)

    def facts(self) -> tuple[int, list[int], list[int]]:
        """Payments, numbers that were told, and reminders, each in the order of their arrival."""
        return self.paid, self.order, self.bells


class Guest(Actor, durable=True):
    """Stops soon."""

    def __init__(self) -> None:
        self.words = 0

    def say(self, count: int) -> int:
        self.words += count
        return self.words

    def on_stop(self) -> int:
        return self.words
