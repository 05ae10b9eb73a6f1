"""Letters of schemes, changed as options ask for: which scales, and how levels lie."""

from __future__ import annotations

from qtool.numeric.scheme import FORM, MAPPINGS

_LINEAR = {"s": "s", "u": "u"}


def lettered(text: str, symmetric: bool) -> str:
    """The scheme with s or u, symmetric or not, written out where neither is."""
    match = FORM.fullmatch(text.strip().lower())
    if not match:
        return text
    letter = "s" if symmetric else "u"
    w_codes, w_sign, where, a_codes, a_sign = match.groups()
    activation = _rest(a_codes, a_sign or letter)
    return f"w{w_codes}{w_sign or letter}{where or ''}{activation}"


def unlettered(text: str) -> str:
    """The scheme without s and u."""
    match = FORM.fullmatch(text.strip().lower())
    if not match:
        return text
    w_codes, w_sign, where, a_codes, _ = match.groups()
    letter = "" if w_sign in _LINEAR else w_sign
    return f"w{w_codes}{letter}{where or ''}{_rest(a_codes, None)}"


def mapped(text: str, mapping: str) -> str:
    """The scheme with the letter of that mapping, and its activations left in float if that is one
    of codebooks, since integer kernels multiply evenly spaced codes."""
    match = FORM.fullmatch(text.strip().lower())
    if not match:
        return text
    letter = next(letter for letter, name in MAPPINGS.items() if name == mapping)
    w_codes, w_sign, where, a_codes, a_sign = match.groups()
    if not letter:
        kept = "" if (where or "").startswith("g") else where or ""
        return f"w{w_codes}{_LINEAR.get(w_sign, '')}{kept}{_rest(a_codes, a_sign)}"
    return f"w{w_codes}{letter}{where or ''}"


def mapping_of(text: str) -> str | None:
    """What the letters of a scheme say of how levels lie; None where they say nothing."""
    match = FORM.fullmatch(text.strip().lower())
    if not match or not (match[2] or match[4]):
        return None
    return MAPPINGS.get(match[2], "linear")


def _rest(a_codes: str | None, a_sign: str | None) -> str:
    return f"a{a_codes}{a_sign or ''}" if a_codes else ""
