"""Discovery, isolation and look-up of plugins; the texts are what a user reads, so they are compared in full."""

from inspect import isclass, isfunction
from typing import get_type_hints

import pytest

from unnoise.errors import UserError
from unnoise.plugins import Registry, get_registry
from unnoise.plugins.report import warn_skipped

HEALTHY = """
from collections.abc import Mapping, Sequence
from unnoise import Modality, Spec, hookimpl
UNNOISE_API = (1, 0)

@hookimpl
def unnoise_modalities():
    return [Modality("good", "fine")]

@hookimpl
def unnoise_denoisers():
    return [Spec("net", "unnoise_good.plugin:Net", "", "good"), Spec("gone", "unnoise_good.gone:Net", "", "good")]

class Net:
    def __init__(
        self, layout, context_dim: int, width: int = 8, act: str | None = None, *, rate: float = 0.1,
        wide: Sequence[int] = (1,), pair: tuple[int, str] | None = None, table: Mapping[str, int] | None = None,
    ):
        self.args = (layout, context_dim, width, act, rate)
"""


def message(call, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


@pytest.fixture
def good(make_plugin):
    make_plugin("good", HEALTHY)
    return make_plugin


@pytest.mark.parametrize(
    ("code", "error", "fix"),
    [
        ("import not_there", "ModuleNotFoundError: No module named 'not_there'", "pip install -U unnoise-bad"),
        ("raise SystemExit(3)", "SystemExit: 3", "pip install -U unnoise-bad"),
        ("x = (", "SyntaxError: '(' was never closed", "pip install -U unnoise-bad"),
        ("UNNOISE_API = (0, 3)", "built for API 0.3, this unnoise has 1.0", "pip install -U unnoise-bad"),
        ("UNNOISE_API = (1, 9)", "needs API 1.9, this unnoise has 1.0", "pip install -U unnoise"),
        ("UNNOISE_API = (2, 0)", "needs API 2.0, this unnoise has 1.0", "pip install -U unnoise"),
        ("", "states no API version (UNNOISE_API is None)", "write UNNOISE_API = (1, 0) in unnoise_bad.plugin"),
        (
            "from unnoise import hookimpl\nUNNOISE_API = (1, 0)\n@hookimpl\ndef unnoise_modalties():\n    return []",
            "unknown hook unnoise_modalties. Did you mean 'unnoise_modalities'?",
            "pip install -U unnoise-bad",
        ),
        (
            "from unnoise import hookimpl\nUNNOISE_API = (1, 0)\n@hookimpl\ndef unnoise_metrics():\n    return ['x']",
            "unnoise_metrics returned str, not Spec",
            "return a list of unnoise.Spec(...) from unnoise_metrics",
        ),
        (
            "from unnoise import hookimpl\nUNNOISE_API = (1, 0)\n@hookimpl\ndef unnoise_metrics():\n    return 1 / 0",
            "ZeroDivisionError: division by zero",
            "pip install -U unnoise-bad",
        ),
    ],
)
def test_a_broken_plugin_is_a_report_and_the_others_live(good, code, error, fix):
    good("bad", code, version="0.3.0")
    registry = get_registry()
    states = {state.name: state for state in registry.plugins}
    bad = states["bad"]
    assert (bad.error.split(" (plugin.py")[0], bad.fix, str(bad)) == (error, fix, "unnoise-bad 0.3.0")
    assert not bad.specs
    assert states["good"].ok
    assert registry.names("modality") == ["good"]


def test_a_hook_with_a_wrong_argument_breaks_its_plugin_only(good):
    good(
        "bad",
        "from unnoise import hookimpl\nUNNOISE_API = (1, 0)\n@hookimpl\ndef unnoise_run_start(run, banana):\n    pass",
    )
    states = {state.name: state for state in get_registry().plugins}
    assert "banana" in states["bad"].error
    assert states["good"].ok
    get_registry().hook.unnoise_run_start(run=None)


def test_an_unmarked_hook_is_warned_of(good, capsys):
    good("half", "UNNOISE_API = (1, 0)\ndef unnoise_metrics():\n    return []")
    warn_skipped(get_registry())
    assert capsys.readouterr().err == (
        "unnoise: plugin 'half' (unnoise-half 0.1.0): "
        "unnoise_metrics is never called: put @unnoise.hookimpl above it in unnoise_half.plugin\n"
    )


def test_skipped_plugins_are_named_on_stderr_and_strict_makes_them_errors(good, capsys):
    good("bad", "import not_there", version="0.3.0")
    warn_skipped(get_registry())
    assert capsys.readouterr().err == (
        "unnoise: plugin 'bad' (unnoise-bad 0.3.0) was skipped: ModuleNotFoundError: No module named 'not_there'\n"
        "         fix: pip install -U unnoise-bad   |   details: unnoise plugins --verbose\n"
    )
    assert "unnoise-bad 0.3.0" in message(warn_skipped, get_registry(), strict=True)


def test_the_environment_chooses_plugins_at_call_time(good, monkeypatch, capsys):
    good("other", "UNNOISE_API = (1, 0)")
    names = lambda: [state.name for state in get_registry().plugins]  # noqa: E731
    assert names() == ["good", "other"]
    monkeypatch.setenv("UNNOISE_PLUGINS", "good")
    assert names() == ["good"]
    monkeypatch.setenv("UNNOISE_PLUGINS", "")
    assert names() == []
    monkeypatch.setenv("UNNOISE_PLUGINS", "good,goood")
    warn_skipped(get_registry())
    assert capsys.readouterr().err == (
        "unnoise: UNNOISE_PLUGINS names 'goood', which is not installed\n"
        "         fix: pip install goood, or leave it out of UNNOISE_PLUGINS\n"
    )


def test_two_distributions_may_call_their_entry_points_alike(make_plugin):
    for dist in ("unnoise-a", "unnoise-b"):
        modality = dist[-1]
        make_plugin(
            "same",
            "from unnoise import Modality, hookimpl\nUNNOISE_API = (1, 0)\n"
            f"@hookimpl\ndef unnoise_modalities():\n    return [Modality('{modality}')]",
            dist=dist,
        )
    assert get_registry().names("modality") == ["a", "b"]


def test_a_name_claimed_twice_stops_only_those_who_ask_for_it(good):
    good(
        "twin",
        "from unnoise import Modality, hookimpl\nUNNOISE_API = (1, 0)\n"
        "@hookimpl\ndef unnoise_modalities():\n    return [Modality('good'), Modality('twin')]",
        version="0.2.0",
    )
    registry = get_registry()
    expected = "modality 'good' is claimed by unnoise-good 0.1.0 and unnoise-twin 0.2.0; keep one"
    assert message(registry.modality, "good") == f"{expected}\nUNNOISE_PLUGINS=unnoise-good unnoise ..."
    assert [error.message for error in registry.conflicts()] == [expected]
    assert registry.modality("twin").name == "twin"


def test_unknown_names_get_the_nearest_right_one(good):
    registry = get_registry()
    assert message(registry.modality, "goof") == (
        "no modality named 'goof'. Did you mean 'good'?\navailable: good (unnoise-good 0.1.0)"
    )
    assert message(registry.modality, "audio") == (
        "no modality named 'audio'. It is not installed\npip install unnoise-audio"
    )
    assert message(registry.load, "denoiser", "nett", "good") == (
        "no denoiser named 'nett' for modality 'good'. Did you mean 'net'?\navailable: gone, net"
    )
    assert message(registry.load, "denoiser", "net", "elsewhere").startswith(
        "no denoiser named 'net' for modality 'elsewhere'."
    )


def test_asking_for_a_broken_plugins_modality_says_why_it_is_missing(good):
    good("bad", "import not_there", version="0.3.0")
    assert message(get_registry().modality, "bad") == (
        "no modality named 'bad'. Plugin 'bad' (unnoise-bad 0.3.0) was skipped: "
        "ModuleNotFoundError: No module named 'not_there'\n"
        "pip install -U unnoise-bad   |   details: unnoise plugins --verbose"
    )


def test_a_component_whose_module_lacks_a_package_names_the_package(make_plugin):
    make_plugin(
        "needy",
        "from unnoise import Spec, hookimpl\nUNNOISE_API = (1, 0)\n"
        "@hookimpl\ndef unnoise_metrics():\n    return [Spec('m', 'unnoise_needy.heavy:M', '', 'needy')]",
        configs={"../heavy.py": "import some_heavy_library\n"},
    )
    assert message(get_registry().load, "metric", "m", "needy") == (
        "metric 'm' (unnoise-needy 0.1.0) needs the package 'some_heavy_library', which is not installed\n"
        "pip install some_heavy_library"
    )


def test_a_wrong_reference_names_the_plugin_and_how_to_see_more(good):
    assert message(get_registry().load, "denoiser", "gone", "good") == (
        "denoiser 'gone' (unnoise-good 0.1.0) cannot be imported: "
        "ModuleNotFoundError: No module named 'unnoise_good.gone'\n"
        "pip install -U unnoise-good   |   details: python -c 'import unnoise_good.gone'"
    )


def test_build_passes_options_and_what_the_engine_gives(good):
    net = get_registry().build("denoiser", {"name": "net", "width": 3, "rate": 1}, "good", layout="L", context_dim=0)
    assert net.args == ("L", 0, 3, None, 1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"widht": 3},
            "denoiser 'net' has no option 'widht'. Did you mean 'width'?\n"
            "its options: width, act, rate, wide, pair, table",
        ),
        ({"width": "abc"}, "denoiser 'net': width='abc' does not fit\nwidth takes int"),
        ({"width": True}, "denoiser 'net': width=True does not fit\nwidth takes int"),
        ({"rate": "x"}, "denoiser 'net': rate='x' does not fit\nrate takes float"),
        ({"act": 3}, "denoiser 'net': act=3 does not fit\nact takes str or null"),
        ({"wide": 3}, "denoiser 'net': wide=3 does not fit\nwide takes a list of int"),
        ({"wide": [3, "x"]}, "denoiser 'net': wide=[3, 'x'] does not fit\nwide takes a list of int"),
        ({"pair": [3]}, "denoiser 'net': pair=[3] does not fit\npair takes a list of int, str or null"),
        ({"table": 3}, "denoiser 'net': table=3 does not fit\ntable takes Mapping or null"),
        ({"layout": 3}, "denoiser 'net': option 'layout' is set by the engine\nremove 'layout' from the config"),
    ],
)
def test_the_signature_is_the_schema(good, options, expected):
    registry = get_registry()
    assert message(registry.check, "denoiser", {"name": "net", **options}, "good") == expected
    built = message(registry.build, "denoiser", {"name": "net", **options}, "good", layout=0, context_dim=1)
    assert built == expected


