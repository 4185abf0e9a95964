"""Workers that die, hang, babble or lie: the pool ends, says why, and finds nothing. The workers here are stand-ins."""

import os
import threading

import pytest

from assay.verification.pool import MAX_DEATHS, CannotJudge, Pool, RunRefuted
from assay.verification.tasks import OUT_OF_MEMORY, Task
from assay.verification.worker_process import WorkerProcess
from tests.verification import runs

HEAD = """
import json, os, signal, sys, time
from pathlib import Path
run = Path(sys.argv[1])
def say(**message): print(json.dumps(message), flush=True)
def tasks():
    for line in sys.stdin: yield json.loads(line)
def answer(task, **more): say(**{"kind": task["kind"], "index": task["index"], "result": "matches", **more})
"""

HONEST = """
say(ready=True)
for task in tasks(): answer(task)
"""


@pytest.fixture
def make_pool(tmp_path):
    """Return a pool whose workers run a given program."""

    def make(program, workers=2, seconds=30.0):
        package = tmp_path / "modules" / "assay" / "verification"
        package.mkdir(parents=True, exist_ok=True)
        for folder in (package.parent, package):
            (folder / "__init__.py").write_text("")
        (package / "worker.py").write_text(HEAD + program)
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "modules")}
        return Pool(tmp_path, environment, workers=workers, memory=0, seconds=seconds)

    return make


def list_bundles(count, size=1):
    """Return bundles of interval tasks."""
    return [[Task("interval", size * i + k) for k in range(size)] for i in range(count)]


def carry_out(pool, bundles):
    """Return the answers by index; no worker may outlive the pool."""
    answers = []
    try:
        pool.carry_out(bundles, answers.append)
    finally:
        assert runs.find_workers(pool.path) == []
        assert [t for t in threading.enumerate() if t.name.startswith("Thread-") and "_run_lane" in t.name] == []
    assert len({answer.index for answer in answers}) == len(answers)
    return {answer.index: answer for answer in answers}


def test_each_task_is_answered_once(make_pool):
    """All bundles are carried out, by no more workers than there are bundles."""
    answers = carry_out(make_pool(HONEST, workers=3), list_bundles(5, 4))
    assert sorted(answers) == list(range(20))
    assert {answer.result for answer in answers.values()} == {"matches"}
    assert carry_out(make_pool(HONEST), []) == {}


def test_a_dying_worker_is_replaced_and_its_last_words_are_kept(make_pool):
    """One task kills its worker: it alone fails, with the signal and the end of standard error; the rest goes on."""
    program = """
say(ready=True)
for task in tasks():
    if task["index"] == 2:
        for number in range(100): print("line", number, file=sys.stderr)
        os.kill(os.getpid(), signal.SIGSEGV)
    answer(task)
"""
    answers = carry_out(make_pool(program, workers=1), list_bundles(2, 3))
    assert [index for index, answer in answers.items() if answer.result == "failed"] == [2]
    assert sorted(answers) == list(range(6))
    assert answers[2].detail.startswith("the worker was killed by SIGSEGV")
    assert answers[2].detail.endswith("line 98\nline 99")
    assert "line 90" not in answers[2].detail


def test_workers_that_keep_dying_end_the_audit(make_pool):
    """A few deaths in a row with nothing in between: the pool gives up and says what the last one said."""
    program = "say(ready=True)\nprint('no luck', file=sys.stderr)\nnext(tasks())\nsys.exit(7)"
    answers = []
    with pytest.raises(CannotJudge, match="keep dying") as caught:
        make_pool(program, workers=1).carry_out(list_bundles(20), answers.append)
    assert "status 7" in caught.value.actual
    assert "no luck" in caught.value.actual
    assert [answer.result for answer in answers] == ["failed"] * MAX_DEATHS


def test_out_of_memory_replaces_the_worker(make_pool):
    """A worker that says so is not used again, and only its task fails."""
    program = f"""
say(ready=True)
done = 0
for task in tasks():
    if task["index"] == 1: answer(task, result="failed", detail={OUT_OF_MEMORY!r})
    else: answer(task, detail=str(os.getpid()))
"""
    answers = carry_out(make_pool(program, workers=1), list_bundles(1, 4))
    assert [answers[i].result for i in range(4)] == ["matches", "failed", "matches", "matches"]
    assert answers[0].detail != answers[2].detail == answers[3].detail


