"""What all faults have in common."""

import pytest
from support.chaos import RecordingLink, RecordingWay, frame_part

from trioproxy.chaos.faults import FAULTS, ConnectionFault, Fault
from trioproxy.chaos.faults.base import Opening

HELLO = frame_part(b"\x81\x05hello")


def test_what_a_fault_does_not_say_is_left_as_it_is():
    fault, link = ConnectionFault(), RecordingLink()
    assert list(fault.passing(RecordingWay(), HELLO)) == [HELLO]
    fault.strike(link)
    fault.release(link)
    assert (link.resets, [(way.parts, way.done) for way in link.ways]) == (0, [([], []), ([], [])])
    assert fault.opening is Opening.ACCEPT


async def test_a_fault_that_says_nothing_does_nothing():
    await Fault().begin(None, ())
    await Fault().end(None, ())


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_in_a_sentence_what_it_is(name):
    fault = FAULTS[name]
    assert fault.name == name
    assert fault.__doc__.endswith(".")
    assert "\n" not in fault.__doc__
