"""Silence for native libraries, which write to the process' own output."""

import os
import threading

from deepfeatures.io.native_output import suppress_native_output


def where_output_goes() -> list[int]:
    return [os.fstat(descriptor).st_ino for descriptor in (1, 2)]


def test_silence_in_two_threads_ends_with_the_last_of_them(capfd):
    before = where_output_goes()
    is_silent, may_end = threading.Event(), threading.Event()

    def be_silent():
        with suppress_native_output():
            is_silent.set()
            may_end.wait(10)

    other = threading.Thread(target=be_silent)
    with suppress_native_output():
        other.start()
        is_silent.wait(0.3)
    may_end.set()
    other.join()
    assert where_output_goes() == before
