//! Every kind of error, raised once, with what it says.

use cipherfit_core::error::{
    Error, GraphDefect, InputError, Limit, ParameterError, SerializationError,
};
use cipherfit_core::graph::linear::MAX_WEIGHTS;
use cipherfit_core::simulate::{Noise, Numbers, Options, Simulator};
use cipherfit_core::training::mask::{MaskRequest, accumulator_mask};
use cipherfit_core::{Input, IntegerGraph, LayerSpec, Linear, LookupSpec, Output};

/// The variant's name. The match has no wildcard: a new variant must be added here, so to
/// [`VARIANTS`], and then the test fails until a row raises it.
fn variant(error: &Error) -> &'static str {
    match error {
        Error::Parameter(ParameterError::OutOfRange { .. }) => "Parameter::OutOfRange",
        Error::Parameter(ParameterError::Probability { .. }) => "Parameter::Probability",
        Error::Input(InputError::Shape { .. }) => "Input::Shape",
        Error::Input(InputError::NotFinite { .. }) => "Input::NotFinite",
        Error::Input(InputError::NotSingle { .. }) => "Input::NotSingle",
        Error::Input(InputError::CodeOutOfRange { .. }) => "Input::CodeOutOfRange",
        Error::Input(InputError::EmptyInterval { .. }) => "Input::EmptyInterval",
        Error::Graph(error) => match error.defect {
            GraphDefect::Order { .. } => "Graph::Order",
            GraphDefect::NoLayers => "Graph::NoLayers",
            GraphDefect::NoLookups => "Graph::NoLookups",
            GraphDefect::Empty { .. } => "Graph::Empty",
            GraphDefect::Length { .. } => "Graph::Length",
            GraphDefect::TooLarge { .. } => "Graph::TooLarge",
            GraphDefect::IntegerRange { .. } => "Graph::IntegerRange",
            GraphDefect::EntryRange { .. } => "Graph::EntryRange",
            GraphDefect::Real { .. } => "Graph::Real",
            GraphDefect::Low { .. } => "Graph::Low",
            GraphDefect::TableLength { .. } => "Graph::TableLength",
            GraphDefect::TableEntry { .. } => "Graph::TableEntry",
            GraphDefect::Sparse { .. } => "Graph::Sparse",
        },
        Error::Proof(error) => match error.limit {
            Limit::Magnitude => "Proof::Magnitude",
            Limit::LookupIndex => "Proof::LookupIndex",
            Limit::Budget => "Proof::Budget",
        },
        Error::Serialization(error) => match error {
            SerializationError::Magic { .. } => "Serialization::Magic",
            SerializationError::Version { .. } => "Serialization::Version",
            SerializationError::Damaged { .. } => "Serialization::Damaged",
            SerializationError::TrailingBytes { .. } => "Serialization::TrailingBytes",
            SerializationError::Invalid(_) => "Serialization::Invalid",
        },
    }
}

const VARIANTS: [&str; 28] = [
    "Parameter::OutOfRange",
    "Parameter::Probability",
    "Input::Shape",
    "Input::NotFinite",
    "Input::NotSingle",
    "Input::CodeOutOfRange",
    "Input::EmptyInterval",
    "Graph::Order",
    "Graph::NoLayers",
    "Graph::NoLookups",
    "Graph::Empty",
    "Graph::Length",
    "Graph::TooLarge",
    "Graph::IntegerRange",
    "Graph::EntryRange",
    "Graph::Real",
    "Graph::Low",
    "Graph::TableLength",
    "Graph::TableEntry",
    "Graph::Sparse",
    "Proof::Magnitude",
    "Proof::LookupIndex",
    "Proof::Budget",
    "Serialization::Magic",
    "Serialization::Version",
    "Serialization::Damaged",
    "Serialization::TrailingBytes",
    "Serialization::Invalid",
];

type Row = (&'static str, Error, &'static str);

