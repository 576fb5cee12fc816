"""Files of models and clients are what docs/model-file.md says, and nothing else is read."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from model_files import SPECIFICATION, client_bytes, example_bytes, example_graph, parts_of
from samples import fitted

from cipherfit import IntegerGraph, Predictor
from cipherfit.exceptions import CipherfitError, SerializationError
from cipherfit.predictor import container
from cipherfit.predictor.artifact import ModelFile
from cipherfit.predictor.compilation import _FLAGS
from cipherfit.predictor.saving import loads
from cipherfit.predictor.targets import RealTargets


def test_the_examples_bytes_are_those_of_its_model():
    model = Predictor(IntegerGraph.from_bytes(example_graph()), RealTargets(1, True))
    again = loads(example_bytes())
    assert again.graph == model.graph
    assert again.predict([[0.5, 0.25]]).tolist() == model.predict([[0.5, 0.25]]).tolist()
    assert ModelFile.from_bytes(example_bytes()).to_bytes() == example_bytes()


def with_text(old: str, new: str) -> bytes:
    """Return the example with its header changed, and the length of it."""
    data = example_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].decode().rstrip()
    assert header.count(old) == 1, old
    header = header.replace(old, new)
    header = header.ljust(-(-len(header) // 8) * 8).encode()
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def with_value(key: str, value: object, file: bytes | None = None) -> bytes:
    """Return a file with one value changed, and the right checksum."""
    kind, document, tensors = parts_of(file or example_bytes())
    assert key in document
    return container.encode(kind, {**document, key: value}, tensors)


def with_graph(graph: bytes, **values: object) -> bytes:
    kind, document, tensors = parts_of(example_bytes())
    return container.encode(kind, {**document, **values}, {**tensors, "graph": graph})


def with_step(name: str, **parameters: object) -> bytes:
    return with_value("post_processing", [{"name": name, "parameters": parameters}])


def with_transform(kind: str, **parameters: object) -> bytes:
    transform = {"kind": kind, "parameters": parameters}
    return with_value("preparation", {"n_features": 2, "names": None, "transform": transform})


def compiled(backend: object, options: object, specs: object = None, file: bytes = b"") -> bytes:
    value = {"backend": backend, "options": options, "specs": specs}
    return with_value("compiled", value, file)


def nested(depth: int) -> bytes:
    transform: dict = {"kind": "identity", "parameters": {}}
    for _ in range(depth):
        transform = {"kind": "sequence", "parameters": {"steps": [transform]}}
    return with_value("preparation", {"n_features": 2, "names": None, "transform": transform})


def classes(dtype: object, values: object) -> bytes:
    array = {"dtype": dtype, "values": values}
    return with_value("targets", {"kind": "classes", "classes": array})


def longer_zero() -> bytes:
    """Return the example's graph with its last number, 0, in two bytes."""
    return example_graph()[:-1] + b"\x80\x00"


