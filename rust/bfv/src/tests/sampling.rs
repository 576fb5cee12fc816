//! Distributions are what proofs assume.

use crate::sampling::{ERROR_BOUND, Stream};

const COUNT: usize = 200_000;

#[expect(clippy::cast_precision_loss, reason = "a mean")]
fn mean(values: impl Iterator<Item = i64>) -> f64 {
    values.sum::<i64>() as f64 / COUNT as f64
}

#[test]
fn secrets_are_ternary_and_even() {
    let trits = Stream::fresh().unwrap().ternary(COUNT);
    assert_eq!(trits.len(), COUNT);
    for value in [-1, 0, 1] {
        let share = mean(trits.iter().map(|&trit| i64::from(trit == value)));
        assert!((share - 1.0 / 3.0).abs() < 0.007, "{value}: {share}");
    }
}

#[test]
fn errors_are_bounded_and_as_wide_as_told() {
    let errors = Stream::fresh().unwrap().errors(COUNT);
    assert!(errors.iter().all(|error| error.unsigned_abs() <= ERROR_BOUND.into()));
    assert!(mean(errors.iter().copied()).abs() < 0.05);
    let variance = mean(errors.iter().map(|error| error * error));
    assert!((variance - f64::from(ERROR_BOUND) / 2.0).abs() < 0.25, "{variance}");
}

#[test]
fn uniform_numbers_reach_every_value_below_the_bound_and_no_other() {
    let mut stream = Stream::fresh().unwrap();
    for bound in [1, 2, 3, 5, 8, 13] {
        let mut counts = vec![0; bound];
        for _ in 0..1000 {
            let wide = stream.below_u128(bound as u128);
            counts[usize::try_from(wide).unwrap()] += 1;
            counts[usize::try_from(stream.below(bound as u64)).unwrap()] += 1;
        }
        let expected = 2000 / i32::try_from(bound).unwrap();
        assert!(counts.iter().all(|count: &i32| (count - expected).abs() < 250), "{counts:?}");
    }
}

#[test]
fn streams_repeat_by_label_seed_and_index_alone() {
    let first = |label, seed: u8, index| Stream::expand(label, &[seed; 32], index).next();
    assert_eq!(first("a", 1, 0), first("a", 1, 0));
    assert_ne!(first("a", 1, 0), first("b", 1, 0));
    assert_ne!(first("a", 1, 0), first("a", 2, 0));
    assert_ne!(first("a", 1, 0), first("a", 1, 1));
    assert_ne!(Stream::fresh().unwrap().next(), Stream::fresh().unwrap().next());
}
