"""What is asked of a generator: conditions of other classes, prompts that are encoded once, and what is refused."""

from dataclasses import replace

import pytest
import torch

from snellen.core.errors import InputError
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.models.diffusion.generator import Generator

NAMES = ("dog", "cat", "horse")


@pytest.fixture(scope="module")
def prompted(smoke):
    return smoke("stable-diffusion-1.5")


@pytest.fixture(scope="module")
def classed(smoke):
    return smoke("class-unet")


def of_prompts(generator, classes=(0, 1, 1), templates=("a {}", "a red {}", "no blank")):
    return GeneratorCall(generator, tuple(range(len(classes))), NAMES, torch.tensor(classes), templates)


def test_the_condition_of_another_class_is_the_encoding_of_its_prompt(prompted):
    asked = of_prompts(prompted)
    assert asked.captions == ("a dog", "a red cat", "no blank")
    found = asked.condition(torch.tensor([2, 0]), rows=[1, 0])
    wanted = prompted.encode_prompts(["a red horse", "a dog"])
    torch.testing.assert_close(found.text, wanted.text)
    torch.testing.assert_close(asked.own.text, prompted.encode_prompts(asked.captions).text)
    torch.testing.assert_close(asked.nothing.text, prompted.null(3).text)
    assert asked.own is asked.own
    torch.testing.assert_close(asked.condition(torch.tensor([0, 1, 1])).text, asked.own.text)


def test_two_towers_and_sizes_go_along(smoke):
    generator = smoke("stable-diffusion-xl")
    asked = GeneratorCall(generator, (0, 1), NAMES, torch.tensor([0, 1]), ("a {}", "a {}"))
    found, wanted = asked.condition(torch.tensor([1, 2])), generator.encode_prompts(["a cat", "a horse"])
    for name, tensor in wanted.tensors().items():
        torch.testing.assert_close(found.tensors()[name], tensor)


def test_each_different_prompt_is_encoded_once(prompted, monkeypatch):
    encoded, encode = [], Generator.encode_prompts
    monkeypatch.setattr(
        Generator, "encode_prompts", lambda self, prompts: encoded.extend(prompts) or encode(self, prompts)
    )
    asked = of_prompts(prompted, (0, 1, 0), ("a {}",) * 3)
    for classes in ([0, 1, 0], [1, 1, 1], [2, 0, 2], [2, 2, 2]):
        asked.condition(torch.tensor(classes))
    assert asked.own.count == 3
    assert sorted(encoded) == ["a cat", "a dog", "a horse"]


def test_classes_are_matched_by_name_and_not_by_number(classed):
    generator = replace(
        classed, class_names=("cat", "horse", "dog", *(f"n{row}" for row in range(classed.classes - 3)))
    )
    asked = GeneratorCall(generator, (1, 2), NAMES, torch.tensor([0, 1]))
    assert asked.own.classes.tolist() == [2, 0]
    assert asked.condition(torch.tensor([2]), rows=torch.tensor([1])).classes.tolist() == [1]
    assert asked.captions == ("dog", "cat")
    with pytest.raises(InputError, match=r"has cat, horse, dog.*the other dog, bird"):
        GeneratorCall(generator, (1,), ("dog", "bird"), torch.tensor([0]))


def test_two_classes_of_one_name_stay_two(classed):
    names = ("crane", "dog", "crane", *(f"n{row}" for row in range(classed.classes - 3)))
    generator = replace(classed, class_names=names)
    assert GeneratorCall(generator, (1, 2), names, torch.tensor([2, 0])).own.classes.tolist() == [2, 0]
    assert GeneratorCall(generator, (1,), ("dog", "n0"), torch.tensor([1])).own.classes.tolist() == [3]
    with pytest.raises(InputError, match="several classes called 'crane'"):
        GeneratorCall(generator, (1,), ("dog", "crane"), torch.tensor([1]))


def test_classes_without_names_are_called_by_their_numbers(classed):
    asked = GeneratorCall(replace(classed, class_names=None), (1,), ("class 0", "class 2"), torch.tensor([1]))
    assert asked.own.classes.tolist() == [2]


def test_a_generator_that_takes_nothing_has_one_condition(smoke):
    asked = GeneratorCall(smoke("unconditional-unet"), (1, 2), NAMES, torch.tensor([0, 1]))
    assert asked.own is asked.nothing
    assert len(asked.own) == 2
    with pytest.raises(InputError, match="takes nothing, so it cannot take a class"):
        asked.condition(torch.tensor([0, 1]))


def test_an_image_without_a_class_is_its_prompt_alone(prompted):
    asked = of_prompts(prompted, (-1, 1), ("no blank", "a {}"))
    assert asked.captions == ("no blank", "a cat")
    with pytest.raises(InputError, match="has a blank for a class, but its image has none"):
        _ = of_prompts(prompted, (-1,), ("a {}",)).own


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda g: GeneratorCall(g, (1, 2), NAMES, torch.tensor([0]), ("a {}",)), "one seed, class and template"),
        (lambda g: GeneratorCall(g, (), NAMES, torch.zeros(0, dtype=torch.int64), ()), "one seed, class and template"),
        (lambda g: GeneratorCall(g, (1,), NAMES, torch.tensor([3]), ("a {}",)), "numbered 0 to 2"),
        (lambda g: GeneratorCall(g, (1,), NAMES, torch.tensor([0.0]), ("a {}",)), "int64"),
        (lambda g: GeneratorCall(g, (1,), NAMES, torch.tensor([0])), "takes prompts; templates are for prompts alone"),
        (lambda g: of_prompts(g).condition(torch.tensor([0])), "1 classes came for 3 images"),
        (lambda g: of_prompts(g).condition(torch.tensor([0, 1, 5])), "numbered 0 to 2; got 5"),
        (lambda g: of_prompts(g).condition(torch.tensor([0, 1, 2])), "'no blank' does not say where its class is"),
    ],
)
def test_what_does_not_fit_is_refused(prompted, make, message):
    with pytest.raises(InputError, match=message):
        make(prompted)
