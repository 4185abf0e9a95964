"""Decoders that many threads ask for at the same time."""

import subprocess
import sys

MANY_THREADS = """
from __future__ import annotations
import sys, threading, types
import msgspec
from assay.protocol.decoders import get_decoder, get_json_decoder

sys.setswitchinterval(1e-6)
SOURCE = '''
from __future__ import annotations
import msgspec
class Inner(msgspec.Struct, array_like=True):
    numbers: tuple[int, ...]
class Middle(msgspec.Struct, array_like=True):
    one: Inner
    many: tuple[Inner, ...]
class Outer(msgspec.Struct, array_like=True):
    number: int
    left: Middle
    right: Middle
'''
for turn in range(int(sys.argv[1])):
    module = sys.modules[f"kinds{turn}"] = types.ModuleType(f"kinds{turn}")
    exec(SOURCE, module.__dict__)
    value = [1, [[[2]], [[[2]]]], [[[2]], []]]
    packed, text, barrier = msgspec.msgpack.encode(value), msgspec.json.encode(value), threading.Barrier(4)

    def decode(number):
        barrier.wait()
        decoder, data = (get_decoder, packed) if number % 2 else (get_json_decoder, text)
        assert decoder(module.Outer).decode(data).left.one.numbers == (2,)

    threads = [threading.Thread(target=decode, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_that_meet_a_class_for_the_first_time(rounds):
    """Four threads decode a class that none has decoded before: no crash. Built without a lock, decoders crash here."""
    command = [sys.executable, "-c", MANY_THREADS, str(rounds(500, 10_000))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
