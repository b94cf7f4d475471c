"""A scenario from TOML, or every problem of it."""

import pytest

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.scenario_file import load_scenario, parse_scenario, scenario_text, shipped
from trioproxy.config_file import ConfigError

WHOLE = """
title = "Words"
seed = 7
duration = 12.5

[upstreams]
count = 3

[proxy.settings.pools.backend]
balance = "least-connections"

[load]
clients = 20
arrival = "burst"
size = "1 KiB"

[[faults]]
fault = "latency"
at = 2
lasts = 3
upstreams = [0, 2]
delay = 0.25

[[faults]]
fault = "reload"
settings = { server = { via = "x" } }

[expect]
max_failover_seconds = 3
cut_without_close = 0
"""


def problems(text):
    with pytest.raises(ConfigError) as caught:
        parse_scenario(text, "s.toml")
    return caught.value.problems


def test_a_whole_file():
    scenario = parse_scenario(WHOLE, "s.toml")
    assert (scenario.title, scenario.seed, scenario.duration) == ("Words", 7, 12.5)
    assert scenario.upstreams.count == 3
    assert scenario.proxy.settings == {"pools": {"backend": {"balance": "least-connections"}}}
    assert (scenario.load.clients, scenario.load.arrival, scenario.load.size) == (20, "burst", 1024)
    latency, reload = scenario.faults
    assert (latency.name, latency.at, latency.lasts, latency.upstreams, latency.delay) == (
        "latency",
        2,
        3,
        (0, 2),
        0.25,
    )
    assert (reload.name, reload.settings) == ("reload", {"server": {"via": "x"}})
    assert scenario.expect == {"max_failover_seconds": 3, "cut_without_close": 0}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_can_be_written_with_its_defaults(name):
    (fault,) = parse_scenario(f'[[faults]]\nfault = "{name}"\n', "s.toml").faults
    assert type(fault) is FAULTS[name]


RUNNING = '[proxy]\naddress = "127.0.0.1:1"\n'
HOPS = RUNNING + '[upstreams]\nhops = ["127.0.0.1:2", "127.0.0.1:3"]\n'


