"""Memory that a process frees stays with the process, for those that answer on a CPU.

In: nothing. Out: glibc's allocator set so. As it is, it gives megabytes back to the system after
each layer and takes them anew for the next, zeroed page by page: of the processor time of batches
of 64 questions on the tiny model this was a seventh. Elsewhere than on glibc nothing changes.
"""

import ctypes

# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MEBIBYTE = 1024 * 1024
# The largest that glibc takes; blocks above it always come from the system.
_LARGEST_MMAP_THRESHOLD = 32 * _MEBIBYTE


def keep_freed_memory(kept_bytes: int = 1024 * _MEBIBYTE) -> bool:
    """Keep so much freed memory for the next block; returns whether the allocator took it."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    settings = (
        (_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        (_TRIM_THRESHOLD, kept_bytes),
        (_TOP_PAD, 64 * _MEBIBYTE),
    )
    taken = [mallopt(name, value) == 1 for name, value in settings]
    return all(taken)
