"""Settings of every test: two host devices, before JAX starts its backends."""

import jax

jax.config.update("jax_num_cpu_devices", 2)
