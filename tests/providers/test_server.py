"""The official packages, against the local server: proof that it speaks their formats."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anthropic
import openai
import pytest

from tests.providers import replies
from tests.providers.models import (
    END_OF_TURN,
    gpt_4_1_mini,
    gpt_5_mini,
    next_token,
    stable_score,
)
from tests.providers.replies import Call, Reply, anthropic_answer, openai_answer
from tests.providers.server import FakeProvider

SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer"}},
    "required": ["score"],
    "additionalProperties": False,
}
RESPONSE_FORMAT: Any = {
    "type": "json_schema",
    "json_schema": {"name": "score", "strict": True, "schema": SCHEMA},
}
TOOL: Any = {"name": "score", "description": "Report the score.", "input_schema": SCHEMA}
TOOL_CHOICE: Any = {"type": "tool", "name": "score"}
LIVE_PATH = {"openai": "/chat/completions", "anthropic": "/v1/messages"}


def openai_client(server: FakeProvider, key: str = "key", **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=key, base_url=server.base_url_openai, max_retries=0, **options
    )


def anthropic_client(
    server: FakeProvider, key: str = "key", **options: Any
) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        api_key=key, base_url=server.base_url_anthropic, max_retries=0, **options
    )


def chat(prompt: str = "How kind?", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}


def ask_openai(server: FakeProvider, **body: Any) -> Any:
    """One typed chat completion."""

    async def ask() -> Any:
        async with openai_client(server, timeout=60) as client:
            return await client.chat.completions.create(**chat(**body))

    return asyncio.run(ask())


def ask_anthropic(server: FakeProvider, **body: Any) -> Any:
    """One typed message."""

    async def ask() -> Any:
        async with anthropic_client(server, timeout=60) as client:
            return await client.messages.create(**{"max_tokens": 50, **chat(**body)})

    return asyncio.run(ask())


def post(server: FakeProvider, provider: str, timeout: float = 60.0) -> Any:
    """One untyped call, as the judge makes it."""

    async def ask() -> Any:
        make = openai_client if provider == "openai" else anthropic_client
        async with make(server, timeout=timeout) as client:
            return await client.post(LIVE_PATH[provider], cast_to=object, body=chat())

    return asyncio.run(ask())


# ---------------------------------------------------------------------------- good answers


def test_chat_completion_with_logprobs() -> None:
    positions = [("42", {"42": 0.5, "40": 0.25, "I": 0.125, "7": 0.0})]
    reply = openai_answer(
        "42", prompt_tokens=11, completion_tokens=3, cached_tokens=4, reasoning_tokens=2,
        logprobs=positions, top_logprobs=2, reasoning_content="hm",
    )  # fmt: skip
    with FakeProvider(lambda call: reply) as server:
        answer = ask_openai(server, logprobs=True, top_logprobs=2)
    (choice,) = answer.choices
    (position,) = choice.logprobs.content
    assert choice.message.content == "42"
    assert choice.message.refusal is None
    assert choice.message.reasoning_content == "hm"
    assert choice.finish_reason == "stop"
    assert (position.token, position.bytes) == ("42", [52, 50])
    assert position.logprob == pytest.approx(math.log(0.5))
    assert [t.token for t in position.top_logprobs] == ["42", "40"]
    assert answer.usage.total_tokens == 14
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2
    assert answer.usage.prompt_tokens_details.cached_tokens == 4
    assert answer._request_id.startswith("req_")


def test_messages_have_every_block() -> None:
    reply = anthropic_answer(
        "Well.", tool_input={"score": 7}, thinking="Hm.", input_tokens=5, output_tokens=6
    )
    with FakeProvider(lambda call: reply) as server:
        message = ask_anthropic(server)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[2].input == {"score": 7}
    assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 6)
    assert message._request_id.startswith("req_")


def test_single_token_numbers() -> None:
    with FakeProvider(gpt_4_1_mini) as server:
        answer = ask_openai(
            server, temperature=0, max_completion_tokens=1, logprobs=True, top_logprobs=20
        )
        formatted = ask_openai(
            server, response_format=RESPONSE_FORMAT, logprobs=True, top_logprobs=5
        )
        with pytest.raises(openai.BadRequestError) as error:
            ask_openai(server, extra_body={"continue_final_message": True})
    score = stable_score("How kind?")
    assert answer.choices[0].message.content == str(score)
    assert answer.choices[0].finish_reason == "length"
    first = answer.choices[0].logprobs.content[0]
    assert math.exp(first.logprob) == pytest.approx(0.6)
    assert json.loads(formatted.choices[0].message.content) == {"score": score}
    said = [position.token for position in formatted.choices[0].logprobs.content]
    assert said == ['{"score": ', str(score), "}"]
    assert (error.value.code, error.value.param) == ("unknown_parameter", "continue_final_message")
    assert server.log.answers == {"How kind?": 2}


@pytest.mark.parametrize(
    ("options", "code", "param"),
    [
        ({"max_tokens": 5}, "unsupported_parameter", "max_tokens"),
        ({"temperature": 0}, "unsupported_value", "temperature"),
        ({"logprobs": True}, "unsupported_parameter", "logprobs"),
        ({"reasoning_effort": "none"}, "unsupported_value", "reasoning_effort"),
    ],
)
def test_reasoning_model_refuses(options: dict[str, Any], code: str, param: str) -> None:
    with FakeProvider(gpt_5_mini) as server, pytest.raises(openai.BadRequestError) as error:
        ask_openai(server, **options)
    assert (error.value.code, error.value.param) == (code, param)
    assert param in error.value.message


def test_reasoning_model_answers() -> None:
    with FakeProvider(partial(gpt_5_mini, score_of=lambda prompt: 31)) as server:
        answer = ask_openai(server, response_format=RESPONSE_FORMAT, max_completion_tokens=500)
        starved = ask_openai(server, max_completion_tokens=16)
    assert json.loads(answer.choices[0].message.content) == {"score": 31}
    assert answer.usage.completion_tokens_details.reasoning_tokens == 64
    assert (starved.choices[0].message.content, starved.choices[0].finish_reason) == ("", "length")
    assert server.log.answers == {"How kind?": 1}


def test_chain_of_digits_gives_back_the_distribution() -> None:
    numbers = {n: (n + 1) / 5151 for n in range(101)}
    after = {END_OF_TURN: 0.9, ".": 0.1}

    def mass(number: int) -> float:
        text, p = str(number), 1.0
        for i, digit in enumerate(text):
            p *= next_token(numbers, text[:i], {}, after)[digit]
        options = next_token(numbers, text, {}, after)
        return p * sum(options.get(token, 0.0) for token in after)

    assert {n: mass(n) for n in numbers} == pytest.approx(numbers)


# ---------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("reply", "kind", "code", "param"),
    [
        (replies.openai_wrong_key("sk-12345678"), "AuthenticationError", "invalid_api_key", None),
        (replies.openai_insufficient_quota(), "RateLimitError", "insufficient_quota", None),
        (replies.openai_rate_limit(2, 1500), "RateLimitError", "rate_limit_exceeded", None),
        (replies.openai_server_error(), "InternalServerError", None, None),
        (replies.openai_server_error(503), "InternalServerError", None, None),
        (replies.openai_model_not_found("m"), "NotFoundError", "model_not_found", None),
        (
            replies.openai_context_exceeded(),
            "BadRequestError",
            "context_length_exceeded",
            "messages",
        ),
        (replies.azure_content_filter(), "BadRequestError", "content_filter", "prompt"),
        (replies.openai_logprobs_forbidden(), "PermissionDeniedError", None, None),
        (replies.vllm_error("No.", 404, is_nested=False), "NotFoundError", "404", None),
        (replies.html_page(), "InternalServerError", None, None),
    ],
)  # fmt: skip
def test_openai_errors(reply: Reply, kind: str, code: str | None, param: str | None) -> None:
    with FakeProvider(lambda call: reply) as server, pytest.raises(openai.APIStatusError) as error:
        ask_openai(server)
    assert type(error.value).__name__ == kind
    assert (error.value.status_code, error.value.code) == (reply.status, code)
    assert error.value.param == param
    for name, value in reply.headers.items():
        assert error.value.response.headers[name] == value


@pytest.mark.parametrize(
    ("reply", "kind", "type_"),
    [
        (replies.anthropic_wrong_key(), "AuthenticationError", "authentication_error"),
        (replies.anthropic_rate_limit(7), "RateLimitError", "rate_limit_error"),
        (replies.anthropic_server_error(), "InternalServerError", "api_error"),
        (replies.anthropic_overloaded(), "OverloadedError", "overloaded_error"),
        (replies.anthropic_low_credit(), "BadRequestError", "invalid_request_error"),
        (replies.anthropic_spend_limit(), "EnforcedSpendLimitReachedError", "rate_limit_error"),
        (replies.anthropic_billing(), "PaymentRequiredError", "billing_error"),
        (replies.anthropic_prompt_too_long(), "BadRequestError", "invalid_request_error"),
        (replies.anthropic_model_not_found("m"), "NotFoundError", "not_found_error"),
        (replies.html_page(), "InternalServerError", None),
    ],
)
def test_anthropic_errors(reply: Reply, kind: str, type_: str | None) -> None:
    with (
        FakeProvider(lambda call: reply) as server,
        pytest.raises(anthropic.APIStatusError) as error,
    ):
        ask_anthropic(server)
    assert type(error.value).__name__ == kind
    assert (error.value.status_code, error.value.type) == (reply.status, type_)
    if isinstance(reply.body, dict):
        assert error.value.api_message == reply.body["error"]["message"]
    assert error.value.response.headers.get("retry-after") == reply.headers.get("retry-after")


def test_keys_are_checked_everywhere() -> None:
    key, wrong = "sk-right", "sk-proj-abcdefghijkl1234"
    with FakeProvider(valid_key=key, models=["m"]) as server:

        async def check() -> None:
            good, bad = openai_client(server, key), openai_client(server, wrong)
            other, worse = anthropic_client(server, key), anthropic_client(server, wrong)
            assert (await good.models.retrieve("m")).id == "m"
            assert [model.id async for model in good.models.list()] == ["m"]
            assert (await other.models.retrieve("m")).display_name == "m"
            assert [model.id async for model in other.models.list()] == ["m"]
            with pytest.raises(openai.NotFoundError):
                await good.models.retrieve("n")
            with pytest.raises(anthropic.NotFoundError):
                await other.models.retrieve("n")
            refused: list[Callable[[], Awaitable[Any]]] = [
                bad.models.list,
                lambda: bad.models.retrieve("m"),
                lambda: bad.chat.completions.create(**chat()),
                lambda: bad.files.create(file=b"{}", purpose="batch"),
                bad.batches.list,
                worse.models.list,
                lambda: worse.messages.create(max_tokens=1, **chat()),
                worse.messages.batches.list,
            ]
            for ask in refused:
                with pytest.raises(
                    (openai.AuthenticationError, anthropic.AuthenticationError)
                ) as e:
                    await ask()
                assert wrong not in str(e.value)
            for client in (good, bad, other, worse):
                await client.close()

        asyncio.run(check())
    assert server.log.total == 2
    assert "sk-proj-************1234" in str(replies.openai_wrong_key(wrong).body)
    assert wrong in str(replies.openai_wrong_key(wrong, is_whole=True).body)


# ---------------------------------------------------------------------------- misbehaviour


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_bodies_that_are_no_answer(provider: str) -> None:
    reply = replies.malformed_json()
    with FakeProvider(lambda call: reply) as server:
        # Not one of the package's own errors, and nothing that its retries would catch.
        with pytest.raises(json.JSONDecodeError):
            post(server, provider)
        reply = replies.malformed_json(500)
        with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)) as error:
            post(server, provider)
        assert isinstance(error.value.body, str)
        reply = replies.html_page(200)
        assert post(server, provider).startswith("<html>")
        reply = Reply(body=b"null")
        assert post(server, provider) is None
        reply = Reply(body=b'{"a": "\xff"}')
        with pytest.raises(UnicodeDecodeError):
            post(server, provider)
        reply = openai_answer("4") if provider == "openai" else anthropic_answer("4")
        assert post(server, provider)["id"] == reply.body["id"]  # type: ignore[index]
    assert server.log.answers == {"How kind?": 1}


# ---------------------------------------------------------------------------- batches


def odd_ones_fail(call: Call) -> Reply:
    if call.provider == "openai":
        return (
            openai_answer("4") if int(call.prompt) % 2 == 0 else replies.openai_context_exceeded()
        )
    return anthropic_answer("4") if int(call.prompt) % 2 == 0 else replies.anthropic_low_credit()


async def start_openai_batch(client: openai.AsyncOpenAI, n: int, model: str = "m") -> Any:
    lines = [
        {
            "custom_id": f"r{i}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {**chat(str(i)), "model": model},
        }
        for i in range(n)
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = await client.files.create(file=("in.jsonl", content), purpose="batch")
    assert (file.bytes, file.filename) == (len(content), "in.jsonl")
    assert (await client.files.content(file.id)).content == content
    batch = await client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"stage": "judge"},
    )
    assert (batch.status, batch.metadata) == ("validating", {"stage": "judge"})
    return batch


async def lines_of(client: openai.AsyncOpenAI, file_id: str | None) -> dict[str, Any]:
    assert file_id
    text = (await client.files.content(file_id)).text
    return {line["custom_id"]: line for line in map(json.loads, text.splitlines())}


def test_openai_batch() -> None:
    with FakeProvider(odd_ones_fail) as server:

        async def cycle() -> None:
            async with openai_client(server) as client:
                batch = await start_openai_batch(client, 6)
                assert (await client.batches.retrieve(batch.id)).status == "in_progress"
                batch = await client.batches.retrieve(batch.id)
                assert batch.status == "completed"
                counts = batch.request_counts
                assert (counts.total, counts.completed, counts.failed) == (6, 3, 3)
                good = await lines_of(client, batch.output_file_id)
                bad = await lines_of(client, batch.error_file_id)
                assert set(good) == {"r0", "r2", "r4"}
                assert good["r0"]["response"]["body"]["choices"][0]["message"]["content"] == "4"
                assert bad["r1"]["response"]["status_code"] == 400
                error = bad["r1"]["response"]["body"]["error"]
                assert error["code"] == "context_length_exceeded"
                second = await start_openai_batch(client, 2)
                page = await client.batches.list(limit=1)
                assert ([b.id for b in page.data], page.has_more) == ([second.id], True)
                assert [b.id async for b in client.batches.list(limit=1)] == [second.id, batch.id]
                await client.files.delete(batch.input_file_id)
                with pytest.raises(openai.NotFoundError):
                    await client.files.content(batch.input_file_id)

        asyncio.run(cycle())
    assert (server.log.total, server.log.batch_total) == (0, 6)
    assert server.log.batch_answers == {"0": 1, "2": 1, "4": 1}
    assert server.log.batch_calls[0].in_batch


async def start_anthropic_batch(client: anthropic.AsyncAnthropic, ids: list[str]) -> Any:
    requests: Any = [
        {"custom_id": id_, "params": {"max_tokens": 5, **chat(str(i))}} for i, id_ in enumerate(ids)
    ]
    return await client.messages.batches.create(requests=requests)


def test_anthropic_batch() -> None:
    ids = [f"r{i}" for i in range(20)]
    with FakeProvider(odd_ones_fail) as server:

        async def cycle() -> None:
            async with anthropic_client(server) as client:
                batches = client.messages.batches
                batch = await start_anthropic_batch(client, ids)
                assert (batch.processing_status, batch.results_url) == ("in_progress", None)
                assert batch.request_counts.processing == 20
                assert (await batches.retrieve(batch.id)).processing_status == "in_progress"
                batch = await batches.retrieve(batch.id)
                assert batch.processing_status == "ended"
                counts = batch.request_counts
                assert (counts.succeeded, counts.errored, counts.processing) == (10, 10, 0)
                lines = [line async for line in await batches.results(batch.id)]
                assert [line.custom_id for line in lines] != ids
                results = {line.custom_id: line.result for line in lines}
                assert sorted(results) == sorted(ids)
                assert results["r0"].message.content[0].text == "4"
                assert results["r1"].error.error.type == "invalid_request_error"
                second = await start_anthropic_batch(client, ["r0", "r1"])
                assert [b.id async for b in batches.list(limit=1)] == [second.id, batch.id]
                with pytest.raises(anthropic.BadRequestError, match="should match pattern"):
                    await start_anthropic_batch(client, ["kind_0:1"])

        asyncio.run(cycle())
    assert (server.log.total, server.log.batch_total) == (0, 20)
    assert server.log.batch_answers == {str(i): 1 for i in range(0, 20, 2)}