def test_a_proxy_that_runs_already_and_the_hops_it_names():
    text = HOPS + '[[faults]]\nfault = "kill"\nupstreams = [1]\n'
    scenario = parse_scenario(text, "s.toml")
    assert (scenario.proxy.address, scenario.upstreams.number) == ("127.0.0.1:1", 2)


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ('[[faults]]\nfault = "latenci"\n', "s.toml:2: faults[0].fault", '(did you mean "latency"?)'),
        ("[[faults]]\nat = 3\n", "s.toml:1: faults[0].fault", "got nothing"),
        ("[[faults]]\nfault = 3\n", "s.toml:2: faults[0].fault", "got 3"),
        ("faults = [3]\n", "s.toml:1: faults[0]", "expected a table, got 3"),
        ('[[faults]]\nfault = "latency"\ndelai = 1\n', "s.toml:3: faults[0].delai", "(did you mean delay?)"),
        ('[[faults]]\nfault = "latency"\ndelay = "1"\n', "s.toml:3: faults[0].delay", 'got "1"'),
        ("[expect]\nmax_lost = 3\n", "s.toml:2: expect.max_lost", 'did you mean "max_lost_messages"?'),
        ('[expect]\nlost_messages = "0"\n', "s.toml:2: expect.lost_messages", 'got "0"'),
        ("[load]\nramp = 30\n", "s.toml:2: load.ramp", "expected at most duration (20), got 30"),
        ('[[faults]]\nfault = "kill"\nupstreams = [2]\n', "s.toml:3: faults[0].upstreams", "from 0 to 1, got 2"),
        ('[[faults]]\nfault = "kill"\npick = 3\n', "s.toml:3: faults[0].pick", "expected at most 2, got 3"),
        ('[[faults]]\nfault = "kill"\nat = 20\n', "s.toml:3: faults[0].at", "expected less than duration (20), got 20"),
        ('[[faults]]\nfault = "kill"\ntimes = 2\n', "s.toml:1: faults[0].every", "as times is above 1"),
        (
            '[[faults]]\nfault = "kill"\ntimes = 2\nevery = 1\nlasts = 2\n',
            "s.toml:5: faults[0].lasts",
            "expected at most every (1), got 2",
        ),
        ('[proxy]\nadmin = "127.0.0.1:1"\n', "s.toml:2: proxy.admin", "expected proxy.address, too"),
        ('[proxy]\ntoken_file = "x"\n', "s.toml:2: proxy.token_file", "expected proxy.address, too"),
        (RUNNING + "[proxy.settings.log]\naccess = true\n", "s.toml:3: proxy.settings", "expected none"),
        (RUNNING + '[upstreams]\ncommand = ["x"]\n', "s.toml:4: upstreams.command", "expected upstreams.hops, too"),
        (
            RUNNING + '[upstreams]\naddresses = ["127.0.0.1:2"]\n',
            "s.toml:4: upstreams.addresses",
            "expected upstreams.hops, too",
        ),
        (RUNNING + '[[faults]]\nfault = "latency"\n', "s.toml:4: faults[0].fault", "latency needs upstreams.hops"),
        (HOPS + '[[faults]]\nfault = "drain-upstream"\n', "s.toml:6: faults[0].fault", "needs proxy.admin"),
        *(
            (HOPS + f'[[faults]]\nfault = "{name}"\n', "s.toml:6: faults[0].fault", "not for the one at proxy.address")
            for name in ("reload", "worker-kill", "replace", "descriptors")
        ),
        (RUNNING + "[expect]\nproxy_errors = 0\n", "s.toml:4: expect.proxy_errors", "is not read"),
        (RUNNING + "[expect]\ndisagreements = 0\n", "s.toml:4: expect.disagreements", "expected proxy.admin, too"),
        (
            '[upstreams]\naddresses = ["127.0.0.1:2"]\n[[faults]]\nfault = "kill"\n',
            "s.toml:4: faults[0].fault",
            "kill is for servers that are started here",
        ),
        ('[upstreams]\ncount = 3\nhops = ["127.0.0.1:2"]\n', "s.toml:3: upstreams.hops", "as servers (3), got 1"),
        ('[upstreams]\nhops = ["[::1]:2"]\n', "s.toml:2: upstreams.hops[0]", "IPv4"),
        ('[upstreams]\nhops = ["127.0.0.1:0"]\n', "s.toml:2: upstreams.hops[0]", "IPv4"),
        ("duration = \n", "s.toml:1: not valid TOML", ""),
    ],
)
def test_a_problem_says_where_and_what_was_expected(text, where, words):
    (problem,) = problems(text)
    assert problem.startswith(where)
    assert words in problem


def test_all_problems_are_told_at_once():
    found = problems('duration = "x"\n[[faults]]\nfault = "nothing"\nat = "y"\n[[faults]]\nfault = "kill"\npikc = 1\n')
    assert [problem.partition(": expected")[0] for problem in found] == [
        "s.toml:1: duration",
        "s.toml:3: faults[0].fault",
        "s.toml:4: faults[0].at",
        "s.toml:7: faults[1].pikc",
    ]


def test_a_file_is_read_and_one_that_ships_is_found_by_its_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(WHOLE)
    assert load_scenario(path).title == "Words"
    assert load_scenario("kill-one").title == parse_scenario(shipped()["kill-one"], "").title
    assert (scenario_text(path), scenario_text("kill-one")) == (WHOLE, shipped()["kill-one"])
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_scenario(tmp_path / "other.toml")


@pytest.mark.parametrize("name", shipped())
def test_what_ships_is_valid_and_says_what_it_is_about(name):
    scenario = load_scenario(name)
    assert scenario.title
    assert scenario.faults
    assert scenario.expect
