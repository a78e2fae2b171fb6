"""Verbs of plugins on the command line."""

import pytest

from unnoise.cli.main import main

GROUPS = "[unnoise]\n{0} = unnoise_{0}.plugin\n[unnoise.verbs]\n{1} = unnoise_{0}.plugin:play\n"
CODE = """
UNNOISE_API = (1, 0)

def play(words):
    '''unnoise play WORDS: says them.'''
    print("playing", *words)
    return len(words)
"""


def test_a_plugin_brings_a_verb(make_plugin, capsys):
    make_plugin("player", CODE, groups=GROUPS.format("player", "play"))
    assert main(["play", "a", "b=c"]) == 2
    assert capsys.readouterr().out == "playing a b=c\n"
    assert main(["play", "--help"]) == 0
    assert "unnoise play WORDS" in capsys.readouterr().out


def test_core_goes_first_and_what_is_shut_out_is_not_there(make_plugin, capsys, monkeypatch):
    make_plugin("player", CODE, groups=GROUPS.format("player", "list"))
    assert main(["list", "samplers"]) == 0
    assert "heun" in capsys.readouterr().out
    make_plugin("other", CODE, groups=GROUPS.format("other", "play"))
    monkeypatch.setenv("UNNOISE_PLUGINS", "player")
    assert main(["play"]) == 2
    assert "no verb 'play'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ({"one": CODE, "two": CODE}, "the verb 'play' is claimed by unnoise-one and unnoise-two"),
        ({"one": "UNNOISE_API = (1, 0)"}, "the verb 'play' (unnoise-one) cannot be imported: AttributeError"),
        ({"one": "import not_there"}, "cannot be imported: ModuleNotFoundError: No module named 'not_there'"),
    ],
)
def test_a_verb_that_cannot_be_had(make_plugin, capsys, plugins, message):
    for name, code in plugins.items():
        make_plugin(name, code, groups=GROUPS.format(name, "play"))
    assert main(["play"]) == 2
    assert message in capsys.readouterr().err
