"""Asking a chat endpoint: one question, one answer, from an OpenAI-compatible address that the user named.

What goes out is the model's name and the messages, and the key as a header; what is asked and what becomes of the
answer is `designer.py`'s. The key is read from the environment when it is sent, and stands in no value and no error.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from pipelines.refusal import Refusal, kind_of, on_one_line, refusal_of, shown

PATH = "/chat/completions"
MAX_REPLY = 2**20  # bytes
MAX_CONFIG = 2**16
CONNECT = 10.0  # seconds
SAID = 300  # characters of a server's own message in an error

Message = dict[str, str]  # role and content


class NoAnswer(Refusal):
    """An endpoint was asked and gave nothing that can be used."""

    def __init__(self, reason: str) -> None:
        super().__init__("endpoint", reason)


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"expected a base URL such as http://127.0.0.1:8080/v1, got {_plain(url)}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "expected a base URL without a name or password in it; put the key in a variable (key_variable)"
        )
    if parts.query or parts.fragment:
        raise ValueError("expected a base URL without ? and #; such addresses are not supported")
    return url.rstrip("/").removesuffix(PATH)


def _check_model(model: str) -> str:
    if not model.strip() or not model.isprintable():
        raise ValueError(f"expected the name of a model, got {shown(model)}")
    return model


def _check_variable(name: str) -> str:
    # What came is not shown, for somebody may have written the key itself here.
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name):
        raise ValueError("expected the name of an environment variable in capitals, such as CHAT_KEY, and not the key")
    return name


class Endpoint(BaseModel):
    """An OpenAI-compatible chat endpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    url: Annotated[str, Field(max_length=2_000), AfterValidator(_check_url)]
    """Base URL: `/chat/completions` is added to it."""
    model: Annotated[str, Field(max_length=200), AfterValidator(_check_model)]
    key_variable: Annotated[str, AfterValidator(_check_variable)] | None = None
    """The environment variable that holds the key; None sends none."""
    allow_http: bool = False
    """Whether the prompt and the key may go over a network unencrypted."""
    timeout: float = Field(120.0, gt=0, le=3_600, allow_inf_nan=False)
    """Seconds that one answer may take."""

    @model_validator(mode="after")
    def _is_private(self) -> Endpoint:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not self.allow_http and not _is_here(parts.hostname or ""):
            raise Refusal(
                "url",
                f"expected https, for http to {parts.hostname} sends prompt and key unencrypted; "
                "say allow_http (--allow-http) if that is meant",
            )
        return self


_ENDPOINT: TypeAdapter[dict[str, Endpoint]] = TypeAdapter(dict[str, Endpoint])


def endpoint_of(value: object) -> Endpoint:
    """The endpoint that `value`, a mapping, describes.

    Raises:
        Refusal: it is none; the first problem is named.
    """
    if not isinstance(value, dict):
        raise Refusal("", f"expected a mapping with url and model, got {kind_of(value)}")
    for field in ("url", "model"):
        if value.get(field) is None:
            raise Refusal(field, "is missing; an endpoint needs url and model")
    try:
        # In a mapping of one, because places in a job begin with its task.
        return _ENDPOINT.validate_python({"endpoint": value})["endpoint"]
    except ValidationError as error:
        raise refusal_of("endpoint", error, lambda _: list(Endpoint.model_fields)) from None


