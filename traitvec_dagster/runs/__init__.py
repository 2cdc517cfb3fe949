"""How runs are started, owned and placed on GPUs."""
