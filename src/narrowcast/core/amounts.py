"""Numbers as a person reads them; a number that is not known is a dash."""

from collections.abc import Callable

Shown = Callable[[float | None], str]


def _or_dash(show: Callable[[float], str]) -> Shown:
    return lambda value: "–" if value is None else show(value)


percent = _or_dash(lambda share: f"{share:.1%}")
times = _or_dash(lambda factor: f"{factor:.1f}×")
milliseconds = _or_dash(lambda ms: f"{ms:,.2f}" if ms < 10 else f"{ms:,.1f}" if ms < 100 else f"{ms:,.0f}")


@_or_dash
def duration(value_s: float) -> str:
    """Seconds in the two units that matter.

    >>> [duration(seconds) for seconds in (0.084, 42, 1205, 11520, 187200)]
    ['84 ms', '42.0 s', '20 min 5 s', '3 h 12 min', '2 d 4 h']
    """
    whole = round(value_s)
    for unit, each, lower, lower_each in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= each:
            return f"{whole // each} {unit} {whole % each // lower_each} {lower}"
    return f"{value_s:.1f} s" if value_s >= 0.9995 else f"{value_s * 1e3:.0f} ms"


def clock(time_s: float) -> str:
    """Video time.

    >>> clock(61.52), clock(3725.0), clock(-0.04)
    ('1:01.5', '1:02:05.0', '0:00.0')
    """
    minutes, tenths = divmod(abs(round(time_s * 10)), 600)
    shown = f"{minutes // 60}:{minutes % 60:02}" if minutes >= 60 else f"{minutes}"
    return f"{'-' if round(time_s * 10) < 0 else ''}{shown}:{tenths // 10:02}.{tenths % 10}"
