"""Files of models and clients are what docs/model-file.md says, and nothing else is read."""

from __future__ import annotations

import copy
import json
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from core_graphs import random_parts
from hypothesis import given
from hypothesis import strategies as st
from samples import fitted, load
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import cipherfit
from cipherfit import ClientModel, IntegerGraph, Predictor
from cipherfit.exceptions import (
    CipherfitError,
    InvalidInputError,
    InvalidParameterError,
    NotCompiledError,
    SerializationError,
)
from cipherfit.predictor import container
from cipherfit.predictor.artifact import ModelFile
from cipherfit.predictor.compilation import _FLAGS
from cipherfit.predictor.pipelines import preparation_of
from cipherfit.predictor.saving import loads
from cipherfit.predictor.targets import RealTargets
from cipherfit.stages import encrypted_part

DOCS = Path(__file__).parents[2] / "docs"
SPECIFICATION = (DOCS / "model-file.md").read_text()


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", page.partition("## An example")[2], re.DOTALL)


def example_graph() -> bytes:
    lines = blocks((DOCS / "format.md").read_text(), "text")[0].splitlines()
    return bytes.fromhex("".join(line.partition("#")[0] for line in lines))


def example_bytes() -> bytes:
    """Return the specification's example."""
    (length,), (header,) = blocks(SPECIFICATION, "text"), blocks(SPECIFICATION, "json")
    data = bytes.fromhex(length)
    header = header.rstrip("\n").encode().ljust(int.from_bytes(data, "little"))
    return data + header + example_graph()


def test_the_examples_bytes_are_those_of_its_model():
    model = Predictor(IntegerGraph.from_bytes(example_graph()), RealTargets(1, True))
    again = loads(example_bytes())
    assert again.graph == model.graph
    assert again.predict([[0.5, 0.25]]).tolist() == model.predict([[0.5, 0.25]]).tolist()
    assert ModelFile.from_bytes(example_bytes()).to_bytes() == example_bytes()


def parts_of(data: bytes) -> tuple[str, dict, dict]:
    """Return kind, metadata and parts of a file, unchecked."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    document = json.loads(header.pop("__metadata__")["cipherfit"])
    body = data[8 + length :]
    tensors = {name: body[slice(*entry["data_offsets"])] for name, entry in header.items()}
    kind = document.pop("kind")
    del document["format"], document["sha256"]
    return kind, document, tensors


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


def client_bytes(n_layers: int = 1) -> bytes:
    model = copy.deepcopy(fitted("iris", n_layers=n_layers))
    model.compile()
    return model.predictor_.client_model().to_bytes()


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
    options = {**flags, "p_error": 0.01, "global_p_error": None, **changed}
    return compiled("concrete", options, specs)


def test_options_that_a_file_names_are_checked():
    assert ModelFile.from_bytes(concrete()).compiled.options["p_error"] == 0.01
    for changed, message in [
        ({"p_error": 1.5}, "p_error=1.5 must be"),
        ({"p_error": True}, "p_error=True must be"),
        ({"single_precision": 1}, "single_precision=1 must be"),
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


@pytest.fixture(scope="module")
def files():
    """Files of each kind, and what each of them answers."""
    X = load("iris")[0][:20]
    own = fitted("iris").predictor_
    scaled = own.with_preparation(preparation_of([("scaler", StandardScaler().fit(X))]))
    coded = np.arange(4.0)[:, None] % 3
    encoder = preparation_of([("encoder", OneHotEncoder().fit(coded))])
    graph = IntegerGraph.from_layers(**random_parts(0, (3, 4, 2)))
    encoded = Predictor(graph, RealTargets(2, False), preparation=encoder)
    sums = fitted("iris", n_layers=1).graph_.simulate(np.arange(80).reshape(20, 4))
    return [
        (example_bytes(), loads, [[0.5, 0.25]]),
        (own.to_bytes(), loads, X),
        (scaled.to_bytes(), loads, X),
        (encoded.to_bytes(), loads, coded),
        (client_bytes(), ClientModel.from_bytes, (X, sums)),
    ]


def answers_of(model, X):
    if isinstance(model, ClientModel):
        return [*model.encode(X[0]).tolist(), *model.answer_proba(X[1]).tolist()]
    return np.asarray(model.predict(X)).tolist()


def mutant(data: bytes, random: np.random.Generator) -> bytes:
    """Return bytes with some changed, cut, doubled or put in."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(len(changed) + 1))
        length = int(random.integers(1, 9))
        match random.integers(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << int(random.integers(8))
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length]
            case _:
                changed[at:at] = random.bytes(length)
    return bytes(changed)


#: What values of metadata are replaced by.
HOSTILE = [None, True, -1, 0, 2**63, 1e308, -0.0, "", "graph", [], {}, [[]], {"dtype": "O"}]


