//! Instruction sets of x86-64, each proven to be there by a value of its own.
//!
//! Whoever holds such a proof may run what is compiled for its instructions; so what is made only
//! from a proof, as a register is, can have safe operations.

#![allow(unsafe_code, reason = "what is compiled for instructions runs only with their proof")]

/// What can be compiled for other instructions than those of every processor.
pub(super) trait Task {
    /// What it gives.
    type Output;

    /// Does it; is to be inlined, with all that it calls, as it has the instructions only there.
    fn run(self) -> Self::Output;
}

macro_rules! instruction_set {
    ($(#[$doc:meta])* $name:ident: $($feature:tt),+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(super) struct $name(());

        impl $name {
            /// The proof, if the processor has the instructions.
            pub(super) fn detect() -> Option<Self> {
                let has_all = true $(&& is_x86_feature_detected!($feature))+;
                has_all.then_some(Self(()))
            }

            /// Does `task` with these instructions.
            pub(super) fn run<T: Task>(self, task: T) -> T::Output {
                $(#[target_feature(enable = $feature)])+
                fn with_instructions<T: Task>(task: T) -> T::Output {
                    task.run()
                }
                // SAFETY: `self` is only made where the processor has the instructions.
                unsafe { with_instructions(task) }
            }
        }
    };
}

instruction_set! {
    /// AVX2 and FMA.
    Avx2: "avx2", "fma"
}

instruction_set! {
    /// AVX-512 F, BW, DQ and VL, besides AVX2 and FMA.
    Avx512: "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"
}

instruction_set! {
    /// The same with AVX-512 VBMI.
    Avx512Vbmi: "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vbmi"
}
