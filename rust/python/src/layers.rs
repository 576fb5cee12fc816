//! A graph's parts as Python dictionaries, in both directions.

use cipherfit_core::error::Part;
use cipherfit_core::graph::layer::Stage;
use cipherfit_core::{Input, IntegerGraph, LayerSpec, Linear, LookupSpec, Output};
use numpy::{PyArray1, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use crate::arrays::{as_integers, as_real, show_shape};
use crate::error::{GraphError, to_python};
use crate::options::integer;

/// Reads `{"scale", "zero_point", "n_bits"}`, and `low` and `high` where they are given.
pub fn input(part: &Bound<'_, PyDict>) -> PyResult<Input> {
    let part = Fields::new("input", part, &["scale", "zero_point", "n_bits"], &["low", "high"])?;
    let n_bits = integer(&part.name("n_bits"), &part.get("n_bits")?)?;
    let input = Input::new(part.reals("scale")?, part.integers("zero_point")?, n_bits);
    let input = input.map_err(to_python)?;
    let all = |code| vec![code; input.n_features()];
    match (part.optional_integers("low")?, part.optional_integers("high")?) {
        (None, None) => Ok(input),
        (low, high) => {
            let (low, high) = (
                low.unwrap_or_else(|| all(0)),
                high.unwrap_or_else(|| all(input.max_code().into())),
            );
            input.with_codes(&low, &high).map_err(to_python)
        }
    }
}

/// Reads `{"scale", "offset"}`.
pub fn output(part: &Bound<'_, PyDict>) -> PyResult<Output> {
    let part = Fields::new("output", part, &["scale", "offset"], &[])?;
    Output::new(part.reals("scale")?, part.reals("offset")?).map_err(to_python)
}

/// Reads the layer at `position`, of the kind that its entry "kind" says.
pub fn layer(position: usize, part: &Bound<'_, PyAny>) -> PyResult<LayerSpec> {
    let name = Part::Layer(position).to_string();
    let Ok(part) = part.cast::<PyDict>() else {
        return Err(GraphError::new_err(format!("{name}: must be a dict, got {part:?}")));
    };
    let kind = part.get_item("kind")?;
    match kind.as_ref().and_then(|kind| kind.extract::<&str>().ok()) {
        Some("linear") => linear(position, &name, part).map(LayerSpec::Linear),
        Some("lookup") => lookup(&name, part).map(LayerSpec::Lookup),
        _ => Err(GraphError::new_err(format!(
            "{name}: 'kind' must be 'linear' or 'lookup', got {}",
            kind.map_or_else(|| "none".to_owned(), |kind| format!("{kind:?}"))
        ))),
    }
}

fn linear(position: usize, name: &str, part: &Bound<'_, PyDict>) -> PyResult<Linear> {
    let part = Fields::new(name, part, &["kind", "weights", "offset"], &[])?;
    let weights = as_integers(&part.name("weights"), &part.get("weights")?)?;
    let offset = part.integers("offset")?;
    match *weights.shape() {
        [rows, columns] if rows == offset.len() => {
            Linear::from_dense(columns, weights.as_slice()?, offset)
                .map_err(|defect| to_python(defect.of(Part::Layer(position))))
        }
        _ => Err(GraphError::new_err(format!(
            "{} must have shape ({}, n_in), as many rows as there are offsets, got {}",
            part.name("weights"),
            offset.len(),
            show_shape(weights.shape())
        ))),
    }
}

fn lookup(name: &str, part: &Bound<'_, PyDict>) -> PyResult<LookupSpec> {
    let part = Fields::new(name, part, &["kind", "lsbs", "exact", "tables"], &["low"])?;
    let low = part.optional_integers("low")?;
    let exact = part.get("exact")?;
    let exact = exact.extract().map_err(|_| {
        GraphError::new_err(format!("{} must be a bool, got {exact:?}", part.name("exact")))
    })?;
    let mut tables = Vec::new();
    for (neuron, table) in part.get("tables")?.try_iter()?.enumerate() {
        let name = format!("{}[{neuron}]", part.name("tables"));
        tables.push(integers(&name, &table?)?);
    }
    let lsbs = integer(&part.name("lsbs"), &part.get("lsbs")?)?;
    Ok(LookupSpec { low, lsbs, exact, tables })
}

/// A dictionary that has been checked to hold the entries that it must, and no others.
struct Fields<'a, 'py> {
    part: &'a str,
    dict: &'a Bound<'py, PyDict>,
}

impl<'a, 'py> Fields<'a, 'py> {
    fn new(
        part: &'a str,
        dict: &'a Bound<'py, PyDict>,
        required: &[&str],
        optional: &[&str],
    ) -> PyResult<Self> {
        for key in dict.keys() {
            let known = key.cast::<PyString>().is_ok_and(|key| {
                key.to_str().is_ok_and(|key| required.contains(&key) || optional.contains(&key))
            });
            if !known {
                return Err(GraphError::new_err(format!("{part}: unknown entry {key:?}")));
            }
        }
        for key in required {
            if !dict.contains(key)? {
                return Err(GraphError::new_err(format!("{part}: entry '{key}' is missing")));
            }
        }
        Ok(Self { part, dict })
    }

    fn name(&self, key: &str) -> String {
        format!("{}: {key}", self.part)
    }

    fn get(&self, key: &str) -> PyResult<Bound<'py, PyAny>> {
        let missing = || GraphError::new_err(format!("{}: entry '{key}' is missing", self.part));
        self.dict.get_item(key)?.ok_or_else(missing)
    }

    fn integers(&self, key: &str) -> PyResult<Vec<i64>> {
        integers(&self.name(key), &self.get(key)?)
    }

    fn optional_integers(&self, key: &str) -> PyResult<Option<Vec<i64>>> {
        match self.dict.get_item(key)? {
            Some(value) if !value.is_none() => integers(&self.name(key), &value).map(Some),
            _ => Ok(None),
        }
    }

    fn reals(&self, key: &str) -> PyResult<Vec<f64>> {
        let (name, value) = (self.name(key), self.get(key)?);
        let values = as_real(&name, &value)?;
        one_dimensional(&name, values.shape())?;
        Ok(values.as_slice()?.to_vec())
    }
}

