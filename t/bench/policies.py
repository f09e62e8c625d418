"""What stands in the configuration where weir's policies are measured."""

import os

import programs

# what the load on routes asks for: as long as a path is, and with something of each of the regexes below
PATH = "catalogue/2026/summer-shoes/1k.html"

# As administrators write them: none takes PATH. Some begin with what they look for, some have it in their middle or at
# their end, some ask for one of several words, some know no letter of it.
REGEXES = r"""
^/wp-(admin|login|content|includes)(/|\.php|$)
\.(php|phtml|asp|aspx|jsp|cgi)$
^/user/(?<id>\d+)$
^/users/(?<name>[a-z][a-z0-9_]{2,31})/(posts|comments)$
^/api/v[0-9]+/(users|orders|carts)/
^/(en|de|fr|es|it)/blog/
/\.(git|svn|hg|env|ht)
^/products?/\d{4,}-[a-z0-9-]+\.html$
(?i)\.(gif|jpe?g|png|css|js|ico|svg|woff2?)$
^/[0-9]{4}/[0-9]{2}/[0-9]{2}/
^/catalog/(.*)$
^/catalogue/[0-9]+/?$
^/catalogue/(19|200)[0-9]+/.*\.html$
^/category/(?<slug>[a-z-]+)/page/(?<page>\d+)$
/page/[0-9]+/?$
^/~[a-z]+/
^/(cart|checkout|account)(/.*)?$
.*\.bak$
[^/]+/feed/?$
(^|/)\.\.(/|$)
^/shop/([a-z]+)/([a-z0-9-]+)/([0-9]+)\.html$
^/(?:index|home|default)\.(?:html?|php)$
/(xmlrpc|wp-cron|wp-mail)\.php
^/static/.*\.[0-9a-f]{8}\.(css|js)$
^/admin(/|$)
phpmyadmin
(?i)^/(phpmyadmin|pma|mysql|dbadmin)(/|$)
^/download/(.+)\.(zip|tar\.gz|exe)$
/(attachment|download|export)/[0-9]+
^/old-(shop|site|blog)/
^/([a-z]{2})-([A-Z]{2})/
^/search(?:/(?<words>.+))?$
^/tags?/[^/]+$
[A-Z]{3,}
^/news/(\d+)-[^/]*$
^/[^/]+\.html$
^/catalogue/2026/[^/]+$
summer-shoes/[0-9]+[a-z]\.xml$
\.(sql|dump|backup|old|orig|save|swp)(\.gz)?$
^/events/(?<year>20\d\d)-(?<month>\d\d)$
^/(images|img|pictures)/(.+)\.(png|webp)$
/archive/(19|20)\d\d
%3C
^/(?!static/)[a-z]+/admin/
^/p/[0-9a-zA-Z]{6,}$
^/[a-z]+/[a-z]+/[a-z]+/edit$
/(?:login|logout|signin|signup|register)/?$
^/catalogue/.*/print$
[?&=]
^/.well-known/(acme-challenge|security\.txt)
""".split()


def site(host, regexes=()):
    """Ten routes, and before them those with a regex."""
    before = "".join(f"{{match: {{regex: '{regex}'}}, proxy: app}}, " for regex in regexes)
    routes = "".join(f"{{match: {{prefix: /part-{i}/}}, proxy: app}}, " for i in range(9))
    return f"{{hosts: [{host}], routes: [{before}{routes}{{proxy: app}}]}}, "


def sites(host):
    """A thousand; that host's is one of them."""
    assert len(REGEXES) == 50
    others = "".join(site(f"www.site-{i}.example") for i in range(999))
    return others + site(host, REGEXES)


# to be told apart by their addresses, which a proxy before weir tells it
KEYS = "trusted_proxies: [127.0.0.1]\nrate_limit_memory: 32m"
RATE = "rate_limit: {rate: 10/s, burst: 20}, "
BURST = 20


def log_path():
    """Of a log, in memory."""
    return os.path.join(programs.folder(), "access.log")
