//! Code that is compiled twice: for every processor, and for those of the last ten years.

/// Defines a function that runs as compiled with vectors of 32 bytes and what else of x86-64-v3 is of use
/// here (bits and bytes of a word counted and turned around) where the processor has that, and else as for
/// any. What is to gain by it must be inlined; closures that the function defines gain as well.
macro_rules! for_newer_processors {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name($($argument: $type),*) -> $result {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe,popcnt")]
                fn newer($($argument: $type),*) -> $result $body

                if $crate::analysis::processor::is_newer() {
                    // SAFETY: the processor has been asked for each of these extensions.
                    #[allow(unsafe_code)]
                    return unsafe { newer($($argument),*) };
                }
            }
            fn any($($argument: $type),*) -> $result $body

            any($($argument),*)
        }
    };
}

pub(crate) use for_newer_processors;

/// Whether the processor has what [`for_newer_processors`] asks for.
#[cfg(target_arch = "x86_64")]
pub fn is_newer() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe")
        && is_x86_feature_detected!("popcnt")
}
