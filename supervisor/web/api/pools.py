"""Pools: what the workers of each of them do just now."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from ....actors.task.pool_info import PoolInfo
from .call import PATIENCE, ReadAll, json_answer, router_of
from .models import answer, answer_of, many

POOLS: Final = answer(
    "Pools",
    "Pools of workers. The first one, whose name is null, is that of all tasks without a pool.",
    pools=many(answer_of("PoolInfo", PoolInfo)),
)

router = router_of("pools")


@router.get("/pools", response_model=POOLS)
async def list_pools(call: ReadAll) -> Response:
    """List what the workers of pools do just now."""
    found = await call.runtime.pools(timeout=PATIENCE)
    return json_answer({"pools": [each.as_dict() for each in found]})
