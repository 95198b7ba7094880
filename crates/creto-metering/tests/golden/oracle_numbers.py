"""Exact fractions: how the oracle rounds them and writes them down."""

from fractions import Fraction as F


def floor(x):
    return F(x.numerator // x.denominator)


def ceil(x):
    return -floor(-x)


def half_away(x):
    return -half_away(-x) if x < 0 else floor(x + F(1, 2))


def scaled(rounding, x, places):
    unit = F(10) ** places
    return rounding(x * unit) / unit


def text(x):
    """The finite decimal, or None."""
    x = F(x)
    places = 0
    rest = x.denominator
    while rest % 10 == 0:
        rest //= 10
        places += 1
    twos = fives = 0
    while rest % 2 == 0:
        rest //= 2
        twos += 1
    while rest % 5 == 0:
        rest //= 5
        fives += 1
    if rest != 1:
        return None
    places += max(twos, fives)
    digits = str(abs(x) * F(10) ** places).rjust(places + 1, "0")
    sign = "-" if x < 0 else ""
    if places == 0:
        return sign + digits
    return f"{sign}{digits[:-places]}.{digits[-places:]}".rstrip("0").rstrip(".")


def plain(x):
    shown = text(x)
    assert shown is not None, x
    return shown


def expected(x, places=18, up=False):
    """Exactly where there is a decimal; else rounded, and marked so."""
    x = F(x)
    exact = text(x)
    if exact is not None and not up:
        return exact
    rounding, mark = (ceil, "^") if up else (half_away, "@")
    return plain(scaled(rounding, x, places)) + mark + str(places)
