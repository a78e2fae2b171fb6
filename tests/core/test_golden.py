"""What is said of mistakes and of plugins that are broken, word for word: ``golden_messages.txt`` holds the texts.

A case is a title, the plugins that are installed, a command, its exit code and what it prints.
"""

import re
from pathlib import Path

import pytest

from unnoise.cli.main import main

GOLDENS = Path(__file__).with_name("golden_messages.txt")
CASES = {
    case.partition("\n")[0]: case.partition("\n")[2]
    for case in re.split(r"^=== ", GOLDENS.read_text(encoding="utf-8"), flags=re.M)[1:]
}

HEAD = "from unnoise import Finding, Modality, Spec, hookimpl\nUNNOISE_API = (1, 0)\n"


def hook(name, body):
    return f"{HEAD}@hookimpl\ndef {name}():\n    {body}\n"


BROKEN = {
    "broken": {"code": "import not_there", "version": "0.3.0"},
    "wrong": {"code": "x = ("},
    "quitter": {"code": "raise SystemExit(3)"},
    "strange": {"code": "class Odd(BaseException): pass\nraise Odd('two\\nlines')"},
    "old": {"code": "UNNOISE_API = (0, 3)", "version": "0.0.9"},
    "new": {"code": "UNNOISE_API = (1, 9)"},
    "silent": {"code": ""},
    "hooky": {"code": hook("unnoise_modalties", "return []")},
    "greedy": {"code": HEAD + "@hookimpl\ndef unnoise_run_start(run, banana):\n    pass\n"},
    "unmarked": {"code": "UNNOISE_API = (1, 0)\ndef unnoise_metrics():\n    return []\n"},
    "nothing": {"code": hook("unnoise_metrics", "return None")},
    "untyped": {"code": hook("unnoise_metrics", "return [Spec('m', None)]")},
    "lost": {"groups": "[unnoise]\nlost = unnoise_lost.moved\n"},
    "unreadable": {"groups": "[unnoise]\nunreadable = not a module!\n"},
    "bare": {
        "code": "UNNOISE_API = (1, 0)",
        "groups": "[unnoise]\nbare = unnoise_bare.plugin\n[unnoise.configs]\nbare = unnoise_bare.gone\n",
    },
    "toy2": {"code": hook("unnoise_modalities", "return [Modality('toy')]"), "version": "0.2.0"},
    "twice": {"code": hook("unnoise_metrics", "return [Spec('m', 'builtins:int'), Spec('m', 'builtins:str')]")},
    "taker": {"code": hook("unnoise_samplers", "return [Spec('heun', 'builtins:int')]")},
    "twin": {"code": "UNNOISE_API = (1, 0)", "configs": {"denoiser/toy/wide.yaml": "name: wide\n"}},
    "refless": {"code": hook("unnoise_denoisers", "return [Spec('net', 'unnoise_refless.net:Net', '', 'toy')]")},
    "nameless": {"code": hook("unnoise_denoisers", "return [Spec('net', 'unnoise_nameless:Net', '', 'toy')]")},
    "constant": {"code": hook("unnoise_denoisers", "return [Spec('net', 'sys:maxsize', '', 'toy')]")},
    "needy": {
        "code": hook("unnoise_denoisers", "return [Spec('net', 'unnoise_needy.net:Net', '', 'toy')]"),
        "configs": {"../net.py": "import some_heavy_library\n"},
    },
    "reader": {"code": hook("unnoise_modalities", "return [Modality('reader', reader='unnoise_reader.no:read')]")},
    "sick": {"code": hook("unnoise_doctor", "raise SystemExit(1)")},
    "chatty": {"code": hook("unnoise_doctor", "return ['fine', Finding(False, 'no tool', 'apt-get install tool')]")},
    "demanding": {
        "code": "UNNOISE_API = (1, 0)",
        "metadata": "Requires-Dist: unnoise>=99\nRequires-Dist: no-such-package\n",
    },
}  # fmt: skip


def untimed(line):
    """A line without the time that something took, on which the width of a table's columns depends."""
    return re.sub(r"\d+ ms", "N ms", re.sub(r" {2,}", "  ", line)) if re.search(r"\d ms", line) else line


@pytest.fixture
def said(toy, make_plugin, tmp_path, monkeypatch, capsys):
    """``said("toy, broken", "plugins")`` -> exit code and text, with these plugins installed."""
    monkeypatch.chdir(tmp_path)

    def run(plugins, line):
        names = [name.strip() for name in plugins.split(",")]
        for name in names:
            if name in BROKEN:
                make_plugin(name, **BROKEN[name])
        monkeypatch.setenv("UNNOISE_PLUGINS", ",".join(f"unnoise-{name}" for name in names if name))
        code = main(line.split())
        out, err = capsys.readouterr()
        lines = (err or out).splitlines()
        if line.startswith("doctor"):  # the rest is about this machine
            lines = [text for text in lines if text.startswith(("!!", "--"))]
        return code, "\n".join(map(untimed, lines))

    return run


@pytest.mark.parametrize("title", CASES)
def test_golden(said, title):
    plugins, command, code, *expected = CASES[title].rstrip("\n").split("\n")
    got = said(plugins.removeprefix("plugins: "), command.removeprefix("$ unnoise "))
    assert got == (int(code.removeprefix("exit ")), "\n".join(expected))


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--help", 0),
        ("plugins", 1),
        ("doctor", 1),
        ("list modalities", 0),
        ("train modality=toy denoiser=mlp --cfg job", 0),
        ("completion query", 0),
    ],
)
def test_whatever_is_wrong_with_plugins_the_others_go_on(said, line, code, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "unnoise train modality=")
    names = ", ".join(name for name in BROKEN if name != "toy2")  # which claims the toy's own name
    assert said(f"toy, {names}", line)[0] == code
