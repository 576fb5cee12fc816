//! Numbers of every type, by rows and by columns, against the same rows in single precision.

use crate::common::random::{Recipe, cases, packed_recipes, recipes, wide_recipes};
use crate::common::{paths, simulate};
use cipherfit_core::error::InputError;
use cipherfit_core::simulate::{Noise, Numbers, Options, Simulator};
use proptest::prelude::*;

/// An array that owns the numbers.
#[derive(Debug, Clone)]
enum Owned {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
}

macro_rules! of_types {
    ($($variant:ident)*) => {
        impl Owned {
            fn numbers(&self) -> Numbers<'_> {
                match self {
                    $(Self::$variant(numbers) => Numbers::$variant(numbers),)*
                }
            }

            /// The columns of rows of so many.
            fn columns(&self, width: usize) -> Vec<Self> {
                match self {
                    $(Self::$variant(numbers) => (0..width).map(|column| {
                        Self::$variant(numbers.iter().skip(column).step_by(width).copied().collect())
                    }).collect(),)*
                }
            }
        }
    };
}
of_types!(F32 F64 I8 I16 I32 I64 U8 U16 U32 U64);

/// Half steps around the codes of a recipe, or integers around them, in the type with this number; and
/// what they are in single precision.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, or meant")]
#[expect(clippy::cast_precision_loss, reason = "small")]
fn numbers(recipe: &Recipe, rows: usize, of_type: usize) -> (Owned, Vec<f32>) {
    let codes: Vec<i64> = recipe.codes(rows).iter().map(|&code| code.into()).collect();
    let halves = || codes.iter().map(|&code| (code as f64).mul_add(0.375, -2.0));
    let integers = |low: i64, high: i64| -> Vec<i64> {
        codes.iter().map(|&code| (code - 3).clamp(low, high)).collect()
    };
    let singles = |integers: &[i64]| integers.iter().map(|&integer| integer as f32).collect();
    macro_rules! of_integers {
        ($variant:ident $type:ty) => {{
            let integers = integers(i64::try_from(<$type>::MIN).unwrap(), i64::from(i8::MAX));
            let singles = singles(&integers);
            (Owned::$variant(integers.iter().map(|&integer| integer as $type).collect()), singles)
        }};
    }
    match of_type {
        0 => {
            (Owned::F32(halves().map(|x| x as f32).collect()), halves().map(|x| x as f32).collect())
        }
        // Rounded to single precision these are ties, and not before.
        1 => {
            let near: Vec<f64> = halves().map(|x| x + 1e-12).collect();
            let singles = near.iter().map(|&x| x as f32).collect();
            (Owned::F64(near), singles)
        }
        2 => of_integers!(I8 i8),
        3 => of_integers!(I16 i16),
        4 => of_integers!(I32 i32),
        5 => of_integers!(I64 i64),
        6 => of_integers!(U8 u8),
        7 => of_integers!(U16 u16),
        8 => of_integers!(U32 u32),
        _ => of_integers!(U64 u64),
    }
}

fn any_recipes() -> impl Strategy<Value = Recipe> {
    prop_oneof![1 => recipes(), 4 => packed_recipes(), 1 => wide_recipes()]
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn rows_and_columns_of_any_type_are_what_they_are_in_single_precision(
        recipe in any_recipes(),
        rows in prop::sample::select(&[0, 1, 6, 63, 256, 257, 513, 1000][..]),
        of_type in 0..10_usize,
        threads in 1..=3_usize,
        p_error in prop::sample::select(&[0.0, 0.2][..]),
    ) {
        let simulator = Simulator::new(recipe.graph().build());
        let (owned, singles) = numbers(&recipe, rows, of_type);
        let owned_columns = owned.columns(simulator.graph().n_features());
        let columns: Vec<_> = owned_columns.iter().map(Owned::numbers).collect();
        let n_threads = threads.try_into().ok();

        let mut codes = vec![0; singles.len()];
        simulator.quantize_into(&singles, &mut codes, None).unwrap();
        let mut of_rows = vec![u16::MAX; codes.len()];
        simulator.quantize_singles_into(owned.numbers(), &mut of_rows, n_threads).unwrap();
        prop_assert_eq!(&of_rows, &codes);
        of_rows.fill(u16::MAX);
        simulator.quantize_columns_into(&columns, &mut of_rows, n_threads).unwrap();
        prop_assert_eq!(&of_rows, &codes);

        let noise = (p_error > 0.0).then(|| Noise::new(p_error, 7).unwrap());
        let sums = simulate(simulator.graph(), &codes, noise, 1);
        let mut expected = vec![0.0; sums.len()];
        simulator.dequantize_into(&sums, &mut expected).unwrap();
        for path in paths() {
            let options = Options { noise, n_threads, path };
            let mut values = vec![0.0; expected.len()];
            simulator.run_singles_into(owned.numbers(), &mut values, options).unwrap();
            prop_assert_eq!(&values, &expected, "rows, {:?}", path);
            values.fill(0.0);
            simulator.run_columns_into(&columns, &mut values, options).unwrap();
            prop_assert_eq!(&values, &expected, "columns, {:?}", path);
        }
    }

    #[test]
    fn integers_are_taken_if_single_precision_holds_them(
        mantissa in any::<i32>(),
        shift in 0..40_u32,
        beside in -1..=1_i64,
    ) {
        let integer = (i64::from(mantissa) << shift.min(31)).saturating_add(beside);
        for integer in [integer, i64::MIN, i64::MAX, 1 << 24, (1 << 24) + 1, (1 << 24) + 2] {
            #[expect(clippy::cast_precision_loss, reason = "that is the question")]
            let single = integer as f32;
            #[expect(clippy::cast_possible_truncation, reason = "none: 64 bits and some")]
            let is_held = single as i128 == i128::from(integer);
            prop_assert_eq!(is_taken(Numbers::I64(&[integer]), single), is_held);
            if let Ok(integer) = u64::try_from(integer) {
                prop_assert_eq!(is_taken(Numbers::U64(&[integer]), single), is_held);
            }
            if let Ok(integer) = i32::try_from(integer) {
                prop_assert_eq!(is_taken(Numbers::I32(&[integer]), single), is_held);
            }
            if let Ok(integer) = u32::try_from(integer) {
                prop_assert_eq!(is_taken(Numbers::U32(&[integer]), single), is_held);
            }
        }
        prop_assert!(!is_taken(Numbers::U64(&[u64::MAX]), 0.0));
        prop_assert!(is_taken(Numbers::U64(&[1 << 63]), 9_223_372_036_854_775_808.0));
    }
}

