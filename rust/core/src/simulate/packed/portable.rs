//! The packed kernel in plain loops, which compilers vectorize for any processor.

use std::iter;

use super::kernel::{FeatureValues, HiddenLayer, Kernel};
use super::program::{Layer, Term};
use super::quantizer::{Arithmetic, Brackets, FeatureConstants};
use super::table::{Bytes, Read, Step, read_entries};
use crate::graph::input::Input;
use crate::simulate::block::{BLOCK, Column, Planes, Rows, Shift, TILE, Tile};
use crate::simulate::prefetch::Ahead;

/// Lanes of a block, two rows each.
const LANES: usize = BLOCK / 2;

/// The kernel of plain loops.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Kernel for Portable {
    /// Every 64-bit ARM processor adds in one instruction, which plain loops may use there.
    const ARITHMETIC: Arithmetic =
        if cfg!(target_arch = "aarch64") { Arithmetic::Fused } else { Arithmetic::RoundedTwice };

    fn load_reals(
        self,
        rows: Rows<'_, f32>,
        input: &Input,
        brackets: &Brackets,
        _ahead: Ahead,
        columns: &mut [Column],
    ) -> bool {
        let (mut padded, mut all_finite) = (None, true);
        fill(rows.padded(&mut padded), columns, |rows, first, codes| {
            let constants = brackets.tile(first);
            let certain = if brackets.is_exact {
                quantize::<true>(rows.beginning_at(first), &constants, codes)
            } else {
                quantize::<false>(rows.beginning_at(first), &constants, codes)
            };
            if !certain {
                for (values, codes) in rows.beginning_at(first).zip(codes) {
                    all_finite &= divide(values, first..input.n_features(), input, brackets, codes);
                }
            }
        });
        all_finite
    }

    fn load_codes(
        self,
        rows: Rows<'_, u16>,
        max: u8,
        _ahead: Ahead,
        columns: &mut [Column],
    ) -> bool {
        let (mut padded, mut excess) = (None, [0; TILE]);
        fill(rows.padded(&mut padded), columns, |rows, first, codes| {
            for (codes, values) in codes.iter_mut().zip(rows.beginning_at(first)) {
                for at in 0..TILE {
                    excess[at] |= values[at].saturating_sub(max.into());
                    codes[at] = values[at].to_le_bytes()[0].min(max);
                }
            }
        });
        excess == [0; TILE]
    }

    fn load_column(
        self,
        FeatureValues { values, feature, input, brackets, ahead: _ }: FeatureValues<'_>,
        column: &mut Column,
    ) -> bool {
        let constants = brackets.repeated(feature);
        let constants = FeatureConstants::repeated(&constants);
        let parts = values.as_chunks().0.iter();
        let codes = column.0.as_chunks_mut().0.first_chunk_mut().expect("a block is as many parts");
        let certain = if brackets.is_exact {
            quantize::<true>(parts, &constants, codes)
        } else {
            quantize::<false>(parts, &constants, codes)
        };
        certain || divide(values, iter::repeat(feature), input, brackets, &mut column.0)
    }

    fn hidden(
        self,
        HiddenLayer { layer, lookup, rows: _, keep_sums, shifts, ahead: _ }: HiddenLayer<'_>,
        codes: &[Column],
        next: &mut [Column],
        sums: &mut Planes,
    ) {
        for (neuron, next) in (0..layer.neurons.len()).zip(next) {
            let Some(table) = &layer.neurons[neuron].table else { continue };
            let shift = shifts.map(|shifts| &shifts[neuron]);
            if layer.is_narrow(neuron) {
                let mut low = Column::ZERO;
                for (start, terms) in layer.groups(neuron) {
                    low = bytes_of(&group_sums(codes, start, terms));
                }
                if let Some(shift) = shift {
                    shift_narrow(&mut low, shift, &table.compared);
                }
                match &table.compared {
                    Read::Steps(base, steps) => read_steps(&low, *base, steps, next),
                    Read::Bytes(bytes) => {
                        for (code, &sum) in next.0.iter_mut().zip(&low.0) {
                            *code = bytes.entries[usize::from(sum)];
                        }
                    }
                    Read::Entries => read_entries(lookup, neuron, &low.0.map(u16::from), next),
                }
                if keep_sums {
                    (sums.low[neuron], sums.high[neuron]) = (low, Column::ZERO);
                }
            } else {
                let mut wide = wide_sums(layer, neuron, codes);
                if let Some(shift) = shift {
                    shift_wide(&mut wide, shift, &table.compared);
                }
                match &table.compared {
                    Read::Steps(base, steps) => read_wide_steps(&wide, *base, steps, next),
                    Read::Bytes(bytes) => read_wide_bytes(&wide, bytes, next),
                    Read::Entries => read_entries(lookup, neuron, &wide, next),
                }
                if keep_sums {
                    store_wide(&wide, neuron, sums);
                }
            }
        }
    }

    fn head(self, layer: &Layer, _rows: usize, codes: &[Column], _ahead: Ahead, sums: &mut Planes) {
        for neuron in 0..layer.neurons.len() {
            if layer.is_narrow(neuron) {
                for (start, terms) in layer.groups(neuron) {
                    sums.low[neuron] = bytes_of(&group_sums(codes, start, terms));
                    sums.high[neuron] = Column::ZERO;
                }
            } else {
                store_wide(&wide_sums(layer, neuron, codes), neuron, sums);
            }
        }
    }

    fn transpose(self, columns: &[Column], tiles: &mut [Tile]) {
        for (columns, tile) in columns.as_chunks::<TILE>().0.iter().zip(tiles) {
            for (at, rows) in tile.0.as_chunks_mut::<TILE>().0.iter_mut().enumerate() {
                let mut matrix = [[0; TILE]; TILE];
                for (line, column) in matrix.iter_mut().zip(columns) {
                    *line = column.0.as_chunks().0[at];
                }
                *rows = transpose(matrix);
            }
        }
    }
}