def read_endpoint(path: Path) -> Endpoint:
    """The endpoint that a YAML file describes: url, model, and key_variable, allow_http, timeout where wanted.

    Raises:
        Refusal: the file can not be read, or is no endpoint.
    """
    from pipelines.files.yamlfile import documents

    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG + 1)
        if len(data) > MAX_CONFIG:
            raise Refusal("", f"expected at most {MAX_CONFIG:,} bytes, got more; name the endpoint's own small file")
        values = list(documents(data.decode()))
        if len(values) != 1:
            raise Refusal("", f"expected one document with url and model, got {len(values)}")
        return endpoint_of(values[0])
    except OSError as error:
        raise Refusal(on_one_line(str(path)), f"can not be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refusal(on_one_line(str(path)), "expected UTF-8 text with url and model, got other bytes") from None
    except Refusal as refusal:
        raise Refusal(on_one_line(str(path)), str(refusal)) from None


def named_endpoint(
    where: str | None, model: str | None = None, key_variable: str | None = None, allow_http: bool = False
) -> Endpoint | None:
    """The endpoint that a command line names: a base URL with a model, or a file; None where it names none.

    Raises:
        Refusal: the options do not go together, or describe no endpoint.
    """
    others = {"--endpoint-model": model, "--key-variable": key_variable, "--allow-http": allow_http or None}
    given = [option for option, value in others.items() if value is not None]
    if where is None:
        if given:
            raise Refusal(given[0], "goes with --endpoint, which is missing; nothing was sent")
        return None
    if "://" not in where:
        if given:
            raise Refusal(given[0], "goes with an --endpoint URL, got a file; write it into the file")
        return read_endpoint(Path(where))
    if model is None:
        raise Refusal("--endpoint-model", "is missing; name the model that the endpoint is to use")
    return endpoint_of({"url": where, "model": model, "key_variable": key_variable, "allow_http": allow_http})


def ask(endpoint: Endpoint, messages: Sequence[Message]) -> str:
    """The text of the model's answer to `messages`.

    Raises:
        Refusal: the key is not there.
        NoAnswer: the endpoint could not be reached, took too long, or answered with something else.
    """
    import httpx

    key = _key(endpoint)
    # No compression, so that what is counted is what was sent.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "diorama"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    end = time.monotonic() + endpoint.timeout
    limits = httpx.Timeout(endpoint.timeout, connect=min(CONNECT, endpoint.timeout))
    where = urlsplit(endpoint.url).netloc
    try:
        # Proxies and .netrc of the environment stay out of it: what is sent goes to the named address alone.
        with (
            httpx.Client(
                trust_env=False, follow_redirects=False, timeout=limits, verify=httpx.create_ssl_context()
            ) as client,
            client.stream(
                "POST",
                endpoint.url + PATH,
                headers=headers,
                json={"model": endpoint.model, "messages": list(messages)},
            ) as response,
        ):
            status = response.status_code
            if response.is_redirect:
                raise NoAnswer(
                    f"{where} answered with a redirect ({status}), which is not followed; name the last address"
                )
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise NoAnswer(f"expected plain JSON from {where}, got a compressed answer that was not asked for")
            body = bytearray()
            for part in response.iter_raw():
                body += part
                if len(body) > MAX_REPLY:
                    raise NoAnswer(
                        f"expected at most {MAX_REPLY:,} bytes from {where}, got more; nothing of it is used"
                    )
                if time.monotonic() > end:
                    raise httpx.ReadTimeout("")
    except httpx.TimeoutException:
        raise NoAnswer(f"{where} did not answer within {endpoint.timeout:g} seconds; try again or allow more") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoAnswer(f"{where} could not be asked: {_without(key, str(error)) or type(error).__name__}") from None
    if status != 200:
        told = _without(key, _told(body))
        raise NoAnswer(f"{where} answered with status {status}" + (f": {told}" if told else ""))
    content = _content(_json(body))
    if content is None:
        raise NoAnswer(f"expected a chat completion from {where}, got something else; is the base URL right?")
    return content.replace(key, "...") if key else content


def _key(endpoint: Endpoint) -> str:
    if endpoint.key_variable is None:
        return ""
    key = os.environ.get(endpoint.key_variable, "").strip()
    if not key:
        raise Refusal(
            "key_variable", f"expected the key in the environment variable {endpoint.key_variable}, got nothing"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise Refusal(
            "key_variable", f"expected a key of plain letters in {endpoint.key_variable}, got other characters"
        )
    return key


def _is_here(host: str) -> bool:
    """Whether `host` is this machine, by its name alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _json(body: bytes | bytearray) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _content(answer: Any) -> str | None:
    """The text of the first choice of a chat completion; some servers give it in parts."""
    try:
        content = answer["choices"][0]["message"]["content"]
        if isinstance(content, list):
            content = "".join(part["text"] for part in content if part.get("type") == "text")
    except (AttributeError, IndexError, KeyError, TypeError):
        return None
    return content if isinstance(content, str) else None


def _told(body: bytes | bytearray) -> str:
    """What a server says about an error of its own, where it says something."""
    answer = _json(body)
    for field in ("error", "message", "detail"):
        if isinstance(answer, dict) and field in answer:
            answer = answer[field]
    return answer if isinstance(answer, str) else ""


def _without(key: str, text: str) -> str:
    """`text` as it may stand in an error. The key goes before the cut, so that no half of it stays."""
    return on_one_line(text.replace(key, "...") if key else text, SAID)


def _plain(url: str) -> str:
    """A URL as it may stand in an error: without what could be a password."""
    return "one with a name or password in it" if "@" in url else shown(url)