LONG = "9" * 5000
#: Files that break the rules of the specification, by rule, and what is said of them.
BROKEN = [
    (1, lambda: b"", "has 0 bytes, and its header claims 0"),
    (1, lambda: example_bytes()[:7], "has 7 bytes"),
    (1, lambda: example_bytes()[:600], "claims 608 of them"),
    (1, lambda: (2**63 - 1).to_bytes(8, "little") + example_bytes()[8:], "at most 8388608"),
    (1, lambda: (2**24).to_bytes(8, "little") + bytes(2**24), "at most 8388608"),
    (2, lambda: (8).to_bytes(8, "little") + b"[" * 8, "the header is no JSON"),
    (2, lambda: (2**16).to_bytes(8, "little") + b"[" * 2**16, "the header is no JSON"),
    (2, lambda: (2).to_bytes(8, "little") + b"[]", "the header is no JSON object"),
    (2, lambda: (2).to_bytes(8, "little") + b"\xff\xff", "the header is no JSON"),
    (2, lambda: with_text(r"\"n_outputs\":1", r"\"n_outputs\":NaN"), "NaN is not finite"),
    (2, lambda: with_text(r"\"n_outputs\":1", r"\"n_outputs\":-Infinity"), "is not finite"),
    (2, lambda: with_text(r"\"n_outputs\":1", r"\"n_outputs\":" + LONG), "no JSON: Exceeds"),
    (2, lambda: with_text('{"cipherfit":', '{"more":"","cipherfit":'), "not the one text"),
    (2, lambda: with_text('{"cipherfit":', '{"other":'), "not the one text"),
    (3, lambda: with_text('"graph":{', '"grape":{'), "has the parts __metadata__, grape, not"),
    (3, lambda: with_text('"U8"', '"I8"'), "graph is not of bytes"),
    (3, lambda: with_text('"U8"', '"BF16"'), "graph is not of bytes"),
    (3, lambda: with_text("[94]", "[47,2]"), "graph is no vector"),
    (3, lambda: with_text("[94]", "[99999999999999]"), "no safetensors file"),
    (3, lambda: with_text("[94],", f"[{2**70}],"), "no safetensors file"),
    (3, lambda: with_text("[0,94]", "[0,95]"), "no safetensors file"),
    (3, lambda: with_text("[0,94]", "[1,95]"), "no safetensors file"),
    (3, lambda: example_bytes()[:-1], "no safetensors file"),
    (3, lambda: example_bytes() + b"\0", "no safetensors file"),
    (4, lambda: with_text(r"\"format\":1", r"\"format\":2"), "format 2 is unknown"),
    (4, lambda: with_text(r"\"format\":1", r"\"format\":true"), "format True is unknown"),
    (4, lambda: with_text("cipherfit model", "cipherfit client"), "this is no cipherfit model"),
    (4, lambda: client_bytes(), "has the parts __metadata__, graph, specs, not graph"),
    (4, lambda: with_text(r",\"preparation\":null", ""), "the metadata has the keys"),
    (5, lambda: with_text(r"\"n_outputs\":1", r"\"n_outputs\":2"), "checksum is another"),
    (5, lambda: example_bytes()[:-1] + b"\x01", "checksum is another"),
    (6, lambda: with_graph(b"cipherfit"), "graph"),
    (6, lambda: with_graph(longer_zero()), "whose digest is stored"),
    (6, lambda: with_value("graph", "0" * 64), "whose digest is stored"),
    (7, lambda: with_value("certificate", "0" * 64), "the proof of the graph is not"),
    (7, lambda: with_value("certificate", None), "the proof of the graph is not"),
    (8, lambda: with_value("client_layers", "public"), "client_layers='public'"),
    (8, lambda: with_value("client_layers", []), "client_layers="),
    (8, lambda: with_value("versions", {"cipherfit": "1"}), "the versions are not"),
    (8, lambda: with_value("versions", {"cipherfit": "1", "numpy": 2}), "the versions are not"),
    (8, lambda: with_value("targets", {"kind": "ranks"}), "neither classes nor real values"),
    (8, lambda: with_value("targets", None), "neither classes nor real values"),
    (8, lambda: classes("i8", [1]), "one class only"),
    (8, lambda: classes("c16", [1, 2]), "'c16' is no type"),
    (8, lambda: classes([], [1, 2]), "is no type"),
    (8, lambda: classes("i8", 5), "the values are no list"),
    (8, lambda: classes("i8", [1, True]), "True is no entry of type i8"),
    (8, lambda: classes("i8", [1, 2**63]), "classes"),
    (8, lambda: classes("f8", [1, 2.5]), "1 is no entry of type f8"),
    (8, lambda: classes("f8", [{"float": "nan"}, 2.5]), "a class is no finite number"),
    (8, lambda: classes("O", [2**64, "a"]), "is no entry of type O"),
    (8, lambda: classes("O", [[], "a"]), r"\[\] is no entry of type O"),
    (8, lambda: classes("U9999", ["a"] * 2000), "texts of 9999 characters are too long"),
    (8, lambda: with_value("post_processing", {}), "no list of at most 64 steps"),
    (8, lambda: with_value("post_processing", [{}] * 65), "no list of at most 64 steps"),
    (8, lambda: with_value("post_processing", [{"name": "exp"}]), "no name with parameters"),
    (8, lambda: with_step("eval"), "the post-processing 'eval' is unknown"),
    (8, lambda: with_step("exp", out=1.0), "exp has other parameters"),
    (8, lambda: with_step("clip", low=0, high=1.0), "low of clip is no finite number"),
    (8, lambda: with_value("compiled", {"backend": "bfv"}), "no back end with options"),
    (8, lambda: compiled([], {}), "is unknown"),
    (8, lambda: compiled("concrete", {}), "not those that"),
    (8, lambda: with_value("preparation", []), "the preparation is not features"),
    (8, lambda: nested(18), "more than 16 deep"),
    (8, lambda: with_transform("pickle"), "the transform 'pickle' is unknown"),
    (8, lambda: with_transform("identity", a=1), "identity has other parameters"),
    (8, lambda: with_transform("sequence", steps=3), "steps of sequence is not of type"),
    (8, lambda: with_transform("sequence", steps=[3]), "no kind with parameters"),
    (8, lambda: with_transform("bins", edges=[], one_hot=0), "one_hot of bins is not of type"),
    (9, lambda: with_value("feature_names", ["a"]), "1 feature names for 2 features"),
    (9, lambda: with_value("feature_names", ["a", 2]), "no list of texts"),
    (9, lambda: classes("i8", [1, 2]), "there are 2 classes or targets"),
    (9, lambda: with_step("affine", scale=[1.0, 2.0], shift=0.0), "values of shape"),
    (9, lambda: with_step("affine", scale=[1.0, 2.0], shift=[1.0] * 3), "doesn't fit"),
    (
        10,
        lambda: compiled("bfv", {"flooding_bits": 9}),
        "the back end can't run this graph",
    ),
    (11, lambda: with_text('"__metadata__":', '"__metadata__": '), "not in canonical form"),
    (11, lambda: with_text(r"\"format\":1", r"\"format\":1,\"format\":1"), "canonical form"),
    (11, lambda: with_text('{"cipherfit":', '{"cipherfit":"","cipherfit":'), "canonical form"),
    (11, lambda: with_text("cipherfit model", "\\\\u0063ipherfit model"), "canonical form"),
    (11, lambda: with_step("affine", scale=[1.0], shift=[]), "doesn't fit|shape"),
    (11, lambda: classes("u1", [1, 300]), "classes|canonical"),
    (11, lambda: classes("U1", ["a", "bb"]), "classes|canonical"),
]


