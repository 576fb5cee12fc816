"""What a report says of a model: numbers and texts, without a word of how they look."""

from __future__ import annotations

from dataclasses import dataclass

from cipherfit.costs import FheEstimate
from cipherfit.report.measured import Compared, Encrypted, Errors, Quality
from cipherfit.report.proven import LayerProof, Proof


@dataclass(frozen=True)
class Fact:
    """A thing with a value, and what is to be known of it.

    Parameters
    ----------
    name, value : str
        What, and how much.
    note : str, default=""
        What it means.
    """

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Missing:
    """What a report lacks.

    Parameters
    ----------
    what, how : str
        What it is, and how to get it.
    """

    what: str
    how: str


@dataclass(frozen=True)
class Feature:
    """A feature of the network.

    Parameters
    ----------
    name : str
        Its name, or its number.
    low, high : float
        Real values of its least and largest code.
    step : float
        What a code stands for.
    seen_low, seen_high : float or None
        The range of the test rows.
    clipped : float or None
        The share of test rows beyond the codes.
    """

    name: str
    low: float
    high: float
    step: float
    seen_low: float | None = None
    seen_high: float | None = None
    clipped: float | None = None


@dataclass(frozen=True)
class Identity:
    """What a model is.

    Parameters
    ----------
    facts : tuple of Fact
        Its sizes, and what it was trained as.
    features : tuple of Feature
        The first of its features.
    n_features : int
        All of them.
    classes : tuple of str
        The first of its classes; none where it predicts real values.
    n_classes : int
        All of them.
    counts : tuple of int
        Test rows of each class that is named; none without test rows.
    """

    facts: tuple[Fact, ...]
    features: tuple[Feature, ...]
    n_features: int
    classes: tuple[str, ...]
    n_classes: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Journey:
    """The way of a row, from features to an answer.

    Parameters
    ----------
    n_features : int
        Raw features.
    steps : tuple of str
        What is computed of them before the network.
    n_codes, code_bits : int
        Codes of a row, and their bits.
    client_layers : tuple of int
        Neurons of the layers that the client computes in clear.
    n_sent, n_sums : int
        Codes that are encrypted, and sums that come back.
    server_layers : tuple of LayerProof
        What the server computes.
    post_processing : tuple of str
        What the client computes of the sums.
    """

    n_features: int
    steps: tuple[str, ...]
    n_codes: int
    code_bits: int
    client_layers: tuple[int, ...]
    n_sent: int
    n_sums: int
    server_layers: tuple[LayerProof, ...]
    post_processing: tuple[str, ...]


@dataclass(frozen=True)
class Party:
    """What someone holds and learns.

    Parameters
    ----------
    name : str
        Who.
    holds, learns, never : tuple of str
        What is theirs, what a run tells them, and what it doesn't.
    """

    name: str
    holds: tuple[str, ...]
    learns: tuple[str, ...]
    never: tuple[str, ...]


@dataclass(frozen=True)
class KeyFacts:
    """Parameters of one key or kind of ciphertext.

    Parameters
    ----------
    name : str
        Which.
    dimension : int
        Of the lattice.
    noise : float
        log2 of the noise's standard deviation, as a part of the modulus.
    least_noise : float
        What 128 bits of security need at this dimension.
    form : str, default=""
        How it is made up: polynomials, levels and bits of the decomposition.
    """

    name: str
    dimension: int
    noise: float
    least_noise: float
    form: str = ""


@dataclass(frozen=True)
class Security:
    """What the encryption rests on.

    Parameters
    ----------
    scheme : str
        TFHE or BFV.
    claim : str
        What level is claimed, and by whom.
    check : str
        What was checked here.
    facts : tuple of Fact
        Parameters.
    keys : tuple of KeyFacts
        Dimensions and noise of each key.
    """

    scheme: str
    claim: str
    check: str
    facts: tuple[Fact, ...]
    keys: tuple[KeyFacts, ...]


