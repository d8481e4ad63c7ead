//! Software prefetch, and what the hardware prefetcher does without it.

#[cfg(all(target_arch = "x86_64", not(miri)))]
use std::sync::LazyLock;

use crate::kernels::cache_line::CacheLine;

/// Prefetches the cache line `distance` bytes after `line`, where the CPU has an instruction for it.
#[inline(always)]
#[allow(unsafe_code, reason = "the intrinsic takes a pointer, which it does not dereference")]
pub(crate) fn prefetch(line: &CacheLine, distance: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let ahead = (&raw const *line).wrapping_byte_add(distance).cast();
        // SAFETY: a prefetch reads no value and raises no fault, whatever the address; every x86-64 CPU has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (line, distance);
}

/// Whether the hardware prefetcher stops at the end of a page of 4 KiB, as that of Intel's CPUs does.
pub(crate) fn hardware_prefetcher_stops_at_pages() -> bool {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::__cpuid;
        static INTEL: LazyLock<bool> = LazyLock::new(|| {
            let vendor = __cpuid(0);
            [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
        });
        *INTEL
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    false
}
