"""A pool of drawn photos, the room that it is labelled in, and its page."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mine.conftest import backbone, fill, photos, pool  # noqa: F401 - fixtures
from narrowcast.mine.pool import Pool
from narrowcast.models.callable_backbone import CallableBackbone
from narrowcast.web.access import Access
from narrowcast.web.label_app import label_app
from narrowcast.web.label_house import LabelHouse, pool_id
from narrowcast.web.label_room import LabelRoom

from .clients import client


@pytest.fixture
def house(pool: Pool, backbone: CallableBackbone) -> Iterator[LabelHouse]:  # noqa: F811
    opened = LabelHouse.open([pool.path], backbone=backbone)
    yield opened
    opened.close()


@pytest.fixture
def room(house: LabelHouse) -> LabelRoom:
    assert house.only is not None
    return house.room(house.only)


@pytest.fixture
def page(house: LabelHouse, pool: Pool) -> Iterator[TestClient]:  # noqa: F811
    """The page of the pool's own addresses: "/api/c/owl/state" is asked as "/api/p/POOL/c/owl/state"."""
    with client(label_app(house, Access(), who="me"), pool=pool_id(pool.path)) as talking:
        yield talking


def reds(room: LabelRoom, num: int = 8) -> list[str]:
    """The identities of red photos of the pool."""
    catalogue = room.catalogue()
    names = [f"{ix:03}.png" for ix in range(0, 16, 2)]
    ixs = [ix for ix in range(len(catalogue)) if Path(catalogue.path(ix)).name in names]
    return [catalogue.item(ix) for ix in ixs[:num]]
