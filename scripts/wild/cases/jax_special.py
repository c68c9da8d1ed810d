"""Cases of JAX: its special functions."""

from __future__ import annotations

import functools

from scripts.wild.case import POSITIVE, UNIT, Entry, X, by, get, normal
from scripts.wild.cases.jax_functions import entry as _jax

SPECIAL = "jax.scipy.special:"

CASES = (
    _jax(SPECIAL + "logit", UNIT),
    _jax(SPECIAL + "xlogy", X, POSITIVE),
    _jax(SPECIAL + "xlogy", [0.0], [2.0], shown="x = 0"),
    _jax(SPECIAL + "xlog1py", X, POSITIVE),
    _jax(SPECIAL + "entr", POSITIVE),
    _jax(SPECIAL + "kl_div", POSITIVE, [1.0, 0.5, 2.0, 3.0]),
    _jax(SPECIAL + "rel_entr", POSITIVE, [1.0, 0.5, 2.0, 3.0]),
    _jax(SPECIAL + "zeta", [1.5, 2.5, 4.0], [0.5, 1.0, 3.0]),
    _jax(SPECIAL + "log_ndtr", [-12.0, -3.0, 0.5, 6.0]),
    _jax(SPECIAL + "erfcx", X),
    _jax(SPECIAL + "erfcx", [8.0, 11.0], shown="large"),
    _jax(SPECIAL + "wofz", normal(3, complex_=True)),
    _jax(SPECIAL + "dawsn", X),
    _jax(SPECIAL + "dawsn", [3.0, 5.0, 8.0], shown="large"),
    _jax(SPECIAL + "expi", X),
    _jax(SPECIAL + "exp1", POSITIVE),
    *(
        Entry(
            "jax",
            f"scipy.special.expn (n = {n})",
            by(lambda n=n: functools.partial(get(SPECIAL + "expn"), n), [0.4, 0.9, 2.5]),
        )
        for n in (0, 1, 2, 4)
    ),
    _jax(SPECIAL + "sici", [0.3, 2.5, 6.0, 12.0]),
    _jax(SPECIAL + "fresnel", X),
    _jax(SPECIAL + "poch", [0.7, 2.5], [1.3, 0.4]),
    _jax(SPECIAL + "poch", [-0.6, -1.4], [2.3, 0.7], shown="z < 0"),
    _jax(SPECIAL + "hyp1f1", [0.7, 1.9], [1.6, 2.4], [0.5, -1.5]),
    _jax(SPECIAL + "hyp1f1", [0.0], [1.5], [0.7], shown="a = 0"),
    _jax(SPECIAL + "hyp1f1", [0.7], [1.6], [120.0], shown="x = 120"),
    _jax(SPECIAL + "hyp2f1", [0.7, 1.2], [0.4, 0.9], [1.6, 2.4], [0.3, -0.4]),
    _jax(SPECIAL + "hyp2f1", [0.7], [0.4], [1.6], [0.95], shown="x = 0.95"),
    _jax(SPECIAL + "hyp2f1", [0.7], [0.4], [1.6], [-2.5], shown="x = −2.5"),
    _jax(SPECIAL + "owens_t", [0.4, -1.3], [0.6, 2.5]),
)