/// Fills `columns`: `load` puts the codes of up to sixteen rows, in sixteen columns from one on, where
/// zeros are.
#[inline(always)]
fn fill<'a, T: Copy + Default>(
    Rows { values, width }: Rows<'a, T>,
    columns: &mut [Column],
    mut load: impl FnMut(Rows<'a, T>, usize, &mut [[u8; TILE]; TILE]),
) {
    for (at, values) in values.chunks(TILE * width).enumerate() {
        for column in (0..width).step_by(TILE) {
            // The last columns are taken together with some before them, again.
            let first = column.min(width - TILE);
            let mut codes = [[0; TILE]; TILE];
            load(Rows { values, width }, first, &mut codes);
            for (column, codes) in columns[first..].iter_mut().zip(transpose(codes)) {
                column.0.as_chunks_mut().0[at] = codes;
            }
        }
    }
}

/// Transposes by four perfect shuffles, each of which compilers know as instructions.
fn transpose(matrix: [[u8; TILE]; TILE]) -> [[u8; TILE]; TILE] {
    interleave(interleave(interleave(interleave(matrix))))
}

/// Interleaves the first half of the lines, byte by byte, with the second.
#[inline(always)]
fn interleave(lines: [[u8; TILE]; TILE]) -> [[u8; TILE]; TILE] {
    let mut to = lines;
    for at in 0..TILE / 2 {
        for byte in 0..TILE / 2 {
            let (low, high) = (byte, TILE / 2 + byte);
            to[2 * at][2 * byte] = lines[at][low];
            to[2 * at][2 * byte + 1] = lines[at + TILE / 2][low];
            to[2 * at + 1][2 * byte] = lines[at][high];
            to[2 * at + 1][2 * byte + 1] = lines[at + TILE / 2][high];
        }
    }
    to
}

