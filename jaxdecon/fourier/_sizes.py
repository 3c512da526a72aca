"""Transform sizes that FFT libraries handle fast."""

import functools


@functools.cache
def next_fast_len(n: int) -> int:
    """The least integer >= n whose only prime factors are 2, 3, 5 and 7.

    A prime size costs 2-4 times as much as the next such size.

    Example:
        >>> next_fast_len(131)
        135
    """
    while not _is_smooth(n):
        n += 1
    return n


def _is_smooth(n: int) -> bool:
    for prime in (2, 3, 5, 7):
        while n % prime == 0 and n > 1:
            n //= prime
    return n == 1