@pytest.mark.parametrize(
    ("broken", "message"),
    [case[1:] for case in BROKEN],
    ids=[f"rule {rule}, {index}" for index, (rule, *_) in enumerate(BROKEN)],
)
def test_a_file_that_breaks_a_rule_is_refused(broken, message):
    with pytest.raises(SerializationError, match=message) as caught:
        loads(broken())
    assert len(str(caught.value)) < 1000


def test_every_rule_of_the_specification_has_a_file_that_breaks_it():
    rules = SPECIFICATION.partition("## What a reader must refuse")[2].partition("## An")[0]
    numbers = {int(number) for number in re.findall(r"^(\d+)\. ", rules, re.MULTILINE)}
    assert numbers == {rule for rule, *_ in BROKEN} == set(range(1, 12))


def test_the_specification_names_every_transform_and_step():
    from cipherfit.predictor.postprocessing import FUNCTIONS
    from cipherfit.predictor.preparation import _SCHEMAS
    from cipherfit.predictor.transforms import TRANSFORMS

    for name in FUNCTIONS:
        assert f"`{name}`" in SPECIFICATION
    for kind, schema in _SCHEMAS.items():
        (row,) = re.findall(rf"^\| `{kind}` \| (.*?) \|", SPECIFICATION, re.MULTILINE)
        assert re.findall(r"`(\w+)`", row) == list(schema)
    assert {*TRANSFORMS, "sequence", "columns"} == set(_SCHEMAS)


def concrete(specs: object = None, **changed: object) -> bytes:
    flags = dict.fromkeys(_FLAGS, False)
    options = {**flags, "p_error": 0.01, "global_p_error": None, "n_output_bits": None, **changed}
    return compiled("concrete", options, specs)


def test_options_that_a_file_names_are_checked():
    assert ModelFile.from_bytes(concrete()).compiled.options["p_error"] == 0.01
    for changed, message in [
        ({"p_error": 1.5}, "p_error=1.5 must be"),
        ({"p_error": True}, "p_error=True must be"),
        ({"single_precision": 1}, "single_precision=1 must be"),
        ({"n_output_bits": 2}, "n_output_bits=2 must be"),
        ({"n_output_bits": 7.0}, "n_output_bits=7.0 must be"),
        ({"n_output_bits": True}, "n_output_bits=True must be"),
        ({"security_level": 10}, "not those that are stored"),
        ({"use_insecure_key_cache": True}, "not those that are stored"),
    ]:
        with pytest.raises(SerializationError, match=message):
            loads(concrete(**changed))
    head = fitted("iris", n_layers=1).predictor_
    for bits in (65, -1, True, 1.0):
        with pytest.raises(SerializationError, match="flooding_bits in"):
            loads(compiled("bfv", {"flooding_bits": bits}, file=head.to_bytes()))
    for specs in ("0" * 63, "G" * 64, 7):
        with pytest.raises(SerializationError, match="must be a SHA-256"):
            loads(concrete(specs))


@pytest.mark.parametrize(
    "claim",
    [
        lambda: (2**40).to_bytes(8, "little") + example_bytes()[8:],
        lambda: with_text("[94]", f"[{2**40}]"),
        lambda: with_text("[0,94]", f"[0,{2**40}]"),
        lambda: classes("U1000", ["a"] * 100_000),
        lambda: with_value("targets", {"kind": "real", "n_outputs": 2**40, "flat": False}),
    ],
)
def test_what_a_file_claims_takes_no_memory(claim):
    data = claim()
    tracemalloc.start()
    try:
        with pytest.raises(SerializationError):
            loads(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30 * len(data) + 1_000_000


def test_a_preparation_that_lies_is_an_error_of_its_rows():
    array = {"dtype": "f8", "values": [1.0, 2.0, 3.0]}
    places = {"dtype": "i8", "values": [2**62]}
    category = {"dtype": "f8", "values": [1.0]}
    none = {"dtype": "i8", "values": [-1]}
    for data in (
        with_transform("standardize", center=array, scale=None),
        with_transform("columns", columns=[{"dtype": "i8", "values": [7]}], steps=[]),
        with_transform(
            "sequence", steps=[{"kind": "columns", "parameters": {"columns": [], "steps": []}}]
        ),
        with_transform(
            "columns",
            columns=[{"dtype": "i8", "values": [0]}],
            steps=[
                {
                    "kind": "one_hot",
                    "parameters": {
                        "categories": [category],
                        "places": [places],
                        "unknown": none,
                        "refuse_unknown": False,
                    },
                }
            ],
        ),
    ):
        model = loads(data)
        with pytest.raises(CipherfitError):
            model.predict([[1.0, 2.0]])