@pytest.mark.parametrize("where", ["before it is ready", "at a task"])
def test_a_worker_that_takes_too_long_is_stopped(make_pool, where):
    """The time limit holds for the start and for each task; the reason names it."""
    begun = "say(ready=True)\n" if where == "at a task" else ""
    program = begun + "import subprocess\nsubprocess.Popen(['sleep', '600'])\ntime.sleep(600)"
    answers = []
    with pytest.raises(CannotJudge) as caught:
        make_pool(program, workers=1, seconds=1.0).carry_out(list_bundles(20), answers.append)
    assert "longer than 1 seconds" in caught.value.actual
    assert {answer.result for answer in answers} <= {"failed"}


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("sys.exit(3)", "status 3"),
        ("raise ValueError('as it is')", "ValueError: as it is"),
        ("print('{\"ready\": 1}', flush=True); time.sleep(60)", "no answer, and was stopped"),
        ("print('x' * 3_000_000, flush=True); time.sleep(60)", "no answer, and was stopped"),
        ("say(ready=True, more=1); time.sleep(60)", "no answer, and was stopped"),
    ],
)
def test_a_worker_that_does_not_begin_is_no_finding(make_pool, program, said):
    """It ends, raises, or says something else than that it is ready: the machine cannot judge, and why is told."""
    with pytest.raises(CannotJudge, match="ended before it began") as caught:
        carry_out(make_pool(program), list_bundles(4))
    assert said in caught.value.actual


@pytest.mark.parametrize(
    "words",
    [
        "{}",
        "nonsense",
        '{"kind": "interval", "index": 77, "result": "differs"}',
        '{"kind": "interval", "index": 0, "result": "differs", "x": 1}',
    ],
)
def test_nonsense_for_an_answer_is_a_failure(make_pool, words):
    """What is no answer to this task finds nothing, whatever it says."""
    program = f"say(ready=True)\nnext(tasks())\nprint({words!r}, flush=True)\ntime.sleep(60)"
    answers = carry_out(make_pool(program, workers=1), list_bundles(1))
    assert answers[0].result == "failed"


def test_what_a_worker_says_at_first_decides(make_pool):
    """A run that contradicts itself is refuted; a machine that cannot judge abstains with its next step."""
    with pytest.raises(RunRefuted, match="two roots"):
        carry_out(make_pool("say(ready=False, refuted=True, reason='two roots')"), list_bundles(3))
    with pytest.raises(CannotJudge, match="other bits") as caught:
        carry_out(make_pool("say(ready=False, reason='other bits', next_step='go')"), list_bundles(3))
    assert caught.value.next_step == "go"


def test_an_error_of_the_receiver_ends_all_workers(make_pool):
    """Ctrl-C or a full disk while an answer is kept: all workers are gone when it is raised."""

    def receive(_):
        raise KeyboardInterrupt

    pool = make_pool("say(ready=True)\nanswer(next(tasks()))\ntime.sleep(600)")
    with pytest.raises(KeyboardInterrupt):
        pool.carry_out(list_bundles(4), receive)
    assert runs.find_workers(pool.path) == []


def test_much_standard_error_does_not_block(make_pool):
    """A worker that writes megabytes to standard error is read on, and answers."""
    program = "say(ready=True)\nfor task in tasks():\n    sys.stderr.write('w' * 3_000_000)\n    answer(task)"
    answers = carry_out(make_pool(program), list_bundles(4))
    assert {answer.result for answer in answers.values()} == {"matches"}


def test_modules_are_not_taken_from_the_working_directory(make_pool, tmp_path, monkeypatch):
    """An audit that is started inside a stranger's folder does not import what lies there."""
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(tmp_path)
    assert carry_out(make_pool(HONEST), list_bundles(1))[0].result == "matches"


def test_killing_twice_does_nothing(make_pool):
    """A worker may be killed by several threads; it is gone after the first."""
    pool = make_pool(HONEST)
    worker = WorkerProcess(pool.path, pool.environment, 0, 30.0)
    assert worker.await_ready().ready
    threads = [threading.Thread(target=worker.kill) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not worker.is_alive
    assert worker.ask(Task("start", 0)).result == "failed"
    worker.close()
    worker.close()