/// Codes of as many rows, by one factor a feature if `EXACT`, else by two; false if one is in doubt.
fn quantize<'a, const EXACT: bool>(
    rows: impl Iterator<Item = &'a [f32; TILE]>,
    constants: &FeatureConstants<'_>,
    codes: &mut [[u8; TILE]; TILE],
) -> bool {
    // Copies stay in registers.
    let (below, above) = (*constants.below, *constants.above);
    let (floor, ceiling) = (*constants.floor, *constants.ceiling);
    let round = |x, factor| Portable::ARITHMETIC.round(x, factor);
    let mut doubt = [0; TILE / 4];
    for (values, codes) in rows.zip(codes) {
        let (mut distances, mut differences) = ([0; TILE], [0; TILE]);
        for at in 0..TILE {
            let x = values[at];
            let step = round(x, below[at]);
            // Not zero if the roundings differ or are no numbers.
            #[expect(clippy::eq_op, reason = "zero but for infinity and NaN")]
            let difference = if EXACT { x - x } else { step - round(x, above[at]) };
            differences[at] = difference.to_bits();
            // Unlike `clamp`, these are single instructions; not a number ends at the floor.
            let step = if step > floor[at] { step } else { floor[at] };
            let step = if step < ceiling[at] { step } else { ceiling[at] };
            distances[at] = step.to_bits().wrapping_sub(floor[at].to_bits());
        }
        for (code, distance) in codes.iter_mut().zip(distances) {
            *code = distance.to_le_bytes()[0];
        }
        for (at, doubt) in doubt.iter_mut().enumerate() {
            *doubt |=
                differences[at] | differences[at + 4] | differences[at + 8] | differences[at + 12];
        }
    }
    doubt == [0; TILE / 4]
}

/// Codes by division where they are in doubt, each of its feature; false if a value is not finite.
#[cold]
fn divide(
    values: &[f32],
    features: impl Iterator<Item = usize>,
    input: &Input,
    brackets: &Brackets,
    codes: &mut [u8],
) -> bool {
    for ((feature, code), &value) in features.zip(codes).zip(values) {
        if !brackets.is_certain(feature, value, Portable::ARITHMETIC) && value.is_finite() {
            *code = input.code(feature, value.into()).to_le_bytes()[0];
        }
    }
    values.iter().all(|value| value.is_finite())
}

/// Both rows' sums of one group in each lane. Four columns are taken at a time: each lane is then
/// loaded and stored once per four products.
fn group_sums(codes: &[Column], start: u16, terms: &[Term]) -> [u16; LANES] {
    let mut sums = [start; LANES];
    let column = |term: Term| codes[term.column as usize].lanes();
    #[expect(clippy::cast_possible_truncation, reason = "one of two equal halves")]
    let product =
        |term: Term, lane: [u8; 2]| u16::from_le_bytes(lane).wrapping_mul(term.weights as u16);
    let (fours, rest) = terms.as_chunks::<4>();
    for &[first, second, third, fourth] in fours {
        let firsts = column(first).iter().zip(column(second));
        let seconds = column(third).iter().zip(column(fourth));
        for (sum, ((&a, &b), (&c, &d))) in sums.iter_mut().zip(firsts.zip(seconds)) {
            *sum = sum
                .wrapping_add(product(first, a))
                .wrapping_add(product(second, b))
                .wrapping_add(product(third, c))
                .wrapping_add(product(fourth, d));
        }
    }
    for &term in rest {
        for (sum, &lane) in sums.iter_mut().zip(column(term)) {
            *sum = sum.wrapping_add(product(term, lane));
        }
    }
    sums
}

fn bytes_of(sums: &[u16; LANES]) -> Column {
    let mut column = Column::ZERO;
    for (lane, sum) in column.0.as_chunks_mut().0.iter_mut().zip(sums) {
        *lane = sum.to_le_bytes();
    }
    column
}