fn input() -> Input {
    Input::new(vec![1.0; 2], vec![0; 2], 2).unwrap()
}

fn output() -> Output {
    Output::new(vec![1.0], vec![0.0]).unwrap()
}

/// One neuron on two 2-bit inputs: 2 a - b + 4, which lies in [1, 10].
fn linear() -> LayerSpec {
    LayerSpec::Linear(Linear::from_dense(2, &[2, -1], vec![4]).unwrap())
}

fn head() -> LayerSpec {
    LayerSpec::Linear(Linear::from_dense(1, &[1], vec![0]).unwrap())
}

fn lookup(low: Option<Vec<i64>>, lsbs: i64, table: Vec<i64>) -> LayerSpec {
    LayerSpec::Lookup(LookupSpec { low, lsbs, exact: true, tables: vec![table] })
}

fn graph(layers: Vec<LayerSpec>) -> Result<IntegerGraph, Error> {
    IntegerGraph::from_layers(input(), layers, output())
}

fn valid() -> IntegerGraph {
    graph(vec![linear(), lookup(Some(vec![1]), 1, vec![0, 1, 2, 3, 4, 5]), head()]).unwrap()
}

fn weighted(weight: i64, offset: i64) -> LayerSpec {
    LayerSpec::Linear(Linear::from_dense(2, &[weight, 0], vec![offset]).unwrap())
}

fn graph_rows() -> Vec<Row> {
    let build = |layers| graph(layers).unwrap_err();
    let real = |scale| Input::new(vec![scale], vec![0], 1).unwrap_err().into();
    let offset = Output::new(vec![1.0], vec![f64::NAN]).unwrap_err().into();
    let table = |low, lsbs, table| build(vec![linear(), lookup(low, lsbs, table), head()]);
    let zero_point = Input::new(vec![1.0], vec![(1 << 50) + 1], 1).unwrap_err().into();
    let layer = |defect: GraphDefect| defect.of(cipherfit_core::error::Part::Layer(4)).into();
    let too_large = Linear::from_dense(MAX_WEIGHTS, &[], vec![0; 2]).unwrap_err();
    let ragged = Linear::from_dense(2, &[1, 2, 3], vec![0]).unwrap_err();
    vec![
        ("Graph::Order", build(vec![linear(), linear()]), "layer 1: expected a lookup layer here"),
        ("Graph::Order", build(vec![lookup(None, 0, vec![])]), "layer 0: expected a linear layer"),
        ("Graph::NoLayers", build(vec![]), "layers: at least one linear layer is needed"),
        (
            "Graph::NoLookups",
            graph(vec![linear()]).unwrap().split(1).unwrap_err(),
            "layers: there is no lookup that the graph could be cut after",
        ),
        (
            "Graph::Empty",
            Input::new(vec![], vec![], 1).unwrap_err().into(),
            "input: scale is empty",
        ),
        ("Graph::Length", build(vec![head()]), "layer 0: weights per neuron has 1 entries where 2"),
        ("Graph::Length", layer(ragged), "layer 4: weights has 3 entries where 2 are needed"),
        ("Graph::TooLarge", layer(too_large), "layer 4: 2 x 268435456 weights are more than"),
        (
            "Graph::IntegerRange",
            table(None, 63, vec![]),
            "layer 1: lsbs must be in [0, 62], got 63",
        ),
        (
            "Graph::IntegerRange",
            Input::new(vec![1.0], vec![0], 17).unwrap_err().into(),
            "input: n_bits must be in [1, 16], got 17",
        ),
        ("Graph::EntryRange", zero_point, "input: zero_point[0] must be in [-1125899906842624, "),
        ("Graph::Real", real(0.0), "input: scale[0] must be finite and positive, got 0"),
        (
            "Graph::Real",
            real(f64::INFINITY),
            "input: scale[0] must be finite and positive, got inf",
        ),
        ("Graph::Real", offset, "output: offset[0] must be finite, got NaN"),
        (
            "Graph::Low",
            table(Some(vec![0]), 0, vec![0; 10]),
            "layer 1: low of neuron 0 is 0, but its accumulator's proven minimum is 1",
        ),
        // (10 - 1 + 1) >> 1 = 5, so six entries: rounding up at the top takes one more.
        ("Graph::TableLength", table(None, 1, vec![0; 5]), "neuron 0 has 5 entries where 6 are"),
        ("Graph::TableEntry", table(None, 3, vec![0, 65536]), "layer 1: entry 1 of the table of"),
        ("Graph::TableEntry", table(None, 3, vec![-1, 0]), "must be in [0, 65535], got -1"),
    ]
}

