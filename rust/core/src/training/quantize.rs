//! Quantization-aware training: codes of weights and activations in `f32`, and their gradients.
//!
//! One pass each instead of a chain of tensor operations, which on small layers cost more than the
//! arithmetic. Rounding is to nearest, ties to even; gradients are straight-through.

/// Halvings (of a logarithm) in the search for the factor at which enough weights survive.
const SEARCH_STEPS: usize = 5;
/// Below this a norm counts as this.
const LEAST_NORM: f32 = 1e-9;
const LANES: usize = 8;
/// So many codes of at most 15 bits sum up exactly in `f32`.
const EXACT_RUN: usize = 256;

/// How the weights of a linear layer become codes that its accumulators can hold.
///
/// `code = round(fit * clamp(weight / scale, -max_code, max_code)) * mask`, where `fit`, at most 1,
/// shrinks a neuron's weights until their L1 norm is what its accumulator can hold, and the mask
/// drops the least of those that rounding adds beyond it.
#[derive(Debug, Clone, Copy)]
pub struct WeightQuantizer {
    /// Largest magnitude of a code, below 2^15; 1 where codes are signs.
    pub max_code: f32,
    /// Whether a code is the weight's sign.
    pub is_sign: bool,
    /// Whether weights shrink to the norm that fits; else `fit` is 1.
    pub shrinks: bool,
    /// Whether the norm counts only weights that do not round to zero.
    pub is_scarce: bool,
    /// Largest code of an input.
    pub max_in_code: u16,
    /// Largest width `max(acc) - min(acc)` of an accumulator.
    pub budget: u64,
}

/// What the gradient of a neuron's weights needs, and where its accumulator lies.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct QuantizedNeuron {
    /// Factor by which its weights shrink.
    pub fit: f32,
    /// The norm counts weights of at least this magnitude, in units of their scale.
    pub counted_from: f32,
    /// Least value of the accumulator.
    pub low: f32,
    /// Value of the accumulator where every input has half of its largest code.
    pub centre: f32,
}

/// Weights and the inverse scale of each neuron.
#[derive(Debug, Clone, Copy)]
pub struct ScaledWeights<'a> {
    /// Row by row, one row per neuron.
    pub weights: &'a [f32],
    /// One per neuron.
    pub inverse_scale: &'a [f32],
    /// Weights per neuron, at least 1.
    pub width: usize,
}

impl ScaledWeights<'_> {
    fn rows(&self) -> impl Iterator<Item = (&[f32], f32)> {
        self.weights.chunks_exact(self.width).zip(self.inverse_scale.iter().copied())
    }
}

/// Memory that rows share.
#[derive(Default)]
struct Scratch {
    importance: Vec<f32>,
    keys: Vec<u64>,
}

impl WeightQuantizer {
    /// Stores codes, and which weights the mask keeps; tells whether it dropped any.
    ///
    /// All slices have one value per weight, `neurons` one per neuron.
    pub fn quantize(
        &self,
        of: &ScaledWeights<'_>,
        codes: &mut [f32],
        mask: &mut [bool],
        neurons: &mut [QuantizedNeuron],
    ) -> bool {
        let mut scratch = Scratch::default();
        let mut dropped = false;
        let outputs = codes.chunks_exact_mut(of.width).zip(mask.chunks_exact_mut(of.width));
        for (((weights, inverse), (codes, mask)), neuron) in of.rows().zip(outputs).zip(neurons) {
            for (code, &weight) in codes.iter_mut().zip(weights) {
                *code = (weight * inverse).clamp(-self.max_code, self.max_code);
            }
            let (fit, counted_from) = self.fit(codes);
            scratch.importance.clear();
            scratch.importance.extend(codes.iter().map(|clamped| (clamped * fit).abs()));
            if self.is_sign {
                for code in codes.iter_mut() {
                    *code = sign(*code);
                }
            } else {
                for code in codes.iter_mut() {
                    *code = round(*code * fit);
                }
            }
            if exact_norm(codes) > self.most_codes() {
                dropped = true;
                self.drop_least(codes, mask, &mut scratch);
            } else {
                mask.fill(true);
            }
            let largest = f32::from(self.max_in_code);
            let low = largest * lane_sum(codes, codes, |code, _| code.min(0.0));
            let centre = largest / 2.0 * lane_sum(codes, codes, |code, _| code);
            *neuron = QuantizedNeuron { fit, counted_from, low, centre };
        }
        dropped
    }

