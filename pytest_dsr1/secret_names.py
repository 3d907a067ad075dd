"""The names of secrets: variables, options and keys whose value must not be shown.

They are told apart from the tokens, keys and passes of models by the words around these words.
"""

from __future__ import annotations

import re

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET = re.compile(
    r"secret|password|passwd|passphrase|passcode|credential|bearer|authorization"
    r"|(?:api|access|private|signing|encryption|deploy|auth|ssh)key"
)
"""Parts of names of secrets, without separators."""
_LAST = re.compile(r".*auth|authentication|.*cookies?|creds?|.*creds|jwts?|pats?")
"""Last words of names of secrets, unlike AUTHOR and PATH."""
_NO_VALUE = re.compile(r"dir|env|file|folder|mode|names?|paths?|required|ttl|type|uri|url")
"""Last words of names of settings that only say where or what a secret is: ``--auth-token-file``."""
_FOLLOWS = re.compile(r"b|base|bytes|ci|dev|header|new|old|prod|read|ro|rw|value|write|\d+")
"""Words that may follow the last one: GITHUB_TOKEN_RO, authHeader, SSH_KEY_2."""
_COUNTED = re.compile(
    r"accepted|added|attention|audio|bad|batched|bos|cached|chunked|cls|completion|context|decode|draft|end|eos"
    r"|extra|first|generated|ignore|image|input|kv|last|logit|long|mask|max|min|mm|n|new|next|num|output|pad"
    r"|per|prefill|prev|previous|prompt|reasoning|rejected|reserved|sampled|sep|short|single|spec|special"
    r"|speculative|start|step|stop|target|text|think|thinking|top|total|unk|video|vocab|warmup"
)
"""Words before TOKEN and TOKENS in the settings of models: eos_token, max_num_tokens."""
_LOOKED_UP = re.compile(
    r"block|cache|column|config|dataset|dict|foreign|group|hash|hot|image|index|k|label|lookup|map|metric"
    r"|partition|primary|prompt|public|q|query|rng|routing|row|sample|shard|sort|state|text|v|value"
)
"""Words before KEY and KEYS that make it a key of a table, of attention or of a keyboard: cache_key."""
_NO_PASS = re.compile(
    r"backward|by|com|compile|custom|each|first|forward|fuse|fusion|grad|graph|inductor|multi|no|num|one|opt"
    r"|optimization|over|per|post|pre|second|single|tres|two|under"
)
"""Words, or starts of words, before PASS that is not short for password: forward_pass, compass."""
_UNLIKE = {"token": _COUNTED, "tokens": _COUNTED, "pass": _NO_PASS, "pwd": re.compile(r"|old")}
"""Ends of names of secrets, and what before them makes them other names."""


def names_secret(name: str) -> bool:
    """Return whether a variable, key or option with this name holds a secret."""
    words = [part.lower() for part in _PARTS.findall(name)]
    while len(words) > 1 and _FOLLOWS.fullmatch(words[-1]):
        words.pop()
    if not words or _NO_VALUE.fullmatch(words[-1]):
        return False
    if _SECRET.search("".join(words)):
        return True
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    for kind, unlike in _UNLIKE.items():
        if last.endswith(kind):
            return not unlike.fullmatch(last.removesuffix(kind) or before)
    if last in {"key", "keys"}:
        return not _LOOKED_UP.fullmatch(before)
    return _LAST.fullmatch(last) is not None


def surely_secret(name: str) -> bool:
    """Return whether even a number is a secret under this name, which is known to be one of a secret."""
    bare = re.sub(r"[\W_]", "", name).lower()
    return bool(_SECRET.search(bare) or re.search(r"(?:pass|pwd)\d*$", bare))
