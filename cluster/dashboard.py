"""The HTTP side of a cluster: its nodes and jobs."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

from cluster import token
from cluster.errors import ClusterError

ANSWER_SECONDS = 10.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow no redirect: the answer stays what it is, an error."""


def get(url: str, path: str, value: str | None, seconds: float = ANSWER_SECONDS) -> Any:
    """Return the JSON that the dashboard at `url` answers for `path` in so many seconds, sending the token `value`.

    Raises:
        ClusterError: nothing answers there, it is not a Ray dashboard, or it refuses the token.
    """
    request = urllib.request.Request(url + path, headers=token.header(value))
    # Neither through a proxy of the environment nor on to where a redirect leads: the token is for the cluster alone.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)
    try:
        with opener.open(request, timeout=seconds) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise ClusterError(
                f"the Ray cluster at {url} refuses the token: set RAY_AUTH_TOKEN_PATH to the file with its token"
            ) from error
        raise ClusterError(
            f"{url} is not a Ray dashboard ({error.code} {error.reason}): give its address, such as http://HEAD:8265"
        ) from error
    except (ValueError, http.client.HTTPException) as error:  # no JSON, or not even HTTP
        raise ClusterError(f"{url} is not a Ray dashboard: give its address, such as http://HEAD:8265") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise ClusterError(
            f"no Ray dashboard answers at {url} ({reason}): start a cluster (`marey cluster up`), "
            "or correct the address in --address or RAY_ADDRESS, such as http://HEAD:8265"
        ) from error


def nodes(url: str, value: str | None) -> list[dict[str, Any]]:
    """Return what Ray knows of every node, alive or dead: `state`, `node_ip`, `resources_total`, ..."""
    answer = get(url, "/api/v0/nodes?limit=10000", value)
    return list(answer["data"]["result"]["result"])
