"""Stems against the examples of the paper."""

from snellen.metrics.caption_measures import meteor
from snellen.metrics.word_stems import stem

#: Words and stems of Porter 1980, all steps together.
PUBLISHED = (
    "caresses:caress ponies:poni ties:ti cats:cat feed:feed agreed:agre plastered:plaster bled:bled "
    "motoring:motor sing:sing conflated:conflat troubled:troubl sized:size hopping:hop tanned:tan "
    "falling:fall hissing:hiss fizzed:fizz failing:fail filing:file happy:happi sky:sky relational:relat "
    "conditional:condit rational:ration valenci:valenc digitizer:digit conformabli:conform "
    "radicalli:radic differentli:differ vileli:vile vietnamization:vietnam predication:predic "
    "operator:oper feudalism:feudal decisiveness:decis hopefulness:hope callousness:callous "
    "formaliti:formal sensitiviti:sensit sensibiliti:sensibl triplicate:triplic formative:form "
    "formalize:formal electriciti:electr electrical:electr hopeful:hope goodness:good revival:reviv "
    "allowance:allow inference:infer airliner:airlin gyroscopic:gyroscop adjustable:adjust "
    "defensible:defens irritant:irrit replacement:replac adjustment:adjust dependent:depend "
    "adoption:adopt homologou:homolog communism:commun activate:activ angulariti:angular "
    "homologous:homolog effective:effect bowdlerize:bowdler probate:probat rate:rate cease:ceas "
    "controll:control roll:roll "
)


def test_the_examples_of_the_paper() -> None:
    for pair in PUBLISHED.split():
        word, _, expected = pair.partition(":")
        assert stem(word) == expected, word


def test_numbers_and_short_words_stay() -> None:
    assert [stem(one) for one in ("is", "a", "1990s")] == ["is", "a", "1990s"]


def test_synonyms_and_stems_are_worth_as_much_as_the_word() -> None:
    exact = meteor(["a red star"], [["a red star"]])
    assert meteor(["a scarlet stars"], [["a red star"]], [["red", "scarlet"]]) == exact
    assert meteor(["a scarlet star"], [["a red star"]], [["blue", "cobalt"]]) < exact
    assert meteor(["a scarlet star"], [["a red star"]]) == meteor(["a scarlet star"], [["a red star"]], [])
