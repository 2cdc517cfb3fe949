"""The text of a new `experiment.yaml`."""

import yaml

__all__ = ["scaffold_experiment"]


def scaffold_experiment(model: str, judge_model: str, description: str = "") -> str:
    """Return the text of a new, commented `experiment.yaml`."""
    head = yaml.safe_dump(
        {"description": description, "model": model, "judge_model": judge_model}, sort_keys=False
    )
    return (
        head
        + """
# Everything below shows the default, or after "e.g." an example; remove the '#' to change it.
# n_examples: 100            # responses per pole, spread evenly over instructions and questions
# threshold: 50              # positives score at least this on the trait, negatives less
# min_coherence: 50          # less coherent responses are left out
# pairing: independent       # paired: a response is kept only together with its counterpart
# methods: [mean_diff, probe, ica, gradient]
# layers: all                # or a list: [5, 10, 16]; 0 is the embedding output
# scale: separation          # length of a vector: separation | raw | unit
# positions: [response_mean] # also response_first_5, prompt_avg, prompt_last; vectors: the first
# sampling: {temperature: 0.7, top_p: 0.9, max_new_tokens: 150, seed: 0}
# batch_size: auto           # or rows at once
# engine_url: http://127.0.0.1:8000/v1   # e.g. a vLLM server that generates; or engine: vllm
# dtype: auto                # bfloat16 on a GPU that has it, float32 on a CPU
# quantization: none         # 8bit | 4bit: on a GPU, for a model that does not fit otherwise
# judge_base_url: http://127.0.0.1:8000/v1   # e.g. a server of your own: vLLM, Ollama, llama.cpp
# judge_mode: live           # batch: half the price, up to a day
# max_judge_usd: 5           # e.g. five dollars for this experiment's judgements; default: no limit
# max_concurrent_judges: 20
# second_judge: claude-haiku-4-5   # e.g. to score a sample again: is the judge right?
# also_judge: []             # other traits whose rubric is put to every response too
# steering: {evaluate: true, n_search: 20, n_held_out: 40, side_effects: []}
# monitoring_prompts: []     # what to ask while the vectors are watched, token by token
# auto_run: false            # true: new and changed definitions are run as soon as they are seen
# schedule: {cron: "0 3 * * 1", timezone: UTC}   # e.g. every trait again, Mondays at 3
# follow_data_versions: false  # true: Dagster makes a stage when what it is made from has changed
# thresholds:
#   contrast: 40             # passes above this …
#   contrast_warning: 20     # … warns down to this, fails below
#   accuracy: 0.90           # held-out probe accuracy
#   norm: {kind: absolute, minimum: 15, maximum: 40}   # kind: relative for other model sizes
# severities: {}             # e.g. {norm: warn, confounds: error}
"""
    )
