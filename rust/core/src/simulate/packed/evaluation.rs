//! Blocks of rows through a packed kernel, whichever its instruction set.

use super::kernel::{FeatureValues, HiddenLayer, Kernel};
use super::program::Program;
use crate::error::InputError;
use crate::graph::IntegerGraph;
use crate::simulate::block::{BLOCK, Column, Planes, Rows, Shift, Sums, Tile};
use crate::simulate::finish::Finish;
use crate::simulate::job::Job;
use crate::simulate::noise::block_of;
use crate::simulate::outputs::OutputGroup;
use crate::simulate::prefetch::Ahead;
use crate::simulate::source::Source;

/// Space for one block.
///
/// Rows beyond those given hold the least codes or what an earlier block left, so input codes all the
/// same; that is why hidden layers don't share the inputs' columns.
pub(in crate::simulate) struct Scratch {
    inputs: Vec<Column>,
    codes: Vec<Column>,
    next: Vec<Column>,
    sums: Planes,
    low: Vec<Tile>,
    high: Vec<Tile>,
    shifts: Vec<Shift>,
    /// Codes row by row, where they can't be loaded directly.
    staged: Vec<u16>,
    /// Numbers row by row, where they are of another type.
    singles: Vec<f32>,
}

impl Scratch {
    pub(in crate::simulate) fn new(graph: &IntegerGraph) -> Self {
        let hidden = graph.hidden().iter().map(|hidden| hidden.lookup.len()).max().unwrap_or(0);
        let tiles = graph.n_outputs().div_ceil(16);
        // Loads fill sixteen columns at least.
        let mut inputs = vec![Column::ZERO; graph.n_features().max(16)];
        for (column, codes) in inputs.iter_mut().zip(graph.input().codes()) {
            column.0.fill(codes.low.to_le_bytes()[0]);
        }
        Self {
            inputs,
            codes: vec![Column::ZERO; hidden],
            next: vec![Column::ZERO; hidden],
            sums: Planes::new(hidden.max(graph.n_outputs())),
            low: vec![Tile::ZERO; tiles],
            high: vec![Tile::ZERO; tiles],
            shifts: Vec::new(),
            staged: Vec::new(),
            singles: Vec::new(),
        }
    }
}

/// Evaluates the rows from `start` that `out` has room for.
#[inline(always)]
pub(super) fn evaluate<K: Kernel, S: Source, F: Finish>(
    kernel: K,
    job: Job<'_, S, F>,
    program: &Program,
    start: usize,
    out: &mut [F::Value],
    scratch: &mut Scratch,
) -> Result<(), InputError> {
    let width = job.graph.n_outputs();
    for (start, out) in (start..).step_by(BLOCK).zip(out.chunks_mut(BLOCK * width)) {
        let rows = out.len() / width;
        let [ahead, later] = job.source.ahead(start, rows);
        load(kernel, job, program, (start, rows), ahead, scratch)?;
        hidden_layers(kernel, job, program, (start, rows), later, scratch);
        let Some(head) = program.layers.last() else { return Ok(()) };
        let (codes, later) = if job.graph.hidden().is_empty() {
            (&scratch.inputs, later)
        } else {
            (&scratch.codes, Ahead::NONE)
        };
        kernel.head(head, rows, codes, later, &mut scratch.sums);
        let padded = width.next_multiple_of(16);
        kernel.transpose(&scratch.sums.low[..padded], &mut scratch.low);
        if head.wide {
            kernel.transpose(&scratch.sums.high[..padded], &mut scratch.high);
        }
        let high = head.wide.then_some(&scratch.high[..]);
        // In a closure it would not be compiled for the kernel's instructions.
        let done = if let Some(runs) = &program.outputs.runs {
            let sums = Sums { low: &scratch.low[0], high: high.map(|high| &high[0]) };
            kernel.emit::<F>(runs, sums, out)
        } else {
            0
        };
        if done < rows {
            emit(job.finish, program, width, (&scratch.low, high), done, out);
        }
    }
    Ok(())
}

