import pytest

from assay.training.doctor.blockers import GOALS
from assay.training.doctor.reading import MAX_SCRIPT_BYTES, ScriptRefused, read_script
from assay.training.doctor.rules import find_blockers
from benchmarks.doctor_scripts import CLEAN, PLANTED, get_expected


def read(text, folder):
    """Return the blockers that the rules see in a text."""
    (folder / "train.py").write_text(text, encoding="utf-8")
    return find_blockers(read_script(folder / "train.py"))


@pytest.mark.parametrize("name", PLANTED)
def test_every_planted_blocker_is_found_with_its_line(name, tmp_path):
    """The rules find exactly what was planted for them; codes with a dot are those that only running finds."""
    found = read(PLANTED[name], tmp_path)
    expected = {(code, line) for code, line in get_expected(PLANTED[name]) if "." not in code}
    assert {(blocker.code, blocker.line) for blocker in found} == expected
    assert all(blocker.goal in GOALS and blocker.reason and blocker.cure for blocker in found)


@pytest.mark.parametrize("name", CLEAN)
def test_clean_scripts_raise_no_alarm(name, tmp_path):
    """No rule fires on a script without blockers."""
    assert read(CLEAN[name], tmp_path) == []


ONE_LINE = {
    "import random, torch\nseed = random.randint(1, 9)\nrandom.seed(seed)\ntorch.manual_seed(seed)": "unseeded-python",
    "import torch\nx = torch.rand(3)\ntorch.manual_seed(0)": "unseeded-torch",
    "import numpy as np\nx = np.random.default_rng()": "seed-missing",
    "import random\nrandom.seed()\nx = random.random()": "seed-missing",
    "from torch import seed\nseed()": "seed-from-system",
    "import secrets\nx = secrets.randbelow(3)": "seed-from-system",
    "import torch, time\ng = torch.Generator()\ng.manual_seed(time.time_ns())": "seed-from-clock",
    "import torch, os\ntorch.set_num_threads(os.cpu_count())": "threads",
    "import torch\nscaler = torch.amp.GradScaler()": "refused-part",
    "from torch.nn.parallel import DistributedDataParallel as D\nnet = D(None)": "refused-part",
    "for name in {'a', 'b'}:\n    print(name)": "set-order",
    "names = [n for n in set(['a'])]": "set-order",
    "import glob\nfiles = glob.glob('*')": "unsorted-files",
    "class Net:\n    def forward(self, x):\n        return x if x.sum().item() > 0 else -x": "value-read",
    "import time\nclass Net:\n    def forward(self, x):\n        return x * time.time()": "clock",
    "import torch\nclass Net:\n    def forward(self, x):\n        torch.manual_seed(0)\n        return x": "reseeded",
}


@pytest.mark.parametrize("text", ONE_LINE, ids=range(len(ONE_LINE)))
def test_single_rules(text, tmp_path):
    """Each rule sees its blocker through other spellings of the imports."""
    assert [blocker.code for blocker in read(text, tmp_path)] == [ONE_LINE[text]]


HARMLESS = (
    "import random, sys\nseed = int(sys.argv[1])\nif seed == 0:\n    seed = random.randint(1, 9)\nrandom.seed(seed)",
    "import torch\ndef draw():\n    return torch.rand(3)\ntorch.manual_seed(0)\nx = draw()",
    "import numpy as np\nrng = np.random.default_rng(0)\nx = rng.random()",
    "import random\nr = random.Random(3)\nx = r.random()",
    "import torch\ntorch.manual_seed(0)\nx = torch.rand(3)",
    "def set_seed(n):\n    ...\nset_seed(0)\nimport torch\nx = torch.rand(3)",
    "x = {'a', 'b'}\ny = 'a' in x\nz = len(x), max(x), sorted(x)",
    "import os\nnames = os.listdir('.')\nnames.sort()",
    "import torch\nbest = 0.0\nfor step in range(3):\n    best = torch.zeros(()).item()",
    "import torch\nstate = torch.load('x')",
    "class hash_table:\n    def hash(self):\n        return 3\nhash_table().hash()",
)


@pytest.mark.parametrize("text", HARMLESS, ids=range(len(HARMLESS)))
def test_harmless_code_passes(text, tmp_path):
    """What only looks like a blocker is none."""
    assert read(text, tmp_path) == []


def test_what_is_no_script_is_refused(tmp_path, monkeypatch):
    """No file, a folder, no Python, null bytes, deep nesting, too long."""
    for name, data in {"syntax": b"def", "null": b"x = 1\x00", "deep": b"(" * 5000, "text": b"\xff\xfe"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ScriptRefused):
            read_script(tmp_path / name)
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ScriptRefused):
            read_script(path)
    (tmp_path / "long.py").write_bytes(b"#" * (MAX_SCRIPT_BYTES + 1))
    with pytest.raises(ScriptRefused, match="too long"):
        read_script(tmp_path / "long.py")
