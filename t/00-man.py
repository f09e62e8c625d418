#!/usr/bin/python3
"""The manual agrees with the binary and the source: every key with its type, default and levels, every
variable, option and metric, and none that isn't there."""

import os
import re

from lib.weir import BIN, ROOT, Origin, proxy, run, run_command


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def differ(manual, real):
    return [f"not in the manual: {x}" for x in real if x not in manual] + \
           [f"not real: {x}" for x in manual if x not in real]


def test_every_key_stands_in_the_manual():
    # a line with the path, two indented ones
    out = run_command([BIN, "-k"]).stdout
    keys = dict(re.findall(r"^(\S+)\n    (.*)\n    .+$", out, re.M))
    assert len(keys) * 3 == out.count("\n"), "weir -k has a line that is no key's"
    manual = dict(re.findall(r"^\.It Cm (\S+)\n(.*)$", read("man/weir.yaml.5"), re.M))
    wrong = differ(manual, keys)
    wrong += [f"{k}: {manual[k]!r} in the manual, but {v!r}" for k, v in keys.items() if manual.get(k, v) != v]
    assert keys and not wrong, "\n".join(wrong)


def test_every_variable_stands_in_the_manual():
    table = read("worker/variable.c")
    table = table[table.index("const struct variable variables[]"):]
    names = [n + "NAME" if n[-1] == "_" else n for n in re.findall(r'^    \{"(\w+)",', table, re.M)]
    manual = re.findall(r"^\.It Va \$(\w+)$", read("man/weir.yaml.5"), re.M)
    assert names and not (wrong := differ(manual, names)), "\n".join(wrong)


def test_every_option_stands_in_the_manual():
    options = re.findall(r"^ +-(\w)\b", run_command([BIN, "-h"]).stdout, re.M)
    manual = re.findall(r"^\.It Fl (\w)", read("man/weir.8"), re.M)
    assert options and not (wrong := differ(manual, options)), "\n".join(wrong)


def test_every_metric_stands_in_the_manual():
    weir = proxy(Origin(), "cache_memory: {size: 1m}")
    weir.wait_stats(lambda stats: True)
    with open(weir.stats_file, encoding="utf-8") as f:
        real = re.findall(r"^# TYPE (\w+) ", f.read(), re.M)
    manual = re.findall(r"^\.It Cm (weir_\w+)$", read("man/weir.8"), re.M)

    # one of a dimension stands for all: weir_requests_total for weir_route_requests_total
    def known(name):
        bare = re.sub(r"^weir_(listener|route|upstream|server|worker)_", "weir_", name)
        return {name, bare, bare.replace("weir_", "weir_upstream_", 1)} & set(manual)

    wrong = [f"not in the manual: {m}" for m in real if not known(m)] + \
            [f"not real: {m}" for m in manual if m not in real]
    assert real and not wrong, "\n".join(wrong)


if __name__ == "__main__":
    run()