/// Fills the columns of the inputs.
#[inline(always)]
fn load<K: Kernel, S: Source, F: Finish>(
    kernel: K,
    job: Job<'_, S, F>,
    program: &Program,
    (start, rows): (usize, usize),
    ahead: Ahead,
    scratch: &mut Scratch,
) -> Result<(), InputError> {
    let (graph, width) = (job.graph, job.graph.n_features());
    let (max, range) =
        (graph.input().max_code().to_le_bytes()[0], start * width..(start + rows) * width);
    let columns = &mut scratch.inputs[..];
    if let Some(numbers) = job.source.columns()
        && let Some(brackets) = program.brackets(graph.input(), K::ARITHMETIC)
    {
        let (mut all_finite, mut buffer) = (true, [0.0; BLOCK]);
        for (feature, (numbers, column)) in numbers.iter().zip(&mut *columns).enumerate() {
            let rows = start..start + rows;
            let ahead = numbers.ahead(&rows, width);
            let values = numbers.block(rows, &mut buffer);
            let input = graph.input();
            let values = FeatureValues { values, feature, input, brackets, ahead };
            all_finite &= kernel.load_column(values, column);
        }
        if all_finite {
            return Ok(());
        }
    } else if let Some(x) = job.source.singles()
        && let Some(brackets) = program.brackets(graph.input(), K::ARITHMETIC)
    {
        let rows = Rows { values: &x[range], width };
        if kernel.load_reals(rows, graph.input(), brackets, ahead, columns) {
            return Ok(());
        }
    } else if let Some(numbers) = job.source.numbers()
        && let Some(brackets) = program.brackets(graph.input(), K::ARITHMETIC)
    {
        scratch.singles.resize(rows * width, 0.0);
        numbers.copy_to(range, &mut scratch.singles);
        let rows = Rows { values: &scratch.singles, width };
        if kernel.load_reals(rows, graph.input(), brackets, Ahead::NONE, columns) {
            return Ok(());
        }
    } else if let Some(codes) = job.source.codes()
        && graph.input().has_all_codes()
        && kernel.load_codes(Rows { values: &codes[range], width }, max, ahead, columns)
    {
        return Ok(());
    }
    // Either there is no direct way, or there is an error to be found and named.
    scratch.staged.resize(BLOCK * width, 0);
    let staged = &mut scratch.staged[..rows * width];
    for (row, codes) in (start..).zip(staged.chunks_exact_mut(width)) {
        job.source.load(row, codes)?;
    }
    kernel.load_codes(Rows { values: staged, width }, max, Ahead::NONE, columns);
    Ok(())
}

/// From the columns of the inputs to the codes of the last hidden layer.
#[inline(always)]
fn hidden_layers<K: Kernel, S: Source, F: Finish>(
    kernel: K,
    job: Job<'_, S, F>,
    program: &Program,
    (start, rows): (usize, usize),
    ahead: Ahead,
    scratch: &mut Scratch,
) {
    let Scratch { inputs, codes, next, sums, shifts, .. } = scratch;
    for (index, (layer, hidden)) in program.layers.iter().zip(job.graph.hidden()).enumerate() {
        let from: &[Column] = if index == 0 { inputs } else { codes };
        let lookup = &hidden.lookup;
        let ahead = if index == 0 { ahead } else { Ahead::NONE };
        let part = (block_of(start), index, rows);
        let shifts = job.errors.and_then(|errors| errors.shift(part, lookup.len(), shifts));
        let misread = job.errors.filter(|_| shifts.is_none());
        let keep_sums = misread.is_some();
        kernel.hidden(
            HiddenLayer { layer, lookup, rows, keep_sums, shifts, ahead },
            from,
            next,
            sums,
        );
        if let Some(errors) = misread {
            let sum = |row, neuron| sums.sum(neuron, row).into();
            errors.misread(part, lookup, sum, |row, neuron, code| {
                next[neuron].0[row] = code.to_le_bytes()[0];
            });
        }
        std::mem::swap(codes, next);
    }
}

/// Makes results of the sums of the rows that are not done, eight outputs at a time.
#[inline(always)]
fn emit<F: Finish>(
    finish: F,
    program: &Program,
    width: usize,
    (low, high): (&[Tile], Option<&[Tile]>),
    done: usize,
    out: &mut [F::Value],
) {
    for (index, group) in program.outputs.groups.iter().enumerate() {
        let eight = EightOutputs { finish, group, index, width, done };
        let (low, high) = (&low[index / 2], high.map(|high| &high[index / 2]));
        // A known number of results is written by few instructions.
        match (width - 8 * index).min(8) {
            1 => eight.emit::<1>(low, high, out),
            2 => eight.emit::<2>(low, high, out),
            3 => eight.emit::<3>(low, high, out),
            4 => eight.emit::<4>(low, high, out),
            5 => eight.emit::<5>(low, high, out),
            6 => eight.emit::<6>(low, high, out),
            7 => eight.emit::<7>(low, high, out),
            _ => eight.emit::<8>(low, high, out),
        }
    }
}

/// Eight outputs of all, those of a tile's first or second half.
struct EightOutputs<'a, F> {
    finish: F,
    group: &'a OutputGroup,
    index: usize,
    width: usize,
    /// Rows that have their results.
    done: usize,
}

impl<F: Finish> EightOutputs<'_, F> {
    /// Writes the first `N` of the eight for every row.
    #[inline(always)]
    fn emit<const N: usize>(&self, low: &Tile, high: Option<&Tile>, out: &mut [F::Value]) {
        let rows = out.chunks_exact_mut(self.width).skip(self.done);
        let rows = rows.map(|row| &mut row[8 * self.index..][..N]);
        let half = |row: &[u8; 16]| row.as_chunks::<8>().0[self.index % 2].map(i32::from);
        // One loop for both would not be vectorized.
        match high {
            None => {
                for (out, low) in rows.zip(&low.0[self.done..]) {
                    let values = self.finish.eight(self.group, half(low));
                    out.copy_from_slice(&values[..N]);
                }
            }
            Some(high) => {
                for (out, (low, high)) in rows.zip(low.0.iter().zip(&high.0).skip(self.done)) {
                    let (mut distances, high) = (half(low), half(high));
                    for (distance, high) in distances.iter_mut().zip(high) {
                        *distance |= high << 8;
                    }
                    let values = self.finish.eight(self.group, distances);
                    out.copy_from_slice(&values[..N]);
                }
            }
        }
    }
}