/// Whether every way takes a number; if so, as `single`.
fn is_taken(number: Numbers<'_>, single: f32) -> bool {
    let simulator = Simulator::new(one_feature());
    let mut expected = [0.0];
    simulator.run_into(&[single], &mut expected, Options::default()).unwrap();
    let (mut values, mut code) = ([f64::NAN], [u16::MAX]);
    let mut taken = Vec::new();
    for path in paths() {
        let options = Options { path, ..Options::default() };
        for of_columns in [true, false] {
            let result = if of_columns {
                simulator.run_columns_into(&[number], &mut values, options)
            } else {
                simulator.run_singles_into(number, &mut values, options)
            };
            assert!(
                result.is_err() || values[0].to_bits() == expected[0].to_bits(),
                "{number:?} on {path:?}"
            );
            taken.push(result.is_ok());
        }
    }
    taken.push(simulator.quantize_columns_into(&[number], &mut code, None).is_ok());
    taken.push(simulator.quantize_singles_into(number, &mut code, None).is_ok());
    assert!(taken.iter().all(|each| *each == taken[0]), "{number:?}: {taken:?}");
    taken[0]
}

/// The code of a feature of a wide range.
fn one_feature() -> cipherfit_core::IntegerGraph {
    use cipherfit_core::{Input, IntegerGraph, LayerSpec, Linear, Output};
    let input = Input::new(vec![1e17], vec![128], 8).unwrap();
    let linear = Linear::from_dense(1, &[1], vec![0]).unwrap();
    let output = Output::new(vec![1.0], vec![0.0]).unwrap();
    IntegerGraph::from_layers(input, vec![LayerSpec::Linear(linear)], output).unwrap()
}

#[test]
fn the_first_number_that_is_refused_is_named_whatever_the_threads() {
    let recipe = Recipe {
        n_bits: 4,
        sizes: vec![3, 2, 1],
        weight_bits: 2,
        index_bits: 4,
        max_code: 7,
        seed: 3,
    };
    let simulator = Simulator::new(recipe.graph().build());
    let mut columns = vec![vec![0.0_f64; 5000]; 3];
    for row in [4999, 2222, 1001] {
        columns[2][row] = f64::NAN;
        columns[1][row] = 1e300;
    }
    let flat: Vec<f64> = (0..15000).map(|at| columns[at % 3][at / 3]).collect();
    let numbers: Vec<_> = columns.iter().map(|column| Numbers::F64(column)).collect();
    for (path, threads) in paths().into_iter().flat_map(|path| (1..=4).map(move |n| (path, n))) {
        let options = Options { n_threads: threads.try_into().ok(), path, ..Options::default() };
        let (mut out, mut codes) = (vec![0.0; 5000], vec![0; 15000]);
        for error in [
            simulator.run_columns_into(&numbers, &mut out, options),
            simulator.run_singles_into(Numbers::F64(&flat), &mut out, options),
            simulator.quantize_columns_into(&numbers, &mut codes, options.n_threads),
            simulator.quantize_singles_into(Numbers::F64(&flat), &mut codes, options.n_threads),
        ] {
            let value = 1e300.to_string();
            let expected = InputError::NotSingle { name: "X", row: 1001, column: 1, value };
            assert_eq!(error, Err(expected));
        }
    }
    columns[1][1001] = 0.0;
    let numbers: Vec<_> = columns.iter().map(|column| Numbers::F64(column)).collect();
    let error = simulator.run_columns_into(&numbers, &mut vec![0.0; 5000], Options::default());
    match error {
        Err(InputError::NotFinite { row: 1001, column: 2, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn columns_that_are_not_those_of_the_features_are_refused() {
    let simulator = Simulator::new(one_feature());
    let run = |columns: &[Numbers<'_>], out: &mut [f64]| {
        simulator.run_columns_into(columns, out, Options::default()).unwrap_err().to_string()
    };
    let column = Numbers::I8(&[1, 2]);
    assert!(run(&[], &mut []).contains("columns must have shape (1, n), got 0 columns"));
    assert!(run(&[column, column], &mut [0.0; 2]).contains("got 2 columns"));
    assert!(run(&[column], &mut [0.0]).contains("out must have shape (2, 1), got 1 values"));
}
