"""The language of schedules: what each statement does, what comes back out, and where the caret points."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid import Dose, Schedule, Signal
from hybrid.schedules.grammar import EXAMPLES, GRAMMAR
from hybrid.schedules.schedule_text import (
    ScheduleTextError,
    format_schedule,
    parse_schedule,
    schedule_units,
)
from physics import OneCompartmentOral, VanCauter

STATES = ("gut", "plasma")
INPUTS = ("glucose", "basal")
UNITS = {"time": "h", "gut": "mg", "plasma": "mg", "glucose": "mmol/L"}
BASE = Schedule((Dose("gut", 0.0, 320.0), Dose("plasma", 1.0, 50.0)), {"basal": Signal((0.0,), (0.4,))})


def parse(text: str, base: Schedule = BASE) -> Schedule:
    return parse_schedule(text, states=STATES, inputs=INPUTS, base=base, units=UNITS)


def test_every_example_of_the_grammar_is_read():
    for example in EXAMPLES:
        assert f"  {example}" in GRAMMAR.splitlines()
        assert parse(example) != BASE or "320 mg -> gut @ 0" in example


def test_what_each_statement_does():
    plasma = Dose("plasma", 1.0, 50.0)
    assert parse("dose 100 mg -> gut @ 2 h") == BASE.do({"gut": [Dose("gut", 2.0, 100.0)]})
    assert parse("dose 100mg->gut @0 every 8h x 3").doses == (
        Dose("gut", 0.0, 100.0),
        plasma,
        Dose("gut", 8.0, 100.0),
        Dose("gut", 16.0, 100.0),
    )
    assert parse("dose 60 -> gut @ 1 every 2 × 2 over .5 h").into("gut") == [
        Dose("gut", 1.0, 60.0, 0.5),
        Dose("gut", 3.0, 60.0, 0.5),
    ]
    assert parse("dose 60 → gut @ 1; dose 40 → gut @ 0; dose 1 → gut @ 1").into("gut") == [
        Dose("gut", 0.0, 40.0),
        Dose("gut", 1.0, 60.0),
        Dose("gut", 1.0, 1.0),
    ]
    assert parse("scale gut by 2") == BASE.scaled("gut", 2.0)
    assert parse("split gut in 4 every 6 h") == BASE.split("gut", 4, 6.0)
    assert parse("clear gut") == BASE.do({"gut": []})
    assert parse("clear gut; dose 5 -> gut @ 3").into("gut") == [Dose("gut", 3.0, 5.0)]
    assert parse("dose 5 -> gut @ 3; scale gut by 2").into("gut") == [Dose("gut", 3.0, 10.0)]
    assert parse("scale gut by 2; split gut in 2 every 12").into("gut") == [
        Dose("gut", 0.0, 320.0),
        Dose("gut", 12.0, 320.0),
    ]
    assert parse("set glucose = 5.0 mmol/L @ 0 h, 9.1 @ 30 held").inputs == {
        **BASE.inputs,
        "glucose": Signal((0.0, 30.0), (5.0, 9.1), "held"),
    }
    assert parse("set glucose = -5 @ -1, 9.1 @ 3e1").inputs["glucose"] == Signal((-1.0, 30.0), (-5.0, 9.1), "linear")
    assert parse("set basal = .4").inputs["basal"] == Signal((0.0,), (0.4,))
    assert parse("") == parse(" ;\n; ") == BASE


def test_quoted_names_and_units():
    text = 'dose 2 "10*6/L" -> "effect site" @ 1; set "u 2" = 3 @ 0'
    units = {"effect site": "10*6/L", "time": "h"}
    read = parse_schedule(text, states=("effect site",), inputs=("u 2",), base=Schedule(), units=units)
    assert read == Schedule((Dose("effect site", 1.0, 2.0),), {"u 2": Signal((0.0,), (3.0,))})
    assert format_schedule(read, units=units) == 'dose 2 "10*6/L" -> "effect site" @ 1 h; set "u 2" = 3 @ 0 h linear'
    with pytest.raises(ValueError, match="cannot be written"):
        format_schedule(Schedule((Dose('a"b', 0.0, 1.0),)))


def test_units_of_a_backbone():
    assert schedule_units(OneCompartmentOral()) == {"gut": "mg", "plasma": "mg", "time": "h"}
    assert schedule_units(VanCauter())["glucose"] == "mmol/L"


# text with ^ before the offending place, words of the sentence
BAD = [
    ("^foo", "'foo' where a statement begins; it begins with dose, scale, split, clear, set"),
    ("dose ^-3 -> gut @ 0", "cannot be negative"),
    ("dose ^mg -> gut @ 0", "number of the dose"),
    ("dose ^1e999 -> gut @ 0", "too large"),
    ("dose 3 ^g -> gut @ 0", "gut is in mg, and this is g; convert the number, then write mg"),
    ("dose 3 -> gut @ 0 ^min", "time is in h, and this is min"),
    ("dose 3 -> gut @ 0 every 8 ^d x 2", "time is in h, and this is d"),
    ("dose 3 -> ^brain @ 1", "the model's are gut, plasma"),
    ("dose 3 ^gut @ 0", "-> and the compartment belong"),
    ("dose 3 mg ^gut @ 0", "-> and the compartment belong"),
    ("dose 3 -> gut^", "where @ and the time of the dose belong"),
    ("dose 3 -> gut @ ^soon", "number of the time"),
    ("dose 3 -> gut @ ^-1", "the record starts at 0"),
    ("dose 3 -> gut @ 0 every ^0 h x 2", "longer than 0"),
    ("dose 3 -> gut @ 0 every 8 h^", "where x and the number of doses"),
    ("dose 3 -> gut @ 0 every 8 h x ^2.5", "whole number from 1 on"),
    ("dose 3 -> gut @ 0 every 8 h x ^0", "whole number from 1 on"),
    ("dose 3 -> gut @ 0 every 8 h x ^1e9", "at most 10000"),
    ("dose 3 -> gut @ 0 over ^-2 h", "longer than 0"),
    ("dose 3 -> gut @ 0 ^dose 3 -> gut @ 1", "write ; between two"),
    ("^dose 3 -> gut @ 1e308 every 1e308 x 9", "must be a finite number"),
    ('dose 3 ^"mg -> gut', "never closed"),
    ("scale gut by 2; dose 3 -> ^gut @ 1", "which an earlier statement scaled or split; put the dose first"),
    ("clear plasma; scale ^plasma by 2", "there is no dose into plasma to scale"),
    ("scale gut ^2", "where by and the factor belong, as in scale gut by 2"),
    ("scale gut by ^-2", "cannot be negative"),
    ("split gut ^every 2", "the number of parts belong, as in split gut in 2 every 12"),
    ("split gut in 2 ^@ 3", "where every and the interval"),
    ("clear ^3", "the name of one compartment"),
    ("set ^insulin = 3 @ 0", "the model's are glucose, basal"),
    ("set glucose ^3 @ 0", "where = and the value belong, as in set glucose = 3"),
    ("set glucose ^to 8", "found 'to' where = and the value belong, as in set glucose = 8"),
    ("^glucose = 8", "a statement begins; it begins with dose, scale, split, clear, set, reset, steady, or from, as in "),
    ("set glucose = 3 ^mg/dL @ 0", "glucose is in mmol/L, and this is mg/dL"),
    ("set basal = 3 ^nmol/L @ 0", "the unit of basal is not known here"),
    ("set glucose = 3 @ 0, 4 @ ^0", "does not come after 0"),
    ("set glucose = 3^, 4", "several values need their times"),
    ("set glucose = 3 @ 0, 4^", "where @ and the time of this value belong"),
    ("set glucose = 3; set ^glucose = 4", "set twice"),
    ("clear gut;\nscale plasma\n  ^2", "where by and the factor belong"),
]


@pytest.mark.parametrize(("marked", "sentence"), BAD, ids=[b[0].replace("\n", " ") for b in BAD])
def test_errors_point_to_the_place(marked, sentence):
    at = marked.index("^")
    text = marked.replace("^", "")
    with pytest.raises(ScheduleTextError) as caught:
        parse(text)
    said, shown, caret = str(caught.value).split("\n")
    assert said.startswith("schedule: ")
    assert sentence in said
    assert caught.value.at == at
    # the caret stands under the same place of the line that is shown
    line = text[: text.find("\n", at) if "\n" in text[at:] else None].rsplit("\n", 1)[-1]
    assert shown == "  " + line
    assert caret == " " * (2 + at - (text.rfind("\n", 0, at) + 1)) + "^"


def test_a_model_without_inputs_says_so():
    with pytest.raises(ScheduleTextError, match="the model has no input"):
        parse_schedule("set glucose = 1", states=STATES, base=Schedule())


finite = st.floats(-1e6, 1e6)
positive = st.floats(1e-9, 1e6)
names = st.text(st.characters(exclude_characters='"\n', exclude_categories=("Cs", "Cc")), min_size=1, max_size=6)


@st.composite
def schedules(draw) -> tuple[Schedule, tuple[str, ...], tuple[str, ...]]:
    states = tuple(draw(st.lists(names, min_size=1, max_size=3, unique=True)))
    inputs = tuple(draw(st.lists(names, max_size=2, unique=True)))
    start = draw(finite)
    later = st.floats(start, start + 1e3)
    infusion = st.one_of(st.just(0.0), positive)
    doses = st.builds(Dose, st.sampled_from(states), later, st.floats(0.0, 1e6), infusion)
    signals = {}
    for name in inputs:
        times = sorted(draw(st.lists(finite, min_size=1, max_size=4, unique=True)))
        values = draw(st.lists(finite, min_size=len(times), max_size=len(times)))
        signals[name] = Signal(tuple(times), tuple(values), draw(st.sampled_from(["linear", "held"])))
    given_doses = sorted(draw(st.lists(doses, max_size=6)), key=lambda d: d.time)
    return Schedule(tuple(given_doses), signals, start), states, inputs


@settings(deadline=None, max_examples=100, derandomize=True)
@given(schedules(), st.booleans())
def test_reading_what_was_written_gives_the_schedule_back(drawn, with_units):
    schedule, states, inputs = drawn
    units = dict.fromkeys((*states, *inputs), "mg/L") | {"time": "/h"} if with_units else None
    text = format_schedule(schedule, units=units)
    again = parse_schedule(text, states=states, inputs=inputs, base=Schedule(start=schedule.start), units=units)
    assert again == schedule


@settings(deadline=None, max_examples=60, derandomize=True)
@given(schedules())
def test_what_is_not_named_is_kept(drawn):
    base, states, inputs = drawn
    state = states[0]
    changed = parse_schedule(f'dose 1 -> "{state}" @ {base.start!r}', states=states, inputs=inputs, base=base)
    assert [d for d in changed.doses if d.state != state] == [d for d in base.doses if d.state != state]
    assert changed.into(state) == [Dose(state, base.start, 1.0)]
    assert changed.inputs == base.inputs
    assert changed.start == base.start


pieces = st.sampled_from(
    [*'012.5;->@=,x"\n ', "-> gut ", "@ 0 ", "dose ", "every ", "over ", "set glucose ", "scale ", " by "]
)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.lists(pieces, max_size=12).map("".join))
def test_any_text_is_a_schedule_or_a_sentence_with_a_caret(text):
    try:
        parse(text)
    except ScheduleTextError as error:  # any other exception fails
        caught = error
    else:
        return
    assert 0 <= caught.at <= len(text)
    assert str(caught).endswith("^")