def test_lists_and_mappings_that_fit(good):
    node = {"name": "net", "wide": [1, 2], "pair": (3, "x"), "table": {"a": 1}}
    get_registry().check("denoiser", node, "good")


def test_a_missing_argument_and_a_missing_name_are_named(good):
    registry = get_registry()
    assert message(registry.build, "denoiser", {"name": "net"}, "good", layout=0) == (
        "denoiser 'net' needs a value for 'context_dim'\ngive it: denoiser.context_dim=..."
    )
    assert message(registry.build, "denoiser", {}, "good") == "the config names no denoiser\nchoose one: gone, net"


def test_a_component_of_the_modality_goes_before_a_general_one(make_plugin):
    make_plugin(
        "scoped",
        "from unnoise import Spec, hookimpl\nUNNOISE_API = (1, 0)\n@hookimpl\ndef unnoise_metrics():\n"
        "    return [Spec('m', 'builtins:int'), Spec('m', 'builtins:str', '', 'special')]",
    )
    registry = get_registry()
    assert registry.load("metric", "m", "special") is str
    assert registry.load("metric", "m", "other") is int
    assert registry.names("metric", "special") == ["agreement", "m"]  # core's own is of any modality


def test_a_doctor_hook_that_raises_is_a_finding(good):
    good(
        "sick",
        "from unnoise import hookimpl\nUNNOISE_API = (1, 0)\n@hookimpl\ndef unnoise_doctor():\n    return 1 / 0",
    )
    findings = list(get_registry().findings())
    assert [(f.ok, f.text) for f in findings] == [
        (False, "plugin 'sick' (unnoise-sick 0.1.0): unnoise_doctor raised ZeroDivisionError: division by zero")
    ]


