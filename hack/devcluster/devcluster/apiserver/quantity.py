"""resource.Quantity: parsing and the canonical form in which Go writes it."""

from __future__ import annotations

import re
from decimal import ROUND_UP, Decimal

_FORM = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)\Z")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL_NAMES = {power: name for name, power in _DECIMAL.items()}

FORM_MESSAGE = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)


def parse(text: str) -> Decimal:
    """The numeric value of a quantity. Raises ValueError with Go's message."""
    match = _FORM.match(text)
    if match is None:
        raise ValueError(FORM_MESSAGE)
    number, exponent, suffix = match.groups()
    value = Decimal(number)
    if exponent:
        return value.scaleb(int(exponent[1:]))
    if suffix in _BINARY:
        return value * Decimal(1024 ** _BINARY[suffix])
    return value.scaleb(_DECIMAL[suffix or ""])


def canonical(text: str) -> str:
    """The form in which the API server writes `text`: `1000m` is `1`, `0.5` is `500m`, `1024Mi` is `1Gi`."""
    value = parse(text)
    match = _FORM.match(text)
    _, exponent, suffix = match.groups() if match is not None else ("", None, None)
    value = value.quantize(Decimal("1e-9"), rounding=ROUND_UP)
    if value == 0:
        return "0"
    if suffix in _BINARY and value == value.to_integral_value() and abs(value) >= 1024:
        return _binary(int(value))
    return _decimal(value, exponent_form=bool(exponent))


def _binary(value: int) -> str:
    power = 0
    while power < 6 and value % 1024 == 0:
        value //= 1024
        power += 1
    return f"{value}{'KMGTPE'[power - 1]}i" if power else str(value)


def _decimal(value: Decimal, *, exponent_form: bool) -> str:
    nanos = int(value.scaleb(9))
    power = -9
    while power < 18 and nanos % 1000 == 0:
        nanos //= 1000
        power += 3
    if exponent_form:
        return f"{nanos}e{power}" if power else str(nanos)
    return f"{nanos}{_DECIMAL_NAMES[power]}"