fn proof_rows() -> Vec<Row> {
    let build = |layer, then: Option<LayerSpec>| {
        graph([layer].into_iter().chain(then).collect()).unwrap_err()
    };
    let index = lookup(None, 2, vec![]);
    let budget = valid().prove(Some(2)).unwrap_err();
    vec![
        (
            "Proof::Magnitude",
            build(weighted(i64::MIN, 0), None),
            "layer 0, neuron 0: the accumulator lies in [-27670116110564327424, 0], so its \
             magnitude needs 65 bits where 61 are allowed",
        ),
        ("Proof::Magnitude", build(weighted(0, (1 << 61) + 1), None), "needs 62 bits where 61"),
        (
            "Proof::LookupIndex",
            build(weighted(100_000, 7), Some(index)),
            "layer 0, neuron 0: the accumulator lies in [7, 300007], so the index of its lookup \
             table needs 17 bits where 16 are allowed",
        ),
        (
            "Proof::Budget",
            budget,
            "layer 0, neuron 0: the accumulator lies in [1, 10], so its distance from the minimum \
             needs 4 bits where 2 are allowed",
        ),
    ]
}

fn input_rows() -> Vec<Row> {
    let simulate = |codes: &[u16], out: &mut [i64]| {
        Simulator::new(valid()).simulate_into(codes, out, Options::default()).unwrap_err().into()
    };
    let not_finite = Simulator::new(valid()).run_into(
        &[0.0, 0.0, 0.0, f64::NAN],
        &mut [0.0; 2],
        Options::default(),
    );
    let not_single = Simulator::new(valid()).run_singles_into(
        Numbers::I64(&[0, 0, (1 << 24) + 1, 0]),
        &mut [0.0; 2],
        Options::default(),
    );
    let narrowed = input().codes_from(&[0, 1, -1]).unwrap_err().into();
    vec![
        ("Input::Shape", simulate(&[0; 3], &mut []), "codes must have shape (n, 2), got 3 values"),
        ("Input::Shape", simulate(&[0; 4], &mut [0]), "out must have shape (2, 1), got 1 values"),
        (
            "Input::NotFinite",
            not_finite.unwrap_err().into(),
            "X has the value NaN at row 1, column 1",
        ),
        (
            "Input::NotSingle",
            not_single.unwrap_err().into(),
            "X has the value 16777217 at row 1, column 0, which single precision can't hold",
        ),
        (
            "Input::CodeOutOfRange",
            simulate(&[0, 0, 4, 0], &mut [0; 2]),
            "code 4 at row 1, column 0 is outside [0, 3]",
        ),
        ("Input::CodeOutOfRange", narrowed, "code -1 at row 1, column 0 is outside [0, 3]"),
    ]
}