def test_run_hooks_reach_plugins(make_plugin):
    make_plugin(
        "logger",
        "from unnoise import hookimpl\nUNNOISE_API = (1, 0)\nseen = []\n"
        "@hookimpl\ndef unnoise_train_step(step, metrics):\n    seen.append((step, metrics))",
    )
    get_registry().hook.unnoise_train_step(run=None, step=3, metrics={"loss": 1.0})
    import unnoise_logger.plugin

    assert unnoise_logger.plugin.seen == [(3, {"loss": 1.0})]


def test_core_registers_what_core_has(monkeypatch):
    """Names in the registry against the modules themselves; every reference must load."""
    from unnoise import schedules
    from unnoise.sampling import SAMPLERS

    monkeypatch.setenv("UNNOISE_PLUGINS", "")
    registry = Registry()
    makers = {
        name
        for name, value in vars(schedules).items()
        if isfunction(value)
        and isclass(made := get_type_hints(value).get("return"))
        and issubclass(made, schedules.Schedule)
    }
    assert set(registry.names("schedule")) == makers - {"from_config"}
    assert set(registry.names("sampler")) == set(SAMPLERS)
    for kind, spec in registry.core.specs:
        assert callable(registry.load(kind, spec.name)), (kind, spec.name)
        assert spec.summary


def test_what_the_environment_names_is_compared_as_pip_does(good, monkeypatch):
    for text, expected in (("Unnoise_Good", ["good"]), (" unnoise.good , x", ["good"]), ("GOOD", ["good"]), ("", [])):
        monkeypatch.setenv("UNNOISE_PLUGINS", text)
        assert [state.name for state in get_registry().plugins] == expected


def test_a_distribution_without_metadata_and_one_with_a_broken_list_of_entry_points(good, monkeypatch):
    for name, damaged in (("half", "METADATA"), ("torn", "entry_points.txt")):
        site = good(name, "UNNOISE_API = (1, 0)", dist=f"unnoise-{name}")
        file = next(site.glob(f"*.dist-info/{damaged}"))
        file.write_text("[unnoise]\nno equals sign\n") if damaged == "entry_points.txt" else file.unlink()
    monkeypatch.setenv("UNNOISE_PLUGINS", "good,half,torn")
    states = {state.name: state for state in Registry().plugins}
    assert states["good"].ok
    assert str(states["half"]) == "unnoise_half ?"
    assert "torn" not in states


def test_a_distribution_of_configs_alone_needs_no_module(good, monkeypatch):
    good("looks", groups="[unnoise.configs]\nlooks = unnoise_looks.conf\n", configs={"experiment/looks/a.yaml": ""})
    (state,) = (state for state in get_registry().plugins if state.name == "looks")
    assert state.ok and state.configs == ["unnoise_looks.conf"]