def altered(value: object, random: np.random.Generator) -> object:
    """Return plain values with one of them, somewhere inside, replaced, dropped or doubled."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = list(value)[random.integers(len(value))]
        return {**value, key: altered(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.9:
        at = int(random.integers(len(value)))
        match random.integers(3):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[:at] + value[at : at + 1] + value[at:]
        return [*value[:at], altered(value[at], random), *value[at + 1 :]]
    if type(value) is int and random.random() < 0.5:
        return value + int(random.integers(-3, 4))
    if type(value) is float and random.random() < 0.5:
        return value * float(random.normal())
    return HOSTILE[random.integers(len(HOSTILE))]


def altered_entry(document: dict, random: np.random.Generator) -> tuple[str, object]:
    key = list(document)[random.integers(len(document))]
    return key, altered(document[key], random)


@given(seed=st.integers(0, 2**63))
def test_a_mutant_of_a_file_is_refused_or_the_same(files, seed):
    random = np.random.default_rng(seed)
    for data, read, _ in files:
        for _ in range(20):
            changed = mutant(data, random)
            if changed == data:
                continue
            with pytest.raises(CipherfitError):
                read(changed)


@given(seed=st.integers(0, 2**63))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_forged_file_is_refused_or_answers_like_any_other(files, seed):
    random = np.random.default_rng(seed)
    for data, read, X in files:
        kind, document, tensors = parts_of(data)
        for _ in range(10):
            forged = {**document, **dict([altered_entry(document, random)])}
            try:
                answers_of(read(container.encode(kind, forged, tensors)), X)
            except CipherfitError:
                continue


def zigzag(weights: np.ndarray) -> bytes:
    """Return weights as a stored graph has them."""
    data = bytearray()
    for weight in weights[weights != 0].tolist():
        value = 2 * weight if weight > 0 else -2 * weight - 1
        while value >= 128:
            data.append(value % 128 + 128)
            value //= 128
        data.append(value)
    return bytes(data)


@pytest.mark.parametrize(
    ("table", "options"),
    [
        ("digits", {"n_layers": 1}),
        ("digits", {"n_client_layers": 1}),
        pytest.param("wine", {"n_hidden": 12}, marks=pytest.mark.fhe),
    ],
)
def test_the_clients_file_holds_no_weights_of_the_server(table, options, tmp_path):
    model = copy.deepcopy(fitted(table, **options))
    model.compile()
    model.save(tmp_path / "m.cipherfit")
    model.save_client(tmp_path / "client.cipherfit")
    served, client = (
        (tmp_path / name).read_bytes() for name in ("m.cipherfit", "client.cipherfit")
    )
    server = encrypted_part(model.graph_)
    for linear in server.to_dict()["layers"][::2]:
        stored = zigzag(linear["weights"])
        windows = {stored[at : at + 8] for at in range(len(stored) - 7)}
        assert len(windows) > 5
        assert all(window in served for window in windows)
        assert not any(window in client for window in windows)
    assert server.to_bytes()[18:] not in client
    X = load(table)[0]
    read = cipherfit.load_client(tmp_path / "client.cipherfit")
    assert read.digest == server.digest
    assert (read.n_features, read.n_codes) == (X.shape[1], server.n_features)
    codes = read.encode(X)
    assert codes.dtype == np.uint16
    sums = server.simulate(codes)
    np.testing.assert_array_equal(read.answer(sums), model.predict(X))
    np.testing.assert_array_equal(read.answer_proba(sums), model.predict_proba(X))


def test_a_clients_file_is_checked_as_a_models_is():
    data = client_bytes()
    other = client_bytes(1)
    assert ClientModel.from_bytes(data).to_bytes() == data == other
    kind, document, tensors = parts_of(data)
    wine = copy.deepcopy(fitted("wine", n_layers=1))
    specs = wine.compile().client.specs
    for changed, parts, message in [
        ({"backend": "tfhe"}, {}, "the back end 'tfhe' is unknown"),
        ({"digest": "0" * 63}, {}, "is no SHA-256"),
        ({"digest": None}, {}, "is no SHA-256"),
        ({"output": {}}, {}, "the output is not scales and offsets"),
        ({"output": {"offset": [0.0], "scale": [-1.0]}}, {}, "as many positive scales"),
        ({"output": {"offset": [0], "scale": [1.0]}}, {}, "not finite floats"),
        ({}, {"specs": specs}, "for 13 codes and 3 sums, the model has 4 and 3"),
        ({}, {"specs": b""}, "cipherfit-bfv|specs|bytes|magic|start"),
        ({"graph": "0" * 64}, {}, "whose digest is stored"),
    ]:
        forged = container.encode(kind, {**document, **changed}, {**tensors, **parts})
        with pytest.raises(SerializationError, match=message):
            ClientModel.from_bytes(forged)


def test_a_clients_file_needs_a_compiled_model(tmp_path):
    for model in (fitted("iris"), fitted("iris").predictor_):
        with pytest.raises(NotCompiledError, match="not yet compiled"):
            model.save_client(tmp_path / "client.cipherfit")
    assert not list(tmp_path.iterdir())


def test_sums_that_can_not_be_the_models_are_refused():
    client = ClientModel.from_bytes(client_bytes())
    for sums in (np.zeros((2, 4), int), np.zeros(3, int), np.zeros((2, 3))):
        with pytest.raises(InvalidInputError, match=r"must be integers of shape \(n_samples, 3\)"):
            client.answer(sums)
    with pytest.raises(InvalidInputError, match="X has 3 features"):
        client.encode(np.zeros((2, 3)))


def test_a_client_of_real_values_has_no_probabilities():
    model = copy.deepcopy(fitted("diabetes", n_layers=1))
    model.compile()
    client, X = model.predictor_.client_model(), load("diabetes")[0]
    sums = model.graph_.simulate(client.encode(X))
    np.testing.assert_array_equal(client.answer(sums), model.predict(X))
    with pytest.raises(InvalidParameterError, match="real values"):
        client.answer_proba(sums)
    assert client.digest[:12] in repr(client)
