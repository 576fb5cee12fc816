"""What is to be known of a model first, in sentences."""

from __future__ import annotations

from cipherfit.report.data import Identity, Journey, Party
from cipherfit.report.measured import Compared, Errors, Quality
from cipherfit.report.proven import Proof
from cipherfit.report.words import number, points, power_of_two, signed


def summary_of(
    identity: Identity,
    proof: Proof,
    journey: Journey,
    quality: Quality | None,
    errors: Errors,
    parties: tuple[Party, ...],
) -> tuple[str, ...]:
    """Return the sentences: how good it is, beside what; what is proven, learned and erroneous."""
    said = []
    if quality is not None:
        said += [_compared(way, bool(identity.classes)) for way in quality.others]
    said.append(
        f"Proven: for each of the {power_of_two(journey.n_codes * journey.code_bits)} inputs that "
        f"there can be, every accumulator fits {proof.max_bits} bits. Nothing was sampled."
    )
    said += [f"Mind: {told}." for told in _loud(parties)]
    said.append(_errors(errors, bool(identity.classes)))
    return tuple(said)


def _compared(way: Compared, is_classifier: bool) -> str:
    """Say whether something else is better, as far as these rows tell."""
    difference = way.difference
    assert difference is not None
    scale, digits, unit = (100, 1, " points of accuracy") if is_classifier else (1, 3, " in R2")
    low, high = (signed(scale * end, digits) for end in (difference.low, difference.high))
    name = (
        way.name.replace("its", "Its", 1) if way.name.startswith("its") else way.name.capitalize()
    )
    if difference.low > 0:
        return f"{name} is better on these rows: {low} to {high}{unit}."
    if difference.high < 0:
        return f"{name} is worse on these rows: {low} to {high}{unit}."
    return f"{name} is neither better nor worse, as far as these rows tell: {low} to {high}{unit}."


def _loud(parties: tuple[Party, ...]) -> list[str]:
    """Return what is held or learned, and may surprise."""
    return [
        told
        for party in parties
        for told in (*party.holds, *party.learns)
        if told.startswith(("THE", "sums without lookups"))
    ]


def _errors(errors: Errors, is_classifier: bool) -> str:
    if not errors.n_lookups:
        return "Encrypted answers are those in clear, exactly: there are no lookups that could err."
    if errors.drop_bound is None:
        return f"Encrypted lookups err now and then, each with probability {errors.p_error:.3g}."
    if errors.drop_bound <= 0:
        return (
            f"Encrypted lookups err now and then, each with probability {errors.p_error:.3g}: that "
            "costs nothing that these rows could show."
        )
    bound = errors.drop_bound
    most = f"{points(bound)} of accuracy" if is_classifier else f"{number(bound, 2)} of R2"
    return (
        f"Encrypted lookups err now and then, each with probability {errors.p_error:.3g}: that "
        f"costs at most {most}, with 95 % confidence."
    )
