//! From the last accumulators to real values.

use crate::error::{GraphDefect, GraphError, Part};

/// Per-output affine dequantizer: `value = accumulator * scale + offset`.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    scale: Vec<f64>,
    offset: Vec<f64>,
}

impl Output {
    /// A dequantizer of `scale.len()` outputs.
    ///
    /// # Errors
    /// If lengths differ, a scale is not finite and positive, or an offset is not finite.
    pub fn new(scale: Vec<f64>, offset: Vec<f64>) -> Result<Self, GraphError> {
        let fail = |defect: GraphDefect| Err(defect.of(Part::Output));
        if scale.len() != offset.len() {
            let (expected, got) = (scale.len(), offset.len());
            return fail(GraphDefect::Length { name: "offset", expected, got });
        }
        for (index, &value) in scale.iter().enumerate() {
            if !(value.is_finite() && value > 0.0) {
                let allowed = "finite and positive";
                return fail(GraphDefect::Real { name: "scale", index, value, allowed });
            }
        }
        for (index, &value) in offset.iter().enumerate() {
            if !value.is_finite() {
                return fail(GraphDefect::Real { name: "offset", index, value, allowed: "finite" });
            }
        }
        Ok(Self { scale, offset })
    }

    /// Real value of one accumulator step of each output.
    #[must_use]
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// Real value of accumulator 0 of each output.
    #[must_use]
    pub fn offset(&self) -> &[f64] {
        &self.offset
    }

    /// The real value of one accumulator of one output.
    pub(crate) fn dequantize(&self, output: usize, accumulator: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "exact to 2^53, the nearest f64 beyond")]
        let steps = accumulator as f64;
        steps * self.scale[output] + self.offset[output]
    }
}
