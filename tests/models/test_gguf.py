"""Models from GGUF files: the same model as the plain one, kept once, and bad files in a line."""

import multiprocessing
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quantize
from gguf.quants import dequantize
from transformers import LlamaForCausalLM

from tests.models.gguf_files import ENDS, make_llama, write_gguf
from traitvec_core.errors import TraitvecError, TraitvecWarning
from traitvec_core.models.files import model_fingerprint
from traitvec_core.models.language_model import LanguageModel, load_language_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of conversions, for this test alone."""
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "traitvec" / "gguf"


@pytest.fixture(scope="module")
def plain() -> LanguageModel:
    return make_llama()


@pytest.fixture(scope="module")
def whole(plain: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file of it, in float32; not to be changed."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", plain)


def _logits(model: LanguageModel, text: str = "What should I cook tonight?") -> torch.Tensor:
    ids = model.encode_prompt(model.prompt(text, "Be brief."))
    with torch.inference_mode():
        return model.model(torch.tensor([ids])).logits.float()


def _conversions(cache: Path) -> list[str]:
    """Names of finished and unfinished conversions."""
    return [path.name for path in cache.glob("*") if path.is_dir() and path.name != "hashes"]


# -- the same model -----------------------------------------------------------------------------


def test_a_file_is_the_model_that_it_was_written_from(plain: LanguageModel, whole: Path) -> None:
    model = load_language_model(str(whole), dtype="float32", device="cpu")
    assert torch.equal(_logits(model), _logits(plain))
    assert model.model.dtype == torch.float32
    text = "Is it 345 or not?\n\nI cannot help. <|end|>"
    assert model.encode_prompt(model.prompt(text)) == plain.encode_prompt(plain.prompt(text))
    assert model.tokenizer.chat_template == plain.tokenizer.chat_template
    assert model.role("auto") == "system"
    assert model.n_blocks == plain.n_blocks
    assert model.hidden_dim == plain.hidden_dim


def test_a_quantized_file_has_the_weights_that_its_blocks_hold(
    plain: LanguageModel, tmp_path: Path
) -> None:
    kind = GGMLQuantizationType.Q8_0
    path = write_gguf(tmp_path / "tiny.Q8_0.gguf", plain, quantization=kind)
    model = load_language_model(str(path), dtype="float32", device="cpu")
    rounded = make_llama()
    with torch.no_grad():
        for parameter in rounded.model.parameters():
            if parameter.ndim > 1:
                blocks = dequantize(quantize(parameter.numpy(), kind), kind)
                parameter.copy_(torch.from_numpy(np.copy(blocks)).bfloat16())
            else:
                parameter.copy_(parameter.bfloat16())
    assert torch.equal(_logits(model), _logits(rounded))
    assert not torch.equal(_logits(model), _logits(plain))


@pytest.mark.parametrize("adds_bos", [True, False])
def test_a_bare_text_begins_with_bos_where_the_file_says_so(
    adds_bos: bool, plain: LanguageModel, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", plain, adds_bos=adds_bos)
    model = load_language_model(str(path), device="cpu")
    ids = plain.tokenizer("Is it so?", add_special_tokens=False)["input_ids"]
    assert model.encode_prompt("Is it so?") == ([1, *ids] if adds_bos else ids)
    # A chat template writes its own.
    assert model.encode_prompt(model.prompt("Is it so?")).count(1) == 1


def test_numbers_are_split_as_the_vocabulary_needs_it(plain: LanguageModel, tmp_path: Path) -> None:
    text = "7  12345\n\n 67"
    ends = {}
    for kind in ("smollm", "gpt-2"):
        path = write_gguf(tmp_path / f"{kind}.gguf", plain, pre=kind)
        model = load_language_model(str(path), device="cpu")
        ends[kind] = [model.tokenizer.decode(token) for token in model.encode_prompt(text)]
    # No merge of this vocabulary joins digits beyond three; in the first, none joins any.
    assert [piece for piece in ends["smollm"] if piece.strip()] == list("71234567")
    assert ends["gpt-2"] != ends["smollm"]
    path = write_gguf(tmp_path / "new.gguf", plain, pre="split-of-2031")
    with pytest.warns(TraitvecWarning, match="'split-of-2031'"):
        load_language_model(str(path), device="cpu")


def test_responses_end_where_the_file_ends_turns(plain: LanguageModel, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", plain, special={**ENDS, "eot": "<|end|>"})
    ends = load_language_model(str(path), device="cpu").end_token_ids
    assert ends == [plain.tokenizer.convert_tokens_to_ids(text) for text in ("</s>", "<|end|>")]
    # A file that names only the end of a text: the end of a turn is known by its text.
    path = write_gguf(tmp_path / "old.gguf", plain)
    assert load_language_model(str(path), device="cpu").end_token_ids == ends


def test_llama_3s_rotary_scaling_is_read_from_its_frequencies(tmp_path: Path) -> None:
    rope = {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }  # fmt: skip
    scaled = make_llama(rope_parameters=rope)
    unscaled = LlamaForCausalLM(
        make_llama(rope_parameters={"rope_type": "default", "rope_theta": 500_000.0}).model.config
    )
    # What llama.cpp's converter writes: the plain frequency over the scaled one.
    factors = (unscaled.model.rotary_emb.inv_freq / scaled.model.model.rotary_emb.inv_freq).numpy()
    assert factors.max() == pytest.approx(8.0)
    path = write_gguf(tmp_path / "a.gguf", scaled, more_tensors={"rope_freqs.weight": factors})
    model = load_language_model(str(path), dtype="float32", device="cpu")
    assert torch.allclose(_logits(model), _logits(scaled), atol=1e-5)
    other = factors * np.linspace(1, 2, len(factors))
    path = write_gguf(tmp_path / "b.gguf", scaled, more_tensors={"rope_freqs.weight": other})
    with pytest.raises(TraitvecError, match="rotary scaling"):
        load_language_model(str(path), device="cpu")


def test_linear_and_yarn_scaling_are_read(plain: LanguageModel, tmp_path: Path) -> None:
    values = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    path = write_gguf(tmp_path / "a.gguf", plain, values=values)
    scaled = make_llama(
        rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}
    )
    logits = _logits(load_language_model(str(path), dtype="float32", device="cpu"))
    assert torch.allclose(logits, _logits(scaled), atol=1e-5)
    assert not torch.allclose(logits, _logits(plain), atol=1e-3)
    path = write_gguf(tmp_path / "b.gguf", plain, values={"llama.rope.scaling.type": "longrope"})
    with pytest.raises(TraitvecError, match="longrope"):
        load_language_model(str(path), device="cpu")


def test_weights_that_transformers_does_not_read_are_reported(
    plain: LanguageModel, tmp_path: Path
) -> None:
    bias = {"blk.0.attn_q.bias": np.ones(64)}
    path = write_gguf(tmp_path / "tiny.gguf", plain, more_tensors=bias)
    with pytest.warns(TraitvecWarning, match="of its .* weights"):
        load_language_model(str(path), device="cpu")


# -- which file, and which model ----------------------------------------------------------------


def test_a_folder_with_one_file_is_that_file(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(whole, folder / "tiny.gguf")
    (folder / "mmproj-tiny.gguf").write_bytes(b"GGUF")
    assert model_fingerprint(str(folder)) == model_fingerprint(str(whole))
    assert load_language_model(str(folder), device="cpu").n_blocks == 3
    shutil.copy(whole, folder / "other.gguf")
    with pytest.raises(TraitvecError, match=r"several GGUF files \(other.gguf, tiny.gguf\)"):
        load_language_model(str(folder), device="cpu")


def test_the_fingerprint_follows_content_not_path(whole: Path, tmp_path: Path) -> None:
    copy = tmp_path / "another name.GGUF"
    shutil.copy(whole, copy)
    first = model_fingerprint(str(whole))
    assert model_fingerprint(str(copy)) == first
    times = copy.stat()
    with copy.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    # Same size, and the old time: only the content differs.
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert model_fingerprint(str(copy)) != first


def test_the_hash_of_a_settled_file_is_not_computed_again(whole: Path, cache: Path) -> None:
    """A later process reads it from the cache: a wrong one there comes out."""
    script = (
        "import sys, huggingface_hub.constants as c; c.HF_ASSETS_CACHE = sys.argv[2];"
        "from traitvec_core.models.gguf_file import gguf_digest; from pathlib import Path;"
        "print(gguf_digest(Path(sys.argv[1])));"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    os.utime(whole)

    def digest() -> str:
        command = [sys.executable, "-c", script, str(whole), str(cache.parents[1])]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    # A file that has just changed may change again within one tick of its clock.
    true = digest()
    assert list(cache.glob("hashes/*")) == []
    while not (kept := list(cache.glob("hashes/*"))):
        assert digest() == true
    kept[0].write_text("0" * 64)
    assert digest() == "0" * 64
    kept[0].write_text("half of a hash")
    assert digest() == true


# -- kept once ----------------------------------------------------------------------------------


def test_the_conversion_is_made_once_and_left_alone(whole: Path, cache: Path) -> None:
    load_language_model(str(whole), device="cpu")
    (name,) = _conversions(cache)
    weights = cache / name / "model.safetensors"
    before = weights.stat().st_mtime_ns
    again = load_language_model(str(whole), device="cpu")
    assert weights.stat().st_mtime_ns == before
    assert again.revision == f"sha256:{name.partition('-')[0]}"
    # Anyone who may read the file may use the conversion.
    assert weights.stat().st_mode & 0o444 == (cache / name).stat().st_mode & 0o444


def _load(path: str, cache: str) -> None:
    import huggingface_hub.constants as constants

    constants.HF_ASSETS_CACHE = cache
    load_language_model(path, device="cpu")


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """New processes, which begin as copies of one that has imported this module and no more."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@pytest.mark.slow
def test_two_processes_at_once(whole: Path, cache: Path, processes: ForkServerContext) -> None:
    arguments = (str(whole), str(cache.parents[1]))
    both = [processes.Process(target=_load, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len(_conversions(cache)) == 1


@pytest.mark.slow
def test_a_killed_conversion_is_started_again(
    plain: LanguageModel, whole: Path, cache: Path
) -> None:
    script = (
        "import os, signal, sys, transformers, huggingface_hub.constants as c;"
        "c.HF_ASSETS_CACHE = sys.argv[2];"
        # After the weights are written, before the tokenizer is.
        "transformers.PreTrainedTokenizerBase.save_pretrained ="
        " lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL);"
        "from traitvec_core.models.language_model import load_language_model;"
        "load_language_model(sys.argv[1], device='cpu')"
    )
    command = [sys.executable, "-c", script, str(whole), str(cache.parents[1])]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    (left,) = _conversions(cache)
    assert left.endswith(".tmp")
    model = load_language_model(str(whole), dtype="float32", device="cpu")
    assert torch.equal(_logits(model), _logits(plain))
    assert not _conversions(cache)[0].endswith(".tmp")
    assert len(_conversions(cache)) == 1


# -- bad files ----------------------------------------------------------------------------------


def _cut(path: Path, n_bytes: int) -> Path:
    with path.open("r+b") as file:
        file.truncate(n_bytes)
    return path


def _spoil_type(path: Path, kind: int) -> Path:
    """Give the first tensor another type."""
    name = b"token_embd.weight"
    data = bytearray(path.read_bytes())
    at = data.index(name) + len(name) + 4 + 2 * 8
    data[at : at + 4] = struct.pack("<I", kind)
    path.write_bytes(data)
    return path


def _bad(case: str, path: Path, plain: LanguageModel) -> Path:
    match case:
        case "weights cut":
            return _cut(write_gguf(path, plain), path.stat().st_size - 1000)
        case "header cut":
            return _cut(write_gguf(path, plain), 3000)
        case "empty":
            path.touch()
        case "a page":
            path.write_text("<html>404</html>")
        case "version":
            path.write_bytes(b"GGUF" + struct.pack("<I", 1) + bytes(64))
        case "no such quantization":
            return _spoil_type(write_gguf(path, plain), 200)
        case "no arithmetic":
            return _spoil_type(write_gguf(path, plain), GGMLQuantizationType.Q8_1)
        case "architecture":
            return write_gguf(path, plain, architecture="wavtokenizer-dec")
        case "no tokenizer":
            return write_gguf(path, plain, has_tokenizer=False)
        case "mmproj":
            return write_gguf(path, plain, architecture="clip")
        case "adapter":
            return write_gguf(path, plain, values={"general.type": "adapter"})
        case "weight missing":
            return write_gguf(path, plain, left_out="blk.1.ffn_up.weight")
        case "part":
            return write_gguf(path.with_name("tiny-00001-of-00003.gguf"), plain)
        case "absent":
            pass
    return path


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("weights cut", "is truncated"),
        ("header cut", "truncated or damaged"),
        ("empty", "not a GGUF file"),
        ("a page", "not a GGUF file"),
        ("version", "version 1"),
        ("no such quantization", r"quantized .*\(number 200\)"),
        ("no arithmetic", r"quantized .*\(Q8_1\)"),
        ("architecture", "cannot read the architecture 'wavtokenizer-dec'"),
        ("no tokenizer", "no tokenizer"),
        ("mmproj", "image projector"),
        ("adapter", "of the type 'adapter'"),
        ("weight missing", "lacks 1 weights"),
        ("part", "split into 3 files.*--merge"),
        ("absent", "no such file"),
    ],
)
def test_a_bad_file_is_one_line_and_leaves_nothing(
    case: str, says: str, plain: LanguageModel, tmp_path: Path, cache: Path
) -> None:
    path = _bad(case, tmp_path / "tiny.gguf", plain)
    with pytest.raises(TraitvecError, match=says) as caught:
        load_language_model(str(path), device="cpu")
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) - len(str(path)) < 200
    assert _conversions(cache) == []
    # Staleness is checked for any path.
    assert model_fingerprint(str(path))


def _load_with_little_disk(path: str, cache: str) -> None:
    # Writes beyond this size fail, as on a full disk.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        _load(path, cache)
    except TraitvecError as error:
        sys.exit(0 if "no space" in str(error) and "HF_HOME" in str(error) else 2)
    sys.exit(3)


def test_a_full_disk_is_one_line_and_leaves_nothing(
    whole: Path, cache: Path, processes: ForkServerContext
) -> None:
    process = processes.Process(
        target=_load_with_little_disk, args=(str(whole), str(cache.parents[1]))
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    assert _conversions(cache) == []