@dataclass(frozen=True)
class FrontPoint:
    """A network that a search has tried.

    Parameters
    ----------
    name : str
        What tells it from others: "A", "B", ... on the front, else its number.
    seconds : float
        Modelled seconds per encrypted row.
    score, score_error : float
        Of held-out rows; the error is NaN where there was one fold.
    n_lookups : int
        Encrypted lookups per row.
    kind, secret, parameters : str
        What it is, and what stays secret.
    on_front, is_chosen : bool
        Whether none is faster and as accurate, and whether it was taken.
    """

    name: str
    seconds: float
    score: float
    score_error: float
    n_lookups: int
    kind: str
    secret: str
    parameters: str
    on_front: bool
    is_chosen: bool


@dataclass(frozen=True)
class Front:
    """What a search has found.

    Parameters
    ----------
    points : tuple of FrontPoint
        Fastest first: the front, and others up to a number.
    n_designs : int
        All that were tried.
    max_latency : float or None
        As it was given.
    is_this : bool
        Whether the model of the report is the one that was chosen.
    """

    points: tuple[FrontPoint, ...]
    n_designs: int
    max_latency: float | None
    is_this: bool


@dataclass(frozen=True)
class Software:
    """A program that the model was made or is run with.

    Parameters
    ----------
    name, version, licence : str
        As installed.
    note : str, default=""
        What it is for.
    """

    name: str
    version: str
    licence: str
    note: str = ""


@dataclass(frozen=True)
class ReportData:
    """All that a report shows.

    Parameters
    ----------
    title : str
        Its heading.
    made : str
        When.
    is_classifier : bool
        Whether the model predicts classes.
    summary : tuple of str
        What is to be known first, a sentence each.
    identity, proof, journey, errors
        Always there.
    parties : tuple of Party
        Who learns what.
    quality : Quality or None
        None without test rows with labels.
    encrypted : Encrypted or None
        None where no rows were run encrypted.
    costs : FheEstimate or None
        None where the model is not compiled, or what it needs is not installed.
    security : Security or None
        As `costs`.
    front : Front or None
        Where a search is given.
    software : tuple of Software
        What it was made and is run with.
    licences : tuple of str
        What is to be known of them.
    missing : tuple of Missing
        What is not there.
    """

    title: str
    made: str
    is_classifier: bool
    summary: tuple[str, ...]
    identity: Identity
    proof: Proof
    journey: Journey
    parties: tuple[Party, ...]
    errors: Errors
    quality: Quality | None
    encrypted: Encrypted | None
    costs: FheEstimate | None
    security: Security | None
    front: Front | None
    software: tuple[Software, ...]
    licences: tuple[str, ...]
    missing: tuple[Missing, ...]

    @property
    def score_name(self) -> str:
        """What scores are."""
        return "accuracy" if self.is_classifier else "R2"

    @property
    def encrypted_scores(self) -> tuple[Compared, ...]:
        """Scores in clear and encrypted, as predicted and as measured, where they are known."""
        known = []
        if self.quality is not None:
            how = self.quality.method.partition(";")[0]
            rows = f"{self.quality.n_rows:,} test rows, {how}"
            known.append(Compared("in clear", self.quality.score.score, note=rows))
        errors, encrypted = self.errors, self.encrypted
        if errors.score is not None:
            rows = (
                f"where one pass over {errors.n_rows:,} test rows lies, by {errors.n_passes} "
                "simulated passes (normal interval)"
            )
            known.append(Compared("encrypted, predicted", errors.score, note=rows))
        if encrypted is not None and encrypted.score and encrypted.clear_score:
            rows = f"{encrypted.n_rows:,} that were run encrypted, Wilson's score interval"
            known.append(Compared("encrypted, measured", encrypted.score, note=rows))
            known.append(Compared("the same rows in clear", encrypted.clear_score))
        return tuple(known)
