"""Choices that came later leave the records of before alone."""

from dataclasses import dataclass, field

from sartutor.learn.adapt import Method
from sartutor.learn.settings import as_settings, meant_before


@dataclass(frozen=True)
class Choice:
    name: str = "a"
    later: float = field(default=0.1, metadata=meant_before(0.0))


@dataclass(frozen=True)
class Whole:
    parts: tuple[Choice, ...]


def test_a_later_choice_is_kept_but_where_it_is_made_as_it_was_before():
    assert as_settings(Choice(later=0.0)) == {"name": "a"}
    assert as_settings(Choice()) == {"name": "a", "later": 0.1}


def test_a_method_without_later_choices_is_written_as_before_they_came():
    before = {"activation", "fusion", "alignment", "loss", "scales", "prompts", "tuning", "encoders"}
    assert as_settings(Method()).keys() == before
    assert as_settings(Method(empty_share=0.1, outside="background")).keys() == before | {
        "empty_share",
        "outside",
    }


def test_settings_are_what_comes_back_from_a_record():
    whole = {"rows": Whole((Choice("b", 0.0), Choice("c"))), "none": None, "seeds": (1, 2)}
    parts = [{"name": "b"}, {"name": "c", "later": 0.1}]
    assert as_settings(whole) == {"rows": {"parts": parts}, "none": None, "seeds": [1, 2]}