    /// Stores the gradients of the weights and of the logarithm of each neuron's scale, as far as it
    /// works through the codes, for a gradient of the codes; `mask` as `quantize` left it.
    pub fn gradient(
        &self,
        of: &ScaledWeights<'_>,
        neurons: &[QuantizedNeuron],
        mask: Option<&[bool]>,
        gradient: &[f32],
        of_weights: &mut [f32],
        of_log_scale: &mut [f32],
    ) {
        let largest = self.max_code;
        let mut kept = vec![0.0; of.width];
        let rows = gradient.chunks_exact(of.width).zip(of_weights.chunks_exact_mut(of.width));
        let each = of.rows().zip(neurons).zip(rows).zip(of_log_scale).enumerate();
        for (row, ((((weights, inverse), neuron), (gradient, out)), of_log_scale)) in each {
            kept.copy_from_slice(gradient);
            if let Some(mask) = mask {
                let mask = &mask[row * of.width..][..of.width];
                for (value, &stays) in kept.iter_mut().zip(mask) {
                    *value = if stays { *value } else { 0.0 };
                }
            }
            let clamped = |weight: f32| (weight * inverse).clamp(-largest, largest);
            let counted = |clamped: f32| clamped.abs() >= neuron.counted_from;
            let mut shared = 0.0;
            if neuron.fit < 1.0 {
                let norm = lane_sum(weights, weights, |weight, _| {
                    let clamped = clamped(weight);
                    if counted(clamped) { clamped.abs() } else { 0.0 }
                });
                shared = lane_sum(weights, &kept, |weight, value| clamped(weight) * value)
                    / norm.max(LEAST_NORM);
            }
            for ((out, &weight), &value) in out.iter_mut().zip(weights).zip(&kept) {
                let scaled = weight * inverse;
                let clamped = clamped(weight);
                let common = if counted(clamped) { shared * sign(clamped) } else { 0.0 };
                let inside = scaled.abs() <= largest;
                *out = if inside { (value - common) * neuron.fit * inverse } else { 0.0 };
            }
            *of_log_scale = -lane_sum(out, weights, |out, weight| out * weight);
        }
    }

    /// The factor that makes a neuron's clamped weights fit, and from which magnitude they count.
    fn fit(&self, clamped: &[f32]) -> (f32, f32) {
        if !self.shrinks {
            return (1.0, 0.0);
        }
        let most = self.most_weight();
        let norm = |least: f32| {
            lane_sum(
                clamped,
                clamped,
                |value, _| {
                    if value.abs() >= least { value.abs() } else { 0.0 }
                },
            )
        };
        let mut counted_from = 0.0;
        if self.is_scarce {
            let mut high = 1.0_f32;
            let mut low = (most / norm(0.0).max(LEAST_NORM)).min(1.0);
            for _ in 0..SEARCH_STEPS {
                let middle = (low * high).sqrt();
                if middle * norm(0.5 / middle) > most {
                    high = middle;
                } else {
                    low = middle;
                }
            }
            counted_from = 0.5 / low;
        }
        ((most / norm(counted_from).max(LEAST_NORM)).min(1.0), counted_from)
    }

    /// The largest L1 norm of codes that an accumulator can hold.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "rounds")]
    fn most_weight(&self) -> f32 {
        (self.budget as f64 / f64::from(self.max_in_code)) as f32
    }

    /// The same in whole codes.
    fn most_codes(&self) -> u64 {
        self.budget / u64::from(self.max_in_code)
    }

    /// Drops weights, the least important first, among equals the last, until the rest fit.
    ///
    /// These are the ones that `prune` drops. Shrunk weights are beyond the budget only by what
    /// rounding adds, and as each costs at least 1, no more need be put in order than that.
    fn drop_least(&self, codes: &mut [f32], mask: &mut [bool], scratch: &mut Scratch) {
        scratch.keys.resize(codes.len(), 0);
        let mut n_keys = 0;
        for ((importance, &code), column) in scratch.importance.iter().zip(&*codes).zip(0_u32..) {
            // What is not negative is ordered as its bits are. Without a branch: zeros are many, and
            // lie anywhere.
            scratch.keys[n_keys] = u64::from(importance.to_bits()) << 32 | u64::from(!column);
            n_keys += usize::from(code != 0.0);
        }
        let keys = &mut scratch.keys[..n_keys];
        let mut norm = exact_norm(codes);
        let most = self.most_codes();
        let ordered = usize::try_from(norm - most).map_or(keys.len(), |few| few.min(keys.len()));
        if ordered < keys.len() {
            keys.select_nth_unstable(ordered);
        }
        keys[..ordered].sort_unstable();
        for key in &keys[..ordered] {
            if norm <= most {
                break;
            }
            #[expect(clippy::cast_possible_truncation, reason = "the low half is the column")]
            let column = !(*key as u32) as usize;
            norm -= exact_norm(&codes[column..=column]);
            codes[column] = 0.0;
        }
        // What rounds to zero is less important than what was dropped.
        for (kept, &code) in mask.iter_mut().zip(&*codes) {
            *kept = code != 0.0;
        }
    }
}

/// The L1 norm of codes; 0 where one is not a number.
#[expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "an integer that is not negative"
)]
fn exact_norm(codes: &[f32]) -> u64 {
    let runs = codes.chunks(EXACT_RUN);
    let norm: f64 = runs.map(|run| f64::from(lane_sum(run, run, |code, _| code.abs()))).sum();
    norm as u64
}

