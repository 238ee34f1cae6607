"""The labelling page as an application: routes translate; the house, its rooms and their desks decide."""

from starlette.types import ASGIApp

from narrowcast.web.access import Access
from narrowcast.web.application import application
from narrowcast.web.label_house import LabelHouse
from narrowcast.web.label_routes_desk import DeskRoutes
from narrowcast.web.label_routes_files import FileRoutes
from narrowcast.web.label_routes_start import StartRoutes

MOST_UPLOAD = 40 << 20  # bytes of a dropped photo


def label_app(house: LabelHouse, access: Access, *, who: str = "") -> ASGIApp:
    """The labelling page of some pools.

    Args:
        who: the name that a page begins with, until somebody gives another.
    """

    routes = [*StartRoutes(house, who).routes(), *DeskRoutes(house, who).routes(), *FileRoutes(house).routes()]
    return application(routes, access, most_bytes={"/api/examples": MOST_UPLOAD})