/// The sums of a neuron with more than one group, row by row.
fn wide_sums(layer: &Layer, neuron: usize, codes: &[Column]) -> [u16; BLOCK] {
    let mut wide = [0; BLOCK];
    for (start, terms) in layer.groups(neuron) {
        let sums = group_sums(codes, start, terms);
        for ([even, odd], sum) in wide.as_chunks_mut().0.iter_mut().zip(sums) {
            *even += sum & 255;
            *odd += sum >> 8;
        }
    }
    wide
}

/// Adds noise to sums of 8 bits; those that are read from a table of bytes stay within it.
fn shift_narrow(sums: &mut Column, Shift { up, down }: &Shift, read: &Read) {
    for (sum, (&up, &down)) in sums.0.iter_mut().zip(up.0.iter().zip(&down.0)) {
        *sum = sum.saturating_add(up).saturating_sub(down);
    }
    if let Read::Bytes(bytes) = read {
        sums.0.iter_mut().for_each(|sum| *sum = (*sum).min(bytes.last));
    }
}

/// The same for sums of 16 bits.
fn shift_wide(sums: &mut [u16; BLOCK], Shift { up, down }: &Shift, read: &Read) {
    let last = read.last_sum();
    for (sum, (&up, &down)) in sums.iter_mut().zip(up.0.iter().zip(&down.0)) {
        *sum = sum.saturating_add(up.into()).saturating_sub(down.into()).min(last);
    }
}

fn store_wide(wide: &[u16; BLOCK], neuron: usize, sums: &mut Planes) {
    let bytes = sums.low[neuron].0.iter_mut().zip(&mut sums.high[neuron].0);
    for ((low, high), sum) in bytes.zip(wide) {
        [*low, *high] = sum.to_le_bytes();
    }
}

/// Four steps are taken at a time. Masks instead of branches keep the loop vectorized.
fn read_steps(sums: &Column, base: u8, steps: &[Step], next: &mut Column) {
    let step =
        |sum: u8, step: Step| u8::from(sum >= step.at.to_le_bytes()[0]).wrapping_neg() & step.delta;
    next.0.fill(base);
    let (fours, rest) = steps.as_chunks::<4>();
    for &[first, second, third, fourth] in fours {
        for (code, &sum) in next.0.iter_mut().zip(&sums.0) {
            let firsts = step(sum, first).wrapping_add(step(sum, second));
            let seconds = step(sum, third).wrapping_add(step(sum, fourth));
            *code = code.wrapping_add(firsts).wrapping_add(seconds);
        }
    }
    for &last in rest {
        for (code, &sum) in next.0.iter_mut().zip(&sums.0) {
            *code = code.wrapping_add(step(sum, last));
        }
    }
}

fn read_wide_steps(sums: &[u16; BLOCK], base: u8, steps: &[Step], next: &mut Column) {
    let step =
        |sum: u16, step: Step| u16::from(sum >= step.at).wrapping_neg() & u16::from(step.delta);
    let mut codes = [u16::from(base); BLOCK];
    let (fours, rest) = steps.as_chunks::<4>();
    for &[first, second, third, fourth] in fours {
        for (code, &sum) in codes.iter_mut().zip(sums) {
            let firsts = step(sum, first).wrapping_add(step(sum, second));
            let seconds = step(sum, third).wrapping_add(step(sum, fourth));
            *code = code.wrapping_add(firsts).wrapping_add(seconds);
        }
    }
    for &last in rest {
        for (code, &sum) in codes.iter_mut().zip(sums) {
            *code = code.wrapping_add(step(sum, last));
        }
    }
    for (next, code) in next.0.iter_mut().zip(codes) {
        *next = code.to_le_bytes()[0];
    }
}

fn read_wide_bytes(sums: &[u16; BLOCK], bytes: &Bytes, next: &mut Column) {
    for (code, &sum) in next.0.iter_mut().zip(sums) {
        let index = sum.wrapping_add(bytes.half) >> bytes.lsbs;
        *code = bytes.entries[usize::from(index & 255)];
    }
}