/// How activations become codes: `clamp(round(y / step + offset), 0, max_code)`, per neuron.
#[derive(Debug, Clone, Copy)]
pub struct ActivationQuantizer<'a> {
    /// One over the step of each neuron.
    pub inverse_step: &'a [f32],
    /// Code of an activation of 0, before rounding.
    pub offset: &'a [f32],
    /// Largest code, below 2^16.
    pub max_code: f32,
}

impl ActivationQuantizer<'_> {
    /// Stores the codes of rows of activations.
    pub fn quantize(&self, values: &[f32], codes: &mut [f32]) {
        let width = self.offset.len();
        for (values, codes) in values.chunks_exact(width).zip(codes.chunks_exact_mut(width)) {
            let neurons = self.inverse_step.iter().zip(self.offset);
            for ((code, value), (inverse, offset)) in codes.iter_mut().zip(values).zip(neurons) {
                *code = round((value * inverse + offset).clamp(0.0, self.max_code));
            }
        }
    }

    /// Stores the gradients of activations, of the logarithm of each step, and of each offset.
    pub fn gradient(
        &self,
        values: &[f32],
        gradient: &[f32],
        of_values: &mut [f32],
        of_log_step: &mut [f32],
        of_offset: &mut [f32],
    ) {
        let width = self.offset.len();
        of_log_step.fill(0.0);
        of_offset.fill(0.0);
        let rows = values.chunks_exact(width).zip(gradient.chunks_exact(width));
        for ((values, gradient), out) in rows.zip(of_values.chunks_exact_mut(width)) {
            let neurons = self.inverse_step.iter().zip(self.offset);
            let sums = of_log_step.iter_mut().zip(of_offset.iter_mut());
            let each = values.iter().zip(gradient).zip(out).zip(neurons).zip(sums);
            for ((((value, gradient), out), (inverse, offset)), (of_step, of_offset)) in each {
                let scaled = value * inverse;
                let position = scaled + offset;
                let inside = position >= 0.0 && position <= self.max_code;
                let passed = if inside { *gradient } else { 0.0 };
                *out = passed * inverse;
                *of_step -= passed * scaled;
                *of_offset += passed;
            }
        }
    }
}

/// Rounds to nearest, ties to even, for magnitudes up to 2^22: the sum has no bits for fractions.
fn round(value: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23
    (value + SHIFT) - SHIFT
}

/// The sign, and 0 for 0.
fn sign(value: f32) -> f32 {
    f32::from(i8::from(value > 0.0)) - f32::from(i8::from(value < 0.0))
}

/// The sum of a term over pairs, in as many sums as a register has lanes.
fn lane_sum(first: &[f32], second: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (mut lanes, mut rest) = ([0.0; LANES], 0.0);
    let (first, first_rest) = first.as_chunks::<LANES>();
    let (second, second_rest) = second.as_chunks::<LANES>();
    for (first, second) in first.iter().zip(second) {
        for ((lane, &first), &second) in lanes.iter_mut().zip(first).zip(second) {
            *lane += term(first, second);
        }
    }
    for (&first, &second) in first_rest.iter().zip(second_rest) {
        rest += term(first, second);
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
#[expect(clippy::float_cmp, clippy::cast_precision_loss, reason = "small integers")]
mod tests {
    use super::{QuantizedNeuron, ScaledWeights, WeightQuantizer, round};

    #[test]
    fn rounding_is_to_nearest_with_ties_to_even() {
        for half in -70_000..70_000 {
            let value = half as f32 / 2.0;
            assert_eq!(round(value), value.round_ties_even());
            assert_eq!(round(value.next_up()), value.next_up().round_ties_even());
            assert_eq!(round(value.next_down()), value.next_down().round_ties_even());
        }
    }

    #[test]
    fn a_neuron_whose_weights_round_up_together_drops_the_least() {
        // A norm of 8 fits; the ten weights shrink to 0.8 on average, and all round to 1.
        let weights: Vec<f32> = (0..10).map(|index| 0.9 + 0.02 * index as f32).collect();
        let of = ScaledWeights { weights: &weights, inverse_scale: &[1.0], width: 10 };
        let quantizer = WeightQuantizer {
            max_code: 3.0,
            is_sign: false,
            shrinks: true,
            is_scarce: false,
            max_in_code: 7,
            budget: 60,
        };
        let (mut codes, mut mask) = ([0.0; 10], [false; 10]);
        let mut neurons = [QuantizedNeuron::default()];
        assert!(quantizer.quantize(&of, &mut codes, &mut mask, &mut neurons));
        assert_eq!(codes, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(mask.map(f32::from), codes.map(|code| code));
        assert_eq!((neurons[0].low, neurons[0].centre), (0.0, 28.0));
    }
}
