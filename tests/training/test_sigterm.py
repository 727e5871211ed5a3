"""A SIGTERM is noted wherever it comes, and nothing is left changed."""

import os
import signal
import threading

from ecgtwin.training.sigterm import noted_sigterms


def send():
    os.kill(os.getpid(), signal.SIGTERM)


def test_one_that_came_early_is_known_to_a_later_block():
    before = signal.getsignal(signal.SIGTERM)
    with noted_sigterms() as outer:
        send()
        with noted_sigterms() as inner:
            assert inner == [signal.SIGTERM]
            send()
        assert outer == [signal.SIGTERM] * 2
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    with noted_sigterms() as later:
        assert later == []


def test_another_thread_sees_what_the_main_one_notes_and_catches_nothing_itself():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def look():
        with noted_sigterms() as notes:
            seen.append(list(notes))
        assert signal.getsignal(signal.SIGTERM) is not None

    for notes in ([], [signal.SIGTERM]):
        with noted_sigterms():
            if notes:
                send()
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [[], [signal.SIGTERM], []]
    assert signal.getsignal(signal.SIGTERM) is before
