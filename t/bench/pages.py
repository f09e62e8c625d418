"""Content of the kind that is worth compressing, the same bytes each time it is made."""

import json
import random

WORDS = """about account address after again air all always amount answer any area arrive autumn back balance battery
    before behind below best between black blue board book both box bring brown build button cable call capacity care
    carry case century change charge child choice city clean clear close coat cold colour common compact copper corner
    cotton country cover current customer daily dark day deep delivery design detail different double down drawer
    durable early easy edge electric empty engine even every example fabric family fast field fine finish first fit
    flat floor fold follow foot forest form four frame free fresh front full garden general glass gold good grey
    ground group grow half hand handle hard head heavy height help high hold home hook hour house idea inch inner
    iron item keep kind kitchen known label lamp large last late leather left length letter level light line list
    little local long low machine main make manual material measure metal middle mild minute mirror model month
    morning mount move narrow natural near never new next night north number oak office often oil old only open order
    outer over page paint paper part pattern people piece place plain plan plate pocket point power press price
    public pull quality quick quiet quite range rather ready red remain repair return right ring river road rolled
    roof room round rubber safe same sand screw season second set shape sharp shelf ship short side silver simple
    single size skin small smooth soft solid south space spare spring square stand start station steel still stone
    store strong summer support surface switch table take tall test thick thin third three through time tool top
    town travel tree turn two under upper use value very view voice wall warm wash water weather weight west wheel
    white whole wide wind window winter wire without wood wool work world year yellow young""".split()

HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Everything for the house - page 7</title>
<link rel="stylesheet" href="/static/site.4f1c09.css">
<script src="/static/site.77b2ae.js" defer></script>
</head>
<body class="catalogue">
<ul class="products" id="products">
"""
TAIL = "</ul>\n<p class=\"end\">That was all.</p>\n</body>\n</html>\n"


def sentence(rng, most):
    words = [rng.choice(WORDS) for _ in range(rng.randint(4, most))]
    return " ".join(words).capitalize() + "."


def product(rng):
    number = rng.randrange(10**6)
    name = sentence(rng, 6)[:-1]
    return (f'<li class="product" data-id="{number}">\n'
            f'  <a class="product-link" href="/products/{number}/{name.lower().replace(" ", "-")}">\n'
            f'    <img class="product-image" src="/images/{rng.getrandbits(64):016x}.jpg" alt="{name}">\n'
            f'    <h2 class="product-name">{name}</h2>\n'
            f'  </a>\n'
            f'  <p class="product-text">{" ".join(sentence(rng, 12) for _ in range(rng.randint(1, 3)))}</p>\n'
            f'  <span class="product-price">&euro; {rng.randrange(1, 900)}.{rng.randrange(100):02}</span>\n'
            f'  <button class="product-buy" type="button" data-id="{number}">Add to basket</button>\n'
            f'</li>\n')


def filled(size, head, piece, tail):
    """Pieces of a generator seeded alike, as many as fit; white space is what is left."""
    rng, text = random.Random(size), head
    while len(text) + len(more := piece(rng)) + len(tail) <= size:
        text += more
    return text + " " * (size - len(text) - len(tail)) + tail


def html(size):
    """A page of a shop: markup that comes again and again, and text that does not. Some 4:1 by gzip."""
    return filled(size, HEAD, product, TAIL)


def item(rng):
    return json.dumps({"id": rng.randrange(10**6), "name": sentence(rng, 4), "price": rng.randrange(100, 90000),
                       "in_stock": rng.random() < 0.8, "tags": rng.sample(WORDS, 3)}) + ",\n"


def api(size):
    """What a program asks another for: objects of the same few members."""
    return filled(size, '{"items":[\n', item, '{"id":0}]}\n')
