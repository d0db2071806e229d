"""Nested lists of digits under operators (ListOps), of any length: synthetic, labelled by their value."""

from __future__ import annotations

import random as _random
from collections.abc import Sequence

from ..errors import ArgumentError
from .examples import LabelledText, Split

OPERATORS = ("MIN", "MAX", "MED", "SM")
NESTED = 0.25
# Most draws for each list; if more are needed, length and depth are reported as incompatible.
TRIES = 500


def nested_operations(
    *, size: int = 2_000, lengths: tuple[int, int] = (20, 100), depth: int = 10, arguments: int = 10, seed: int = 0
) -> Split[Sequence[LabelledText]]:
    """Return newly generated ListOps examples: "[MAX 2 9 [MIN 4 7 ] 0 ]" is labelled "9".

    The rules. A list is an operator, two to `arguments` arguments (each number equally likely), and "]". An argument
    is another list with probability 1/4, at most `depth` lists deep, else a digit; the outermost is always a list.
    Operators and digits are equally likely. MIN and MAX are the smallest and largest argument, MED the median (of an
    even number the mean of the two in the middle, rounded down), SM the sum modulo 10. So the answer is a digit, ten
    classes, and every part of a list matters for it. "[MAX" is one token, "]" one and a digit one: 15 in all.

    `size`: the number to train on (at most 100,000); dev and test have a tenth of it each, at least 50. `lengths`:
    fewest and most tokens; lists outside are drawn anew, so the operators of short and long ones differ a little.
    `depth`, `arguments`: as above. `seed`: of the draws. No list occurs twice.

    The published size is `lengths=(500, 2000)` with depth and arguments 10, and 96,000 / 2,000 / 2,000 lists; the
    files of that benchmark are not read, so figures are comparable, but not on the same lists. Takes about 1 ms a list
    at the small size, 10 ms at the published one.

    Source: Nangia and Bowman 2018, arXiv:1804.06028; lengths: Tay et al. 2020, arXiv:2011.04006, section 2.2.1.

    >>> nested_operations(size=50).train[0] == nested_operations(size=50).train[0]
    True
    """
    shortest, longest = lengths
    if not 10 <= size <= 100_000:
        raise ArgumentError(f"size is {size}; the rule is 10 to 100,000 lists to train on.")
    if not 8 <= shortest <= longest or longest - shortest < 4:
        raise ArgumentError(f"lengths is {lengths}; give fewest (8 or more) and most tokens, at least 4 apart.")
    if depth < 1 or arguments < 3:
        raise ArgumentError(f"depth is {depth} and arguments {arguments}; they must be at least 1 and 3.")
    if _most(depth, arguments) < shortest:
        raise ArgumentError(
            f"depth {depth} and arguments {arguments} allow {_most(depth, arguments)} tokens, fewer than the "
            f"{shortest} of lengths; raise depth or arguments."
        )
    held = max(50, size // 10)
    found: dict[str, int] = {}
    random = _random.Random(seed)
    tries = 0
    while len(found) < size + 2 * held:
        tries += 1
        if tries > TRIES * (len(found) + 20):
            raise ArgumentError(
                f"Of {tries} lists drawn with depth {depth} and arguments {arguments}, {len(found)} were new and had "
                f"{shortest} to {longest} tokens. Widen lengths, or raise depth or arguments."
            )
        tokens: list[str] = []
        value = _draw(random, depth, arguments, longest, tokens)
        if shortest <= len(tokens) <= longest:
            found[" ".join(tokens)] = value
    examples = [LabelledText(text, (str(value),)) for text, value in found.items()]
    return Split(
        tuple(examples[2 * held :]),
        tuple(examples[:held]),
        tuple(examples[held : 2 * held]),
        f"ListOps by our own generator, {size} / {held} / {held} lists of {shortest} to {longest} tokens, at most "
        f"{depth} deep with 2 to {arguments} arguments.",
    )


def apply_operator(operator: str, values: Sequence[int]) -> int:
    """Apply an operator to digits.

    >>> [apply_operator(name, [3, 9, 4, 6]) for name in OPERATORS]
    [3, 9, 5, 2]
    """
    if operator == "MED":
        ordered, middle = sorted(values), len(values) // 2
        return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) // 2
    if operator == "SM":
        return sum(values) % 10
    return min(values) if operator == "MIN" else max(values)


def _draw(random: _random.Random, depth: int, arguments: int, longest: int, tokens: list[str]) -> int:
    """Append one list to the tokens and return its value; stops early, at any value, if it gets too long."""
    operator = OPERATORS[int(4 * random.random())]
    tokens.append(f"[{operator}")
    values = []
    for _ in range(2 + int((arguments - 1) * random.random())):
        if depth > 1 and random.random() < NESTED:
            values.append(_draw(random, depth - 1, arguments, longest, tokens))
        else:
            values.append(int(10 * random.random()))
            tokens.append(str(values[-1]))
        if len(tokens) > longest:
            break
    tokens.append("]")
    return apply_operator(operator, values)


def _most(depth: int, arguments: int) -> int:
    """Return the number of tokens of the longest possible list."""
    length = 1
    for _ in range(depth):
        length = 2 + arguments * length
    return length