fn mask_rows() -> Vec<Row> {
    let good = MaskRequest {
        weights: &[1, 2],
        low: &[0, 0],
        high: &[1, 1],
        n_accum_bits: 3,
        importance: None,
        reserve: 0,
    };
    let mask = |request| accumulator_mask(&request, &mut [false; 2]).unwrap_err();
    let nan = [0.0, f32::NAN];
    vec![
        (
            "Parameter::OutOfRange",
            mask(MaskRequest { n_accum_bits: 63, ..good }),
            "n_accum_bits must be in [1, 62], got 63",
        ),
        (
            "Parameter::OutOfRange",
            mask(MaskRequest { reserve: 8, ..good }),
            "reserve must be in [0, 7], got 8",
        ),
        (
            "Parameter::OutOfRange",
            mask(MaskRequest { reserve: i64::MIN, ..good }),
            "reserve must be in [0, 7], got -9223372036854775808",
        ),
        ("Input::Shape", mask(MaskRequest { high: &[1], ..good }), "high must have shape (2,)"),
        ("Input::Shape", mask(MaskRequest { weights: &[1], ..good }), "weights must have shape"),
        ("Input::Shape", mask(MaskRequest { importance: Some(&[]), ..good }), "importance must"),
        (
            "Input::NotFinite",
            mask(MaskRequest { importance: Some(&nan), ..good }),
            "importance has the value NaN at row 0, column 1",
        ),
        (
            "Input::EmptyInterval",
            mask(MaskRequest { low: &[0, 2], ..good }),
            "the code interval of column 1 is empty: low 2 is above high 1",
        ),
    ]
}

fn stored_rows() -> Vec<Row> {
    let read = |bytes: &[u8]| IntegerGraph::from_bytes(bytes).unwrap_err().into();
    let change = |at: usize, value| {
        let mut bytes = graph(vec![linear()]).unwrap().to_bytes();
        bytes[at] = value;
        bytes
    };
    let bytes = graph(vec![linear()]).unwrap().to_bytes();
    // Two columns, 0 and 1, in the wrong order and twice the same.
    let columns = |stored: [u8; 2]| {
        let mut bytes = bytes.clone();
        let at = bytes.windows(3).position(|three| three == [2, 0, 1]).unwrap();
        bytes[at + 1..at + 3].copy_from_slice(&stored);
        match read(&bytes) {
            Error::Serialization(SerializationError::Invalid(error)) => *error,
            other => panic!("what is stored is not valid, but: {other}"),
        }
    };
    vec![
        ("Serialization::Magic", read(b"pickle"), "not a stored integer graph"),
        ("Serialization::Version", read(&change(16, 2)), "format version 2 can't be read"),
        ("Serialization::Damaged", read(&bytes[..17]), "the bytes are damaged: no version"),
        ("Serialization::Damaged", read(&bytes[..40]), "the bytes are damaged: "),
        ("Serialization::TrailingBytes", read(&[&bytes[..], &[0]].concat()), "1 bytes follow"),
        (
            "Serialization::Invalid",
            read(&change(26, 0xbf)),
            "the stored graph is not valid: input: scale[0] must be finite and positive, got -1",
        ),
        ("Graph::Sparse", columns([0, 0]), "layer 0: sparse"),
        ("Graph::Sparse", columns([0, 2]), "layer 0: sparse"),
        ("Graph::Sparse", columns([1, 0]), "layer 0: sparse weights of neuron 0 are malformed"),
    ]
}

#[test]
fn every_error_says_what_is_wrong_where_and_what_is_allowed() {
    let noise = Noise::new(f64::NAN, 0).unwrap_err().into();
    let budget = valid().prove(Some(0)).unwrap_err();
    let mut rows: Vec<Row> = vec![
        ("Parameter::Probability", noise, "p_error must be a probability in [0, 1], got NaN"),
        ("Parameter::OutOfRange", budget, "max_bits must be in [1, 63], got 0"),
    ];
    rows.extend(graph_rows());
    rows.extend(proof_rows());
    rows.extend(input_rows());
    rows.extend(mask_rows());
    rows.extend(stored_rows());
    for (expected, error, text) in &rows {
        assert_eq!(variant(error), *expected, "{error}");
        assert!(error.to_string().contains(text), "{error}\ndoes not say\n{text}");
    }
    for name in VARIANTS {
        assert!(rows.iter().any(|(variant, ..)| *variant == name), "no row raises {name}");
    }
}
