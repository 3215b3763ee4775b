//! How the heap of a mount grows.

/// Has threads share a heap that grows in large steps. To be called before the first thread.
///
/// Threads that serve allocate blocks of the cache and of the journal, and others give them back. The GNU C library gives
/// each thread a heap of its own, of which most then stays unused, and lets those grow by a page and a system call at a time.
/// With one heap for a few processors a mount takes a quarter less memory, and deletes by several programs at once a fifth
/// less time of processors (two of them, 20 000 files).
#[cfg(target_env = "gnu")]
pub(super) fn share_heaps() {
    #![expect(unsafe_code, reason = "the C library's settings have no safe wrapper")]
    use std::num::NonZero;
    use std::thread::available_parallelism;

    const PROCESSORS_PER_HEAP: usize = 8;
    const STEP: i32 = 1 << 20;
    const KEPT: i32 = 64 << 20;
    // Of its own the library learns this from what is given back, but not once it has been told anything else. Larger pieces
    // are mapped and filled with zeros each time: reading a file then takes nearly twice as long.
    const LARGEST: i32 = 4 << 20;

    let processors = available_parallelism().map_or(1, NonZero::get);
    let heaps = i32::try_from(processors.div_ceil(PROCESSORS_PER_HEAP)).unwrap_or(i32::MAX);
    for (setting, value) in [
        (libc::M_ARENA_MAX, heaps),
        (libc::M_TOP_PAD, STEP),
        (libc::M_TRIM_THRESHOLD, KEPT),
        (libc::M_MMAP_THRESHOLD, LARGEST),
    ] {
        // SAFETY: mallopt takes any two numbers, locks the allocator, and refuses those that it does not know.
        unsafe { libc::mallopt(setting, value) };
    }
}

/// Other C libraries have one heap.
#[cfg(not(target_env = "gnu"))]
pub(super) fn share_heaps() {}
