"""The other side of `engine: vllm` and `engine: server`: one model behind HTTP, on vLLM.

`python -m traitvec_core.serving` is interp-engine's server with one more endpoint, which averages
activations inside vLLM's worker. It runs in an environment that has `interp-engine[vllm,server]`;
nothing else of traitvec imports this package.
"""