fn integers(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
    let values = as_integers(name, value)?;
    one_dimensional(name, values.shape())?;
    Ok(values.as_slice()?.to_vec())
}

fn one_dimensional(name: &str, shape: &[usize]) -> PyResult<()> {
    if shape.len() == 1 {
        return Ok(());
    }
    let shape = show_shape(shape);
    Err(GraphError::new_err(format!("{name} must have one dimension, got shape {shape}")))
}

/// A graph as `from_layers` takes it.
pub fn to_dict<'py>(py: Python<'py>, graph: &IntegerGraph) -> PyResult<Bound<'py, PyDict>> {
    let input = PyDict::new(py);
    input.set_item("scale", PyArray1::from_slice(py, graph.input().scale()))?;
    input.set_item("zero_point", PyArray1::from_slice(py, graph.input().zero_point()))?;
    input.set_item("n_bits", graph.input().n_bits().get())?;
    if !graph.input().has_all_codes() {
        let codes = graph.input().codes();
        let low = codes.iter().map(|codes| i64::from(codes.low));
        let high = codes.iter().map(|codes| i64::from(codes.high));
        input.set_item("low", PyArray1::from_iter(py, low))?;
        input.set_item("high", PyArray1::from_iter(py, high))?;
    }
    let layers = PyList::empty(py);
    for Stage { linear, lookup, .. } in graph.stages() {
        layers.append(linear_dict(py, linear)?)?;
        if let Some(lookup) = lookup {
            layers.append(lookup_dict(py, lookup)?)?;
        }
    }
    let output = PyDict::new(py);
    output.set_item("scale", PyArray1::from_slice(py, graph.output().scale()))?;
    output.set_item("offset", PyArray1::from_slice(py, graph.output().offset()))?;
    let parts = PyDict::new(py);
    parts.set_item("input", input)?;
    parts.set_item("layers", layers)?;
    parts.set_item("output", output)?;
    parts.set_item("n_client_layers", graph.n_client_layers())?;
    Ok(parts)
}

fn linear_dict<'py>(py: Python<'py>, linear: &Linear) -> PyResult<Bound<'py, PyDict>> {
    let part = PyDict::new(py);
    let weights = PyArray1::from_vec(py, linear.to_dense());
    part.set_item("kind", "linear")?;
    part.set_item("weights", weights.reshape([linear.n_outputs(), linear.n_inputs()])?)?;
    part.set_item("offset", PyArray1::from_slice(py, linear.offset()))?;
    Ok(part)
}

fn lookup_dict<'py>(
    py: Python<'py>,
    lookup: &cipherfit_core::graph::lookup::Lookup,
) -> PyResult<Bound<'py, PyDict>> {
    let part = PyDict::new(py);
    let table = |neuron| {
        let codes = lookup.table(neuron).iter().map(|&code| i64::from(code));
        PyArray1::from_iter(py, codes)
    };
    part.set_item("kind", "lookup")?;
    part.set_item("low", PyArray1::from_slice(py, lookup.low()))?;
    part.set_item("lsbs", lookup.lsbs())?;
    part.set_item("exact", lookup.exact())?;
    part.set_item("tables", PyList::new(py, (0..lookup.len()).map(table))?)?;
    Ok(part)
}
