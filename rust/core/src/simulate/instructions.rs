//! Instruction sets of x86-64, each proven to be there by a value of its own.
//!
//! Whoever holds such a proof may run what is compiled for its instructions; so what is made only
//! from a proof, as a register is, can have safe operations.

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
