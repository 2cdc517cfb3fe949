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
# Each line below shows the default, or an example after "e.g."; remove the '#' to change it.
# n_examples: 100            # responses per pole, spread evenly over instructions and questions
# elicitation: instructions  # or scenarios: the openings in the definition, which are completed
# second_elicitation: other  # e.g. an experiment that elicits the same traits another way
# style_stress: 0            # or 20: responses per pole that are read again in other styles
# threshold: 50              # positives need at least this trait score, negatives less
# min_coherence: 50          # less coherent responses are left out
# pairing: independent       # paired: keep a response only if its counterpart is kept too
# methods: [mean_diff, probe, ica, gradient]
# layers: all                # or a list: [5, 10, 16]; 0 is the embedding output
# scale: separation          # length of a vector: separation | raw | unit
# positions: [response_mean] # also response_first_5, prompt_avg, prompt_last; vectors: the first
# sampling: {temperature: 0.7, top_p: 0.9, max_new_tokens: 150, seed: 0}
# batch_size: auto           # or the number of responses to generate at once
# engine_url: http://127.0.0.1:8000/v1   # e.g. generate on a vLLM server; or set engine: vllm
# engine_model: served-name   # e.g. what that server calls the model; default: found there
# dtype: auto                # bfloat16 on a GPU that supports it, else float32; see doctor
# quantization: none         # 8bit | 4bit: for a model that does not fit on the GPU otherwise
# scorers: {}                # who else scores a trait, e.g. {length: "python:scorers.py:words"}
# coherence_judge: repetition  # e.g. coherence without a model; default: judge_model
# judge_base_url: http://127.0.0.1:8000/v1   # e.g. your own server: vLLM, Ollama, llama.cpp
# judge_mode: live           # batch: half the price, takes up to a day
# max_judge_usd: 5           # e.g. a limit of $5 on this experiment's judgements; default: none
# max_concurrent_judges: 20
# second_judge: claude-haiku-4-5   # e.g. scores a sample again: is the judge right?
# also_judge: []             # other traits whose rubric also scores every response
# steering: {evaluate: auto, n_search: 20, n_held_out: 40, n_random: 16, side_effects: auto}
# monitoring_prompts: []     # prompts to monitor with the vectors, token by token
# auto_run: false            # true: new and changed definitions run at once
# schedule: {cron: "0 3 * * 1", timezone: UTC}   # e.g. rerun all traits, Mondays at 3:00
# follow_data_versions: false  # true: Dagster reruns a stage when its inputs change
# thresholds:
#   contrast: 40             # passes above this
#   contrast_warning: 20     # warns from here up to contrast, fails below
#   accuracy: 0.90           # held-out balanced probe accuracy
#   norm: {kind: chance, minimum: 2}   # × the norm under swapped labels; or absolute, relative
#   share: 0.5               # of the separation that length, words, … may explain; fails above
#   share_warning: 0.25      # warns above
# severities: {}             # e.g. {norm: warn, confounds: error}
# owners: []                # e.g. [ada@example.org, "team:interp"]; the UI shows them
# accepted: {}               # e.g. {verbosity: {confounds: "verbosity is about length"}}
"""
    )
